"""A budget stops a real AgentSession, and never ends a call by mistake."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal

import pytest
from livekit.agents import AgentSession
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_voice_cost import Budget, Settings, VoiceCostError, VoiceCostSpanProcessor, end_call
from otel_voice_cost.testing.components import Answer, ScriptedLLM, ScriptedSTT, ScriptedTTS

from ..conftest import SPEECH
from .harness import PATIENCE_SECONDS, SPEED, Caller, cost_on, new_session
from .test_conversations import Clerk

GOODBYE = "Our time is up. Goodbye."


class Watched:
    """A pipeline with a budget."""

    def __init__(self, catalog, budget=None, **options):
        self.records, self.exporter = [], InMemorySpanExporter()
        self.processor = VoiceCostSpanProcessor(
            catalog=catalog, budget=budget, on_session_end=self.records.append, settings=Settings(**options)
        )
        self.provider = TracerProvider()
        self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        set_tracer_provider(self.provider)


def session_of(turns=3) -> AgentSession:
    return new_session(
        stt=ScriptedSTT(["words"] * turns, report_seconds=0.5, speed=SPEED),
        llm=ScriptedLLM([Answer(text="An answer.")] * turns),
        tts=ScriptedTTS(),
    )


async def closed(session):
    done = asyncio.Event()
    session.on("close", lambda event: done.set())
    return done


async def test_a_budget_stops_a_real_session(price_catalog):
    """Warned at half of it, stopped above all of it, each once and in the session's loop."""
    seen = []

    def warn(record):
        seen.append(("warned", record.usd, threading.current_thread(), asyncio.get_running_loop()))

    async def exceeded(record):
        seen.append(("exceeded", record.usd, threading.current_thread(), asyncio.get_running_loop()))
        await end_call(GOODBYE)(record)

    budget = Budget(usd_per_session="0.0009", warn_at=0.5, on_warning=warn, on_exceeded=exceeded)
    watched = Watched(price_catalog, budget)
    session = session_of()
    ended = await closed(session)
    caller = Caller(session)
    await session.start(Clerk())
    await caller.ask_and_listen()
    assert not ended.is_set()
    await caller.ask()
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    caller.microphone.hang_up()
    watched.provider.shutdown()

    assert [name for name, *_ in seen] == ["warned", "exceeded"]
    assert seen[0][1] < Decimal("0.0009") < seen[1][1]
    assert {where for _, _, *where in seen for where in where} == {
        threading.current_thread(),
        asyncio.get_running_loop(),
    }
    (record,) = watched.records
    assert record.usd == cost_on(watched.exporter.get_finished_spans())
    spoken = [span.attributes.get("lk.pii.input_text") or span.attributes.get("lk.input_text")
              for span in watched.exporter.get_finished_spans() if span.name == "tts_request"]  # fmt: skip
    assert GOODBYE in spoken


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_callback_that_raises_does_not_end_the_call(price_catalog, caplog, asynchronous):
    async def fail_later(record):
        raise RuntimeError(SPEECH)

    def fail(record):
        raise RuntimeError(SPEECH)

    watched = Watched(price_catalog, Budget(usd_per_session="0.0001", on_exceeded=fail_later if asynchronous else fail))
    session = session_of()
    caller = Caller(session)
    await session.start(Clerk())
    await caller.ask_and_listen()
    await caller.ask_and_listen()
    await caller.hang_up()
    watched.provider.shutdown()

    assert watched.processor.stats().failed == 1
    assert "Error in a budget callback: RuntimeError (test_budget.py:" in caplog.text
    assert len(watched.records[0].turns) == 2


async def test_would_exceed_warns_before_the_budget_is_spent(price_catalog):
    watched = Watched(price_catalog, Budget(usd_per_session="0.002"))
    session = session_of()
    caller = Caller(session)
    await session.start(Clerk())
    asked = [watched.processor.would_exceed()]
    for _ in range(2):
        await caller.ask_and_listen()
        await asyncio.sleep(0.1)
        asked.append(watched.processor.would_exceed())
    live = watched.processor.current_cost()
    await caller.hang_up()
    watched.provider.shutdown()

    assert asked == [False, False, True]
    assert live.usd < Decimal("0.002") < live.usd + live.next_turn_usd
    assert watched.processor.would_exceed() is False


async def test_a_budget_from_the_environment_is_logged(price_catalog, monkeypatch, caplog):
    monkeypatch.setenv("VOICE_COST_SESSION_BUDGET_USD", "0.0001")
    caplog.set_level("INFO", "otel_voice_cost")
    watched = Watched(price_catalog)
    session = session_of()
    caller = Caller(session)
    await session.start(Clerk())
    await caller.ask_and_listen()
    await caller.hang_up()
    watched.provider.shutdown()

    assert "A session has spent more than its budget of 0.0001 USD." in caplog.text


def test_a_budget_per_minute_grows_with_the_call():
    budget = Budget(usd_per_session=1, usd_per_minute=0.10)

    assert [budget.usd_for(Decimal(seconds)) for seconds in (1, 60, 90, 6_000)] == [
        Decimal("0.1"),
        Decimal("0.1"),
        Decimal("0.15"),
        1,
    ]
    assert Budget().usd_for(Decimal(5)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"usd_per_session": -1}, "Budget.usd_per_session: got -1, expected US dollars above zero"),
        ({"usd_per_minute": "much"}, "Budget.usd_per_minute: got 'much', expected US dollars above zero"),
        ({"usd_per_session": True}, "Budget.usd_per_session: got True, expected"),
        ({"warn_at": 80}, "Budget.warn_at: got 80, expected a part between 0 and 1"),
    ],
)
def test_an_invalid_budget_raises(options, message):
    with pytest.raises(VoiceCostError, match=message):
        Budget(**options)


async def test_a_budget_without_an_event_loop_is_logged(price_catalog, caplog):
    """For a session outside any event loop no callback can run; this is logged, and the span is priced."""
    watched = Watched(price_catalog, Budget(usd_per_session="0.0001", on_exceeded=end_call(GOODBYE)))

    def outside():
        tracer = watched.provider.get_tracer("livekit-agents")
        session = tracer.start_span("agent_session")
        from opentelemetry import trace  # noqa: PLC0415  # used in the thread alone

        with trace.use_span(session):
            tracer.start_span("llm_request", attributes={"gen_ai.usage.cost": 0.5}).end()

    await asyncio.to_thread(outside)
    watched.provider.shutdown()

    assert "its session has no event loop" in caplog.text
    assert watched.records[0].usd == Decimal("0.5")
