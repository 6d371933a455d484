"""Usage: amounts of billed units by component and model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from .errors import UsageError

__all__ = [
    "BILLED_BY_CALL",
    "Amount",
    "Component",
    "Dimension",
    "Mode",
    "Reading",
    "Unit",
    "Usage",
    "measure_text",
    "to_decimal",
    "to_moment",
    "with_amounts",
    "with_text",
    "without_text",
]


class _Text(str, Enum):
    """A string enumeration whose members hash like the strings they equal, faster than enumerations do."""

    __hash__ = str.__hash__


class Component(_Text):
    """The part of a voice agent that caused the usage."""

    AVATAR = "avatar"
    INTERRUPTION = "interruption"
    LLM = "llm"
    NOISE_CANCELLATION = "noise_cancellation"
    OTHER = "other"
    PLATFORM = "platform"
    REALTIME = "realtime"
    RECORDING = "recording"
    STT = "stt"
    TELEPHONY = "telephony"
    TTS = "tts"
    TURN_DETECTION = "turn_detection"


BILLED_BY_CALL = (  # by its time or number, not by a model
    Component.AVATAR,
    Component.NOISE_CANCELLATION,
    Component.OTHER,
    Component.PLATFORM,
    Component.RECORDING,
    Component.TELEPHONY,
)


class Mode(_Text):
    """The modes of speech-to-text, which vendors price differently."""

    BATCH = "batch"
    STREAMING = "streaming"


class Dimension(_Text):
    """A way to measure work.

    Units of one dimension never overlap, so they add up. Units of two dimensions may measure the
    same work (a sentence has characters and, once spoken, seconds): the rates decide which
    dimension is billed, see `otel_voice_cost.prices.rates.RateCard.billing`.
    """

    BYTES = "bytes"
    REQUEST = "request"
    SESSION = "session"
    TEXT = "text"
    TEXT_UNSPACED = "text_unspaced"
    TEXT_WIDE = "text_wide"
    TIME = "time"
    TOKEN = "token"


class Unit(_Text):
    """A unit that vendors bill. Its value is the name in price files and attributes.

    Attributes:
        dimension: The dimension that the unit belongs to.
        is_output: True if the model generated it; tokens written to a cache are input.
        is_seconds: True if amounts may have fractions.
        fallbacks: Units whose rate applies if this one has none, nearest first. A vendor without a price for
            cached audio bills it as audio; a price without modality covers all of them.
    """

    dimension: Dimension
    is_output: bool
    is_seconds: bool
    fallbacks: tuple[Unit, ...]

    AUDIO_SECOND = "audio_second", Dimension.TIME
    CHARACTER = "character", Dimension.TEXT
    REQUEST = "request", Dimension.REQUEST
    SESSION_SECOND = "session_second", Dimension.SESSION
    UNSPACED_CHARACTER = "unspaced_character", Dimension.TEXT_UNSPACED  # whitespace is not counted
    UTF8_BYTE = "utf8_byte", Dimension.BYTES
    WIDE_CHARACTER = "wide_character", Dimension.TEXT_WIDE  # a Chinese character counts as two

    INPUT_TOKEN = "input_token", Dimension.TOKEN
    CACHED_INPUT_TOKEN = "cached_input_token", Dimension.TOKEN, "input_token"
    CACHE_WRITE_TOKEN = "cache_write_token", Dimension.TOKEN, "input_token"
    OUTPUT_TOKEN = "output_token", Dimension.TOKEN
    REASONING_TOKEN = "reasoning_token", Dimension.TOKEN, "output_token"

    INPUT_TEXT_TOKEN = "input_text_token", Dimension.TOKEN
    CACHED_INPUT_TEXT_TOKEN = "cached_input_text_token", Dimension.TOKEN, "input_text_token"
    INPUT_AUDIO_TOKEN = "input_audio_token", Dimension.TOKEN, "input_text_token"
    CACHED_INPUT_AUDIO_TOKEN = (
        "cached_input_audio_token", Dimension.TOKEN, "input_audio_token", "cached_input_text_token", "input_text_token",
    )  # fmt: skip
    INPUT_IMAGE_TOKEN = "input_image_token", Dimension.TOKEN, "input_text_token"
    CACHED_INPUT_IMAGE_TOKEN = (
        "cached_input_image_token", Dimension.TOKEN, "input_image_token", "cached_input_text_token", "input_text_token",
    )  # fmt: skip
    OUTPUT_TEXT_TOKEN = "output_text_token", Dimension.TOKEN
    OUTPUT_AUDIO_TOKEN = "output_audio_token", Dimension.TOKEN, "output_text_token"

    def __new__(cls, name: str, dimension: Dimension = Dimension.TOKEN, *_fallbacks: str) -> Unit:
        """Create a member from a row of the table above."""
        unit = str.__new__(cls, name)
        unit._value_ = name
        unit.dimension = dimension
        unit.is_output = name.startswith(("output_", "reasoning_"))
        unit.is_seconds = name.endswith("_second")
        return unit

    def __init__(self, _name: str, _dimension: Dimension = Dimension.TOKEN, *fallbacks: str) -> None:
        members = {str(unit.value): unit for unit in type(self)}
        self.fallbacks = tuple(members[name] for name in fallbacks)


_TEXT_UNITS = frozenset({Unit.UNSPACED_CHARACTER, Unit.UTF8_BYTE, Unit.WIDE_CHARACTER})
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Amounts used of one model by one request, report or connection.

    Attributes:
        component: The component that caused it.
        provider: Provider id in lower case, as in the catalog (``deepgram``); the reported
            name if the catalog has no such provider.
        model: Model id as reported, in lower case.
        quantities: Amount per unit, each above zero. Seconds keep their reported digits.
        at: Time of the usage, UTC; selects the rate.
        mode: Streaming or batch, for speech-to-text; None if the component has no modes.

    Raises:
        UsageError: An amount is zero, negative or not finite.
    """

    component: Component
    provider: str
    model: str
    quantities: Mapping[Unit, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    at: datetime
    mode: Mode | None = None

    def __post_init__(self) -> None:
        for unit, amount in self.quantities.items():
            if not amount.is_finite() or amount <= 0:
                raise UsageError(f"{unit.value}: got {amount}, expected an amount above zero")

    def dimensions(self) -> set[Dimension]:
        """Return the dimensions of this usage's amounts."""
        return {unit.dimension for unit in self.quantities}


Amount = Decimal | int | float


class Reading(NamedTuple):
    """A usage as a source reads it: plain numbers, for `Usage` takes longer to make than a price to find.

    Attributes:
        component: As for `Usage`, like all that follow.
        provider: Provider id.
        model: Model id.
        quantities: Amount per unit, each above zero. Counts are ints, so that no decimal context rounds them; a float
            stands for its shortest digits.
        seconds: Time of the usage, seconds since the epoch.
        mode: For speech-to-text.
    """

    component: Component
    provider: str
    model: str
    quantities: Mapping[Unit, Amount]
    seconds: float
    mode: Mode | None = None

    @property
    def at(self) -> datetime:
        """Time of the usage, UTC."""
        return datetime.fromtimestamp(self.seconds, timezone.utc)

    def to_usage(self) -> Usage:
        """Return it as a usage."""
        return Usage(
            component=self.component,
            provider=self.provider,
            model=self.model,
            quantities={unit: to_decimal(n) for unit, n in self.quantities.items()},
            at=self.at,
            mode=self.mode,
        )


def to_decimal(amount: Amount) -> Decimal:
    """Return an amount with its digits: of a float, the shortest."""
    return Decimal(str(amount)) if type(amount) is float else Decimal(amount)


def to_moment(time_ns: int) -> datetime:
    """Return nanoseconds since the epoch as UTC."""
    return datetime.fromtimestamp(time_ns / 1e9, timezone.utc)


def with_amounts(usage: Usage, amounts: Mapping[Unit, Decimal]) -> Usage:
    """Return a usage with other amounts. `dataclasses.replace` takes three times as long."""
    return Usage(
        component=usage.component,
        provider=usage.provider,
        model=usage.model,
        quantities=amounts,
        at=usage.at,
        mode=usage.mode,
    )


def with_text(usage: Usage, text: str) -> Usage:
    """Return a usage with the amounts that need the spoken text, which a few vendors bill.

    Args:
        usage: A usage with an amount of characters.
        text: The spoken text. If its length differs from that amount, the usage is returned unchanged.
    """
    if usage.quantities.get(Unit.CHARACTER) != len(text):
        return usage
    amounts = measure_text(text)
    return replace(usage, quantities={**usage.quantities, **{unit: Decimal(n) for unit, n in amounts.items() if n}})


def without_text(usage: Usage) -> Usage:
    """Return a usage without the amounts that need the spoken text: without a price they only repeat the characters."""
    if Unit.UTF8_BYTE not in usage.quantities:
        return usage
    return with_amounts(usage, {unit: n for unit, n in usage.quantities.items() if unit not in _TEXT_UNITS})


def measure_text(text: str) -> dict[Unit, int]:
    """Return the length of a text in all units that vendors bill.

    Source:
        Azure Speech pricing, note on billable characters: each Chinese character, kanji and hanja
        included, counts as two.
    """
    return {
        Unit.CHARACTER: len(text),
        Unit.UTF8_BYTE: len(text.encode("utf-8", "surrogatepass")),
        Unit.UNSPACED_CHARACTER: sum(not character.isspace() for character in text),
        Unit.WIDE_CHARACTER: len(text) + len(_CHINESE.findall(text)),
    }
