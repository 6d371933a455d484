"""The pictures of the report on past calls: a month of calls of an imaginary agency, reported, and shown by Chromium.

The calls pass through the processor as spans and reports of LiveKit Agents. Run it as `make pictures`.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from io import BytesIO
from itertools import count
from pathlib import Path

from livekit.agents.metrics import LLMMetrics, RealtimeModelMetrics, STTMetrics, TTSMetrics
from livekit.agents.metrics.base import Metadata
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span
from PIL import Image
from playwright.sync_api import sync_playwright

from otel_voice_cost import Settings, VoiceCostSpanProcessor
from otel_voice_cost.testing.components import ScriptedSTT

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FIRST_DAY = datetime(2026, 10, 28, tzinfo=timezone.utc)
DAYS, CHANGE = 30, 18  # in the second revision, from the 18th day on, prompts are longer
CALLS_ON_WEEKDAY = (52, 49, 50, 47, 58, 21, 14)
SECONDS_PER_TURN = 11
NS = 10**9
SESSION_RATES = {
    "twilio/sip-trunk": {"telephony": {"price": "0.0085/min", "increment": 60}},
    "livekit/agent-session": {"platform": {"price": "0.01/min"}},
}

_ids, _call_numbers = count(), count(1)
_stt = ScriptedSTT([])


@dataclass(frozen=True)
class Agent:
    """The models of an agent, as LiveKit names their providers."""

    name: str
    llm: tuple[str, str] | None  # None for a realtime model
    tts: tuple[str, str] | None
    share: int


AGENTS = (
    Agent("front desk", ("gpt-4.1-mini", "api.openai.com"), ("sonic-3", "Cartesia"), 6),
    Agent("sales", ("gpt-4.1", "api.openai.com"), ("eleven_flash_v2_5", "ElevenLabs"), 3),
    Agent("night desk", None, None, 1),
    Agent("survey", ("gpt-4.1-mini", "api.openai.com"), ("house-voice", "in-house"), 1),  # a voice without a price
)


class Calls:
    """Calls of a month, one after the other."""

    def __init__(self, provider: TracerProvider, chance: random.Random) -> None:
        self._tracer, self._chance = provider.get_tracer("livekit-agents"), chance

    def hold(self, agent: Agent, started: datetime, prompt_growth: float) -> None:
        start_ns = int(started.timestamp()) * NS
        attributes = {"lk.agent_name": agent.name, "session.id": f"call-{next(_call_numbers):04d}"}
        session = self._tracer.start_span("agent_session", start_time=start_ns, attributes=attributes)
        turns = 2 + int(self._chance.lognormvariate(1.9, 0.55))
        for number in range(turns):
            at_ns = start_ns + (number * SECONDS_PER_TURN + 5) * NS
            with trace.use_span(session, end_on_exit=False):
                if agent.llm is None or agent.tts is None:
                    self._realtime(at_ns, number)
                    continue
                self._stt(at_ns)
                self._llm(agent.llm, at_ns, number, prompt_growth)
                self._tts(agent.tts, at_ns)
        session.end(end_time=start_ns + turns * SECONDS_PER_TURN * NS)

    def _request(self, name: str, key: str, report: object, at_ns: int, model: str) -> None:
        attributes = {"gen_ai.request.model": model, key: report.model_dump_json()}
        span: Span = self._tracer.start_span(name, start_time=at_ns, attributes=attributes)
        with trace.use_span(span, end_on_exit=False):
            _stt.emit("metrics_collected", report)
        span.end(end_time=at_ns + NS)

    def _stt(self, at_ns: int) -> None:
        report = STTMetrics(
            label="livekit.plugins.deepgram.stt.STT",
            request_id=f"stt-{next(_ids)}",
            timestamp=at_ns / NS,
            duration=0.0,
            audio_duration=float(SECONDS_PER_TURN),
            streamed=True,
            metadata=Metadata(model_name="nova-3", model_provider="Deepgram"),
        )
        _stt.emit("metrics_collected", report)
        turn = self._tracer.start_span("user_turn", start_time=at_ns)
        turn.end(end_time=at_ns + NS)

    def _llm(self, model: tuple[str, str], at_ns: int, turn: int, prompt_growth: float) -> None:
        prompt = int((900 + 130 * turn) * prompt_growth)
        report = LLMMetrics(
            label="livekit.plugins.openai.llm.LLM",
            request_id=f"chatcmpl-{next(_ids)}",
            timestamp=at_ns / NS,
            duration=0.8,
            ttft=0.3,
            cancelled=False,
            completion_tokens=self._chance.randint(20, 90),
            prompt_tokens=prompt,
            prompt_cached_tokens=prompt // 2 if turn else 0,
            total_tokens=prompt,
            tokens_per_second=50.0,
            metadata=Metadata(model_name=model[0], model_provider=model[1]),
        )
        self._request("llm_request", "lk.llm_metrics", report, at_ns, model[0])

    def _tts(self, model: tuple[str, str], at_ns: int) -> None:
        report = TTSMetrics(
            label="livekit.plugins.cartesia.tts.TTS",
            request_id=f"tts-{next(_ids)}",
            timestamp=at_ns / NS,
            ttfb=0.1,
            duration=0.5,
            audio_duration=4.2,
            cancelled=False,
            characters_count=self._chance.randint(30, 190),
            streamed=True,
            metadata=Metadata(model_name=model[0], model_provider=model[1]),
        )
        self._request("tts_request", "lk.tts_metrics", report, at_ns, model[0])

    def _realtime(self, at_ns: int, turn: int) -> None:
        heard, spoken = 110 + 90 * turn, self._chance.randint(60, 160)
        report = RealtimeModelMetrics(
            label="livekit.plugins.openai.realtime.RealtimeModel",
            request_id=f"resp-{next(_ids)}",
            timestamp=at_ns / NS,
            duration=1.0,
            ttft=0.3,
            cancelled=False,
            input_tokens=heard + 400,
            output_tokens=spoken,
            total_tokens=heard + 400 + spoken,
            tokens_per_second=50.0,
            input_token_details=RealtimeModelMetrics.InputTokenDetails(
                audio_tokens=heard, text_tokens=400, image_tokens=0, cached_tokens=0, cached_tokens_details=None
            ),
            output_token_details=RealtimeModelMetrics.OutputTokenDetails(
                text_tokens=spoken // 4, audio_tokens=spoken - spoken // 4, image_tokens=0
            ),
            metadata=Metadata(model_name="gpt-realtime", model_provider="api.openai.com"),
        )
        self._request("realtime_inference", "lk.realtime_model_metrics", report, at_ns, "gpt-realtime")


def hold_month(records: Path) -> None:
    """Hold the calls of a month by two revisions of the agents, and write their records."""
    chance = random.Random(7)
    for revision, days, growth in (("2026.10.2", range(CHANGE), 1.0), ("2026.11.0", range(CHANGE, DAYS), 2.4)):
        settings = Settings(records_file=str(records), revision=revision, session_rates=json.dumps(SESSION_RATES))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(VoiceCostSpanProcessor(settings=settings))
        set_tracer_provider(provider)
        calls = Calls(provider, chance)
        for day in days:
            date = FIRST_DAY + timedelta(days=day)
            for _ in range(round(CALLS_ON_WEEKDAY[date.weekday()] * chance.uniform(0.85, 1.15))):
                (agent,) = chance.choices(AGENTS, [agent.share for agent in AGENTS])
                calls.hold(agent, date + timedelta(seconds=chance.randrange(8 * 3600, 20 * 3600)), growth)
        provider.shutdown()


def take_pictures(page_file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield pictures of a page by name: on a screen in light and dark, and on a telephone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, scheme, height in (
            ("report", 1280, "light", None),  # the whole page
            ("report-dark", 1280, "dark", 1060),
            ("report-phone", 400, "light", 1840),
        ):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            requested: list[str] = []
            page.on("request", lambda request, requested=requested: requested.append(request.url))
            page.goto(page_file.as_uri())
            assert requested == [page_file.as_uri()], requested
            assert page.evaluate("document.documentElement.scrollWidth") == width
            clip = {"x": 0, "y": 0, "width": width, "height": height} if height else None
            yield name, page.screenshot(full_page=True, clip=clip)
            page.close()
        browser.close()


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        hold_month(Path(folder) / "calls.jsonl")
        records, page = sorted(map(str, Path(folder).glob("*.jsonl"))), Path(folder) / "report.html"
        command = [Path(sys.executable).parent / "voice-cost", "report", *records, "--top", "6", "--html", str(page)]
        subprocess.run(command, check=True)
        for name, png in take_pictures(page):
            colors = Image.open(BytesIO(png)).convert("RGB").quantize(96, dither=Image.Dither.NONE)
            colors.save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
