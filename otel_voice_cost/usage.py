"""Step 2: what was used, of which model, in which units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType

from .errors import UsageError

__all__ = [
    "BILLED_BY_CALL",
    "Component",
    "Dimension",
    "Mode",
    "Unit",
    "Usage",
    "with_text",
]


class _Text(str, Enum):
    """An enumeration of texts. Its members hash as the texts they equal, and faster than enumerations do."""

    __hash__ = str.__hash__


class Component(_Text):
    """The part of a voice agent that spent the usage."""

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
    """The two ways to call speech-to-text. Vendors price them differently."""

    BATCH = "batch"
    STREAMING = "streaming"


class Dimension(_Text):
    """A way of measuring one piece of work.

    Units of one dimension never overlap and add up. Units of two dimensions may describe the same
    work twice (a sentence has characters and, once spoken, seconds): the rates decide which
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
        is_output: Whether the model made it; tokens written to a cache are input.
        is_seconds: Whether amounts may have fractions.
        fallbacks: Units whose rate prices this one if it has none of its own, nearest first. A vendor that prints no
            price for cached audio bills it as audio; a text price without modalities covers them all.
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
        """Make a row of the table above a member."""
        unit = str.__new__(cls, name)
        unit._value_ = name
        unit.dimension = dimension
        unit.is_output = name.startswith(("output_", "reasoning_"))
        unit.is_seconds = name.endswith("_second")
        return unit

    def __init__(self, _name: str, _dimension: Dimension = Dimension.TOKEN, *fallbacks: str) -> None:
        members = {str(unit.value): unit for unit in type(self)}
        self.fallbacks = tuple(members[name] for name in fallbacks)


_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Amounts spent on one model by one request, report or connection.

    Attributes:
        component: What spent it.
        provider: Provider id in lower case, as the catalogue spells it (``deepgram``); the
            reported string where the catalogue has no such provider.
        model: Model id as reported, in lower case.
        quantities: Amount per unit, each above zero. Seconds keep the digits they came with.
        at: Moment of the usage, UTC; it chooses the rate.
        mode: Streaming or batch, for speech-to-text; None where the component has no modes.

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
        """Return the dimensions that this usage has amounts of."""
        return {unit.dimension for unit in self.quantities}


def with_text(usage: Usage, text: str) -> Usage:
    """Return a usage with the amounts that only the spoken text gives: a few vendors bill these.

    Args:
        usage: A usage with an amount of characters.
        text: What was spoken. One of another length is not it, and the usage is returned as it is.

    Source:
        Azure Speech pricing, note on billable characters: each Chinese character, kanji and hanja
        included, counts as two.
    """
    if usage.quantities.get(Unit.CHARACTER) != len(text):
        return usage
    amounts = {
        Unit.UTF8_BYTE: len(text.encode("utf-8", "surrogatepass")),
        Unit.UNSPACED_CHARACTER: sum(not character.isspace() for character in text),
        Unit.WIDE_CHARACTER: len(text) + len(_CHINESE.findall(text)),
    }
    return replace(usage, quantities={**usage.quantities, **{unit: Decimal(n) for unit, n in amounts.items() if n}})
