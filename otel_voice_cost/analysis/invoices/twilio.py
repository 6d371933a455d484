"""Twilio: usage records of the REST API, best those of ``.../Usage/Records/Daily.json``.

A record has a quantity, minutes for calls, and money. Its categories overlap (``calls`` contains ``calls-inbound``,
``totalprice`` everything) and cover all products, so only categories that are a model of the calls are compared; a
mapping file tells which category is which model. Minutes are those billed: each call's are rounded up. Days are GMT.

Source:
    twilio.com/docs/usage/api/usage-record, "Record Properties" and "Usage Categories".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from ...cost import EXACT
from ...usage import Unit
from .lines import SECONDS_PER_MINUTE, Document, Entry, Invoice, InvoiceLine, Number, parse, refuse, step_of

__all__ = ["read"]

_UNITS = {
    "minutes": (Unit.SESSION_SECOND, SECONDS_PER_MINUTE),
    "seconds": (Unit.SESSION_SECOND, Decimal(1)),
    "calls": (Unit.REQUEST, Decimal(1)),
}


class _Record(Entry):
    category: str
    start_date: date
    end_date: date
    usage: Number
    usage_unit: str | None = None
    price: Number | None = None
    price_unit: str | None = None


class _Page(Entry):
    usage_records: list[_Record]
    next_page_uri: str | None = None


def read(document: Document) -> Invoice:
    """Return the lines of one page.

    Raises:
        ReadError: The page has another form, or its prices are not in US dollars.
    """
    page = parse(_Page, document.content, document.place)
    usd_step = step_of(record.price for record in page.usage_records)
    lines = []
    for index, record in enumerate(page.usage_records):
        place = f"{document.place}, usage_records.{index}"
        if record.price and (record.price_unit or "usd").lower() != "usd":
            raise refuse(f"{place}.price_unit", record.price_unit, "usd")
        if not record.usage and not record.price:
            continue
        line = InvoiceLine(
            place=place,
            first=record.start_date,
            last=record.end_date,
            model=record.category.lower(),
            usd=record.price,
            usd_step=usd_step,
        )
        if record.usage_unit in _UNITS:
            unit, factor = _UNITS[record.usage_unit]
            step = EXACT.multiply(step_of([record.usage], whole=0), factor)
            quantity = EXACT.multiply(record.usage, factor)
            line = replace(line, unit=unit.value, quantity=quantity, quantity_step=step)
        lines.append(line)
    more = ("A page has a next_page_uri: give the pages that follow too, or their lines are missing.",)
    return Invoice(
        lines=tuple(lines),
        units=frozenset(unit.value for unit, _ in _UNITS.values()),
        knows_all=False,
        notes=more if page.next_page_uri else (),
    )
