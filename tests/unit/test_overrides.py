"""A team's changes to list prices."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal, localcontext
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_voice_cost import Component, Mode, PriceCatalog, PriceError, Unit, Usage
from otel_voice_cost.cost import merge_costs
from otel_voice_cost.prices.calculate import calculate_cost
from otel_voice_cost.prices.overrides import DatedPercentage, Overrides

from ..conftest import AT

CATALOG = PriceCatalog.default()


def usage(component: str, provider: str, model: str, at=AT, **amounts: str) -> Usage:
    return Usage(
        component=Component(component),
        provider=provider,
        model=model,
        quantities={Unit(unit): Decimal(amount) for unit, amount in amounts.items()},
        at=at,
        mode=Mode.STREAMING if component == "stt" else None,
    )


def cost(prices: dict, used: Usage):
    return calculate_cost(used, CATALOG.with_prices(prices).card_for(used))


MINUTE = usage("stt", "deepgram", "nova-3", audio_second="60")


def test_a_discount_lowers_list_prices():
    """20 % off $0.0048."""
    found = cost({"discount": {"deepgram": "20%"}}, MINUTE)

    assert (found.usd, found.list_usd) == (Decimal("0.00384"), Decimal("0.0048"))


def test_a_discount_applies_to_token_prices_too():
    """10 % off $0.40 per million."""
    used = usage("llm", "openai", "gpt-4.1-mini", input_token="1000000")

    assert cost({"discount": {"openai/gpt-4.1*": "10%"}}, used).usd == Decimal("0.36")


def test_a_custom_rate_is_not_discounted():
    found = cost({"discount": {"deepgram": "20%"}, "deepgram/nova-3": {"stt": "0.0040/min"}}, MINUTE)

    assert (found.usd, found.list_usd) == (Decimal("0.0040"), Decimal("0.0040"))


@pytest.mark.parametrize(
    ("discounts", "expected"),
    [
        ({"*": "50%", "deepgram": "25%"}, "0.0036"),
        ({"deepgram": "25%", "deepgram/nova*": "50%"}, "0.0024"),
        ({"deepgram/nova*": "50%", "deepgram/nova-3": "100%"}, "0"),
        ({"cartesia": "50%"}, "0.0048"),
        ({"deepgram": {"percent": "50%", "since": "2026-11-24"}}, "0.0048"),
        ({"deepgram": {"percent": "50%", "until": "2026-11-23"}}, "0.0024"),
        ({"deepgram": ["25%", {"percent": "50%", "since": "2026-11-01"}]}, "0.0024"),
    ],
)
def test_the_closest_discount_on_a_day_applies(discounts, expected):
    assert cost({"discount": discounts}, usage("stt", "deepgram", "nova-3", audio_second="60")).usd == Decimal(expected)


def test_a_markup_does_not_change_the_cost():
    """30 % on $0.0048, and on two of them."""
    found = cost({"markup": {"*": "30%"}}, MINUTE)

    assert (found.usd, found.markup_usd) == (Decimal("0.0048"), Decimal("0.00144"))
    assert merge_costs([found, found]).markup_usd == Decimal("0.00288")
    assert cost({}, MINUTE).markup_usd is None


def test_a_model_can_have_a_display_name():
    assert cost({"name": {"deepgram/nova-3": "Nova (EU)"}}, MINUTE).display_name == "Nova (EU)"
    used = usage("llm", "openai", "gpt-4.1-mini", input_token="1")
    assert cost({"name": {"openai/gpt-*": "GPT"}}, used).display_name == "GPT"


@pytest.mark.parametrize(
    ("aliases", "provider", "model"),
    [
        ({"llm.internal": "openai"}, "llm.internal", "gpt-4.1-mini"),
        ({"llm.internal/openai/*": "openai/*"}, "llm.internal", "openai/gpt-4.1-mini"),
        ({"azure/support-bot": "openai/gpt-4.1-mini"}, "azure", "support-bot"),
        ({"llm.internal/team-*": "openai/gpt-4.1-mini"}, "llm.internal", "team-a"),
        ({"*.internal": "openai"}, "eu.llm.internal", "gpt-4.1-mini"),
    ],
)
def test_an_alias_leads_to_the_rates_of_another(aliases, provider, model):
    used = usage("llm", provider, model, input_token="1000000")

    assert calculate_cost(used, CATALOG.card_for(used)).usd is None
    found = cost({"alias": aliases}, used)
    assert found.usd == Decimal("0.40")
    assert found.usage.provider == provider


def test_a_plan_has_separate_prices():
    used = usage("tts", "livekit", "cartesia/sonic-3", character="1000000")

    assert (cost({}, used).usd, cost({"plan": {"livekit": "Scale"}}, used).usd) == (Decimal("50"), Decimal("37.50"))


def test_prices_of_a_plan_replace_the_others_of_the_model():
    """Soniox by tokens: minutes are not billed on top."""
    used = usage(
        "stt", "soniox", "stt-rt-v5", audio_second="3600", input_audio_token="30000", output_text_token="15000"
    )

    assert cost({}, used).usd == Decimal("0.12")
    assert cost({"plan": {"soniox": "tokens"}}, used).usd == Decimal("0.12")
    assert set(cost({"plan": {"soniox": "tokens"}}, used).usage.quantities) == {
        Unit.INPUT_AUDIO_TOKEN,
        Unit.OUTPUT_TEXT_TOKEN,
    }


def test_a_feature_is_billed_if_it_is_declared():
    """nova-3 at $0.0048, diarization $0.0020 and keyterms $0.0013 a minute."""
    found = cost({"addon": {"deepgram/nova-3*": ["diarize", "keyterm"]}}, MINUTE)

    assert found.usd == Decimal("0.0081")
    assert sorted(line.rate.addon or "" for line in found.lines) == ["", "diarize", "keyterm"]


def test_a_feature_can_have_a_custom_price():
    prices = """
    addon."deepgram/*" = ["diarize"]
    [[rate]]
    provider = "deepgram"
    model = "*"
    component = "stt"
    unit = "audio_second"
    usd = 0.001
    per = 60
    addon = "diarize"
    """

    assert cost(prices, MINUTE).usd == Decimal("0.0058")


def test_a_custom_exchange_rate_applies_to_shipped_prices():
    """30 rupees an hour: 88 a dollar as shipped, 60 as declared."""
    hour = usage("stt", "sarvam", "saaras:v4", audio_second="3600")

    assert cost({}, hour).usd == Decimal("0.340909090909090909")
    assert cost({"currency": {"inr": "60"}}, hour).usd == Decimal("0.5")


def test_a_later_sheet_adds_to_the_overrides_of_an_earlier_one():
    catalog = CATALOG.with_prices({"discount": {"deepgram": "50%"}}).with_prices({"discount": {"openai": "10%"}})

    assert calculate_cost(MINUTE, catalog.card_for(MINUTE)).usd == Decimal("0.0024")


def test_prices_in_code_may_be_a_mapping_or_text_and_raise():
    assert cost('"deepgram/nova-3".stt = "1/min"', MINUTE).usd == 1
    with pytest.raises(PriceError, match=r"with_prices\(\), deepgram/nova-3.stt: got 'cheap', expected a price"):
        CATALOG.with_prices({"deepgram/nova-3": {"stt": "cheap"}})


def verdicts(prices: dict, used: Usage) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for candidate in CATALOG.with_prices(prices).explain(used):
        found.setdefault(candidate.verdict, set()).add(f"{candidate.rate.loaded_from} {candidate.rate.model[0]}")
    return found


def test_explain_shows_why_a_rate_was_chosen():
    found = verdicts({"deepgram/nova*": {"stt": "0.0040/min"}}, MINUTE)

    assert found["holds"] == {"with_prices() nova*"}
    assert "deepgram.toml nova-3" in found["another source wins"]


def test_every_reason_has_a_text():
    found = verdicts({}, MINUTE)
    assert found["holds"] == {"deepgram.toml nova-3"}
    assert "deepgram.toml flux-general-en" in found["another model"]
    assert found["batch alone"] == {"deepgram.toml nova-3"}
    assert found["add-on diarize is not declared"] == {"deepgram.toml *"}

    assert (
        "livekit.toml cartesia" in verdicts({}, usage("tts", "livekit", "cartesia/sonic-3"))["plan scale is not chosen"]
    )
    old = verdicts({}, usage("tts", "elevenlabs", "eleven_flash_v2_5"))
    assert any("eleven" in name for name in old["another day"])
    assert "add-on" in verdicts({"addon": {"deepgram": ["diarize"]}}, MINUTE)
    assert verdicts({}, usage("tts", "azure", "eastus:en-US-Ava:DragonHDLatestNeural".lower()))["a closer rate holds"]


def test_a_custom_price_overrides_genai_prices():
    used = usage("llm", "openai", "gpt-4.1-mini", input_token="1")
    found = verdicts({"openai/gpt-4.1-mini": {"llm": "free"}}, used)

    assert any(name.startswith("genai-prices") for name in found["another source wins"])
    assert verdicts({}, used)["holds"] == {next(iter(found["another source wins"]))}


def test_old_calls_keep_their_price():
    """DragonHD cost $30 a million until February 2026, $22 since."""
    before = datetime(2026, 2, 28, 12, tzinfo=timezone.utc)
    model = "eastus:en-us-ava:dragonhdlatestneural"

    assert cost({}, usage("tts", "azure", model, before, character="1000000")).usd == 30
    assert cost({}, usage("tts", "azure", model, character="1000000")).usd == 22


def test_an_azure_deployment_is_not_mistaken_for_a_voice():
    """Azure's voices are region:voice; an OpenAI model under a name of the team's own has no price, not a voice's."""
    assert cost({}, usage("tts", "azure", "our-speech", character="1000")).usd is None
    assert cost(
        {"alias": {"azure/our-speech": "azure/tts-1"}}, usage("tts", "azure", "our-speech", character="1000")
    ).usd


def test_shares_and_counts_are_exact_in_any_decimal_context():
    with localcontext() as context:
        context.prec = 2
        prices = CATALOG.with_prices({"discount": {"deepgram": "12.345%"}, "a/b": {"tts": "1/12345 characters"}})

    assert calculate_cost(MINUTE, prices.card_for(MINUTE)).usd == Decimal("0.00420744")
    assert next(prices.rates()).per == 12345


KEYS = [
    "*",
    "acme",
    "ac*",
    "a?me",
    "acme/*",
    "acme/voice-1",
    "acme/voice-*",
    "*/voice-?",
    "*/*",
    "acme/[uv]*",
    "b",
    "b/*",
]
DAY = date(2026, 11, 23)
days = st.sampled_from([None, None, date(2026, 11, 22), DAY, date(2026, 11, 24)])
shares = st.lists(
    st.builds(DatedPercentage, part=st.integers(1, 9).map(Decimal), since=days, until=days), min_size=1, max_size=3
).map(tuple)


def closest_one_by_one(keys, provider, model):
    """The rule: a key for models, then one without a star, then the longest; the first of equals."""
    full = f"{provider}/{model}"
    fitting = [key for key in keys if fnmatchcase(full if "/" in key else provider, key)]
    return max(fitting, key=lambda key: ("/" in key, "*" not in key, len(key)), default=None)


def share_one_by_one(entries, provider, model):
    holding = {}
    for key, found in entries.items():
        for share in sorted(found, key=lambda share: (share.since is not None) + (share.until is not None)):
            if (share.since or DAY) <= DAY <= (share.until or DAY):
                holding[key] = share.part
    closest = closest_one_by_one(holding, provider, model)
    return Decimal(0) if closest is None else holding[closest]


@given(
    discounts=st.dictionaries(st.sampled_from(KEYS), shares),
    names=st.dictionaries(st.sampled_from([key for key in KEYS if "/" in key]), st.text("AB", min_size=1)),
    addons=st.dictionaries(st.sampled_from(KEYS), st.sampled_from([frozenset("a"), frozenset("b")])),
    aliases=st.dictionaries(st.sampled_from([key for key in KEYS if "*" not in key]), st.sampled_from(["x", "y"])),
    provider=st.sampled_from(["acme", "ac", "b", "b/c", ""]),
    model=st.sampled_from(["voice-1", "voice-22", "x", "", "*"]),
    crowd=st.sampled_from([0, 300]),
)
def test_the_closest_key_equals_that_of_trying_each(discounts, names, addons, aliases, provider, model, crowd):
    """Also with 300 further globs, so that they are looked up by index."""
    more = {f"acme/crowd-{n}-*": (DatedPercentage(part=Decimal(1)),) for n in range(crowd)}
    discounts = {**more, **discounts}
    terms = Overrides(discounts=discounts, markups=discounts, names=names, addons=addons, aliases=aliases)

    assert terms.discount_for(provider, model, DAY) == share_one_by_one(discounts, provider, model)
    assert terms.markup_for(provider, model, DAY) == share_one_by_one(discounts, provider, model)
    assert terms.name_for(provider, model) == names.get(closest_one_by_one(names, provider, model))
    assert terms.addons_for(provider, model) == addons.get(closest_one_by_one(addons, provider, model), frozenset())
    alias = closest_one_by_one(aliases, provider, model)
    assert terms.known_as(provider, model) == ((aliases[alias], model) if alias else (provider, model))


def test_merged_overrides_are_looked_up_too():
    terms = Overrides(names={"a/b": "mine"}).over(Overrides(names={"a/b": "theirs", "a/c": "other"}))

    assert (terms.name_for("a", "b"), terms.name_for("a", "c")) == ("mine", "other")
