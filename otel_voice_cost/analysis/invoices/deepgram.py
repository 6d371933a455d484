"""Deepgram: the answers of the management API on usage and on billing.

Usage (``GET /v1/projects/{id}/usage/breakdown``) has quantities and no money; it must be grouped by ``models``. Billing
(``GET /v1/projects/{id}/billing/breakdown``) has money and no quantities; it must be grouped by ``line_item``, such as
``streaming::nova-3``. The API does not state the time zone of its days; UTC is assumed.

``hours`` are compared with the seconds of audio; ``total_hours`` counts each channel.

Source:
    developers.deepgram.com/reference/manage/usage/breakdown/get and .../manage/billing/breakdown/get;
    deepgram-sdk 7.17.0, ``types/usage_breakdown_v1response*.py``, ``types/billing_breakdown_v1response*.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import partial

from ...cost import EXACT
from ...usage import Unit
from .lines import SECONDS_PER_HOUR, Document, Entry, Invoice, InvoiceLine, Number, parse, refuse, step_of

__all__ = ["read"]

_ZERO = Decimal(0)
_QUANTITIES = {
    "hours": (Unit.AUDIO_SECOND, SECONDS_PER_HOUR),
    "agent_hours": (Unit.SESSION_SECOND, SECONDS_PER_HOUR),
    "tts_characters": (Unit.CHARACTER, Decimal(1)),
    "tokens_in": (Unit.INPUT_TOKEN, Decimal(1)),
    "tokens_out": (Unit.OUTPUT_TOKEN, Decimal(1)),
}


class _Grouping(Entry):
    start: date
    end: date
    models: list[str | None] | None = None
    line_item: str | None = None


class _Result(Entry):
    """A result of either answer: ``dollars`` in billing, the others in usage."""

    grouping: _Grouping
    dollars: Number | None = None
    hours: Number = _ZERO
    agent_hours: Number = _ZERO
    tts_characters: Number = _ZERO
    tokens_in: Number = _ZERO
    tokens_out: Number = _ZERO


class _Answer(Entry):
    start: date
    end: date
    results: list[_Result]


def read(document: Document) -> Invoice:
    """Return the lines of one answer.

    Raises:
        ReadError: The answer has another form, or is not grouped by models or line item.
    """
    answer = parse(_Answer, document.content, document.place)
    steps = {name: step_of((getattr(result, name) for result in answer.results), whole=0) for name in _QUANTITIES}
    usd_step = step_of(result.dollars for result in answer.results)
    lines: list[InvoiceLine] = []
    for index, result in enumerate(answer.results):
        place = f"{document.place}, results.{index}"
        line = partial(InvoiceLine, place=place, first=result.grouping.start, last=result.grouping.end)
        if result.dollars is None:
            lines += _usage_lines(result, place, line, steps)
        else:
            name = result.grouping.line_item
            if not name:
                raise refuse(f"{place}.grouping.line_item", name, "billing that is grouped by line item")
            lines.append(line(model=_model_of(name), usd=result.dollars, usd_step=usd_step))
    has_usage = any(result.dollars is None for result in answer.results)
    units = frozenset(unit.value for unit, _ in _QUANTITIES.values()) if has_usage else frozenset()
    return Invoice(lines=tuple(lines), first=answer.start, last=answer.end, units=units)


def _usage_lines(
    result: _Result, place: str, line: partial[InvoiceLine], steps: dict[str, Decimal]
) -> Iterator[InvoiceLine]:
    models = result.grouping.models or []
    if len(models) != 1 or not models[0]:
        raise refuse(f"{place}.grouping.models", models, "one model: usage that is grouped by models")
    for name, (unit, factor) in _QUANTITIES.items():
        if quantity := getattr(result, name):
            yield line(
                model=_family(models[0].lower()),
                unit=unit.value,
                quantity=EXACT.multiply(quantity, factor),
                quantity_step=EXACT.multiply(steps[name], factor),
            )


def _model_of(line_item: str) -> str:
    """Return the model of a line item such as ``streaming::nova-3``; the whole text if it has another form."""
    parts = line_item.lower().split("::")
    return _family(parts[1]) if len(parts) > 1 else parts[0]


def _family(model: str) -> str:
    """Return the voices of a text-to-speech model: the API names ``aura-2``, a request ``aura-2-thalia-en``."""
    return f"{model}*" if model in ("aura", "aura-2") else model
