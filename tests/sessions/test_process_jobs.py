"""Jobs in processes, LiveKit's default: no set-up flushes by hand, and the whole cost of the call arrives."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from textwrap import indent
from types import SimpleNamespace

import pytest

from otel_voice_cost.demo.receiver import OtlpReceiver, ReceivedSpan

from ..conftest import PRICES
from .harness import RELEASE, amounts_in, amounts_on, cost_of_amounts, cost_on

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FOREIGN = ("JOB_", "LANGFUSE_", "LIVEKIT_", "OTEL_", "VOICE_COST_")  # variables that a developer may have set

(SET_UP,) = re.findall(r"```python\n(.*?)```", README.partition("\n## Install")[0], re.DOTALL)
PAGE = (ROOT / "docs" / "where-to-put-it.md").read_text()
OTHERS = PAGE.partition("\n## Among other processors")[2].partition("\n## ")[0]
LANGFUSE = (ROOT / "docs" / "backends" / "langfuse.md").read_text().partition("```python\n")[2].partition("```")[0]
SET_UPS = {  # for LiveKit's jobs
    "the first block": SET_UP,
    "Langfuse": LANGFUSE,
    **dict(
        re.findall(r"^\*\*([^*]+)\*\*(?:(?!^\*\*).)*?```python\n(.*?)```", OTHERS, re.DOTALL | re.MULTILINE),
    ),
}
EXPORTER = """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
"""
LIVEKIT_SHUTS_DOWN = (1, 3) <= RELEASE < (1, 8)  # the provider, at the end of each job
EXPORT_BY_OTHERS = ("On a provider that somebody else built",)

AGENT = """
{imported}
from tests.sessions.job_agent import hold_call, prewarm_nothing, run_job


def prewarm(process):
    prewarm_nothing(process)
{prewarm}


async def answer(context):
{entrypoint}
    await hold_call(context)


if __name__ == "__main__":
{main}
    run_job(answer, prewarm, preload={preload!r})
"""


def agent_file(
    *, imported: str = "", prewarm: str = "", entrypoint: str = "", main: str = "", preload: tuple[str, ...] = ()
) -> str:
    """An agent's file with its set-up at one of the usual places."""
    inner = {"prewarm": prewarm, "entrypoint": entrypoint, "main": main}
    return AGENT.format(
        imported=imported, preload=preload, **{place: indent(code, "    ") for place, code in inner.items()}
    )


@dataclass(frozen=True)
class HeldCall:
    """A call of a job process: received spans and reported usage."""

    spans: list[ReceivedSpan]
    reports: list[SimpleNamespace]
    log: str

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]


Hold = Callable[..., HeldCall]


@pytest.fixture
def hold(tmp_path) -> Hold:
    """Run an agent's file as a program; its job process exports to a receiver in this one."""
    (tmp_path / "prices.toml").write_text(PRICES)

    def run(
        agent: str, *, method: str = "forkserver", ending: str = "hangs up", endpoint: str = "", **modules: str
    ) -> HeldCall:
        if method not in multiprocessing.get_all_start_methods():
            pytest.skip(f"no {method} on this system")
        for name, text in {"agent": agent, **modules}.items():
            (tmp_path / f"{name}.py").write_text(text)
        with OtlpReceiver() as receiver:
            url = receiver.endpoint.removesuffix("/v1/traces")
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
                "JOB_ENDING": ending,
                "JOB_FOLDER": str(tmp_path),
                "JOB_START_METHOD": method,
                "LANGFUSE_BASE_URL": url,
                "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
                "LANGFUSE_SECRET_KEY": "sk-lf-1",
                "LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS": "0",  # its watchdog walks frames of a running thread: crashes
                "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "false",  # models that no call here uses
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint or url,
                "OTEL_EXPORTER_OTLP_TIMEOUT": "30",  # seconds; LiveKit kills a process that takes 10 to end
                "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
                "VOICE_COST_PRICES_FILE": str(tmp_path / "prices.toml"),
            }
            program = [sys.executable, str(tmp_path / "agent.py")]
            done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "reports.jsonl").read_text().splitlines()
        reports = [json.loads(line, object_hook=lambda fields: SimpleNamespace(**fields)) for line in lines]
        return HeldCall(receiver.spans, reports, done.stderr)

    return run


def assert_all_usage_arrived(call: HeldCall) -> None:
    """Assert that all reported usage is on exactly one received span, at its exact price."""
    assert amounts_on(call.spans) == amounts_in(call.reports)
    assert {component for component, _, _ in amounts_on(call.spans)} == {"llm", "stt", "tts"}
    assert cost_on(call.spans) == cost_of_amounts(amounts_in(call.reports)) > 0
    assert len(call.named("stt_usage")) == 1


def assert_all_arrived(call: HeldCall) -> None:
    """Assert that the end of the call arrived too, and that its total is the sum over the spans."""
    assert_all_usage_arrived(call)
    (session,) = call.named("agent_session")
    assert Decimal(session.attributes["voice_cost.session.usd"]) == cost_on(call.spans)


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("place", ["imported", "prewarm"])
def test_a_set_up_at_module_level_or_in_prewarm_loses_nothing(hold, place, method):
    call = hold(agent_file(**{place: SET_UP}), method=method)

    assert_all_arrived(call)
    assert "otel_voice_cost" not in call.log


@pytest.mark.parametrize("title", SET_UPS)
def test_a_set_up_of_the_pages_loses_nothing(hold, title):
    """Exactly as printed, at module level; an exporter is added if the set-up has none."""
    if "langfuse import" in SET_UPS[title]:
        pytest.importorskip("langfuse")

    call = hold(agent_file(imported=SET_UPS[title] + (EXPORTER if title in EXPORT_BY_OTHERS else "")))

    assert_all_arrived(call)
    assert "otel_voice_cost" not in call.log


def test_every_set_up_of_the_pages_is_tested():
    assert len(SET_UPS) == 2 + OTHERS.count("```python") == 5
    assert set(EXPORT_BY_OTHERS) <= set(SET_UPS)


@pytest.mark.skipif(LIVEKIT_SHUTS_DOWN, reason="1.3 to 1.7 shut the provider down while the session still reports")
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_session_that_is_still_live_exports_its_usage(hold, method):
    """Its agent_session never ends; LiveKit does not close it, because it cannot assign it to a job."""
    call = hold(agent_file(imported=SET_UP), method=method, ending="lives on")

    assert_all_usage_arrived(call)
    assert call.named("agent_session") == []


@pytest.mark.parametrize("ending", ["raises", "returns"])
def test_a_job_that_livekit_ends_loses_nothing(hold, ending):
    """The entrypoint raises, or returns and leaves the call to the worker, which then ends the job."""
    call = hold(agent_file(imported=SET_UP), ending=ending)

    assert_all_usage_arrived(call)
    if RELEASE >= (1, 3):  # 1.2 does not close the session
        assert_all_arrived(call)
    assert ("the entrypoint raises" in call.log) == (ending == "raises")


def test_a_set_up_that_the_fork_server_preloads_loses_nothing(hold):
    """`AgentServer(preload_modules=[...])`: each job process is forked from one that has the processor."""
    call = hold(agent_file(imported="import telemetry", preload=("telemetry",)), telemetry=SET_UP)

    assert_all_arrived(call)


def test_a_set_up_in_the_entrypoint_warns_and_loses_nothing(hold):
    """It blocks the event loop while the caller waits."""
    call = hold(agent_file(entrypoint=SET_UP))

    assert_all_usage_arrived(call)
    (line,) = [line for line in call.log.splitlines() if line.startswith("otel_voice_cost: ")]
    assert "event loop" in line


def test_a_session_id_that_the_entrypoint_sets_is_on_every_priced_span(hold):
    """As docs/backends/langfuse.md shows it for releases without conversation ids."""
    session_id = 'set_tracer_provider(provider, metadata={"langfuse.session.id": context.job.room.name})'
    assert session_id in (ROOT / "docs" / "backends" / "langfuse.md").read_text()

    call = hold(agent_file(imported=SET_UP, entrypoint=session_id))

    assert_all_arrived(call)
    priced = [span for span in call.spans if "voice_cost.usd" in span.attributes]
    assert {span.attributes.get("langfuse.session.id") for span in priced} == {"room-1"}


def test_no_span_arrives_from_a_set_up_under_main(hold):
    """Job processes import the agent's file and do not run that part."""
    call = hold(agent_file(main=SET_UP))

    assert call.spans == []
    assert call.reports != []


@pytest.mark.skipif(LIVEKIT_SHUTS_DOWN, reason="1.3 to 1.7 wait for the exporter themselves")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="atexit runs in the job process, and the SDK's waits there")
def test_a_backend_that_never_answers_does_not_get_the_job_process_killed(hold):
    """LiveKit kills a job process that takes longer than 10 seconds to end; `hold` fails if it did."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        call = hold(agent_file(imported=SET_UP), endpoint=f"http://127.0.0.1:{deaf.getsockname()[1]}")

    assert call.spans == []
    assert call.reports != []


def test_the_prewarm_function_of_the_langfuse_example_loses_nothing(hold):
    """Its plugins need keys and a network, so they are left out."""
    example = (ROOT / "examples" / "langfuse" / "agent.py").read_text()
    importing = "from livekit.plugins import cartesia, deepgram, openai, silero\n"
    assert importing in example
    if RELEASE < (1, 3):
        pytest.skip("the example needs AgentServer")

    call = hold(
        agent_file(imported="import example", prewarm="example.server.setup_fnc(process)"),
        example=example.replace(importing, ""),
    )

    assert_all_arrived(call)


def test_a_whole_agent_server_loses_nothing(hold):
    """With the fork server, the preloaded modules and the pool of processes that LiveKit sets up."""
    agents = pytest.importorskip("livekit.agents")
    if not hasattr(getattr(agents, "AgentServer", None), "simulate_job"):
        pytest.skip("this release has no AgentServer that runs unregistered")
    agent = f"""
from livekit.agents import AgentServer

from tests.sessions.job_agent import hold_call, run_server


def prewarm(process):
{indent(SET_UP, "    ")}


server = AgentServer(
    ws_url="ws://127.0.0.1:9", api_key="key", api_secret="{32 * "s"}", host="127.0.0.1", port=0, num_idle_processes=0
)
server.setup_fnc = prewarm


@server.rtc_session()
async def answer(context):
    await hold_call(context)


if __name__ == "__main__":
    run_server(server)
"""

    call = hold(agent)

    assert_all_arrived(call)
    assert "otel_voice_cost" not in call.log
