"""OpenAI: pages of the organization's usage API and of its costs API.

Usage (``GET /v1/organization/usage/completions``, ``.../audio_speeches``, ``.../audio_transcriptions``) has quantities
and no money; it must be grouped by ``model``. Costs (``GET /v1/organization/costs``) have money and, for most line
items, quantities; they must be grouped by ``line_item``. With both, the quantities of the usage count. Buckets are days
in UTC.

A line item is ``<model>, <part>``, or ``<model> <modality>, <part>``. One that is not of this form is kept as the name
of a model, so that its money is compared or reported as missing.

Source:
    platform.openai.com/docs/api-reference/usage; openai 3.57.0, ``types/admin/organization/usage_*_response.py``,
    ``usage_costs_params.py`` (line items), ``cost_quantity_unit.py``. The forms with a modality and ``cached input``
    are those that the API returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from ...cost import EXACT
from ...usage import Dimension, Unit
from .lines import (
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    Document,
    Entry,
    Invoice,
    InvoiceLine,
    Number,
    day_of,
    last_day_of,
    parse,
    refuse,
    step_of,
)

__all__ = ["read"]

_ZERO = Decimal(0)
_TIER = re.compile(r"^\w+ \| ")  # "priority | gpt-5.6, output"
_MODALITY = re.compile(r" (text|audio|image)$")
_NAMES = {unit.value for unit in Unit}
_FACTORS = {
    "tokens": Decimal(1),
    "1000_tokens": Decimal(1_000),
    "characters": Decimal(1),
    "duration_seconds": Decimal(1),
    "duration_minutes": SECONDS_PER_MINUTE,
    "duration_hours": SECONDS_PER_HOUR,
}
_UNITS = {"characters": Unit.CHARACTER} | {
    f"duration_{name}": Unit.AUDIO_SECOND for name in ("seconds", "minutes", "hours")
}


class _Amount(Entry):
    value: Number
    currency: str


class _Bucket(Entry):
    start_time: int
    end_time: int
    results: list[dict[str, Any]]


class _Page(Entry):
    data: list[_Bucket]
    has_more: bool = False


class _Completions(Entry):
    """Uncached, cached and written tokens are parts of ``input_tokens``; modalities may be missing in older answers."""

    model: str | None = None
    input_tokens: int
    output_tokens: int
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_text_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None

    def quantities(self) -> dict[Unit, int]:
        """Return the tokens of each unit: by modality if all parts are stated."""
        modalities = {
            Unit.INPUT_TEXT_TOKEN: self.input_text_tokens,
            Unit.INPUT_AUDIO_TOKEN: self.input_audio_tokens,
            Unit.INPUT_IMAGE_TOKEN: self.input_image_tokens,
            Unit.CACHED_INPUT_TEXT_TOKEN: self.input_cached_text_tokens,
            Unit.CACHED_INPUT_AUDIO_TOKEN: self.input_cached_audio_tokens,
            Unit.CACHED_INPUT_IMAGE_TOKEN: self.input_cached_image_tokens,
            Unit.OUTPUT_TEXT_TOKEN: self.output_text_tokens,
            Unit.OUTPUT_AUDIO_TOKEN: self.output_audio_tokens,
        }
        stated = {unit: count for unit, count in modalities.items() if count is not None}
        cached, written = self.input_cached_tokens or 0, self.input_cache_write_tokens or 0
        if stated and sum(stated.values()) == self.input_tokens - written + self.output_tokens:
            return stated | {Unit.CACHE_WRITE_TOKEN: written}
        return {
            Unit.INPUT_TOKEN: self.input_tokens - cached - written,
            Unit.CACHED_INPUT_TOKEN: cached,
            Unit.CACHE_WRITE_TOKEN: written,
            Unit.OUTPUT_TOKEN: self.output_tokens,
        }


class _Speeches(Entry):
    model: str | None = None
    characters: int

    def quantities(self) -> dict[Unit, int]:
        return {Unit.CHARACTER: self.characters}


class _Transcriptions(Entry):
    model: str | None = None
    seconds: int

    def quantities(self) -> dict[Unit, int]:
        return {Unit.AUDIO_SECOND: self.seconds}


class _Costs(Entry):
    amount: _Amount
    line_item: str | None = None
    quantity: Number | None = None
    quantity_unit: str | None = None


_USAGE: dict[str, type[_Completions | _Speeches | _Transcriptions]] = {
    "organization.usage.completions.result": _Completions,
    "organization.usage.audio_speeches.result": _Speeches,
    "organization.usage.audio_transcriptions.result": _Transcriptions,
}
_COSTS = "organization.costs.result"
_UNITS_OF: dict[type[Entry], list[Unit]] = {
    _Completions: [unit for unit in Unit if unit.dimension is Dimension.TOKEN],
    _Speeches: [Unit.CHARACTER],
    _Transcriptions: [Unit.AUDIO_SECOND],
}


def read(document: Document) -> Invoice:
    """Return the lines of one page.

    Raises:
        ReadError: The page has another form, or is not grouped by model or line item.
    """
    page = parse(_Page, document.content, document.place)
    lines: list[InvoiceLine] = []
    others: dict[str, None] = {}
    units: set[str] = set()
    for number, bucket in enumerate(page.data):
        first, last = day_of(bucket.start_time, document.time_zone), last_day_of(bucket.end_time, document.time_zone)
        for index, result in enumerate(bucket.results):
            kind = str(result.get("object"))
            place = f"{document.place}, data.{number}.results.{index}"
            line = partial(InvoiceLine, place=place, first=first, last=last)
            if kind in _USAGE:
                units |= {unit.value for unit in _UNITS_OF[_USAGE[kind]]}
                lines += _usage_lines(parse(_USAGE[kind], result, place), place, line)
            elif kind == _COSTS:
                lines.append(_cost_line(parse(_Costs, result, place), place, line))
            else:
                others[kind] = None
    usd_step = step_of(line.usd for line in lines)
    notes = [f"Results of another kind are not compared: {', '.join(others)}."] if others else []
    if page.has_more:
        notes.append("A page has has_more = true: give the pages that follow too, or their lines are missing.")
    return Invoice(
        lines=tuple(replace(line, usd_step=usd_step) for line in lines),
        first=min((day_of(bucket.start_time, document.time_zone) for bucket in page.data), default=None),
        last=max((last_day_of(bucket.end_time, document.time_zone) for bucket in page.data), default=None),
        units=frozenset(units),
        notes=tuple(notes),
    )


def _usage_lines(
    result: _Completions | _Speeches | _Transcriptions, place: str, line: partial[InvoiceLine]
) -> Iterator[InvoiceLine]:
    if result.model is None:
        raise refuse(f"{place}.model", None, "usage that is grouped by model (group_by=model)")
    for unit, count in result.quantities().items():
        if count:
            step = Decimal(1) if unit.is_seconds else _ZERO  # whole seconds of a fraction
            yield line(model=result.model.lower(), unit=unit.value, quantity=Decimal(count), quantity_step=step)


def _cost_line(result: _Costs, place: str, line: partial[InvoiceLine]) -> InvoiceLine:
    if result.line_item is None:
        raise refuse(f"{place}.line_item", None, "costs that are grouped by line item (group_by=line_item)")
    if result.amount.currency != "usd":
        raise refuse(f"{place}.amount.currency", result.amount.currency, "usd")
    model, unit = _read_line_item(result.line_item)
    measure = result.quantity_unit or ""
    unit = unit or _UNITS.get(measure)
    quantity = None
    if result.quantity is not None and unit is not None and measure in _FACTORS:
        quantity = EXACT.multiply(result.quantity, _FACTORS[measure])
    name = unit.value if unit else None
    return line(model=model, unit=name, quantity=quantity, usd=result.amount.value, repeats_usage=True)


def _read_line_item(text: str) -> tuple[str, Unit | None]:
    """Return the model and the unit of a line item; the whole text and None if it has another form."""
    name = _TIER.sub("", text.strip().lower())
    head, comma, tail = name.partition(", ")
    if not comma:
        return name, None
    modality = _MODALITY.search(head)
    part = tail.split(",")[0].removesuffix("tokens").strip("_ ").replace(" ", "_")
    unit = f"{part}_{modality[1]}_token" if modality else f"{part}_token"
    return _MODALITY.sub("", head), Unit(unit) if unit in _NAMES else None
