"""The demo's call, sent to real servers, and their pages."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import PriceCatalog, Settings, VoiceCostSpanProcessor
from otel_voice_cost.demo.call import hold_call

from .servers import BACKENDS

PATIENCE_SECONDS = 120

if BACKENDS is None:
    collect_ignore_glob = ["test_*.py"]


def asked(url: str, body: object = None) -> object:
    """Return a server's JSON response."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data=data, headers={"Content-Type": "application/json"}), timeout=30) as answer:
        return json.load(answer)


def arrived(look: Callable[[], list], count: int) -> list:
    """Return the data of a server once it has ingested enough."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := look()) < count and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


class Call:
    """A call as exported from the process."""

    def __init__(self, spans) -> None:
        self.spans = [span for span in spans if "voice_cost.usd" in span.attributes]
        (session,) = [span for span in spans if span.name == "agent_session"]
        self.usd = Decimal(session.attributes["voice_cost.session.usd"])

    def costs(self) -> dict[str, Decimal]:
        """US dollars by span id, in hexadecimal."""
        return {f"{s.context.span_id:016x}": Decimal(s.attributes["voice_cost.usd"]) for s in self.spans}


async def send_call(dialect: str, endpoint: str, **headers: str) -> Call:
    """Run the demo call and send it to a backend."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    settings = Settings(dialects=("genai", dialect))
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=PriceCatalog.default(), settings=settings))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, headers=headers)))
    set_tracer_provider(provider)
    await hold_call(speed=5)
    provider.shutdown()
    return Call(kept.get_finished_spans())


def page(url: str, picture: Path) -> str:
    """A page as headless Chromium shows it: its document, and a picture in a file."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1600,1200",
        "--virtual-time-budget=20000",
    ]
    run = subprocess.run(
        [chromium, *options, f"--screenshot={picture}", url], capture_output=True, timeout=120, check=False
    )
    assert picture.exists(), run.stderr[-500:]
    shown = subprocess.run([chromium, *options, "--dump-dom", url], capture_output=True, timeout=120, check=True)
    return shown.stdout.decode()
