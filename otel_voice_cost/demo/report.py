"""Tables of the received spans and of the cost of the call, without this package and with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.table import Table

from ..bill import SessionCost
from ..cost import exact_sum, to_text
from ..prices.texts import amount_text, price_text, unit_text
from ..usage import Component, Unit
from .receiver import ReceivedSpan

__all__ = ["LIVEKIT", "PIPECAT", "Meter", "SpanNames", "print_bill", "print_meters", "print_report"]

_QUANTITY = "voice_cost.quantity."
_DOLLAR_PRICE = re.compile(r"(?P<usd>[\d.]+) USD per (?P<per>\d+) (?P<unit>\w+)")
_COST_KEYS = ("gen_ai.usage.cost", "langfuse.observation.cost_details", "llm.cost.total")  # that backends read
_TOKENS = "gen_ai.usage.input_tokens"
_EXPLAINED = ("voice_cost.", "gen_ai.usage.cost", "langfuse.observation.")
_PADDING = (0, 1, 0, 0)  # so that the tables fit 80 columns

Attributes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SpanNames:
    """Names of a framework's spans.

    Attributes:
        session: The span of the call.
        turns: Spans of a turn, in any release.
        user_turn: A span of the caller, which the turn that begins next answers; None if it is inside its turn.
    """

    session: str
    turns: tuple[str, ...]
    user_turn: str | None = None


LIVEKIT = SpanNames(session="agent_session", turns=("agent_turn", "assistant_turn"), user_turn="user_turn")
PIPECAT = SpanNames(session="conversation", turns=("turn",))


class Meter(Protocol):
    """A component that counts what it was asked to do."""

    component: Component
    provider: str
    model: str

    @property
    def metered(self) -> Mapping[Unit, Decimal]:
        """Amounts by unit."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    turn: str
    component: str
    model: str
    quantity: str
    rate: str
    usd: Decimal
    span: ReceivedSpan


_ZERO = Decimal(0)


def print_report(
    spans: list[ReceivedSpan],
    untouched: Mapping[bytes, Attributes],
    record: SessionCost,
    console: Console,
    names: SpanNames = LIVEKIT,
) -> bool:
    """Print the bill of a call; return True if spans, the session's total and the record agree.

    Nothing that is printed depends on the clock, so that every run prints the same.

    Args:
        spans: As received.
        untouched: Attributes of the same spans before this package, by span id.
        record: Of the call.
        console: Printed on.
        names: Names of the framework's spans.
    """
    lines = _lines(spans, names)
    _print_turns(lines, console)
    _explain(max(lines, key=lambda line: line.usd).span, console)
    return print_bill(spans, untouched, record, console, names)


def print_bill(
    spans: list[ReceivedSpan],
    untouched: Mapping[bytes, Attributes],
    record: SessionCost,
    console: Console,
    names: SpanNames = LIVEKIT,
) -> bool:
    """Print the last part of the report, for the same arguments and with the same result."""
    lines = _lines(spans, names)
    _print_parts(lines, untouched, record, console)
    session = next(span for span in spans if span.name == names.session)
    return _print_totals(session, lines, record, console)


def _print_turns(lines: list[_Line], console: Console) -> None:
    table = Table(title="The cost on each span, turn by turn", box=box.SIMPLE, padding=_PADDING)
    for heading in ("turn", "part", "model", "quantity", "rate"):
        table.add_column(heading, no_wrap=True)
    table.add_column("US dollars", justify="right", no_wrap=True)
    turn = None
    for line in lines:
        table.add_row(
            line.turn if line.turn != turn else "",
            line.component,
            line.model,
            line.quantity,
            line.rate,
            to_text(line.usd),
        )
        turn = line.turn
    console.print(table)


def _lines(spans: list[ReceivedSpan], names: SpanNames) -> list[_Line]:
    by_id = {span.span_id: span for span in spans}
    turns = sorted((s for s in spans if s.name in names.turns), key=lambda s: s.start_ns)
    numbers = {span.span_id: str(number) for number, span in enumerate(turns, start=1)}

    def get_turn(span: ReceivedSpan) -> str:
        if span.name == names.user_turn:
            return next((numbers[t.span_id] for t in turns if t.start_ns >= span.end_ns), "end")
        above: ReceivedSpan | None = span
        while above is not None and above.span_id not in numbers:
            above = by_id.get(above.parent_id)
        return numbers[above.span_id] if above else "end"

    lines = [
        _Line(
            turn=get_turn(span),
            component=span.attributes["voice_cost.component"],
            model=_model(span),
            quantity="\n".join(_quantities(span)),
            rate="\n".join(_rates(span, with_unit=False)),
            usd=Decimal(span.attributes["voice_cost.usd"]),
            span=span,
        )
        for span in spans
        if "voice_cost.usd" in span.attributes
    ]
    return sorted(lines, key=lambda line: (line.turn == "end", line.turn.zfill(4), line.span.start_ns))


def _model(span: ReceivedSpan) -> str:
    return str(span.attributes.get("gen_ai.response.model") or span.attributes["gen_ai.request.model"])


def _quantities(span: ReceivedSpan) -> Iterable[str]:
    for key, amount in span.attributes.items():
        if key.startswith(_QUANTITY):
            yield amount_text(Decimal(str(amount)), Unit(key.removeprefix(_QUANTITY)))


def _rates(span: ReceivedSpan, *, with_unit: bool) -> Iterable[str]:
    """Yield rates as people write them, but those in other currencies as they are."""
    for rate in span.attributes["voice_cost.rate"].split("; "):
        price = _DOLLAR_PRICE.fullmatch(rate)
        if price is None:
            yield rate
        else:
            yield price_text(Decimal(price["usd"]), int(price["per"]), Unit(price["unit"]), with_unit=with_unit)


def _explain(span: ReceivedSpan, console: Console) -> None:
    """Print the quantities, the rates and the attributes of a span."""
    console.print(f"The most expensive of them, on the span {span.name}:")
    how = f"{', '.join(_quantities(span))} at {', '.join(_rates(span, with_unit=True))}"
    console.print(f"  {how}: ${span.attributes['voice_cost.usd']}", highlight=False)
    attributes = Table.grid(padding=(0, 1))
    for key, value in sorted(span.attributes.items()):
        if key.startswith(_EXPLAINED):
            attributes.add_row(f"  {key}", str(value))
    console.print(attributes)
    console.print()


def _print_parts(
    lines: list[_Line], untouched: Mapping[bytes, Attributes], record: SessionCost, console: Console
) -> None:
    title = "The bill of the call, without this package and with it"
    table = Table(title=title, box=box.SIMPLE, padding=_PADDING, show_footer=True)
    before = {line.component: list[Attributes]() for line in lines}
    for line in lines:
        before[line.component].append(untouched[line.span.span_id])
    has_cost = any(key in attributes for spans in before.values() for attributes in spans for key in _COST_KEYS)
    table.add_column("part", "total", no_wrap=True)
    table.add_column("model", no_wrap=True)
    table.add_column("quantity", no_wrap=True)
    columns = (("without", "a cost" if has_cost else "no cost", "red"), ("with", f"${to_text(record.usd)}", "green"))
    for heading, total, color in columns:
        table.add_column(heading, total, justify="right", no_wrap=True, style=color, footer_style=color)
    for part in record.parts:
        component = part.component.value
        quantities = "\n".join(amount_text(amount, unit) for unit, amount in part.quantities.items())
        usd = "unknown" if part.unpriced_count and not part.usd else f"${to_text(part.usd)}"
        table.add_row(component, part.model, quantities, _money_facts(before.get(component, [])), usd)
    console.print(table)
    console.print("Without it, Langfuse prices tokens by its own list and shows $0 for speech.", highlight=False)
    console.print()


def _money_facts(spans: list[Attributes]) -> str:
    """Return what spans say of money: a cost, tokens alone, which a backend may price, or nothing."""
    if any(key in attributes for attributes in spans for key in _COST_KEYS):
        return "a cost"
    return "only tokens" if any(attributes.get(_TOKENS) for attributes in spans) else "no cost"


def _print_totals(session: ReceivedSpan, lines: list[_Line], record: SessionCost, console: Console) -> bool:
    total = Decimal(session.attributes["voice_cost.session.usd"])
    lines_total = exact_sum(line.usd for line in lines)
    figures = Table.grid(padding=(0, 3))
    figures.add_row(f"The {len(lines)} costs add up to", f"${to_text(lines_total)}")
    figures.add_row(f"{session.name} says", f"${to_text(total)}")
    for part in record.unreported:
        estimate = "no estimate" if part.usd is None else f"${to_text(part.usd)}, estimated"
        figures.add_row(f"Not reported: {part.request_count} {part.component.value}, {part.reason}", estimate)
    if record.unreported:
        figures.add_row("With what was not reported", f"${to_text(record.usd_with_unreported)}")
    console.print(figures)
    return total == lines_total == record.usd


def print_meters(meters: Iterable[Meter], record: SessionCost, console: Console) -> bool:
    """Print what the components were asked to do and what was billed; return True if it is the same."""
    asked = {
        (meter.component, meter.provider.lower(), meter.model, unit): amount
        for meter in meters
        for unit, amount in meter.metered.items()
    }
    billed = {
        (part.component, part.provider, part.model, unit): amount
        for part in record.parts
        for unit, amount in part.quantities.items()
    }
    table = Table(title="What the components were asked to do, and the bill", box=box.SIMPLE, padding=_PADDING)
    for heading in ("component", "model", "unit"):
        table.add_column(heading, no_wrap=True)
    for heading in ("asked", "billed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for key in sorted({**asked, **billed}):
        component, _, model, unit = key
        table.add_row(
            component.value, model, unit_text(unit, 0), to_text(asked.get(key, _ZERO)), to_text(billed.get(key, _ZERO))
        )
    console.print(table)
    return asked == billed
