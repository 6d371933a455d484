"""OpenInference: Arize Phoenix, Arize AX and others.

Costs are doubles in US dollars, tokens are integers. Spans that bill become LLM spans, the only kind with a
cost. Phoenix shows given costs as attributes and prices LLM spans by its own list.

Source:
    openinference-semantic-conventions 0.1.42, ``trace/__init__.py``.
"""

from __future__ import annotations

from ...cost import Cost, exact_sum
from ...usage import Unit
from . import Attributes, Dialect, SpanView, as_doubles
from .genai import token_counts

__all__ = ["DIALECTS"]

COST = "llm.cost."
KIND = "openinference.span.kind"
MODEL_NAME = "llm.model_name"
PROVIDER = "llm.provider"
TOKENS = "llm.token_count."

# Detail names of units, after prompt_details or completion_details.
_DETAILS = {
    Unit.CACHED_INPUT_AUDIO_TOKEN: ("prompt_details.audio", "prompt_details.cache_read"),
    Unit.CACHED_INPUT_IMAGE_TOKEN: ("prompt_details.cache_read",),
    Unit.CACHED_INPUT_TEXT_TOKEN: ("prompt_details.cache_read",),
    Unit.CACHED_INPUT_TOKEN: ("prompt_details.cache_read",),
    Unit.CACHE_WRITE_TOKEN: ("prompt_details.cache_write",),
    Unit.INPUT_AUDIO_TOKEN: ("prompt_details.audio",),
    Unit.OUTPUT_AUDIO_TOKEN: ("completion_details.audio",),
    Unit.REASONING_TOKEN: ("completion_details.reasoning",),
}


class OpenInference(Dialect):
    """OpenInference's LLM spans."""

    def cost_attributes(self, cost: Cost, span: SpanView) -> Attributes:
        """Return kind, model, tokens and costs.

        Characters and seconds count as tokens only with ``speech_as_tokens``.
        """
        usage = cost.usage
        attributes: Attributes = {KIND: "LLM", MODEL_NAME: cost.display_name or usage.model, PROVIDER: usage.provider}
        tokens = token_counts(cost, speech_as_tokens=self._options.speech_as_tokens)
        if tokens is not None:
            counts = {"prompt": tokens[0], "completion": tokens[1], "total": sum(tokens)}
            attributes |= {TOKENS + name: count for name, count in counts.items()}
        for unit, amount in usage.quantities.items():
            for name in _DETAILS.get(unit, ()):
                attributes[TOKENS + name] = attributes.get(TOKENS + name, 0) + int(amount)
        parts = {"total": cost.usd, "prompt": cost.input_usd, "completion": cost.output_usd}
        for name in dict.fromkeys(name for line in cost.lines for name in _DETAILS.get(line.unit, ())):
            parts[name] = exact_sum(line.usd for line in cost.lines if name in _DETAILS.get(line.unit, ()))
        return attributes | as_doubles({COST + name: usd for name, usd in parts.items()})


DIALECTS = {"openinference": OpenInference}
