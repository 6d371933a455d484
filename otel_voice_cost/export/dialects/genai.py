"""OpenTelemetry's GenAI attributes, with the cost under the name that most backends read.

Source:
    OpenTelemetry semantic conventions, registry ``gen_ai``. The keys are written out here because the
    Python constants are in an incubating module that lacks some of them in the supported SDKs.
    ``gen_ai.usage.cost`` is not a convention yet; Langfuse, OpenLIT, Opik and others read it.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

from ...cost import Cost
from ...usage import Component, Dimension
from . import Attributes, Dialect, SpanView

__all__ = [
    "COST",
    "DIALECTS",
    "OPERATIONS",
    "OPERATION_NAME",
    "PROVIDER_NAME",
    "REQUEST_MODEL",
    "RESPONSE_MODEL",
    "token_counts",
]

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


class GenAI(Dialect):
    """OpenTelemetry's keys."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return the attributes that the span lacks, and the cost as a double.

        ``gen_ai.response.model`` is the model that was billed, even if ``gen_ai.request.model`` names another
        (speech-to-text after a fallback).
        """
        usage, present = cost.usage, span.attributes
        operation, output = OPERATIONS.get(usage.component), _OUTPUT_TYPES.get(usage.component)
        attributes: Attributes = {}
        if operation is not None and OPERATION_NAME not in present:
            attributes[OPERATION_NAME] = operation
        if PROVIDER_NAME not in present:
            attributes[PROVIDER_NAME] = usage.provider
        if REQUEST_MODEL not in present:
            attributes[REQUEST_MODEL] = usage.model
        if RESPONSE_MODEL not in present:
            attributes[RESPONSE_MODEL] = usage.model
        if output is not None and OUTPUT_TYPE not in present:
            attributes[OUTPUT_TYPE] = output
        if INPUT_TOKENS not in present or OUTPUT_TOKENS not in present:
            tokens = token_counts(cost, speech_as_tokens=self._options.speech_as_tokens)
            if tokens is not None:
                counts = {INPUT_TOKENS: tokens[0], OUTPUT_TOKENS: tokens[1]}
                attributes |= {key: count for key, count in counts.items() if key not in present}
        if cost.usd is not None:
            attributes[COST] = float(cost.usd)
        return attributes


def token_counts(cost: Cost, *, speech_as_tokens: bool) -> tuple[int, int] | None:
    """Return input and output tokens including their details, or None if there are none.

    Speech billed by other units counts characters as they are and seconds × 100 as input, because
    dashboards read nothing else.
    """
    quantities = cost.usage.quantities
    tokens = {unit: int(n) for unit, n in quantities.items() if unit.dimension is Dimension.TOKEN}
    if tokens:
        outputs = sum(n for unit, n in tokens.items() if unit.is_output)
        return sum(tokens.values()) - outputs, outputs
    if not speech_as_tokens or not quantities or cost.usage.component not in OPERATIONS:
        return None
    unit, amount = next(iter(quantities.items()))
    if unit.dimension in (Dimension.TIME, Dimension.SESSION):
        amount = amount.scaleb(2, _WHOLE).quantize(_ONE, context=_WHOLE)
    return int(amount), 0


DIALECTS = {"genai": GenAI}
