"""The session registry: owners of spans, usage that waits for a span, and limits of all state."""

from __future__ import annotations

import gc
from decimal import Decimal

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_voice_cost import Component, Cost, Unit, Usage, VoiceCostSpanProcessor
from otel_voice_cost.accounting.session import REGISTRY, SessionRegistry, Totals
from otel_voice_cost.sources import UsageReport

from ..conftest import AT

DAY_NS = 24 * 3_600 * 10**9


def report(key: str, component: Component = Component.LLM) -> UsageReport:
    def unread(*_):
        raise AssertionError("nobody has to read it")

    return UsageReport(
        component=component,
        match_key=key,
        span_key=(1, 1),
        time_ns=0,
        read=unread,
        read_model=unread,
        read_request=unread,
        has_span=True,
    )


def cost(usd: str | None, component: Component = Component.LLM, model: str = "m", seconds: str = "1") -> Cost:
    usage = Usage(
        component=component, provider="p", model=model, quantities={Unit.AUDIO_SECOND: Decimal(seconds)}, at=AT
    )
    return Cost(usage=usage, usd=None if usd is None else Decimal(usd))


@pytest.fixture
def registry():
    return SessionRegistry()


class Owner:
    """A processor."""


OWNER = Owner()


@pytest.fixture
def session(registry):
    registry.open((1, 1), 0, owner=OWNER, source=None)
    return registry.spans.find((1, 1)).session


def test_a_span_inherits_its_parents_session_and_turn(registry, session):
    registry.spans.begin((1, 2), registry.spans.find((1, 1)), is_turn=True)
    registry.spans.begin((1, 3), registry.spans.find((1, 2)))

    assert registry.spans.find((1, 3)).session is session
    assert registry.spans.find((1, 3)).turn == (1, 2)


def test_spans_outside_any_session_are_not_kept(registry):
    registry.spans.begin((9, 2), registry.spans.find((9, 1)))
    registry.spans.begin((9, 3), None, is_turn=True)

    assert registry.spans.find((9, 2)) is None
    assert registry.spans.find((9, 3)) is None


def test_requests_outside_any_session_are_kept_while_they_last(registry):
    registry.spans.begin((9, 2), None, request=Component.TTS)
    registry.spans.begin((9, 3), registry.spans.find((9, 2)), request=Component.TTS)
    registry.spans.find((9, 3)).mark_enclosing_requests(None)

    assert registry.spans.find((9, 2)).has_billing_child
    registry.spans.end((9, 3))
    registry.spans.end((9, 2))
    assert registry.spans.find((9, 2)) is None


def test_an_inner_request_of_another_component_does_not_replace_the_outer_one(registry, session):
    registry.spans.begin((1, 2), registry.spans.find((1, 1)), request=Component.TTS)
    registry.spans.begin((1, 3), registry.spans.find((1, 2)), request=Component.LLM)
    registry.spans.find((1, 3)).mark_enclosing_requests(None)

    assert not registry.spans.find((1, 2)).has_billing_child


def take(session, step: str) -> list[str]:
    """Run a step of the table; return the usage to price."""
    key, matching = '"a":1,', session.matching
    if step == "report":
        return ["report"] if matching.add(report(key)) else []
    if step == "span":
        return ["span"] if matching.match(key) else []
    if step == "span without key":
        found = matching.match_by_fragments(Component.LLM, (key,))
        if found is None:
            matching.remember(Component.LLM, (key,))
            return ["span by what it kept"]
        return ["span by report"] if found.match_key == key else []
    if step == "32 further reports":
        oldest = [matching.add(report(str(number))) for number in range(32)]
        return ["report" for left in oldest if left is not None and left.match_key == key]
    assert step == "end"
    return ["report" for left in matching.pop_unmatched() if left.match_key == key]


@pytest.mark.parametrize(
    ("steps", "priced", "waits"),
    [
        (["report"], [], True),
        (["span", "report"], ["span"], False),
        (["report", "span"], ["span"], False),
        (["span"], ["span"], False),
        (["report", "end", "span"], ["report"], False),
        (["report", "span without key"], ["span by report"], False),
        (["report", "32 further reports"], ["report"], True),
        (["report", "end"], ["report"], False),
        # then the other side comes
        (["report", "span", "end"], ["span"], False),
        (["span", "report", "end"], ["span"], False),
        (["report", "span without key", "span"], ["span by report"], False),
        (["report", "span without key", "end"], ["span by report"], False),
        (["report", "32 further reports", "span", "end"], ["report"], False),
        # keys are counted
        (["report", "report", "span", "end"], ["span", "report"], False),
        (["span", "span", "report", "report", "end"], ["span", "span"], False),
        (["report", "end", "span", "span"], ["report", "span"], False),
        (["span without key"], ["span by what it kept"], False),
        (["span without key", "report", "end"], ["span by what it kept"], False),
        (["span without key", "report", "report", "end"], ["span by what it kept", "report"], False),
        (["span without key", "report", "span"], ["span by what it kept", "span"], False),
    ],
    ids=lambda value: ", ".join(value) or "nothing" if isinstance(value, list) else f"waits={value}",
)
def test_usage_is_priced_once_in_any_order_of_report_and_span(session, steps, priced, waits):
    """The table of `otel_voice_cost.accounting.matching`, row by row, with later steps."""
    assert [outcome for step in steps for outcome in take(session, step)] == priced
    assert bool(session.matching) is waits


def test_two_equal_reports_need_two_spans(session):
    session.matching.add(report("a"))
    session.matching.add(report("a"))

    assert session.matching.match("a")
    assert [left.match_key for left in list(session.matching.pop_unmatched())] == ["a"]


def test_a_span_that_ends_first_drops_one_report(session):
    assert session.matching.match("a")
    session.matching.add(report("a"))
    session.matching.add(report("a"))

    assert len(list(session.matching.pop_unmatched())) == 1


def test_a_span_is_not_priced_if_its_report_was_priced_without_it(session):
    session.matching.add(report("a"))
    list(session.matching.pop_unmatched())

    assert not session.matching.match("a")
    assert session.matching.match("a")


def test_a_span_that_lost_its_key_finds_the_report_of_its_component_by_fragments(session):
    session.matching.add(report('{"t":1,"b":2,"c":3}', Component.TTS))
    session.matching.add(report('{"a":1,"b":2,"c":3}'))

    assert session.matching.match_by_fragments(Component.LLM, ('"b":2,',)).component is Component.LLM
    assert session.matching.match_by_fragments(Component.LLM, ('"b":2,',)) is None


def test_reports_that_wait_are_bounded(session):
    overflow = [session.matching.add(report(str(number))) for number in range(36)]

    assert [left.match_key for left in overflow if left] == ["0", "1", "2", "3"]
    assert not session.matching.match("3")
    assert len(list(session.matching.pop_unmatched())) == 32


def test_spans_without_reports_are_bounded(session):
    for number in range(5_000):
        session.matching.match(str(number))

    session.matching.add(report("0"))
    assert len(list(session.matching.pop_unmatched())) == 1  # long forgotten
    session.matching.add(report("4999"))
    assert list(session.matching.pop_unmatched()) == []


def test_the_spans_of_a_session_are_kept_while_it_runs(registry, session):
    """A task that began under an ended span keeps it as its context."""
    for number in range(2, 10_002):
        registry.spans.begin((1, number), registry.spans.find((1, 1)))
        registry.spans.end((1, number))

    assert registry.spans.find((1, 2)).session is session


def test_the_spans_of_a_running_session_are_bounded(registry, session):
    for number in range(2, 65_540):
        registry.spans.begin((1, number), registry.spans.find((1, 1)))

    assert registry.spans.find((1, 3)) is None
    assert registry.spans.find((1, 4)).session is session
    assert registry.spans.find((1, 1)).session is session
    assert len(registry.spans._open) == 65_537


def test_most_spans_of_an_ended_session_are_removed_as_others_begin(registry, session):
    for number in range(2, 1_002):
        registry.spans.begin((1, number), registry.spans.find((1, 1)))
    registry.close(session)
    assert registry.spans.find((1, 1_001)).session is session

    registry.open((2, 1), 0, owner=OWNER, source=None)
    for number in range(2, 202):
        registry.spans.begin((2, number), registry.spans.find((2, 1)))

    assert registry.spans.find((1, 2)) is None
    assert registry.spans.find((1, 1_001)).session is session
    assert len(registry.spans._nodes) == 1 + 512 + 201


def test_turns_that_never_end_are_bounded(registry, session):
    for number in range(2, 102):
        registry.spans.begin((1, number), registry.spans.find((1, 1)), is_turn=True)
        session.add_cost(cost("1"), (1, number))

    assert len(session._open_turns) == 64
    assert len(session.turns({})) == 36  # the oldest are taken to have ended


def test_models_of_a_session_are_bounded_and_none_of_their_cost_is_lost(session):
    for number in range(300):
        session.add_cost(cost("1", model=f"m{number}"), None)

    parts = session.parts
    assert len(parts) == 65
    (further,) = [part for part in parts if part.model == "other models"]
    assert (further.usd, further.usage_count, further.lines) == (236, 236, ())
    assert sum(part.usd for part in parts) == 300


def test_costs_that_wait_for_a_span_are_bounded_by_model(session):
    overflow = [session.add_pending(cost("1", model=f"m{number}"), 0, is_stt=False) for number in range(10)]

    assert [pending.cost.usage.model for pending in overflow if pending] == ["m0", "m1"]
    assert len(list(session.pop_pending())) == 8


INNER, OUTER, OTHER, SIBLING = 1, 2, 3, 4


@pytest.fixture
def reported(session):
    def reported(reporter, *work, seconds=0.0):
        holds = frozenset({INNER, SIBLING}) if reporter == OUTER else frozenset()
        fields = {"reporter": reporter, "holds": holds, "work": work, "time_ns": int(seconds * 1e9)}
        return session.repeats.is_repeat(report("a", Component.STT)._replace(**fields))

    return reported


def test_work_reported_again_by_a_wrapping_object_is_a_repeat(reported):
    in_turn = (INNER, OUTER, INNER, OUTER, INNER)
    assert [reported(who, "r", 5.0) for who in in_turn] == [False, True, False, True, False]
    assert [reported(who, "", 5.0) for who in in_turn] == [False, True, False, True, False]
    assert not reported(OUTER, "r", 4.0)


def test_a_wrapping_object_may_report_first(reported):
    assert [reported(who, "", 5.0) for who in (OUTER, INNER, OUTER, INNER)] == [False, True, False, True]


def test_a_repeat_arrives_at_once(reported):
    assert not reported(INNER, "not-unique", 5.0)
    assert not reported(OTHER, "not-unique", 5.0, seconds=3)


def test_equal_reports_are_not_repeats_after_the_time_limit(reported):
    times = [(INNER, 0.0), (OUTER, 0.01), (INNER, 2.005), (OUTER, 2.015)]
    assert [reported(who, "", 5.0, seconds=at) for who, at in times] == [False, True, False, True]


def test_siblings_inside_one_object_are_not_repeats_of_each_other(reported):
    """An adapter that calls two, and reports after the first."""
    assert [reported(who, "", 5.0) for who in (INNER, OUTER, SIBLING)] == [False, True, False]


def test_without_a_request_equal_amounts_of_two_objects_are_not_a_repeat(reported):
    assert [reported(who, "", 5.0) for who in (INNER, OTHER, INNER, OTHER)] == [False] * 4


def test_ended_sessions_are_kept_for_a_while(registry):
    dropped = []
    for number in range(70):
        registry.open((number, 1), number, owner=OWNER, source=None)
        dropped += registry.close(registry.spans.find((number, 1)).session)

    assert [session.key for session in dropped] == [(number, 1) for number in range(6)]
    assert registry.spans.find((5, 1)) is None
    assert registry.spans.find((6, 1)) is not None


def test_a_session_without_activity_for_a_day_is_dropped(registry, session):
    assert registry.open((2, 1), DAY_NS - 1, owner=OWNER, source=None)[1] == []
    assert registry.open((3, 1), DAY_NS, owner=OWNER, source=None)[1] == [session]
    assert registry.spans.find((1, 1)) is None


def test_inactive_sessions_are_dropped_a_few_at_a_time(registry):
    for number in range(10):
        registry.open((number, 2), 0, owner=OWNER, source=None)

    assert [len(registry.open((number, 3), DAY_NS, owner=OWNER, source=None)[1]) for number in range(4)] == [4, 4, 2, 0]


def test_an_active_session_of_several_days_is_kept(registry, session):
    registry.spans.begin((1, 2), registry.spans.find((1, 1)), start_ns=3 * DAY_NS)

    assert registry.open((2, 1), 3 * DAY_NS + 1, owner=OWNER, source=None)[1] == []
    assert registry.spans.find((1, 1)).session is session


def test_a_session_whose_processor_is_gone_is_dropped(registry):
    owner = Owner()
    registry.open((1, 1), 0, owner=owner, source=None)
    del owner
    gc.collect()

    assert registry.running() == []
    assert [session.key for session in registry.open((2, 1), 0, owner=OWNER, source=None)[1]] == [(1, 1)]


def test_a_clock_that_jumps_back_drops_nothing(registry):
    registry.open((1, 1), DAY_NS, owner=OWNER, source=None)

    assert registry.open((2, 1), 0, owner=OWNER, source=None)[1] == []


def test_ten_thousand_sessions_leave_nothing_behind(registry):
    for number in range(10_000):
        registry.open((number, 1), number, owner=OWNER, source=None)
        session = registry.spans.find((number, 1)).session
        for span in range(2, 12):
            registry.spans.begin((number, span), registry.spans.find((number, 1)), is_turn=span == 2)
            registry.spans.end((number, span))
        registry.spans.end((number, 1))
        registry.close(session)

    while registry.spans._closed_sessions:
        registry.spans._sweep()
    assert len(registry.spans._nodes) == 64 * 11  # of the last sessions
    assert not registry.spans._open


def test_stt_usage_is_kept_apart_by_model_the_largest_amount_first(session):
    session.add_pending(cost("1", Component.STT, "a", "2"), 10, is_stt=True)
    session.add_pending(cost("2", Component.STT, "b", "5"), 20, is_stt=True)
    session.add_pending(cost("4", Component.STT, "a", "1"), 30, is_stt=True)

    first, second = session.pop_stt_usage()
    assert (first.cost.usage.model, first.first_ns, first.last_ns) == ("b", 20, 20)
    assert (second.cost.usd, second.first_ns, second.last_ns) == (5, 10, 30)
    assert session.pop_stt_usage() == []


def test_a_turn_includes_the_stt_usage_before_it(registry, session):
    registry.spans.begin((1, 2), registry.spans.find((1, 1)), is_turn=True)
    session.add_pending(cost("1", Component.STT), 0, is_stt=True)
    session.pop_stt_usage(before_turn=True)
    session.add_cost(cost("2"), (1, 2))
    session.add_cost(cost(None), (1, 2))

    turn = session.pop_turn((1, 2))
    assert turn.by_component == {Component.STT: 1, Component.LLM: 2}
    assert (turn.usd, turn.unpriced) == (3, 1)
    assert not session.pop_turn((1, 2))
    parts, turns = session.parts, session.turns({})
    assert (sum(part.usd for part in parts), sum(part.unpriced_count for part in parts)) == (3, 1)
    assert [(turn.number, turn.usd, turn.unpriced_count) for turn in turns] == [(1, 3, 1)]


def test_totals_do_not_round():
    totals = Totals()
    for _ in range(3):
        totals.add(cost("123456789.000000000000000001"))

    assert totals.usd == Decimal("370370367.000000000000000003")


def test_draining_takes_the_sessions_of_a_processor_once(registry, session):
    other = Owner()
    registry.open((2, 1), 0, owner=other, source=None)

    assert registry.drain(OWNER) == [session]
    assert registry.drain(OWNER) == []
    assert [left.key for left in registry.running()] == [(2, 1)]
    assert registry.spans.find((1, 1)) is None


def test_a_span_id_that_repeats_belongs_to_the_session_that_has_it_now(registry, session):
    """As if a test seeds `random` before each session."""
    for number in range(2, 12):
        registry.spans.begin((1, number), registry.spans.find((1, 1)))
    registry.drain(OWNER)
    registry.open((1, 1), 0, owner=OWNER, source=None)
    for number in range(2, 12):
        registry.spans.begin((1, number), registry.spans.find((1, 1)))

    assert all(registry.spans.find((1, number)) is not None for number in range(1, 12))
    assert not registry.spans._closed_sessions


def test_sessions_without_a_span_below_them_leave_nothing_to_remove(registry):
    for number in range(100):
        registry.open((number, 1), 0, owner=OWNER, source=None)
        registry.close(registry.spans.find((number, 1)).session)

    assert len(registry.spans._closed_sessions) == 0


def test_a_cost_is_in_the_total_as_soon_as_it_stops_waiting(session):
    """A flush removes it in one thread while the session ends in another."""
    session.add_pending(cost("1", Component.STT), 0, is_stt=True)
    session.add_pending(cost("2"), 0, is_stt=False)
    assert session.usd == 3

    session.pop_stt_usage()
    list(session.pop_pending())

    assert session.usd == session._bill.usd == 3


def test_closing_a_dropped_session_leaves_the_live_one_with_the_same_id(registry, session):
    (dropped,) = registry.drain(OWNER)
    again, _ = registry.open((1, 1), 0, owner=OWNER, source=None)

    registry.close(dropped)

    assert registry.running() == [again]
    assert registry.spans.find((1, 1)).session is again


def test_only_one_thread_ends_a_session(price_catalog):
    """A shutdown in one thread, and its span in another."""
    records = []
    processor = VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=records.append)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    span = provider.get_tracer("livekit-agents").start_span("agent_session")
    accounting = processor.accounting
    (session,) = REGISTRY.running(accounting)

    first, _ = accounting.close(session, session.start_ns, {})
    again = accounting.close(session, session.start_ns, {})
    span.end()
    provider.shutdown()

    assert "voice_cost.session.usd" in first
    assert again == ({}, [])
    assert len(records) == 1


def test_a_span_below_a_session_is_added_without_the_lock(registry, session):
    spans = registry.spans
    assert spans.begin_below((1, 2), spans.find((1, 1)), start_ns=7, request=Component.TTS, is_open=True)
    assert spans.begin_below((1, 3), spans.find((1, 2)), is_open=False)

    assert spans.find((1, 3)).request is spans.find((1, 2))
    assert (spans.is_open((1, 2)), spans.is_open((1, 3))) == (True, False)
    assert (list(session.spans), session.last_ns) == ([(1, 2), (1, 3)], 7)


def test_a_span_added_by_another_processor_is_added_once(registry, session):
    node = registry.spans.find((1, 1))
    assert registry.spans.begin_below((1, 2), node, is_open=False)
    assert registry.spans.begin_below((1, 2), node, is_open=False)

    assert list(session.spans) == [(1, 2)]


def test_more_than_one_step_needs_the_lock(registry, session):
    spans = registry.spans
    spans.begin((9, 2), None, request=Component.TTS)
    assert not spans.begin_below((9, 3), spans.find((9, 2)), is_open=False)  # outside sessions they are bounded

    for number in range(2, 10):
        spans.begin((1, number), spans.find((1, 1)))
    registry.open((2, 1), 0, owner=OWNER, source=None)
    spans.forget_session(session, keep=1)
    assert not spans.begin_below((2, 2), spans.find((2, 1)), is_open=False)  # a closed session's spans are to be swept


def test_a_span_of_a_session_dropped_in_the_meantime_is_removed(registry, session):
    node = registry.spans.find((1, 1))
    session.is_dropped = True
    assert registry.spans.begin_below((1, 2), node, request=Component.LLM, is_open=True)

    assert registry.spans.end((1, 2)) == (True, None)
    assert not registry.spans.is_open((1, 2))
