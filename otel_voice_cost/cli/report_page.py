"""A report as one HTML file, without scripts and without references to other files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from . import report_texts as texts
from .past_calls import dollars, printable
from .report_charts import Chart, band_text, color, draw_days, draw_per_minute

if TYPE_CHECKING:
    from ..analysis.findings import Report, Share

__all__ = ["render"]


def render(report: Report, skipped: int = 0) -> str:
    """Return a report as a page of HTML.

    Every text from files is escaped. The page forbids itself scripts and connections.

    Args:
        report: The report.
        skipped: Number of lines of the files that could not be read.
    """
    components = [share.name for share in report.by_component]
    page: str = _template().render(
        report=report,
        skipped=skipped,
        groups=[(name, getattr(report, f"by_{name}")) for name in texts.GROUPS[1:]],
        components=components,
        day_rows=_day_rows(report, components),
        days_chart=draw_days(report.by_day_and_component, components),
        per_minute_chart=_per_minute_chart(report),
        version=version("otel-voice-cost"),
    )
    return page


def _per_minute_chart(report: Report) -> Chart | None:
    if report.median_usd_per_minute is None or report.p95_usd_per_minute is None:
        return None
    return draw_per_minute(report.per_minute, report.median_usd_per_minute, report.p95_usd_per_minute)


@dataclass(frozen=True, slots=True)
class _DayRow:
    """A day of the table: its share, and the cost of each component."""

    share: Share
    parts: list[Decimal | None]


def _day_rows(report: Report, components: Sequence[str | None]) -> list[_DayRow]:
    costs = {(part.day.isoformat(), part.component): part.usd for part in report.by_day_and_component}
    return [_DayRow(share, [costs.get((share.name or "", name)) for name in components]) for share in report.by_day]


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader(__package__, "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # not Markup, which is escaped
    )
    environment.filters |= {"dollars": dollars, "breakable": _breakable}
    environment.globals |= {"texts": texts, "color": color, "band_text": band_text, "part_of": _part_of}
    return environment.get_template("report.html")


def _breakable(text: str) -> Markup:
    """Return a text, escaped, that a narrow column may break after a slash, a hyphen or an underscore."""
    return Markup("<wbr>").join(re.split("(?<=[/_-])", printable(text)))


def _part_of(usd: Decimal | None, most: Decimal | None) -> str:
    """Return the length of a bar as a percentage of the longest."""
    return f"{float(usd / most) * 100:.2f}%" if usd and most else "0%"
