"""Work without usage in one session: what is estimated, what is only counted, and that it stays bounded."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest

from otel_voice_cost import Component, PriceCatalog, Unit, Usage
from otel_voice_cost.accounting.unreported import Anchors, Attempt, Pricing, UnreportedWork
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.sources import Ending, Work

from ..conftest import AT

LLM = {"component": Component.LLM, "provider": "openai", "model": "gpt-4.1-mini"}
TTS = {"component": Component.TTS, "provider": "cartesia", "model": "sonic-3"}
STT = {"component": Component.STT, "provider": "assemblyai", "model": "universal-streaming"}
SECOND = 10**9
START_NS = 1_795_000_000 * SECOND


def pricing(catalog: PriceCatalog) -> Pricing:
    return Pricing(lambda usage: calculate_cost(usage, catalog.card_for(usage)), catalog.rule_for)


@pytest.fixture(scope="module")
def catalog() -> PriceCatalog:
    return PriceCatalog.default()


class Session:
    """One session's work, with the prices of a catalogue."""

    def __init__(self, catalog: PriceCatalog, anchors: Anchors | None = None):
        self.work, self.pricing, self.anchors = UnreportedWork(), pricing(catalog), anchors or Anchors()

    def complete(self, characters=1_000, items=4, tokens=250, received=100, completion=25, **more):
        usage = Usage(
            **LLM, at=AT, quantities={Unit.INPUT_TOKEN: Decimal(tokens), Unit.OUTPUT_TOKEN: Decimal(completion)}
        )
        work = Work(**LLM, started_ns=START_NS, prompt_characters=characters, prompt_items=items, **more)
        self.work.add_complete(usage, work, received, self.anchors)

    def end(self, ending: Ending, what=LLM, received=0, turn=None, **numbers):
        work = Work(**what, started_ns=START_NS, **numbers)
        self.work.add(Attempt(Usage(**what, at=AT), ending, turn, work, received), self.pricing, self.anchors)

    @property
    def parts(self):
        return self.work.parts(self.pricing, self.anchors)[0]

    @property
    def part(self):
        (part,) = self.parts
        return part


@pytest.mark.parametrize(
    ("ending", "received", "reason", "prompt", "completion"),
    [
        (Ending.CUT_OFF, 40, "cut off", 250, 10),
        (Ending.COMPLETE, 40, "no report", 250, 10),
        (Ending.TIMEOUT, 40, "failed", 250, 0),
        (Ending.BROKEN, 40, "failed", 250, 10),
        (Ending.BROKEN, 0, "failed", None, None),
        (Ending.REFUSED, 40, "failed", None, None),
    ],
)
def test_a_request_to_a_model(catalog, ending, received, reason, prompt, completion):
    session = Session(catalog)
    session.complete()
    session.end(ending, received=received, prompt_characters=1_000, prompt_items=4)

    part = session.part
    assert (part.reason, part.request_count, part.usd is None) == (reason, 1, prompt is None)
    assert part.quantities.get(Unit.INPUT_TOKEN) == prompt
    assert part.quantities.get(Unit.OUTPUT_TOKEN, 0) == (completion or 0)


def test_the_first_request_of_a_process_is_counted_and_a_later_session_learns_from_an_earlier(catalog):
    alone, anchors = Session(catalog), Anchors()
    alone.end(Ending.CUT_OFF, prompt_characters=1_000, prompt_items=4)
    Session(catalog, anchors).complete()
    later = Session(catalog, anchors)
    later.end(Ending.CUT_OFF, prompt_characters=1_000, prompt_items=4)

    assert (alone.part.usd, alone.part.request_count) == (None, 1)
    assert (later.part.method, later.part.quantities[Unit.INPUT_TOKEN]) == ("anchor of another call", 250)


def test_a_request_learns_from_those_that_follow_it(catalog):
    session = Session(catalog)
    session.end(Ending.CUT_OFF, prompt_characters=1_000, prompt_items=4)
    session.complete()

    assert session.part.quantities[Unit.INPUT_TOKEN] == 250


def test_images_and_sound_in_a_prompt_make_it_a_lower_bound(catalog):
    session = Session(catalog)
    session.complete()
    session.end(Ending.CUT_OFF, prompt_characters=1_000, prompt_items=4, has_media=True)

    assert session.part.is_lower_bound


@pytest.mark.parametrize(
    ("rule", "characters", "likely"),
    [("unknown", 90, 90), ("sent", 90, 90), ("whole", 90, 200), ("generated", 90, 30), ("free", 90, None)],
)
def test_the_rule_of_the_vendor_decides_what_speech_costs(catalog, rule, characters, likely):
    prices = catalog.with_prices({"cartesia/*": {"tts": {"cancelled": rule}}})
    session = Session(prices)
    session.end(Ending.CUT_OFF, TTS, sent_characters=characters, pushed_characters=200, received_seconds=2.0)

    if likely is None:
        assert session.parts == ()
    else:
        assert session.part.usd == likely * Decimal("0.00005")
        assert session.part.rule == ("not documented" if rule == "unknown" else rule)


def test_speech_that_failed_is_free_at_cartesia_and_counted_elsewhere(catalog):
    session = Session(catalog)
    for provider in ("cartesia", "elevenlabs"):
        session.end(Ending.REFUSED, {**TTS, "provider": provider}, pushed_characters=20)

    assert [(part.provider, part.usd) for part in session.parts] == [("elevenlabs", None)]


def test_speech_that_was_sent_nothing_is_no_request(catalog):
    session = Session(catalog)
    session.end(Ending.CUT_OFF, TTS)

    assert session.parts == ()


def test_a_synthesis_is_no_longer_unreported_if_its_report_comes_without_a_span(catalog):
    session = Session(catalog)
    for characters in (40, 200, 40):
        session.end(Ending.CUT_OFF, TTS, sent_characters=20, pushed_characters=characters)
    session.work.discard(Usage(**TTS, at=AT, quantities={Unit.CHARACTER: Decimal(200)}))
    session.work.discard(Usage(**TTS, at=AT, quantities={Unit.CHARACTER: Decimal(7)}))

    assert session.part.request_count == 2


@pytest.mark.parametrize(
    ("what", "pushed", "open_seconds", "reported", "reason", "seconds"),
    [
        (STT, 10, 30, 10, "connection", 20),  # billed by the open socket
        (STT, 10, 30, 0, "no report", 30),
        ({**STT, "provider": "deepgram", "model": "nova-3"}, 10, 30, 4, "tail", 6),
        ({**STT, "provider": "deepgram", "model": "nova-3"}, 10, 30, 10, None, None),
        ({**STT, "provider": "livekit", "model": "deepgram/nova-3"}, 10, 29.2, 10, "connection", 20),
    ],
)
def test_speech_to_text(catalog, what, pushed, open_seconds, reported, reason, seconds):
    session = Session(catalog)
    end_ns = START_NS + int(open_seconds * SECOND)
    session.work.add_stream(
        Work(**what, started_ns=START_NS, ended_ns=end_ns, pushed_seconds=pushed, reported_seconds=reported)
    )
    if reason is None:
        assert session.parts == ()
    else:
        assert (session.part.reason, session.part.quantities[Unit.AUDIO_SECOND]) == (reason, seconds)


def test_a_stream_that_is_open_or_reports_tokens_has_no_estimate(catalog):
    session = Session(catalog)
    session.work.add_stream(Work(**STT, started_ns=START_NS, pushed_seconds=10))
    ended_ns = START_NS + 10 * SECOND
    session.work.add_stream(Work(**STT, started_ns=START_NS, ended_ns=ended_ns, pushed_seconds=10, is_reported=True))

    assert session.parts == ()


def test_ten_thousand_requests_that_are_cut_off_stay_bounded(catalog):
    session = Session(catalog)
    session.complete()
    sizes = []
    for number in range(10_000):
        session.end(Ending.CUT_OFF, received=40, turn=(1, number % 50), prompt_characters=1_000, prompt_items=4)
        if number in (1_000, 9_999):
            sizes.append(sum(sys.getsizeof(thing) for thing in reachable(session.work)))

    assert session.part.request_count == 10_000
    assert session.part.quantities[Unit.INPUT_TOKEN] == 2_500_000
    assert session.part.usd == sum(session.work.parts(session.pricing, session.anchors)[1].values())
    assert sizes[1] < sizes[0] * 1.1


def reachable(root) -> list[object]:
    import gc  # noqa: PLC0415

    found, waiting = {}, [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in found and not isinstance(thing, type) and not callable(thing):
            found[id(thing)] = thing
            waiting += gc.get_referents(thing)
    return list(found.values())


def test_a_mistake_in_a_rule_is_named():
    with pytest.raises(Exception, match=r"cartesia/\*.tts, cancelled: got 'no', expected 'generated', 'sent'"):
        PriceCatalog.default().with_prices({"cartesia/*": {"tts": {"cancelled": "no"}}})
    with pytest.raises(Exception, match="rule 1, canceled: got an unknown key, expected cancelled"):
        PriceCatalog.default().with_prices({"rule": [{"provider": "a", "component": "tts", "canceled": "free"}]})


def test_a_price_and_a_rule_may_stand_together():
    catalog = PriceCatalog.default().with_prices(
        {"acme/x": {"tts": {"price": "50/1M characters", "cancelled": "free"}}}
    )
    usage = Usage(component=Component.TTS, provider="acme", model="x", at=AT)

    assert catalog.rule_for(usage).cancelled == "free"
    assert catalog.rate_for(provider="acme", model="x", component="tts", unit="character").usd == 50
