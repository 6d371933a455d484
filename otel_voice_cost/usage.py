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

__all__ = ["BILLED_BY_CALL", "Component", "Measure", "Mode", "Unit", "Usage", "read_amount", "read_count", "with_text"]


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
    """How speech-to-text was called. Vendors price the two differently."""

    BATCH = "batch"
    STREAMING = "streaming"


class Measure(_Text):
    """A way of measuring one piece of work.

    Units of one measure never overlap and add up. Units of two measures may describe the same
    work twice (a sentence has characters and, once spoken, seconds): the rates decide which
    measure is billed, see `otel_voice_cost.cost`.
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
    """A unit that vendors bill. Its value is the name in price files and attributes."""

    AUDIO_SECOND = "audio_second"
    CACHED_INPUT_AUDIO_TOKEN = "cached_input_audio_token"
    CACHED_INPUT_IMAGE_TOKEN = "cached_input_image_token"
    CACHED_INPUT_TEXT_TOKEN = "cached_input_text_token"
    CACHED_INPUT_TOKEN = "cached_input_token"
    CACHE_WRITE_TOKEN = "cache_write_token"
    CHARACTER = "character"
    INPUT_AUDIO_TOKEN = "input_audio_token"
    INPUT_IMAGE_TOKEN = "input_image_token"
    INPUT_TEXT_TOKEN = "input_text_token"
    INPUT_TOKEN = "input_token"
    OUTPUT_AUDIO_TOKEN = "output_audio_token"
    OUTPUT_TEXT_TOKEN = "output_text_token"
    OUTPUT_TOKEN = "output_token"
    REASONING_TOKEN = "reasoning_token"
    REQUEST = "request"
    SESSION_SECOND = "session_second"
    UNSPACED_CHARACTER = "unspaced_character"  # whitespace is not counted
    UTF8_BYTE = "utf8_byte"
    WIDE_CHARACTER = "wide_character"  # a Chinese character counts as two

    measure: Measure  # the measure this unit belongs to
    is_output: bool  # whether the model made it; tokens written to a cache are input


_OUTPUTS = {Unit.OUTPUT_AUDIO_TOKEN, Unit.OUTPUT_TEXT_TOKEN, Unit.OUTPUT_TOKEN, Unit.REASONING_TOKEN}
_MEASURES = {
    Unit.AUDIO_SECOND: Measure.TIME,
    Unit.CHARACTER: Measure.TEXT,
    Unit.REQUEST: Measure.REQUEST,
    Unit.SESSION_SECOND: Measure.SESSION,
    Unit.UNSPACED_CHARACTER: Measure.TEXT_UNSPACED,
    Unit.UTF8_BYTE: Measure.BYTES,
    Unit.WIDE_CHARACTER: Measure.TEXT_WIDE,
}
for _unit in Unit:  # facts of each unit, read for every usage
    _unit.measure = _MEASURES.get(_unit, Measure.TOKEN)
    _unit.is_output = _unit in _OUTPUTS
_ZERO = Decimal(0)
_MOST = Decimal(10**15)  # of a unit in one report; beyond is a mistake, and digits that take time
_FINEST = -30
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

    def measures(self) -> set[Measure]:
        """The measures that this usage has amounts of."""
        return {unit.measure for unit in self.quantities}


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


def read_amount(fields: Mapping[str, object], name: str, *, default: Decimal | None = None) -> Decimal:
    """Return the number under ``name``: finite and not negative.

    Args:
        fields: Decoded metrics; numbers are ``int`` or ``Decimal``.
        name: The field.
        default: Returned where the field is absent or null. Without it, absence is an error.

    Raises:
        UsageError: The field is absent without default, negative, not finite, above 10^15, or no number
            (``True`` and ``"3"`` are none). The message shows numbers and, of anything else,
            the type alone: text may be speech.
    """
    value = fields.get(name)
    if value is None:
        if default is None:
            raise UsageError(f"{name}: got nothing, expected a number")
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise UsageError(f"{name}: got {type(value).__name__}, expected a number")
    amount = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    if not amount.is_finite() or amount < 0:
        raise UsageError(f"{name}: got {amount}, expected a finite number, zero or more")
    if amount > _MOST or amount.as_tuple().exponent < _FINEST:  # type: ignore[operator]  # it is finite
        raise UsageError(f"{name}: got a number of another size, expected one up to {_MOST:f} with {-_FINEST} decimals")
    return amount


def read_count(fields: Mapping[str, object], name: str) -> int:
    """Return the whole number under ``name``; zero where the field is absent or null.

    Raises:
        UsageError: As `read_amount`, and for a number with a fraction.
    """
    value = fields.get(name)
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= _MOST:  # what LiveKit reports, but for mistakes
        return value
    amount = read_amount(fields, name)
    count = int(amount)
    if amount != count:
        raise UsageError(f"{name}: got {amount}, expected a whole number")
    return count
