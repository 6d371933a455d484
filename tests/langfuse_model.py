"""Model of Langfuse 4.16.0's reading rules that decide type, model, usage, cost, session and content of a span.

Source:
    ``packages/shared/src/server/otel/OtelIngestionProcessor.ts`` and ``ObservationTypeMapper.ts`` (reading),
    ``packages/shared/src/server/ingestion/types.ts`` (what the schema drops),
    ``worker/src/services/IngestionService/index.ts`` (cost), of the Langfuse repository.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

TYPES = {"span", "event", "generation", "agent", "tool", "chain", "retriever", "evaluator", "embedding", "guardrail"}
MODEL_KEYS = ("langfuse.observation.model.name", "gen_ai.response.model", "gen_ai.request.model", "llm.model_name")
SESSION_KEYS = ("langfuse.session.id", "session.id", "gen_ai.conversation.id")
OPERATIONS = {"chat": "generation", "generate_content": "generation", "invoke_agent": "agent", "execute_tool": "tool"}
LIVEKIT_NAMES = {"agent_turn": "agent", "start_agent_activity": "agent", "function_tool": "tool"}
DEBUG_NAMES = {"llm_request_run", "tts_node", "tts_request", "tts_request_run", "tts_stream_adapter"}
TOKENISED = ("gpt-", "claude-")  # text models with a tokeniser in Langfuse's list
NOT_TOKENISED = ("realtime", "audio")


@dataclass(frozen=True)
class Observation:
    """The data that Langfuse stores and shows for one span."""

    name: str
    type: str
    model: str | None
    usage: dict[str, int]
    total: Decimal | None  # US dollars; None where Langfuse shows nothing
    invented: bool  # Langfuse would count and price the span's text by itself
    hidden: bool


def observe(name: str, attributes: Mapping[str, Any], *, is_error: bool, path: str) -> Observation:
    """Read a span in one of the write paths, ``legacy`` or ``events``."""
    kind, model = _type(name, attributes), _model(attributes)
    agent = attributes.get("gen_ai.operation.name") in ("invoke_agent", "agent_step")
    usage = {} if agent else _usage(attributes)
    cost = {} if agent else _cost(attributes, path)
    if agent or (path == "legacy" and kind in ("span", "event")):
        model, usage, cost = None, {}, {}
    tokenised = bool(model) and model.startswith(TOKENISED) and not any(part in model for part in NOT_TOKENISED)
    silent = path == "legacy" and is_error
    level = attributes.get("langfuse.observation.level", "DEBUG" if name in DEBUG_NAMES and not is_error else "DEFAULT")
    return Observation(
        name=name,
        type=kind,
        model=model,
        usage=usage,
        total=_total(cost),
        invented=tokenised and not cost and (bool(usage) or not silent),
        hidden=level == "DEBUG",
    )


def session_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the session of a span, which Langfuse 4 reads from each (``extractSessionId``)."""
    return next((str(attributes[key]) for key in SESSION_KEYS if attributes.get(key)), None)


def content_of(attributes: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the input and output shown for a span (``extractInputAndOutput``): the first pair with a value."""
    pairs = (
        (attributes.get("langfuse.observation.input"), attributes.get("langfuse.observation.output")),
        (
            attributes.get("lk.input_text", attributes.get("lk.user_transcript", attributes.get("lk.chat_ctx"))),
            attributes.get("lk.function_tool.output", attributes.get("lk.response.text")),
        ),
        (attributes.get("input"), attributes.get("output")),
        (attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.output.messages")),
    )
    return next((pair for pair in pairs if pair != (None, None)), (None, None))


def _type(name: str, attributes: Mapping[str, Any]) -> str:
    given = attributes.get("langfuse.observation.type")
    if given in TYPES:
        return str(given)
    operation = OPERATIONS.get(str(attributes.get("gen_ai.operation.name")))
    if operation or name in LIVEKIT_NAMES:
        return operation or LIVEKIT_NAMES[name]
    return "generation" if _model(attributes) else "span"


def _model(attributes: Mapping[str, Any]) -> str | None:
    return next((str(attributes[key]) for key in MODEL_KEYS if attributes.get(key)), None)


def _json(value: object) -> dict[str, Any] | None:
    """A details attribute: another type than text counts as empty, unparsable text as absent."""
    if value is None:
        return None
    if not isinstance(value, str):
        return {}
    try:
        parsed = json.loads(value, parse_float=Decimal)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _usage(attributes: Mapping[str, Any]) -> dict[str, int]:
    details = _json(attributes.get("langfuse.observation.usage_details"))
    if details is None:
        prefix = "gen_ai.usage."
        names = (key for key in attributes if key.startswith(prefix) and key != prefix + "cost")
        details = {key.removeprefix(prefix): attributes[key] for key in names}
    return {
        key: int(n) for key, n in details.items() if isinstance(n, (int, float, Decimal)) and n >= 0 and n == int(n)
    }


def _cost(attributes: Mapping[str, Any], path: str) -> dict[str, Decimal]:
    details = _json(attributes.get("langfuse.observation.cost_details"))
    if details is None:
        scalar = attributes.get("gen_ai.usage.cost", attributes.get("llm.cost.total"))
        details = {} if scalar is None else {"total": scalar}
    numbers = {key: Decimal(str(n)) for key, n in details.items() if isinstance(n, (int, float, Decimal))}
    return {key: n for key, n in numbers.items() if n >= 0} if path == "legacy" else numbers


def _total(cost: dict[str, Decimal]) -> Decimal | None:
    """The given total, truncated to 12 places; without one, the sum of input and output if there is nothing else."""
    if "total" not in cost and set(cost) - {"input", "output"}:
        return None
    if not cost:
        return None
    total = cost.get("total", sum(cost.values(), Decimal(0)))
    return total.quantize(Decimal("1e-12"), rounding=ROUND_DOWN)
