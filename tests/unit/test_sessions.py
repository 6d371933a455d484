"""The session book: who owns a span, what waits, and that nothing grows without a bound."""

from __future__ import annotations

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


@pytest.fixture
def session(book):
    book.open((1, 1), 0, passive=False)
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
    book.node((9, 3)).cover()

    assert book.node((9, 2)).covered
    book.finish((9, 3))
    book.finish((9, 2))
    assert book.node((9, 2)) is None


def test_requests_of_another_component_are_not_covered(book, session):
    book.begin((1, 2), book.node((1, 1)), request=Component.TTS)
    book.begin((1, 3), book.node((1, 2)), request=Component.LLM)
    book.node((1, 3)).cover()

    assert not book.node((1, 2)).covered


def test_equal_reports_are_as_many_as_their_spans(book, session):
    book.report(session, event("a"))
    book.report(session, event("a"))

    assert book.claim(session, "a")
    assert [left.text for left in book.unclaimed(session)] == ["a"]


def test_a_span_that_comes_before_its_report_takes_it_along(book, session):
    assert book.claim(session, "a")
    book.report(session, event("a"))
    book.report(session, event("a"))

    assert len(book.unclaimed(session)) == 1


def test_what_was_settled_is_not_claimed_again(book, session):
    book.report(session, event("a"))
    book.unclaimed(session)

    assert not book.claim(session, "a")
    assert book.claim(session, "a")


def test_a_cut_report_is_found_by_what_is_left_of_it(book, session):
    book.report(session, event('{"t":1,"b":2,"c":3}', Component.TTS))
    book.report(session, event('{"a":1,"b":2,"c":3}'))

    assert book.claim_like(session, Component.LLM, ('"b":2,',)).component is Component.LLM
    assert book.claim_like(session, Component.LLM, ('"b":2,',)) is None


def test_reports_that_wait_are_bounded(book, session):
    overflow = [book.report(session, event(str(number))) for number in range(4_100)]

    assert [left.text for left in overflow if left] == ["0", "1", "2", "3"]
    assert not book.claim(session, "3")
    assert len(book.unclaimed(session)) == 4_096


def test_spans_without_reports_are_bounded(book, session):
    for number in range(5_000):
        book.claim(session, str(number))

    book.report(session, event("0"))
    assert len(book.unclaimed(session)) == 1  # long forgotten
    book.report(session, event("4999"))
    assert book.unclaimed(session) == []


def test_ended_spans_are_remembered_for_a_while(book, session):
    for number in range(2, 602):
        book.begin((1, number), book.node((1, 1)))
        book.finish((1, number))

    assert book.node((1, 2)) is None
    assert book.node((1, 601)).session is session


def test_ended_sessions_are_remembered_for_a_while(book):
    dropped = []
    for number in range(70):
        book.open((number, 1), number, passive=False)
        dropped += book.close(book.node((number, 1)).session)

    assert [session.key for session in dropped] == [(number, 1) for number in range(6)]
    assert book.node((5, 1)) is None
    assert book.node((6, 1)) is not None


def test_a_session_that_never_ends_is_dropped_after_a_day(book, session):
    assert book.open((2, 1), DAY_NS - 1, passive=False) == []
    assert book.open((3, 1), DAY_NS, passive=False) == [session]
    assert book.node((1, 1)) is None


def test_a_clock_that_jumps_back_drops_nothing(book):
    book.open((1, 1), DAY_NS, passive=False)

    assert book.open((2, 1), 0, passive=False) == []


def test_ten_thousand_sessions_leave_nothing_behind(book):
    for number in range(10_000):
        book.open((number, 1), number, passive=False)
        session = book.node((number, 1)).session
        for span in range(2, 12):
            book.begin((number, span), book.node((number, 1)), is_turn=span == 2)
            book.finish((number, span))
        book.finish((number, 1))
        book.close(session)

    assert len(book._nodes) == 64 * 11  # of the last sessions


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
    book.add_cost(session, cost("1", Component.STT), None, before_turn=True)
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


def test_draining_takes_live_sessions_once(book, session):
    assert list(book.drain(live=False)) == []
    assert list(book.drain(live=True)) == [session]
    assert list(book.drain(live=True)) == []
