"""One environment per supported release of LiveKit, of Pipecat and of the OpenTelemetry SDK."""

from __future__ import annotations

from pathlib import Path

import nox

from otel_voice_cost.sources.livekit import TESTED
from otel_voice_cost.sources.pipecat import TESTED as PIPECAT_TESTED

PIPECAT_BEFORE = "1.6.0"  # reports no speech-to-text

SDKS = ["1.34.1", "1.36.0", "1.38.0", "1.40.0", "1.42.0", "1.45.2"]

# 1.2 to 1.6 import httpx without requiring it and leave openai open, whose third release brings httpx2 instead.
PINS = {release: ["httpx", "openai<3"] for release in TESTED if release < "1.7"}
SDK_PINS = {sdk: ["httpx", "openai<3"] for sdk in SDKS if sdk < "1.45"}  # the newest goes with LiveKit 1.8.9
TOOLS = ["aiohttp", "hypothesis", "pytest", "pytest-asyncio", "pytest-xdist"]

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session, release: str) -> None:
    session.chdir("..")
    session.install(f"livekit-agents=={release}", *PINS.get(release, []), ".[cli,otlp]", *TOOLS)


@nox.session
@nox.parametrize("release", TESTED)
def sessions(session: nox.Session, release: str) -> None:
    """Run the conversations of tests/sessions live on a release."""
    install(session, release)
    session.run("python", "-m", "pytest", "-n", "2", "tests/sessions", "-o", "addopts=", *session.posargs)


def make_sentence_tables() -> str:
    """Return a folder with what Pipecat before 1.12 downloads to tell sentences apart: tables of NLTK, here empty."""
    data = Path(__file__).parent / ".nox" / "nltk_data"
    english = data / "tokenizers" / "punkt_tab" / "english"
    english.mkdir(parents=True, exist_ok=True)
    for table in ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"):
        (english / table).touch()
    return str(data)


@nox.session
@nox.parametrize("release", [PIPECAT_BEFORE, *PIPECAT_TESTED])
def pipecat(session: nox.Session, release: str) -> None:
    """Hold the conversations of tests/pipecat on a release of Pipecat, and test the hooks on it.

    LiveKit is not installed: its plugins and an older Pipecat ask for different releases of the vendors' clients.
    """
    session.chdir("..")
    services = "anthropic,cartesia,deepgram,elevenlabs,openai"
    session.install(f"pipecat-ai[{services}]=={release}", ".[cli,otlp]", *TOOLS)
    session.env["NLTK_DATA"] = make_sentence_tables()
    run = ["python", "-m", "pytest", "-o", "addopts="]
    session.run(*run, "-n", "2", "tests/pipecat", *session.posargs)
    if release in PIPECAT_TESTED:
        session.run(*run, "tests/unit/test_pipecat_hooks.py", "tests/unit/test_pipecat_services.py")
        session.run(*run, "tests/test_testing.py", "-k", "pipecat")


@nox.session
@nox.parametrize("sdk", SDKS)
def sdks(session: nox.Session, sdk: str) -> None:
    """Run the tests of the pipeline on an OpenTelemetry SDK, with the newest LiveKit that allows it."""
    session.chdir("..")
    pins = [*SDK_PINS.get(sdk, []), "opentelemetry-exporter-prometheus"]
    session.install(f"opentelemetry-sdk=={sdk}", *pins, ".[cli,livekit,otlp]", *TOOLS)
    tests = ["tests/pipeline", "tests/faults", "tests/unit/test_rewrite.py", "tests/test_faults.py"]
    session.run("python", "-m", "pytest", "-n", "2", *tests, "-o", "addopts=", *session.posargs)


@nox.session
@nox.parametrize("release", TESTED)
def record(session: nox.Session, release: str) -> None:
    """Record the conversations of a release into tests/recorded/."""
    install(session, release)
    session.run("python", "-m", "tests.recorded.record")
