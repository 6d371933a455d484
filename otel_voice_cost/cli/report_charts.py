"""Charts of a report as SVG without scripts: drawn by Altair, colored by the style sheet of the page.

A chart is for the eye, so its geometry is float. Amounts in words are the report's decimals.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import altair as alt

from ..cost import exact_sum
from .past_calls import dollars, printable
from .report_texts import calls

if TYPE_CHECKING:
    from ..analysis.findings import Band, DayPart

__all__ = ["Chart", "band_text", "color", "draw_days", "draw_per_minute"]

_SIZES = {"wide": (1040, 260), "medium": (660, 240), "narrow": (340, 220)}  # width and height in pixels
_PIXELS_PER_LABEL = 68
_MOST_BARS = 124  # four months of days; more bars are too thin for a telephone
_MOST_LAYERS = 8  # components in a bar; the rest is one layer
_FILLED = 0.86  # part of a bar's space
_AMOUNTS = alt.Axis(format="~f", title=None, tickCount=5)
_COUNTS = alt.Axis(format="~s", title=None, tickCount=5, tickMinStep=1)
_LABEL_MILLISECONDS = 0.43 * 86_400_000  # from the start of a bar to its label: the middle of its first day
_COLORED = ("avatar", "llm", "platform", "realtime", "stt", "telephony", "tts")  # others share a color
_SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        unit: The width of a bar: ``day``, ``week``, ``month``, or ``band``.
        sizes: SVG elements for a ``wide`` screen, a ``medium`` one or paper, and a ``narrow`` one. A page shows one.
    """

    unit: str
    sizes: dict[str, str]


def color(component: str | None) -> str:
    """Return the color of a component, a variable of the style sheet."""
    return f"var(--{component if component in _COLORED else 'other'})"


def band_text(band: Band) -> str:
    """Return the range of a band, US dollars per minute."""
    low = dollars(band.low_usd) if band.low_usd else "0"
    return f"{low} and more" if band.high_usd is None else f"{low} to {dollars(band.high_usd)}"


def draw_days(parts: Sequence[DayPart], components: Sequence[str | None]) -> Chart | None:
    """Draw the cost of each day, or of each week or month if there are many days, stacked by component.

    Args:
        parts: The cost of each component on each day.
        components: The components, from the bottom of a bar to its top.

    Returns:
        The chart, or None if there would be one bar at most.
    """
    priced = [part for part in parts if part.usd is not None]
    if len({part.day for part in priced}) < 2:
        return None
    unit, starts = _starts(min(part.day for part in priced), max(part.day for part in priced))
    bars = _stacked(priced, components, starts)
    x_scale = alt.Scale(type="utc", domain=[_milliseconds(starts[0]), _milliseconds(starts[-1])])

    def draw(width: int) -> Any:
        step = -(-len(starts) * _PIXELS_PER_LABEL // width)
        x_axis = alt.Axis(
            values=[_milliseconds(start) + _LABEL_MILLISECONDS for start in starts[:-1:step]],
            format="%b %Y" if unit == "month" else "%b %-d",
            title=None,
            grid=False,
        )
        return (
            alt.Chart(alt.InlineData(values=bars))
            .mark_bar()
            .encode(
                x=alt.X("left:T", bin="binned", scale=x_scale, axis=x_axis),
                x2="right:T",
                y=alt.Y("usd:Q", stack="zero", axis=_AMOUNTS),
                color=alt.Color("color:N", scale=None),
                order="layer:Q",
                detail="layer:N",
                description="text:N",
            )
        )

    return Chart(unit=unit, sizes=_in_each_size(draw))


def draw_per_minute(bands: Sequence[Band], median_usd: Decimal, p95_usd: Decimal) -> Chart | None:
    """Draw the number of calls in each band of the cost per minute, with the median and the 95th percentile.

    A band without a limit is drawn as wide as the others, and paler.

    Args:
        bands: The bands, in order.
        median_usd: The median, US dollars per minute.
        p95_usd: The 95th percentile.

    Returns:
        The chart, or None if there would be one bar at most.
    """
    if len(bands) < 2:
        return None
    space = float(bands[1].low_usd - bands[0].low_usd)
    low, high = float(bands[0].low_usd), float(bands[-1].low_usd) + space
    bars = [
        {
            "left": float(band.low_usd),
            "right": float(band.low_usd) + space * _FILLED,
            "calls": band.call_count,
            "opacity": 0.5 if band.high_usd is None else 1,
            "text": f"{band_text(band)}: {calls(band.call_count)}",
        }
        for band in bands
    ]
    x_scale = alt.Scale(domain=[low, high], nice=False)
    align = {usd: "left" if float(usd) < (low + high) / 2 else "right" for usd in (median_usd, p95_usd)}

    def draw(width: int) -> Any:
        x_axis = alt.Axis(tickCount=width // _PIXELS_PER_LABEL, format="~f", title=None, grid=False)
        histogram = (
            alt.Chart(alt.InlineData(values=bars))
            .mark_bar(color="var(--accent)")
            .encode(
                x=alt.X("left:Q", bin="binned", scale=x_scale, axis=x_axis),
                x2="right:Q",
                y=alt.Y("calls:Q", axis=_COUNTS),
                opacity=alt.Opacity("opacity:Q", scale=None),
                description="text:N",
            )
        )
        p50 = _line("p50", median_usd, align[median_usd], dy=-4)
        p95 = _line("p95", p95_usd, align[p95_usd], dy=-18)  # above the other, as they may be close
        return alt.layer(histogram, p50, p95)

    return Chart(unit="band", sizes=_in_each_size(draw))


def _stacked(
    parts: Sequence[DayPart], components: Sequence[str | None], starts: Sequence[date]
) -> list[dict[str, Any]]:
    """Return the cost of each component in each bar. The components after the seventh are one."""
    amounts: dict[tuple[int, int], list[Decimal]] = {}
    for part in parts:
        bar = bisect_right(starts, part.day) - 1
        layer = min(components.index(part.component), _MOST_LAYERS - 1)
        amounts.setdefault((bar, layer), []).append(part.usd or Decimal(0))
    rows = []
    for (bar, layer), each in sorted(amounts.items()):
        component = components[layer] if layer < _MOST_LAYERS - 1 else "others"
        left, right = _milliseconds(starts[bar]), _milliseconds(starts[bar + 1])
        rows.append(
            {
                "left": left,
                "right": left + (right - left) * _FILLED,
                "usd": float(exact_sum(each)),
                "layer": layer,
                "color": color(component),
                "text": printable(f"{starts[bar]}, {component or 'unknown'}: {dollars(exact_sum(each))}"),
            }
        )
    return rows


def _line(name: str, usd: Decimal, align: Any, dy: int) -> Any:
    """Return a vertical line at an amount, with its name at the top."""
    at = alt.Chart(alt.InlineData(values=[{"usd": float(usd), "text": f"{name} {dollars(usd)}"}])).encode(x="usd:Q")
    text = at.mark_text(align=align, dy=dy, baseline="bottom", color="var(--ink)", fontWeight=600)
    return alt.layer(at.mark_rule(color="var(--ink)", strokeDash=[4, 3]), text.encode(y=alt.value(0), text="text:N"))


def _starts(first: date, last: date) -> tuple[str, list[date]]:
    """Return the time of a bar, and the first day of each, and of the one after the last."""
    for unit, days in (("day", 1), ("week", 7)):
        start = first - timedelta(days=first.weekday() if unit == "week" else 0)
        count = (last - start).days // days + 1
        if count <= _MOST_BARS:
            return unit, [start + timedelta(days=days * number) for number in range(count + 1)]
    return "month", list(_months(first, last))


def _months(first: date, last: date) -> Iterator[date]:
    month = first.replace(day=1)
    yield month
    while month <= last:
        month = (month + timedelta(days=31)).replace(day=1)
        yield month


def _milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp() * 1_000)


def _in_each_size(draw: Callable[[int], Any]) -> dict[str, str]:
    """Return a chart in each size."""
    return {name: _to_svg(draw(width), width, height) for name, (width, height) in _SIZES.items()}


def _to_svg(chart: Any, width: int, height: int) -> str:
    """Return a chart as one SVG element, in which each bar has its text as a title, which browsers show."""
    styled = (
        chart.properties(width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
        .configure(background="transparent", font="system-ui, sans-serif", padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="var(--quiet)",
            labelFontSize=12,
            gridColor="var(--line)",
            domainColor="var(--line)",
            tickColor="var(--line)",
        )
    )
    drawn = io.StringIO()
    styled.save(drawn, format="svg")
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn.getvalue())  # noqa: S314  # made by Altair
    for element in root.iter():
        text = element.attrib.pop("aria-label", None)
        if text and element.attrib.get("role") == "graphics-symbol":
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = text
            element.insert(0, title)
        for name in [name for name in element.attrib if name == "role" or name.startswith("aria-")]:
            del element.attrib[name]
    root.set("aria-hidden", "true")  # the table under it says the same
    return ElementTree.tostring(root, encoding="unicode")
