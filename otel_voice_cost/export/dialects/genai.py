"""OpenTelemetry's GenAI attributes, with the cost under the name that most backends read.

Source:
    OpenTelemetry semantic conventions, registry ``gen_ai``. The keys are written out here because the
    Python constants are in an incubating module that lacks some of them in the supported SDKs.
    ``gen_ai.usage.cost`` is not a convention yet; Langfuse, OpenLIT, Opik and others read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import partial

from ...cost import Cost, CostNumbers
from ...usage import Component, Dimension, Usage
from . import Attributes, CompiledDialect, SpanView, Writer

__all__ = [
    "COST",
    "DIALECTS",
    "OPERATIONS",
    "OPERATION_NAME",
    "PROVIDER_NAME",
    "REQUEST_MODEL",
    "RESPONSE_MODEL",
    "to_whole_seconds",
    "token_counts",
]

TokenCounter = Callable[[Sequence[Decimal | int]], tuple[int, int]]

COST = "gen_ai.usage.cost"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OPERATION_NAME = "gen_ai.operation.name"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
OUTPUT_TYPE = "gen_ai.output.type"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"

OPERATIONS = {
    Component.LLM: "chat",
    Component.REALTIME: "generate_content",
    Component.STT: "speech_to_text",
    Component.TTS: "text_to_speech",
}
_ONE = Decimal(1)
_WHOLE = Context(prec=60, rounding=ROUND_HALF_UP)
_OUTPUT_TYPES = {Component.STT: "text", Component.TTS: "speech"}


class GenAI(CompiledDialect):
    """OpenTelemetry's keys."""

    def writer(self, example: Cost) -> Writer:
        """Return what writes the attributes that the span lacks, and the cost as a double.

        ``gen_ai.response.model`` is the model that was billed, even if ``gen_ai.request.model`` names another
        (speech-to-text after a fallback).
        """
        usage = example.usage
        known = {
            OPERATION_NAME: OPERATIONS.get(usage.component),
            PROVIDER_NAME: usage.provider,
            REQUEST_MODEL: usage.model,
            RESPONSE_MODEL: usage.model,
            OUTPUT_TYPE: _OUTPUT_TYPES.get(usage.component),
        }
        constant = [(key, value) for key, value in known.items() if value is not None]
        count = token_counter(usage, speech_as_tokens=self._options.speech_as_tokens)

        def write(numbers: CostNumbers, span: SpanView, attributes: Attributes) -> None:
            present = span.attributes
            for key, value in constant:
                if key not in present:
                    attributes[key] = value
            if count is not None and (INPUT_TOKENS not in present or OUTPUT_TOKENS not in present):
                inputs, outputs = count(numbers.amounts)
                if INPUT_TOKENS not in present:
                    attributes[INPUT_TOKENS] = inputs
                if OUTPUT_TOKENS not in present:
                    attributes[OUTPUT_TOKENS] = outputs
            if numbers.usd is not None:
                attributes[COST] = float(numbers.usd)

        return write


def token_counts(cost: Cost, *, speech_as_tokens: bool) -> tuple[int, int] | None:
    """Return input and output tokens as `token_counter` counts them, or None if there are none."""
    count = token_counter(cost.usage, speech_as_tokens=speech_as_tokens)
    return None if count is None else count([*cost.usage.quantities.values()])


def token_counter(usage: Usage, *, speech_as_tokens: bool) -> TokenCounter | None:
    """Return what counts input and output tokens, including their details, for usages with the same units.

    Speech billed by other units counts characters and whole seconds as input, because dashboards read nothing else.

    Returns:
        A function of the amounts; None if there are no tokens.
    """
    units = list(usage.quantities)
    tokens = [index for index, unit in enumerate(units) if unit.dimension is Dimension.TOKEN]
    outputs = [index for index in tokens if units[index].is_output]
    if tokens:
        return partial(_count_tokens, [index for index in tokens if index not in outputs], outputs)
    if not speech_as_tokens or not units or usage.component not in OPERATIONS:
        return None
    return _count_seconds if units[0].dimension in (Dimension.TIME, Dimension.SESSION) else _count_first


def _count_tokens(inputs: list[int], outputs: list[int], amounts: Sequence[Decimal | int]) -> tuple[int, int]:
    return sum([int(amounts[index]) for index in inputs]), sum([int(amounts[index]) for index in outputs])


def _count_seconds(amounts: Sequence[Decimal | int]) -> tuple[int, int]:
    return to_whole_seconds(amounts[0]), 0


def to_whole_seconds(seconds: Decimal | int) -> int:
    """Return seconds rounded half up, for backends that keep whole numbers; at least 1, unless there are none."""
    whole = int(Decimal(seconds).quantize(_ONE, context=_WHOLE))
    return whole or int(seconds > 0)


def _count_first(amounts: Sequence[Decimal | int]) -> tuple[int, int]:
    return int(amounts[0]), 0


DIALECTS = {"genai": GenAI}
