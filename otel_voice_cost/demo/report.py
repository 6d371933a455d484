"""Tables of the received spans and of the cost of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table

from ..bill import SessionCost, UnreportedPart
from ..cost import to_text
from ..usage import Component, Unit
from .receiver import ReceivedSpan

__all__ = ["LIVEKIT", "PIPECAT", "Meter", "SpanNames", "print_meters", "print_report"]

_QUANTITY = "voice_cost.quantity."


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
    record: SessionCost,
    console: Console,
    names: SpanNames = LIVEKIT,
    *,
    is_real_time: bool = True,
) -> bool:
    """Print the bill of a call; return True if spans, the session's total and the record agree.

    Args:
        spans: As received.
        record: Of the call.
        console: Printed on.
        names: Names of the framework's spans.
        is_real_time: False if the call ran faster than its audio, so that its cost per minute says nothing.
    """
    lines = _lines(spans, names)
    table = Table(title="What the OTLP receiver got, turn by turn", box=box.SIMPLE)
    for heading in ("turn", "who", "model", "quantity", "rate"):
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
    _print_bill(record, console)
    session = next(span for span in spans if span.name == names.session)
    agrees = _print_totals(session, lines, record, console, is_real_time=is_real_time)
    _explain(max(lines, key=lambda line: line.usd).span, console)
    return agrees


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
            rate="\n".join(_rates(span)),
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
            yield f"{amount} {key.removeprefix(_QUANTITY)}"


def _rates(span: ReceivedSpan) -> Iterable[str]:
    """Yield rates without units, which are shown with the quantity: ``0.4 per 1M``."""
    for rate in span.attributes["voice_cost.rate"].split("; "):
        usd, _, per = rate.partition(" USD per ")
        yield f"{usd} per {per.split()[0]}".replace("000000", "M")


def _formulas(span: ReceivedSpan) -> Iterable[str]:
    """Yield ``185 character at 50 USD per 1000000 character: 0.00925 USD`` for each unit."""
    for quantity, rate in zip(_quantities(span), span.attributes["voice_cost.rate"].split("; "), strict=False):
        usd, _, per = rate.partition(" USD per ")
        cost = Decimal(quantity.split()[0]) * Decimal(usd) / int(per.split()[0])
        yield f"{quantity} at {rate}: {to_text(cost)} USD"


def _print_bill(record: SessionCost, console: Console) -> None:
    table = Table(title="The bill of the call, as its record has it", box=box.SIMPLE, show_footer=True)
    table.add_column("component")
    table.add_column("model", "total")
    table.add_column("quantity", justify="right")
    table.add_column("US dollars", to_text(record.usd), justify="right")
    for part in record.parts:
        quantities = "\n".join(f"{to_text(amount)} {unit.value}" for unit, amount in part.quantities.items())
        table.add_row(part.component.value, part.model, quantities, to_text(part.usd))
    console.print(table)


def _estimate(part: UnreportedPart) -> str:
    if part.usd is None or part.low_usd is None or part.high_usd is None:
        return "no estimate"
    return f"${to_text(part.usd)}, estimated (${to_text(part.low_usd)} to ${to_text(part.high_usd)})"


def _print_totals(
    session: ReceivedSpan, lines: list[_Line], record: SessionCost, console: Console, *, is_real_time: bool
) -> bool:
    attributes = session.attributes
    total, lines_total = Decimal(attributes["voice_cost.session.usd"]), sum((line.usd for line in lines), _ZERO)
    figures = Table.grid(padding=(0, 3))
    figures.add_row(f"The {len(lines)} lines add up to", f"${to_text(lines_total)}")
    figures.add_row(f"{session.name} says", f"${to_text(total)}")
    for part in record.unreported:
        figures.add_row(f"Not reported: {part.request_count} {part.component.value}, {part.reason}", _estimate(part))
    if record.unreported:
        figures.add_row("With what was not reported", f"${to_text(record.usd_with_unreported)}")
    if is_real_time:
        figures.add_row(
            f"A minute, of {attributes['voice_cost.session.seconds']:.1f} s",
            f"${attributes['voice_cost.session.usd_per_minute']:.6f}",
        )
    console.print(figures)
    return total == lines_total == record.usd


def _explain(span: ReceivedSpan, console: Console) -> None:
    console.print(f"\nThe most expensive line explained, span {span.name} {span.span_id.hex()}:")
    for formula in _formulas(span):
        console.print(f"  {formula}", highlight=False)
    for key, value in sorted(span.attributes.items()):
        if key.startswith(("voice_cost.", "gen_ai.usage.cost", "langfuse.observation.")):
            console.print(f"  {key} = {value!r}", highlight=False, soft_wrap=True)


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
    console.print()
    table = Table(title="What the components were asked to do, and the bill", box=box.SIMPLE)
    for heading in ("component", "model", "unit"):
        table.add_column(heading, no_wrap=True)
    for heading in ("asked", "billed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for key in sorted({**asked, **billed}):
        component, _, model, unit = key
        table.add_row(
            component.value, model, unit.value, to_text(asked.get(key, _ZERO)), to_text(billed.get(key, _ZERO))
        )
    console.print(table)
    return asked == billed
