"""Past calls as charges in the columns of FOCUS 1.2, one charge a row.

A charge is one unit of one request or, of a record, of one model in a call. The cost of a span is that of all its
units; the rates on the span divide it, and the last unit gets what is left, so that charges add up to the cost. If the
rates do not explain the cost (tiers of large requests, a cost that a gateway set), the request is one charge.

Source:
    FOCUS 1.2, FinOps Open Cost and Usage Specification, cost and usage dataset: columns; attributes unit format,
    numeric format, date/time format and key-value format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import ibis
import pyarrow as pa
from ibis.util import gen_name

from ..cost import EXACT
from ..usage import Component, Unit
from .findings import Unpriced
from .reading import PastCalls

if TYPE_CHECKING:
    from ibis.expr.types import Column, Table

__all__ = ["Accounts", "Charges", "find_charges", "write_csv", "write_parquet"]

_MONEY = "decimal(38, 24)"
_QUANTITY = "decimal(38, 18)"
_AMOUNT = "decimal(38, 12)"  # a product with a unit price keeps eight digits before the point
_MAX_AMOUNT = 10**7  # of a line that is divided
_MAX_UNIT_PRICE = Decimal(10)
_MAX_PRICE = 10**12
_PLACES = Decimal(1).scaleb(-18)
_TOLERANCE = Decimal(1).scaleb(-12)  # US dollars by which rates may miss a cost; each line is rounded to 18 places
_RATIO = "decimal(10, 9)"
_ROUNDED = "decimal(38, 15)"  # of an amount by a sixtieth

_RATE = re.compile(
    r"(?P<price>\S+) (?P<currency>\w+) per (?P<per>\d+) (?P<unit>\w+)(?: at (?P<per_usd>\S+) \w+ per USD)?"
)
_UNKNOWN = "unknown"
_WHOLE = "Units"  # of a charge whose amount or price is unknown: one
_COUNTED = {"token": "Tokens", "second": "Seconds", "character": "Characters", "byte": "B", "request": "Requests"}
_PER = {(60, "Seconds"): "Minutes", (3_600, "Seconds"): "Hours"}

_AI, _OTHER = "AI and Machine Learning", ("Other", "Other (Other)")
_CATEGORIES = {
    Component.AVATAR: (_AI, "Generative AI"),
    Component.INTERRUPTION: (_AI, "Natural Language Processing"),
    Component.LLM: (_AI, "Generative AI"),
    Component.NOISE_CANCELLATION: (_AI, "Other (AI and Machine Learning)"),
    Component.PLATFORM: (_AI, "AI Platforms"),
    Component.REALTIME: (_AI, "Generative AI"),
    Component.RECORDING: ("Media", "Other (Media)"),
    Component.STT: (_AI, "Natural Language Processing"),
    Component.TELEPHONY: ("Networking", "Network Connectivity"),
    Component.TTS: (_AI, "Generative AI"),
    Component.TURN_DETECTION: (_AI, "Natural Language Processing"),
}
_MODEL = ("component", "provider", "model", "mode", "addon")
_LINE = ("rate", "unit", "line")
_TEXTS = (
    "BillingAccountId",
    "BillingAccountName",
    "ChargeDescription",
    "ConsumedUnit",
    "PricingUnit",
    "PublisherName",
    "ServiceCategory",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
)
_SUMS = (
    "BilledCost",
    "ConsumedQuantity",
    "ContractedCost",
    "EffectiveCost",
    "ListCost",
    "PricingCurrencyEffectiveCost",
    "PricingQuantity",
)
_TIMES = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
_OF_CALL = ("x_SessionId", "x_TraceId", "x_SpanId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Billing accounts, which the files do not have.

    Attributes:
        ids: Id by provider; the key None is for all others. By default, the provider stands for its account.
        names: Name by provider, likewise; None if there is none.
    """

    ids: Mapping[str | None, str]
    names: Mapping[str | None, str]

    def id_of(self, provider: str) -> str:
        """Return the id of the account with a provider."""
        return self.ids.get(provider) or self.ids.get(None) or provider

    def name_of(self, provider: str) -> str | None:
        """Return the name of the account with a provider."""
        return self.names.get(provider) or self.names.get(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """Charges, and what is left out of them.

    Attributes:
        rows: The charges, in the columns of FOCUS.
        unpriced: Usage without a price. A row needs a cost, and zero would be wrong.
    """

    rows: Table
    unpriced: tuple[Unpriced, ...]

    def totals(self) -> dict[str, Any]:
        """Return the number of charges, the sum of their cost and the part of it that is an estimate, in US dollars."""
        rows = self.rows
        estimated = rows.EffectiveCost.sum(where=rows.x_Estimated).fill_null(Decimal(0))
        counted = rows.aggregate(charge_count=rows.count(), usd=rows.EffectiveCost.sum(), estimated_usd=estimated)
        return _fetch(counted)[0]


class _Price(NamedTuple):
    """One price of a rate's text.

    Attributes:
        text: In words.
        usd: US dollars for `per` units.
        per: Number of units.
        unit: The unit.
    """

    text: str
    usd: Decimal
    per: int
    unit: str


def find_charges(past: PastCalls, accounts: Accounts, *, by_day: bool = False) -> Charges:
    """Return past calls as charges.

    Args:
        past: The calls.
        accounts: Billing accounts.
        by_day: True to add up the charges of each day (UTC), which then name no call.
    """
    rows = past.cost_rows
    rows = rows.mutate(
        **{name: rows[name].fill_null("") for name in ("mode", "addon", "rate", "unit")},
        **{name: rows[name].fill_null(_UNKNOWN) for name in ("component", "provider", "model")},
    )
    kinds = _fetch(rows[[*_MODEL, "rate", "unit"]].distinct())
    # a table: it is read for the file and for the totals
    lines = past.usage.get_backend().create_table(gen_name("lines"), _divided(_priced(rows, kinds)), temp=True)
    charges = _columns(_tagged(_described(_timed(lines, past), kinds, accounts), rows))
    if by_day:
        charges = _daily(charges)
    return Charges(
        rows=charges.order_by(["ChargePeriodStart", "SkuPriceId", *([] if by_day else _OF_CALL)]),
        unpriced=_unpriced(rows),
    )


def write_csv(rows: Table, path: Path) -> None:
    """Write charges as CSV. Amounts keep all digits.

    Raises:
        OSError: The file cannot be written.
    """
    with _writing():
        _as_text(rows).to_csv(path)


def write_parquet(rows: Table, path: Path) -> None:
    """Write charges as Parquet. Amounts are decimals, times are UTC.

    Raises:
        OSError: The file cannot be written.
    """
    with _writing():
        rows.cast(dict.fromkeys(_TIMES, "timestamp('UTC')")).to_parquet(path)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except duckdb.IOException as error:
        raise OSError(str(error)) from error


# lines: a price for each unit


def _priced(rows: Table, kinds: Iterable[Mapping[str, Any]]) -> Table:
    """Return a row for each line: a unit with one of its prices, or without one if the rates name none."""
    prices = [
        {
            "rate": rate,
            "unit": unit,
            "line": line,
            "list_unit_price": EXACT.quantize(price.usd, Decimal(1).scaleb(-24)),
            "unit_price": EXACT.quantize(EXACT.divide(price.usd, Decimal(price.per)), _PLACES),
            "share": EXACT.quantize(EXACT.divide(Decimal(1), Decimal(price.per)), _PLACES),
        }
        for rate, unit in sorted({(kind["rate"], kind["unit"]) for kind in kinds})
        for line, price in enumerate(_prices_of(rate, unit))
    ]
    types = {
        "list_unit_price": pa.decimal128(38, 24),
        "unit_price": pa.decimal128(38, 18),
        "share": pa.decimal128(38, 18),
    }
    lines = rows.left_join(
        _table(prices, {"rate": pa.string(), "unit": pa.string(), "line": pa.int64(), **types}), ["rate", "unit"]
    )
    lines = lines.drop("rate_right", "unit_right").mutate(line=lines.line.fill_null(0))
    is_first = lines.line == 0  # the cost of a unit with two prices is that of both
    is_small = (lines.amount < _MAX_AMOUNT) & (lines.unit_price < _MAX_UNIT_PRICE)
    amount = ibis.ifelse(is_small, lines.amount, None).cast(_AMOUNT)
    return lines.mutate(
        usd=ibis.ifelse(is_first, lines.usd, None),
        list_usd=ibis.ifelse(is_first, lines.list_usd, None),
        expected=(amount * ibis.ifelse(is_small, lines.unit_price, None)).cast(_QUANTITY).cast(_MONEY),
        quantity=(amount * lines.share).cast(_ROUNDED).cast(_QUANTITY),
    )


def _divided(lines: Table) -> Table:
    """Return the lines with their own costs; a request whose rates do not explain its cost keeps one line."""
    request = ibis.window(group_by=lines.request)
    in_order = ibis.window(group_by=lines.request, order_by=[lines.unit, lines.line])
    lines = lines.mutate(
        request_usd=lines.usd.sum().over(request),
        request_list_usd=lines.list_usd.sum().over(request),
        expected_usd=lines.expected.sum().over(request),
        has_own=lines.usd.count().over(request) == lines.count().over(request),
        is_known=lines.expected.count().over(request) == lines.count().over(request),
        is_last=ibis.row_number().over(in_order) == lines.count().over(request) - 1,
    )
    ratio = _ratio(lines.request_usd, lines.request_list_usd)
    is_explained = _is_near(lines.expected_usd, lines.request_list_usd) & _is_near(
        _times(lines.request_list_usd, ratio), lines.request_usd
    )
    lines = lines.mutate(
        is_divided=(~lines.has_own & lines.is_known & is_explained).fill_null(False),  # noqa: FBT003  # of ibis
        divided_list_usd=ibis.ifelse(
            lines.is_last, lines.request_list_usd - (lines.expected_usd - lines.expected), lines.expected
        ),
        ratio=ratio,
    )
    lines = lines.mutate(divided_usd=_times(lines.divided_list_usd, lines.ratio))
    rest = lines.request_usd - (lines.divided_usd.sum().over(ibis.window(group_by=lines.request)) - lines.divided_usd)
    lines = lines.mutate(
        usd=ibis.ifelse(lines.is_divided, ibis.ifelse(lines.is_last, rest, lines.divided_usd), lines.usd),
        list_usd=ibis.ifelse(lines.is_divided, lines.divided_list_usd, lines.list_usd),
    )
    lines = lines.filter(lines.usd.notnull())
    has_price = lines.list_unit_price.notnull() & ((lines.list_unit_price > 0) | (lines.list_usd == 0))
    has_amount = (lines.has_own | lines.is_divided) & (lines.unit != "") & lines.amount.notnull()
    return lines.mutate(has_amount=has_amount, has_price=has_amount & has_price)


def _ratio(usd: Column, list_usd: Column) -> Column:
    """Return the part of the list price that is paid: one minus a discount, which has few digits."""
    found = (usd.cast("float64") / list_usd.cast("float64")).round(9).cast(_RATIO)
    return ibis.ifelse((usd == list_usd) | (list_usd <= 0), ibis.literal(Decimal(1)).cast(_RATIO), found)


def _times(usd: Column, ratio: Column) -> Column:
    return (usd.cast(_QUANTITY) * ratio).cast(_QUANTITY).cast(_MONEY)


def _is_near(left: Column, right: Column) -> Column:
    return (left - right).abs() <= ibis.literal(_TOLERANCE, _MONEY)  # without a type it has three places


def _prices_of(rate: str, unit: str) -> list[_Price]:
    """Return the prices of a unit in a rate's text: its own and those of add-ons, else of the unit that stands in."""
    read = (_to_price(match) for match in map(_RATE.fullmatch, rate.split("; ")) if match is not None)
    prices = [price for price in read if price is not None]
    if len(prices) == 1 or not unit:
        return prices if unit else []
    fallbacks = Unit(unit).fallbacks if unit in {known.value for known in Unit} else ()
    found = ([price for price in prices if price.unit == name] for name in (unit, *fallbacks))
    return next(filter(None, found), [])


def _to_price(match: re.Match[str]) -> _Price | None:
    """Return the price in a text, or None if it is not a price: files may have anything."""
    try:
        usd, per = Decimal(match["price"]), int(match["per"])
        if match["per_usd"]:
            usd = EXACT.divide(usd, Decimal(match["per_usd"]))
    except (ArithmeticError, ValueError):
        return None
    is_price = usd.is_finite() and 0 <= usd < _MAX_PRICE and 0 < per < _MAX_PRICE
    return _Price(match[0], usd, per, match["unit"]) if is_price else None


# columns


def _timed(lines: Table, past: PastCalls) -> Table:
    """Return the lines with their period: the second of a request or, of a record, the call."""
    calls = past.calls.select(
        "call",
        ended_at=past.calls.started_at + (past.calls.seconds.cast("float64").ceil().cast("int64").as_interval("s")),
    )
    lines = lines.left_join(calls, "call").drop("call_right")
    start = lines.used_at.truncate("s")
    is_call = lines.call == lines.trace + ":" + lines.span
    ended_at = ibis.ifelse(is_call, lines.ended_at.truncate("s"), start)
    return lines.mutate(start=start, end=ibis.greatest(ended_at, start) + ibis.interval(seconds=1))


def _described(lines: Table, kinds: Iterable[Mapping[str, Any]], accounts: Accounts) -> Table:
    """Return the lines with the texts that do not depend on amounts."""
    lines = lines.mutate(
        rate=ibis.ifelse(lines.has_price, lines.rate, ""),
        unit=ibis.ifelse(lines.has_amount, lines.unit, ""),
        line=ibis.ifelse(lines.has_price, lines.line, 0),
    )
    texts = {tuple(text[name] for name in (*_MODEL, *_LINE)): text for kind in kinds for text in _texts(kind, accounts)}
    schema = dict.fromkeys((*_MODEL, *_LINE, *_TEXTS), pa.string()) | {"line": pa.int64()}
    return lines.inner_join(_table(list(texts.values()), schema), [*_MODEL, *_LINE])


def _tagged(lines: Table, rows: Table) -> Table:
    """Return the lines with agent and revision as tags."""
    tags = _fetch(rows[["agent", "revision"]].distinct())
    tagged = [
        {"tag_agent": tag["agent"] or "", "tag_revision": tag["revision"] or "", "Tags": _tags(tag)} for tag in tags
    ]
    tags_table = _table(tagged, dict.fromkeys(("tag_agent", "tag_revision", "Tags"), pa.string()))
    return lines.mutate(tag_agent=lines.agent.fill_null(""), tag_revision=lines.revision.fill_null("")).left_join(
        tags_table, ["tag_agent", "tag_revision"]
    )


def _tags(tag: Mapping[str, str | None]) -> str | None:
    known = {name: value for name, value in tag.items() if value}
    return json.dumps(known, ensure_ascii=False) if known else None


def _texts(kind: Mapping[str, Any], accounts: Accounts) -> Iterator[dict[str, Any]]:
    """Yield the texts of each line of a model's unit, without price, and without amount."""
    prices = list(enumerate(_prices_of(kind["rate"], kind["unit"])))
    for line, price in [*prices, (0, None)]:
        yield _text(kind, kind["unit"], line, price, accounts)
    yield _text(kind, "", 0, None, accounts)


def _text(kind: Mapping[str, Any], unit: str, line: int, price: _Price | None, accounts: Accounts) -> dict[str, Any]:
    component, provider, model = kind["component"], kind["provider"], kind["model"]
    category, subcategory = _CATEGORIES.get(component, _OTHER)
    addon = kind["addon"] or ("add-on" if line else "")
    sku = "/".join(filter(None, (provider, component, model, unit, addon)))
    meter = " ".join(filter(None, (f"{unit.replace('_', ' ').title()}s" if unit else "Requests", addon)))
    pricing_unit = _WHOLE if price is None else _pricing_unit(price)
    cost = "cost as recorded" if price is None else f"{price.usd.normalize(EXACT):f} USD per {_singular(pricing_unit)}"
    return {
        **{name: kind[name] for name in _MODEL},
        "rate": kind["rate"] if price else "",
        "unit": unit,
        "line": line,
        "BillingAccountId": accounts.id_of(provider),
        "BillingAccountName": accounts.name_of(provider),
        "ChargeDescription": f"{component} {provider}/{model}, {meter}: {cost}",
        "ConsumedUnit": _counted(unit) if unit else _WHOLE,
        "PricingUnit": pricing_unit,
        "PublisherName": model.split("/")[0] if model.count("/") == 1 else provider,
        "ServiceCategory": category,
        "ServiceSubcategory": subcategory,
        "SkuId": sku,
        "SkuMeter": meter,
        "SkuPriceId": "/".join(filter(None, (sku, kind["mode"]))),
    }


def _counted(unit: str) -> str:
    """Return a unit as FOCUS names it; a unit of a newer release, in capitals."""
    return _COUNTED.get(unit.rsplit("_", 1)[-1], f"{unit.replace('_', ' ').title()}s")


def _pricing_unit(price: _Price) -> str:
    counted = _counted(price.unit)
    return _PER.get((price.per, counted), counted if price.per == 1 else f"{price.per} {counted}")


def _singular(unit: str) -> str:
    return unit if unit[0].isdigit() else unit.removesuffix("s")


def _columns(lines: Table) -> Table:
    """Return the columns of FOCUS and this package's."""
    one = ibis.literal(Decimal(1)).cast(_QUANTITY)
    is_stated = _is_near(lines.expected, lines.list_usd).fill_null(False)  # noqa: FBT003  # else a minimum or a tier
    stated = (lines.list_usd.cast("float64") / lines.list_unit_price.cast("float64")).round(12).cast(_QUANTITY)
    list_unit_price = ibis.ifelse(lines.has_price, lines.list_unit_price, lines.list_usd)
    unit_price = ibis.ifelse(
        lines.usd == lines.list_usd, list_unit_price, _times(list_unit_price, _ratio(lines.usd, lines.list_usd))
    )
    nothing = ibis.null(str)
    return lines.select(
        BilledCost=lines.usd,
        BillingAccountId=lines.BillingAccountId,
        BillingAccountName=lines.BillingAccountName,
        BillingCurrency=ibis.literal("USD"),
        BillingPeriodEnd=lines.start.truncate("M") + ibis.interval(months=1),
        BillingPeriodStart=lines.start.truncate("M"),
        ChargeCategory=ibis.literal("Usage"),
        ChargeClass=nothing,
        ChargeDescription=lines.ChargeDescription,
        ChargeFrequency=ibis.literal("Usage-Based"),
        ChargePeriodEnd=lines.end,
        ChargePeriodStart=lines.start,
        CommitmentDiscountStatus=nothing,
        ConsumedQuantity=ibis.ifelse(lines.has_amount, lines.amount.cast(_QUANTITY), one),
        ConsumedUnit=lines.ConsumedUnit,
        ContractedCost=lines.usd,
        ContractedUnitPrice=unit_price,
        EffectiveCost=lines.usd,
        InvoiceId=nothing,
        InvoiceIssuerName=lines.provider,
        ListCost=lines.list_usd,
        ListUnitPrice=list_unit_price,
        PricingCategory=ibis.literal("Standard"),
        PricingCurrency=ibis.literal("USD"),
        PricingCurrencyContractedUnitPrice=unit_price,
        PricingCurrencyEffectiveCost=lines.usd,
        PricingCurrencyListUnitPrice=list_unit_price,
        PricingQuantity=ibis.ifelse(lines.has_price, ibis.ifelse(is_stated, lines.quantity, stated), one),
        PricingUnit=lines.PricingUnit,
        ProviderName=lines.provider,
        PublisherName=lines.PublisherName,
        ServiceCategory=lines.ServiceCategory,
        ServiceName=lines.model,
        ServiceSubcategory=lines.ServiceSubcategory,
        SkuId=lines.SkuId,
        SkuMeter=lines.SkuMeter,
        SkuPriceDetails=nothing,
        SkuPriceId=lines.SkuPriceId,
        Tags=lines.Tags,
        x_Component=lines.component,
        x_Estimated=lines.estimated.fill_null(False),  # noqa: FBT003
        x_RateSource=lines.rate_source,
        x_SessionId=lines.session,
        x_TraceId=lines.trace,
        x_SpanId=lines.span,
    )


def _daily(charges: Table) -> Table:
    """Return the charges added up by day and by everything but the call."""
    day = charges.ChargePeriodStart.truncate("D")
    charges = charges.mutate(ChargePeriodStart=day, ChargePeriodEnd=day + ibis.interval(days=1)).drop(*_OF_CALL)
    names = charges.columns
    grouped = charges.group_by([name for name in names if name not in _SUMS]).agg(
        **{name: charges[name].sum() for name in _SUMS}
    )
    return grouped[list(names)]


def _as_text(rows: Table) -> Table:
    """Return the columns as the text of CSV: times with a Z, and numbers without further zeros, but with a point."""
    made = {}
    for name, kind in rows.schema().items():
        if kind.is_timestamp():
            made[name] = rows[name].strftime("%Y-%m-%dT%H:%M:%SZ")
        elif kind.is_decimal():
            made[name] = rows[name].cast("string").re_replace(r"(\.\d+?)0+$", r"\1")
    return rows.mutate(**made)


def _unpriced(rows: Table) -> tuple[Unpriced, ...]:
    """Return the usage without a price, by model and reason."""
    without = rows.filter(rows.unpriced.notnull())
    grouped = without.group_by([without.component, without.provider, without.model, without.unpriced]).agg(
        call_count=without.call.nunique()
    )
    ordered = grouped.rename(reason="unpriced").order_by(["component", "provider", "model", "reason"])
    return tuple(Unpriced(**row) for row in _fetch(ordered))


def _table(rows: list[dict[str, Any]], types: Mapping[str, pa.DataType]) -> Table:
    return ibis.memtable(pa.Table.from_pylist(rows, pa.schema(list(types.items()))))


def _fetch(table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pyarrow().to_pylist()
    return found
