"""The hook on LiveKit's base classes: reversible, once, nothing lost."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap

import pytest
import wrapt
from livekit.agents import AgentSession, llm, stt, tts
from livekit.agents.metrics import STTMetrics, VADMetrics

from otel_voice_cost import VoiceCostSpanProcessor
from otel_voice_cost.sources.livekit import LiveKitSource, hooks
from otel_voice_cost.sources.livekit.framework import LIVEKIT
from otel_voice_cost.sources.livekit.hooks import find_agent_session, subscribe
from otel_voice_cost.sources.livekit.reports import read_report
from otel_voice_cost.testing.components import ScriptedSTT

BASES = (stt.STT, llm.LLM, llm.RealtimeSession, tts.TTS)


def report(seconds: float = 1.0) -> STTMetrics:
    return STTMetrics(request_id="r", timestamp=0, duration=0, label="l", audio_duration=seconds, streamed=True)


@pytest.fixture(autouse=True)
def alone():
    """Processors that other tests left on their providers would keep the hook."""
    for thing in gc.get_objects():
        if isinstance(thing, VoiceCostSpanProcessor):
            thing.shutdown()


SOURCE = LiveKitSource()


class Listener:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def hear(self, _source: object, read) -> None:
        self.heard.append(read())


def listen(listener):
    """Subscribe; return a function that ends the subscription."""
    return subscribe(SOURCE, listener.hear, lambda metrics, _reporter: metrics).cancel


def renew():
    """Renew the hook, as each session does."""
    return hooks._hook.subscriptions[0].renew()


def test_the_hook_is_added_with_the_first_listener_and_removed_with_the_last():
    first, second = Listener(), Listener()
    stop_first, stop_second = listen(first), listen(second)
    assert all("emit" in vars(base) for base in BASES)

    stop_first()
    assert all("emit" in vars(base) for base in BASES)
    stop_second()

    assert not any("emit" in vars(base) for base in BASES)


def test_a_processor_removes_its_hook_at_shutdown(price_catalog):
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    assert "emit" in vars(stt.STT)

    processor.shutdown()

    assert "emit" not in vars(stt.STT)


def test_uninstall_removes_the_hook(price_catalog):
    processor = VoiceCostSpanProcessor(catalog=price_catalog)

    processor.uninstall()

    assert "emit" not in vars(stt.STT)


def test_a_session_is_found_by_its_span_while_there_is_a_listener(price_catalog):
    before = vars(AgentSession)["start"]
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    assert isinstance(vars(AgentSession)["start"], wrapt.FunctionWrapper)
    assert find_agent_session((1, 1)) is None

    processor.shutdown()

    assert vars(AgentSession)["start"] is before


def test_a_deleted_processor_removes_its_hook(price_catalog):
    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    assert "emit" in vars(stt.STT)

    del processor

    assert "emit" not in vars(stt.STT)


def test_a_report_is_received_once_and_passed_to_the_application_too():
    listener, application, component = Listener(), [], ScriptedSTT([])
    component.on("metrics_collected", application.append)
    stop = listen(listener)
    metrics = report()

    component.emit("metrics_collected", metrics)
    component.emit("error", "not usage")
    stop()

    assert listener.heard == [metrics]
    assert application == [metrics]


def test_a_report_that_adapters_pass_on_is_received_once():
    listener, leaf, adapter, outer = Listener(), ScriptedSTT([]), ScriptedSTT([]), ScriptedSTT([])
    leaf.on("metrics_collected", lambda metrics: adapter.emit("metrics_collected", metrics))
    adapter.on("metrics_collected", lambda metrics: outer.emit("metrics_collected", metrics))
    stop = listen(listener)

    leaf.emit("metrics_collected", report())
    leaf.emit("metrics_collected", report())
    stop()

    assert len(listener.heard) == 2


def test_the_same_report_is_received_once_whenever_it_is_passed_on():
    listener, leaf, outer = Listener(), ScriptedSTT([]), ScriptedSTT([])
    stop = listen(listener)
    first, second = report(), report()

    leaf.emit("metrics_collected", first)
    leaf.emit("metrics_collected", second)
    outer.emit("metrics_collected", first)
    stop()

    assert listener.heard == [first, second]


def test_a_method_that_wraps_itself_is_hooked_without_a_loop(monkeypatch):
    def emit(self, event, *args):
        """Wrap itself."""

    emit.__wrapped__ = emit
    listener = Listener()
    stop = listen(listener)
    monkeypatch.setattr(stt.STT, "emit", emit)

    assert renew() == []
    ScriptedSTT([]).emit("metrics_collected", report())
    stop()

    assert len(listener.heard) == 1


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_a_fault_does_not_propagate_to_livekits_metrics_task(price_catalog, caplog, error):
    """LiveKit's emitter passes a TypeError on, which would kill the task."""

    class Broken:
        type = "stt_metrics"

        def model_dump_json(self):
            raise error("my card number is 4111")

    processor = VoiceCostSpanProcessor(catalog=price_catalog)

    ScriptedSTT([]).emit("metrics_collected", Broken())

    assert f"Error in a usage report: {error.__name__} (test_events.py:" in caplog.text
    assert "4111" not in caplog.text
    processor.shutdown()


def test_reports_of_other_kinds_are_not_usage():
    vad = VADMetrics(label="l", timestamp=0, idle_time=0, inference_duration_total=0, inference_count=0)

    assert read_report(vad, None) is None
    assert read_report(object(), None) is None


def test_livekit_may_be_imported_after_this_package():
    """The hook waits for livekit.agents, which this package does not import."""
    program = textwrap.dedent(
        """
        import sys
        from otel_voice_cost import VoiceCostSpanProcessor
        processor = VoiceCostSpanProcessor()
        assert "livekit" not in sys.modules
        from livekit.agents import stt
        assert "emit" in vars(stt.STT)
        processor.shutdown()
        assert "emit" not in vars(stt.STT)
        again = VoiceCostSpanProcessor()
        assert "emit" in vars(stt.STT)
        """
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.returncode == 0


def passes_on(heard):
    """A third-party wrapper of `emit` without `__wrapped__`."""

    def patch(base):
        original = base.emit

        def emit(self, *args):
            heard.append(args[0])
            return original(self, *args)

        base.emit = emit

    return patch


def wraps(heard):
    """A third-party wrapper with `__wrapped__`, as in tracing libraries."""

    def patch(base):
        def emit(wrapped, instance, args, kwargs):
            heard.append(args[0])
            return wrapped(*args, **kwargs)

        wrapt.wrap_function_wrapper(base, "emit", emit)

    return patch


@pytest.fixture
def unpatched():
    """Remove anything that a test leaves on the class."""
    yield
    if "emit" in vars(stt.STT):
        del stt.STT.emit


@pytest.mark.parametrize("patch", [passes_on, wraps])
@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_an_emit_patched_by_others_is_received_once_and_stays_patched(unpatched, patch, when):
    theirs, listener = [], Listener()
    if when != "after":
        patch(theirs)(stt.STT)
    stop = listen(listener)
    if when != "before":
        patch(theirs)(stt.STT)
    assert renew() == []

    ScriptedSTT([]).emit("metrics_collected", report())
    stop()
    ScriptedSTT([]).emit("metrics_collected", report())

    assert len(listener.heard) == 1
    assert len(theirs) == (4 if when == "both" else 2)
    again = Listener()
    stop = listen(again)
    ScriptedSTT([]).emit("metrics_collected", report())
    stop()
    assert (len(listener.heard), len(again.heard)) == (1, 1)


def test_an_emit_restored_by_others_is_hooked_again_at_the_next_session(unpatched):
    """As `mock.patch` does at its end: the package's wrapper, added in between, is removed too."""
    original, listener = stt.STT.emit, Listener()
    stop = listen(listener)
    stt.STT.emit = original
    ScriptedSTT([]).emit("metrics_collected", report())
    assert listener.heard == []

    assert renew() == []
    ScriptedSTT([]).emit("metrics_collected", report())
    stop()

    assert len(listener.heard) == 1


def test_a_start_patched_by_others_stays_patched(price_catalog):
    before, started = vars(AgentSession)["start"], []

    def start(wrapped, instance, args, kwargs):
        started.append(instance)
        return wrapped(*args, **kwargs)

    processor = VoiceCostSpanProcessor(catalog=price_catalog)
    wrapt.wrap_function_wrapper(AgentSession, "start", start)
    theirs = vars(AgentSession)["start"]
    processor.shutdown()

    try:
        assert vars(AgentSession)["start"] is theirs
    finally:
        AgentSession.start = before


def test_a_class_that_cannot_be_hooked_is_reported(monkeypatch):
    monkeypatch.setattr(llm, "RealtimeSession", None)

    assert LIVEKIT.find_unhooked() == ["RealtimeSession"]


def test_a_copy_emitted_during_a_report_is_not_another_report():
    listener, leaf, outer = Listener(), ScriptedSTT([]), ScriptedSTT([])
    leaf.on(
        "metrics_collected",
        lambda metrics: outer.emit("metrics_collected", metrics.model_copy(update={"label": "app"})),
    )
    stop = listen(listener)

    leaf.emit("metrics_collected", report())
    stop()

    assert len(listener.heard) == 1


def test_a_processor_built_while_livekit_is_half_imported_receives_reports():
    """As in a third-party import hook; the classes do not exist yet."""
    script = """
        import importlib.abc, sys
        built = []

        class Hook(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "livekit.agents.stt" and not built:
                    from otel_voice_cost import VoiceCostSpanProcessor
                    built.append(None)
                    built[0] = VoiceCostSpanProcessor()
                return None

        sys.meta_path.insert(0, Hook())
        import livekit.agents
        from livekit.agents import stt
        from livekit.agents.metrics import STTMetrics
        from otel_voice_cost.testing.components import ScriptedSTT
        from otel_voice_cost.sources.livekit.hooks import _hook
        bases = (stt.STT, livekit.agents.llm.LLM, livekit.agents.tts.TTS)
        assert built and all(_hook.is_hooked(base) for base in bases)
        metrics = STTMetrics(request_id="r", timestamp=0, duration=0, label="l", audio_duration=2, streamed=True)
        ScriptedSTT([]).emit("metrics_collected", metrics)
        stats = built[0].stats()
        assert stats.priced + stats.unpriced == 1, stats
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_report_during_another_with_an_unreadable_request_raises_nothing():
    class Broken:
        type = "stt_metrics"

        @property
        def request_id(self):
            raise ValueError

    leaf, outer, heard = ScriptedSTT([]), ScriptedSTT([]), []
    leaf.on("metrics_collected", lambda _: outer.emit("metrics_collected", Broken()))
    outer.on("metrics_collected", heard.append)
    stop = listen(Listener())

    leaf.emit("metrics_collected", report())
    stop()

    assert len(heard) == 1
