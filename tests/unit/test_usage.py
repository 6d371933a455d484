"""Valid and invalid amounts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from otel_voice_cost import Component, Unit, Usage
from otel_voice_cost.errors import UsageError
from otel_voice_cost.sources.fields import read_amount, read_count
from otel_voice_cost.sources.livekit.metrics import read_metrics
from otel_voice_cost.usage import Dimension

from ..conftest import AT


@pytest.mark.parametrize("amount", [Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity")])
def test_a_usage_holds_amounts_above_zero_only(amount):
    with pytest.raises(UsageError, match=r"character: got .*, expected an amount above zero"):
        Usage(component=Component.TTS, provider="p", model="m", quantities={Unit.CHARACTER: amount}, at=AT)


@pytest.mark.parametrize("value", [True, "3", [], {}, -1, float("nan"), float("-inf"), Decimal("sNaN")])
def test_an_invalid_amount_is_an_error(value):
    with pytest.raises(UsageError, match="seconds: got"):
        read_amount({"seconds": value}, "seconds")


def test_a_missing_value_is_an_error_unless_there_is_a_default():
    with pytest.raises(UsageError, match="seconds: got nothing, expected a number"):
        read_amount({}, "seconds")
    assert read_amount({"seconds": None}, "seconds", default=Decimal(0)) == 0


def test_a_count_has_no_fraction():
    with pytest.raises(UsageError, match=r"tokens: got 1.5, expected a whole number"):
        read_count({"tokens": Decimal("1.5")}, "tokens")
    assert read_count({"tokens": 3}, "tokens") == 3


def test_seconds_keep_their_reported_digits():
    assert read_amount({"seconds": 0.1}, "seconds") == Decimal("0.1")


def test_a_reported_time_is_the_time_of_the_usage():
    reported = {"timestamp": AT.timestamp() + 0.25, "characters_count": 3}

    assert read_metrics(Component.TTS, reported, 1).seconds == AT.timestamp() + 0.25
    assert read_metrics(Component.TTS, {**reported, "timestamp": 10**13}, 2 * 10**9).seconds == 2


def test_only_token_units_share_a_dimension():
    assert {unit for unit in Unit if unit.dimension is not Dimension.TOKEN} == {
        Unit.AUDIO_SECOND,
        Unit.CHARACTER,
        Unit.REQUEST,
        Unit.SESSION_SECOND,
        Unit.UNSPACED_CHARACTER,
        Unit.UTF8_BYTE,
        Unit.WIDE_CHARACTER,
    }
