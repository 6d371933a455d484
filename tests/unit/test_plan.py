"""The short way to a cost, against the long way."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest
from genai_prices import data_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_voice_cost import Component, Mode, PriceCatalog, Unit
from otel_voice_cost.accounting.plan import PlannedCost, PlannedCosts, Plans
from otel_voice_cost.accounting.session import Session
from otel_voice_cost.bill import Bill
from otel_voice_cost.export.attributes import OwnAttributes
from otel_voice_cost.export.dialects import DialectChain, Options, SpanView, find_builders
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.sources import Role
from otel_voice_cost.sources.livekit import LiveKitSource
from otel_voice_cost.usage import Reading

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc).timestamp()
MODELS = {
    Component.LLM: [("openai", "gpt-4.1-mini"), ("google", "gemini-2.5-pro"), ("anthropic", "claude-sonnet-4-5")],
    Component.REALTIME: [("openai", "gpt-realtime")],
    Component.STT: [("deepgram", "nova-3"), ("openai", "gpt-4o-transcribe"), ("speechmatics", "enhanced")],
    Component.TTS: [("cartesia", "sonic-3"), ("elevenlabs", "eleven_flash_v2_5"), ("openai", "gpt-4o-mini-tts")],
}
UNITS = {
    Component.LLM: [u for u in Unit if u.value in {"input_token", "cached_input_token", "output_token"}],
    Component.REALTIME: [u for u in Unit if u.value.endswith(("text_token", "audio_token"))],
    Component.STT: [Unit.AUDIO_SECOND, Unit.INPUT_AUDIO_TOKEN, Unit.INPUT_TEXT_TOKEN, Unit.OUTPUT_TEXT_TOKEN],
    Component.TTS: [Unit.CHARACTER, Unit.INPUT_TEXT_TOKEN, Unit.OUTPUT_AUDIO_TOKEN, Unit.AUDIO_SECOND],
}
CATALOG = PriceCatalog.default()
counts = st.integers(1, 10**6)
lengths = st.floats(0.001, 10**5).map(lambda seconds: round(seconds, 9)) | st.decimals("0.001", 10**5, places=3)
options = st.builds(
    Options, speech_as_tokens=st.booleans(), langfuse_content=st.booleans(), revision=st.sampled_from(["", "r-7"])
)


@st.composite
def alike(draw):
    """Readings of one model with the same units, on one day."""
    component = draw(st.sampled_from(sorted(MODELS)))
    provider, model = draw(st.sampled_from(MODELS[component]))
    units = draw(st.lists(st.sampled_from(UNITS[component]), min_size=1, unique=True))
    mode = draw(st.sampled_from([*Mode])) if component is Component.STT else None
    amounts = st.tuples(*(lengths if unit.is_seconds else counts for unit in units))
    hours = st.floats(-12, 11.9).map(lambda hour: NOON + hour * 3_600)
    one = st.builds(
        lambda n, at: Reading(component, provider, model, dict(zip(units, n, strict=True)), at, mode), amounts, hours
    )
    return draw(st.lists(one, min_size=2, max_size=5))


def chain(given_options: Options) -> DialectChain:
    return DialectChain(find_builders(), given_options, OwnAttributes(given_options))


def long_way(catalog, reading):
    usage = reading.to_usage()
    return calculate_cost(usage, catalog.card_for(usage))


def taught(catalog, reading, dialects=None) -> Plans:
    """Return plans that know a first usage."""
    plans, usage = Plans(catalog, dialects or chain(Options())), reading.to_usage()
    plans.learn(reading, long_way(catalog, reading), catalog.card_for(usage))
    return plans


def a_request(amount=1_000, model=("openai", "gpt-4.1-mini"), at=NOON, **more) -> Reading:
    return Reading(Component.LLM, *model, {Unit.INPUT_TOKEN: amount, Unit.OUTPUT_TOKEN: 20, **more}, at)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(alike(), options, st.sets(st.sampled_from(["gen_ai.request.model", "gen_ai.usage.input_tokens"])))
def test_the_short_way_prices_and_writes_what_the_long_way_does(readings, given_options, present):
    dialects, bill, short_sums = chain(given_options), Bill(), PlannedCosts()
    plans = taught(CATALOG, readings[0], dialects)
    view = SpanView(dict.fromkeys(present, "x"), Role.REQUEST, readings[0].component, None, LiveKitSource().texts)
    for reading in readings:
        long, short = long_way(CATALOG, reading), plans.price(reading)
        if short is None:
            continue
        attributes = {}
        short.plan.write(short.numbers, view, attributes)

        assert short.to_cost() == long
        assert list(attributes.items()) == list(dialects.cost_attributes(long, view).items())
        assert (short.usd, short.estimated) == (long.usd, long.estimated)
        bill.add(long)
        short_sums.add(short)
    summed = Bill()
    for count, cost in short_sums:
        summed.add(cost, count)
    assert summed.parts() == bill.parts()
    assert short_sums.usd == bill.usd


@pytest.mark.parametrize("component", MODELS)
def test_usual_usage_takes_the_short_way(component):
    for provider, model in MODELS[component]:
        unit = UNITS[component][0] if not model.startswith("gpt-4o") else Unit.OUTPUT_TEXT_TOKEN
        unit = Unit.OUTPUT_AUDIO_TOKEN if model == "gpt-4o-mini-tts" else unit
        mode = Mode.STREAMING if component is Component.STT else None
        reading = Reading(component, provider, model, {unit: 10}, NOON, mode)

        assert isinstance(taught(CATALOG, reading).price(reading), PlannedCost), model


@pytest.mark.parametrize(
    "prices",
    [{"discount": {"openai": "20%"}}, {"markup": {"openai": "20%"}}],
    ids=["discount", "markup"],
)
def test_other_terms_take_the_long_way(prices):
    catalog = CATALOG.with_prices(prices)

    assert taught(catalog, a_request()).price(a_request()) is None


def test_a_request_beyond_the_first_tier_takes_the_long_way():
    gemini = ("google", "gemini-2.5-pro")
    plans = taught(CATALOG, a_request(model=gemini))

    assert plans.price(a_request(200_000, gemini)) is not None
    assert plans.price(a_request(200_001, gemini)) is None


def test_a_first_request_beyond_the_first_tier_makes_no_plan_of_its_price():
    gemini = ("google", "gemini-2.5-pro")
    plans = taught(CATALOG, a_request(300_000, gemini))

    assert plans.price(a_request(model=gemini)) is None


def test_a_price_of_some_hours_takes_the_long_way():
    model = ("deepseek", "deepseek-chat")
    card = CATALOG.card_for(a_request(model=model).to_usage())

    assert card is not None
    assert not CATALOG.holds_all_day(a_request(model=model).to_usage())
    assert taught(CATALOG, a_request(model=model)).price(a_request(model=model)) is None


def test_another_day_and_other_units_need_a_plan_of_their_own():
    plans = taught(CATALOG, a_request())

    assert plans.price(a_request(at=NOON + 86_400)) is None
    assert plans.price(a_request(reasoning_token=1)) is None


def test_newer_token_rates_end_the_plans():
    plans, before = taught(CATALOG, a_request()), data_snapshot.get_snapshot()
    try:
        data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers=before.providers, from_auto_update=True))
        assert plans.price(a_request()) is None
    finally:
        data_snapshot.set_custom_snapshot(None)


def test_the_plans_of_a_session_are_limited():
    sums = PlannedCosts()
    taken = [
        sums.add(taught(CATALOG, a_request(at=day)).price(a_request(at=day))) for day in range(0, 86_400 * 70, 86_400)
    ]

    assert taken == [True] * 64 + [False] * 6


def test_costs_of_both_ways_are_one_bill():
    session = Session(key=(1, 2), start_ns=0, owner=None, source=LiveKitSource())
    plans = taught(CATALOG, a_request())
    session.add_cost(long_way(CATALOG, a_request()))
    session.add_cost(plans.price(a_request(500)))
    session.add_cost(plans.price(a_request(500)))

    (part,) = session.parts
    assert (part.usage_count, part.quantities[Unit.INPUT_TOKEN]) == (3, 2_000)
    assert session.usd == part.usd == sum(line.usd for line in part.lines) == Decimal("0.000896")
