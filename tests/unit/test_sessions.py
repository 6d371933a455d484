"""The session book: who owns a span, what waits, and that nothing grows without a bound."""

from __future__ import annotations

import gc
from decimal import Decimal

import pytest

from otel_voice_cost import Component, Cost, Unit, Usage
from otel_voice_cost.livekit.events import UsageEvent
from otel_voice_cost.sessions import SessionBook, Totals

from ..conftest import AT

DAY_NS = 24 * 3_600 * 10**9


def event(text: str, component: Component = Component.LLM) -> UsageEvent:
    return UsageEvent(component=component, text=text, span_key=(1, 1), time_ns=0)


def cost(usd: str | None, component: Component = Component.LLM, model: str = "m", seconds: str = "1") -> Cost:
    usage = Usage(
        component=component, provider="p", model=model, quantities={Unit.AUDIO_SECOND: Decimal(seconds)}, at=AT
    )
    return Cost(usage=usage, usd=None if usd is None else Decimal(usd))


@pytest.fixture
def book():
    return SessionBook()


class Owner:
    """A processor."""


OWNER = Owner()


@pytest.fixture
def session(book):
    book.open((1, 1), 0, owner=OWNER)
    return book.node((1, 1)).session


def test_a_span_inherits_its_parents_session_and_turn(book, session):
    book.begin((1, 2), book.node((1, 1)), is_turn=True)
    book.begin((1, 3), book.node((1, 2)))

    assert book.node((1, 3)).session is session
    assert book.node((1, 3)).turn == (1, 2)


def test_spans_outside_any_session_are_not_kept(book):
    book.begin((9, 2), book.node((9, 1)))
    book.begin((9, 3), None, is_turn=True)

    assert book.node((9, 2)) is None
    assert book.node((9, 3)) is None


def test_requests_outside_any_session_are_kept_while_they_last(book):
    book.begin((9, 2), None, request=Component.TTS)
    book.begin((9, 3), book.node((9, 2)), request=Component.TTS)
    book.node((9, 3)).cover(None)

    assert book.node((9, 2)).covered
    book.finish((9, 3))
    book.finish((9, 2))
    assert book.node((9, 2)) is None


def test_requests_of_another_component_are_not_covered(book, session):
    book.begin((1, 2), book.node((1, 1)), request=Component.TTS)
    book.begin((1, 3), book.node((1, 2)), request=Component.LLM)
    book.node((1, 3)).cover(None)

    assert not book.node((1, 2)).covered


def test_equal_reports_are_as_many_as_their_spans(book, session):
    book.report(session, event("a"))
    book.report(session, event("a"))

    assert book.claim(session, "a")
    assert [left.text for left in list(book.unclaimed(session))] == ["a"]


def test_a_span_that_comes_before_its_report_takes_it_along(book, session):
    assert book.claim(session, "a")
    book.report(session, event("a"))
    book.report(session, event("a"))

    assert len(list(book.unclaimed(session))) == 1


def test_what_was_settled_is_not_claimed_again(book, session):
    book.report(session, event("a"))
    list(book.unclaimed(session))

    assert not book.claim(session, "a")
    assert book.claim(session, "a")


def test_a_cut_report_is_found_by_what_is_left_of_it(book, session):
    book.report(session, event('{"t":1,"b":2,"c":3}', Component.TTS))
    book.report(session, event('{"a":1,"b":2,"c":3}'))

    assert book.claim_like(session, Component.LLM, ('"b":2,',)).component is Component.LLM
    assert book.claim_like(session, Component.LLM, ('"b":2,',)) is None


def test_reports_that_wait_are_bounded(book, session):
    overflow = [book.report(session, event(str(number))) for number in range(36)]

    assert [left.text for left in overflow if left] == ["0", "1", "2", "3"]
    assert not book.claim(session, "3")
    assert len(list(book.unclaimed(session))) == 32


def test_spans_without_reports_are_bounded(book, session):
    for number in range(5_000):
        book.claim(session, str(number))

    book.report(session, event("0"))
    assert len(list(book.unclaimed(session))) == 1  # long forgotten
    book.report(session, event("4999"))
    assert list(book.unclaimed(session)) == []


def test_the_spans_of_a_session_are_remembered_while_it_runs(book, session):
    """A task that was begun under an ended span keeps it as its context for good."""
    for number in range(2, 10_002):
        book.begin((1, number), book.node((1, 1)))
        book.finish((1, number))

    assert book.node((1, 2)).session is session


def test_the_spans_of_a_running_session_are_bounded(book, session):
    for number in range(2, 65_540):
        book.begin((1, number), book.node((1, 1)))

    assert book.node((1, 3)) is None
    assert book.node((1, 4)).session is session
    assert book.node((1, 1)).session is session
    assert len(book._open) == 65_537


def test_most_spans_of_an_ended_session_are_forgotten_as_others_begin(book, session):
    for number in range(2, 1_002):
        book.begin((1, number), book.node((1, 1)))
    book.close(session)
    assert book.node((1, 1_001)).session is session

    book.open((2, 1), 0, owner=OWNER)
    for number in range(2, 202):
        book.begin((2, number), book.node((2, 1)))

    assert book.node((1, 2)) is None
    assert book.node((1, 1_001)).session is session
    assert len(book._nodes) == 1 + 512 + 201


def test_turns_that_never_end_are_bounded(book, session):
    for number in range(2, 102):
        book.begin((1, number), book.node((1, 1)), is_turn=True)
        book.add_cost(session, cost("1"), (1, number))

    assert len(session.turns) == 64
    assert len(book.bill_of(session)[1]) == 36  # the oldest are taken to have ended


def test_models_of_a_session_are_bounded_and_none_of_their_cost_is_lost(book, session):
    for number in range(300):
        book.add_cost(session, cost("1", model=f"m{number}"), None)

    (parts, _) = book.bill_of(session)
    assert len(parts) == 65
    (further,) = [part for part in parts if part.model == "other models"]
    assert (further.usd, further.usages, further.lines) == (236, 236, ())
    assert sum(part.usd for part in parts) == 300


def test_costs_that_wait_for_a_span_are_bounded_by_model(book, session):
    overflow = [book.accrue(session, cost("1", model=f"m{number}"), 0, heard=False) for number in range(10)]

    assert [accrued.cost.usage.model for accrued in overflow if accrued] == ["m0", "m1"]
    assert len(book.take_unclaimed(session)) == 8


INNER, OUTER, OTHER = 1, 2, 3


@pytest.fixture
def reported(book, session):
    def report(reporter, *work, seconds=0.0):
        holds = frozenset({INNER}) if reporter == OUTER else frozenset()
        fields = {"reporter": reporter, "holds": holds, "work": work, "time_ns": int(seconds * 1e9)}
        return book.is_repeat(session, event("a", Component.STT)._replace(**fields))

    return report


def test_work_reported_once_more_by_an_object_around_is_a_repeat(reported):
    in_turn = (INNER, OUTER, INNER, OUTER, INNER)
    assert [reported(who, "r", 5.0) for who in in_turn] == [False, True, False, True, False]
    assert [reported(who, "", 5.0) for who in in_turn] == [False, True, False, True, False]
    assert not reported(OUTER, "r", 4.0)


def test_an_object_around_may_report_first(reported):
    assert [reported(who, "", 5.0) for who in (OUTER, INNER, OUTER, INNER)] == [False, True, False, True]


def test_a_repeat_comes_at_once(reported):
    assert not reported(INNER, "not-unique", 5.0)
    assert not reported(OTHER, "not-unique", 5.0, seconds=3)


def test_repeats_are_told_apart_at_the_end_of_their_time(reported):
    times = [(INNER, 0.0), (OUTER, 0.01), (INNER, 2.005), (OUTER, 2.015)]
    assert [reported(who, "", 5.0, seconds=at) for who, at in times] == [False, True, False, True]


def test_without_a_request_equal_amounts_of_two_objects_are_no_repeat(reported):
    assert [reported(who, "", 5.0) for who in (INNER, OTHER, INNER, OTHER)] == [False] * 4


def test_ended_sessions_are_remembered_for_a_while(book):
    dropped = []
    for number in range(70):
        book.open((number, 1), number, owner=OWNER)
        dropped += book.close(book.node((number, 1)).session)

    assert [session.key for session in dropped] == [(number, 1) for number in range(6)]
    assert book.node((5, 1)) is None
    assert book.node((6, 1)) is not None


def test_a_session_that_is_silent_for_a_day_is_dropped(book, session):
    assert book.open((2, 1), DAY_NS - 1, owner=OWNER) == []
    assert book.open((3, 1), DAY_NS, owner=OWNER) == [session]
    assert book.node((1, 1)) is None


def test_silent_sessions_are_dropped_a_few_at_a_time(book):
    for number in range(10):
        book.open((number, 2), 0, owner=OWNER)

    assert [len(book.open((number, 3), DAY_NS, owner=OWNER)) for number in range(4)] == [4, 4, 2, 0]


def test_a_session_of_days_that_speaks_is_kept(book, session):
    book.begin((1, 2), book.node((1, 1)), start_ns=3 * DAY_NS)

    assert book.open((2, 1), 3 * DAY_NS + 1, owner=OWNER) == []
    assert book.node((1, 1)).session is session


def test_a_session_whose_processor_is_gone_is_dropped(book):
    owner = Owner()
    book.open((1, 1), 0, owner=owner)
    del owner
    gc.collect()

    assert book.running() == []
    assert [session.key for session in book.open((2, 1), 0, owner=OWNER)] == [(1, 1)]


def test_a_clock_that_jumps_back_drops_nothing(book):
    book.open((1, 1), DAY_NS, owner=OWNER)

    assert book.open((2, 1), 0, owner=OWNER) == []


def test_ten_thousand_sessions_leave_nothing_behind(book):
    for number in range(10_000):
        book.open((number, 1), number, owner=OWNER)
        session = book.node((number, 1)).session
        for span in range(2, 12):
            book.begin((number, span), book.node((number, 1)), is_turn=span == 2)
            book.finish((number, span))
        book.finish((number, 1))
        book.close(session)

    while book._to_forget:
        book._sweep()
    assert len(book._nodes) == 64 * 11  # of the last sessions
    assert not book._open


def test_hearing_is_kept_apart_by_model_the_one_that_heard_most_first(book, session):
    book.accrue(session, cost("1", Component.STT, "a", "2"), 10, heard=True)
    book.accrue(session, cost("2", Component.STT, "b", "5"), 20, heard=True)
    book.accrue(session, cost("4", Component.STT, "a", "1"), 30, heard=True)

    first, second = book.take_heard(session)
    assert (first.cost.usage.model, first.first_ns, first.last_ns) == ("b", 20, 20)
    assert (second.cost.usd, second.first_ns, second.last_ns) == (5, 10, 30)
    assert book.take_heard(session) == []


def test_a_turn_holds_what_was_heard_before_it(book, session):
    book.begin((1, 2), book.node((1, 1)), is_turn=True)
    book.accrue(session, cost("1", Component.STT), 0, heard=True)
    book.take_heard(session, before_turn=True)
    book.add_cost(session, cost("2"), (1, 2))
    book.add_cost(session, cost(None), (1, 2))

    turn = book.take_turn(session, (1, 2))
    assert turn.by_component == {Component.STT: 1, Component.LLM: 2}
    assert (turn.usd, turn.unpriced) == (3, 1)
    assert not book.take_turn(session, (1, 2))
    parts, turns = book.bill_of(session)
    assert (sum(part.usd for part in parts), sum(part.unpriced for part in parts)) == (3, 1)
    assert [(turn.number, turn.usd, turn.unpriced) for turn in turns] == [(1, 3, 1)]


def test_totals_do_not_round():
    totals = Totals()
    for _ in range(3):
        totals.add(cost("123456789.000000000000000001"))

    assert totals.usd == Decimal("370370367.000000000000000003")


def test_draining_takes_the_sessions_of_a_processor_once(book, session):
    other = Owner()
    book.open((2, 1), 0, owner=other)

    assert book.drain(OWNER) == [session]
    assert book.drain(OWNER) == []
    assert [left.key for left in book.running()] == [(2, 1)]
    assert book.node((1, 1)) is None


def test_a_span_id_that_repeats_belongs_to_the_session_that_has_it_now(book, session):
    """As where a test seeds `random` before each session."""
    for number in range(2, 12):
        book.begin((1, number), book.node((1, 1)))
    book.drain(OWNER)
    book.open((1, 1), 0, owner=OWNER)
    for number in range(2, 12):
        book.begin((1, number), book.node((1, 1)))

    assert all(book.node((1, number)) is not None for number in range(1, 12))
    assert not book._to_forget


def test_sessions_without_a_span_below_them_leave_nothing_to_forget(book):
    for number in range(100):
        book.open((number, 1), 0, owner=OWNER)
        book.close(book.node((number, 1)).session)

    assert len(book._to_forget) == 0


def test_a_cost_is_in_the_total_in_the_moment_it_waits_no_longer(book, session):
    """A flush takes it in one thread while the session ends in another."""
    book.accrue(session, cost("1", Component.STT), 0, heard=True)
    book.accrue(session, cost("2"), 0, heard=False)
    assert book.spent(session) == 3

    book.take_heard(session)
    book.take_unclaimed(session)

    assert book.spent(session) == session.bill.usd == 3


def test_one_side_ends_a_session(book, session):
    assert book.begin_to_end(session)
    assert not book.begin_to_end(session)
