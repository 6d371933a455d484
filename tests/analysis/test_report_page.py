"""The report as a page: the amounts of the report, text from files as text, nothing from elsewhere."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest

pytest.importorskip("altair", reason="the extra `analysis` is not installed")

from otel_voice_cost.analysis.reading import read_calls
from otel_voice_cost.analysis.report import report_calls
from otel_voice_cost.build import sources
from otel_voice_cost.cli.past_calls import dollars
from otel_voice_cost.cli.report_page import render

from ..cli.test_commands import run
from .test_report import TRICKY, charge, record

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "';background:url(https://example.com)//",
    "</style></svg></title><b>",
    "&lt;b&gt;",
    "{{ 7 * 7 }}",
)
UNPRINTABLE = "\u202elived\x1b"  # would be shown from right to left
TAGS_THAT_LOAD = {
    "audio",
    "base",
    "embed",
    "form",
    "iframe",
    "img",
    "image",
    "link",
    "object",
    "script",
    "use",
    "video",
}
ATTRIBUTES_THAT_LOAD = {"action", "background", "data", "poster", "src", "srcset", "xlink:href"}


class Page(HTMLParser):
    """The elements of a page: tags with attributes, texts of cells by table, titles of bars."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.tables, self.titles, self.text = html, [], [], [], ""
        self._open = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "wbr"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "title":
            self.titles.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag  # well-formed, whatever the names are

    def handle_data(self, data):
        self.text += data
        if "title" in self._open:
            self.titles[-1] += data
        elif {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def rows(self, heading):
        """The rows of the table whose first heading this is, without the headings."""
        (table,) = [table for table in self.tables if table[0][0] == heading]
        return [[cell.strip() for cell in row] for row in table[1:]]


def make_page(folder, records):
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    report = report_calls(read_calls([path], sources()))
    return report, Page(render(report))


@pytest.fixture
def page_of(tmp_path):
    """Make the page of calls that are given as records."""
    return lambda *records: make_page(tmp_path, records)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    """A page of calls whose names are pieces of HTML."""
    records = []
    for number, name in enumerate(HOSTILE, 1):
        unreported = {"ProviderName": name, "ServiceName": name, "x_Component": name, "x_Reason": name}
        charges = [
            charge(name, name, name, Decimal(number) / 10),
            charge(name, name, name + "2", None, x_Unpriced="no rate for " + name),
            charge(UNPRINTABLE, UNPRINTABLE, UNPRINTABLE, "0.01"),
        ]
        fields = {"x_SessionId": name, "x_AgentName": name, "x_Revision": name, "x_Unreported": [unreported]}
        records.append(record(number, charges, day=number, **fields))
    return make_page(tmp_path_factory.mktemp("hostile"), records)[1]


def test_text_from_files_stays_text(hostile_page):

    assert {tag for tag, _ in hostile_page.tags} & {"b", "img", "script"} == set()
    assert not any(name.startswith("on") for _, attributes in hostile_page.tags for name in attributes)
    for name in HOSTILE:
        for heading in ("component", "agent", "revision"):
            assert name in [row[0] for row in hostile_page.rows(heading)]
        assert any(title.startswith("2026-11-0") and f", {name}: " in title for title in hostile_page.titles)
        assert any(row[0].startswith(name) and name in row[-1] for row in hostile_page.rows("call"))


def test_characters_that_are_not_printable_are_replaced(hostile_page):
    assert not {"\u202e", "\x1b"} & set(hostile_page.html)
    assert "?lived?" in [row[0] for row in hostile_page.rows("component")]
    assert any(", ?lived?: " in title for title in hostile_page.titles)


def test_style_attributes_have_numbers_and_own_colors_alone(hostile_page):
    styles = {attributes["style"] for _, attributes in hostile_page.tags if "style" in attributes}

    allowed = re.compile(r"(--length: [\d.]+%; )?--color: var\(--[a-z]+\)")
    assert [style for style in styles if not allowed.fullmatch(style)] == []
    assert len(styles) > 3


def test_the_page_needs_nothing_from_elsewhere(hostile_page):
    (style,) = re.findall(r"<style>(.*?)</style>", hostile_page.html, re.DOTALL)

    assert {tag for tag, _ in hostile_page.tags} & TAGS_THAT_LOAD == set()
    assert not any(ATTRIBUTES_THAT_LOAD & set(attributes) for _, attributes in hostile_page.tags)
    assert all(attributes["href"].startswith("#") for tag, attributes in hostile_page.tags if "href" in attributes)
    assert not re.search(r"url\(|@import|https?:", style)
    policies = [attributes["content"] for _, attributes in hostile_page.tags if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_page_has_the_amounts_of_the_report(page_of):
    words, speech = charge("llm", "openai", "gpt", "0.5"), charge("tts", "cartesia", "sonic-3", TRICKY)
    report, page = page_of(
        record(1, [words, speech]), record(2, [words], day=2), record(3, [speech], day=2, x_AgentName="sales")
    )

    assert f"{dollars(report.usd)} US dollars" in page.text
    assert page.rows("component") == [["llm", "1.0000", "97.6", "2"], ["tts", "0.0247", "2.4", "2"]]
    assert page.rows("model") == [["openai/gpt", "1.0000", "97.6", "2"], ["cartesia/sonic-3", "0.0247", "2.4", "2"]]
    assert page.rows("agent") == [
        ["desk", "1.0123", "98.8", "2", "0.5000"],
        ["sales", "0.0123", "1.2", "1", "0.0123"],
    ]
    assert page.rows("day") == [
        ["2026-11-01", "0.5123", "0.5000", "0.0123", "1"],
        ["2026-11-02", "0.5123", "0.5000", "0.0123", "2"],
        ["all", "1.0247", "1.0000", "0.0247", "3"],
    ]


def test_real_calls_cost_the_same_on_the_page(recorded):
    report = report_calls(read_calls([recorded.span_file], sources()))
    page = Page(render(report))

    assert page.rows("day")[-1][1] == dollars(recorded.usd)
    assert [row[0] for row in page.rows("call")] == [
        f"{call.session}{call.started_at:%Y-%m-%d %H:%M}, {call.agent}" for call in report.calls
    ]


@pytest.mark.parametrize(
    ("step", "unit", "bars"), [(1, "day", 40), (9, "week", 40), (60, "month", 40)], ids=["day", "week", "month"]
)
def test_bars_are_days_weeks_or_months_and_lose_nothing(page_of, step, unit, bars):
    """40 calls, each in a bar of its own, from a Thursday on."""
    days = [date(2026, 1, 1) + timedelta(days=step * number) for number in range(40)]
    words = [[charge("llm", "openai", "gpt", Decimal(number) / 100)] for number in range(1, 41)]
    report, page = page_of(
        *[record(n, words[n], ChargePeriodStart=f"{day}T12:00:00Z", seconds=0) for n, day in enumerate(days)]
    )
    titles = [title for title in dict.fromkeys(page.titles) if "llm: " in title]

    assert f"US dollars a {unit}, by component." in page.text
    assert sum(Decimal(title.split(": ")[1]) for title in titles) == report.usd
    assert len(titles) == bars
    assert titles[0].startswith({"week": "2025-12-29"}.get(unit, "2026-01-01"))


def test_components_after_the_seventh_are_one_layer(page_of):
    charges = [charge(f"part {n}", "vendor", "model", Decimal(n)) for n in range(1, 11)]
    _, page = page_of(record(1, charges), record(2, charges, day=2))

    assert {"2026-11-01, others: 6.0000", "2026-11-01, part 4: 4.0000"} <= set(page.titles)
    assert "2026-11-01, part 3: 3.0000" not in page.titles


def test_estimates_and_what_is_not_in_the_total_stand_apart(page_of):
    part = {"ProviderName": "cartesia", "ServiceName": "sonic", "x_Component": "tts", "x_Reason": "cut off"}
    charges = [
        charge("stt", "vendor", "ears", "0.5", x_Estimated=True),
        charge("llm", "nobody", "new", None, x_Unpriced="no llm rate for nobody/new"),
    ]
    _, page = page_of(record(1, charges, x_Unreported=[part | {"x_LikelyCost": "0.25"}]))

    assert "0.5000 of it estimated" in page.text
    assert page.rows("component") == [["stt", "0.5000", "100.0", "0.5000", "1"], ["llm", "no price", "", "", "1"]]
    unreported, unpriced = [table[1:] for table in page.tables if table[0][0] == "usage"]
    assert unreported == [["tts cartesia/sonic", "cut off", "0.2500", "1"]]
    assert unpriced == [["llm nobody/new", "no llm rate for nobody/new", "1"]]
    assert "work that nobody reported, likely 0.2500." in page.text


def test_a_page_of_calls_without_any_price(page_of):
    charges = [charge("llm", "nobody", "new", None, x_Unpriced="no llm rate for nobody/new")]
    _, page = page_of(record(1, charges, seconds=0), record(2, charges, seconds=0, day=2))

    assert page.rows("component") == [["llm", "no price", "", "2"]]
    assert "svg" not in {tag for tag, _ in page.tags}


def test_a_page_of_calls_without_usage(page_of):
    _, page = page_of(record(1, []))

    assert page.rows("day") == [["all", "no price", "1"]]


def test_charts_are_hidden_from_screen_readers_and_tables_have_headings(hostile_page):
    drawings = [attributes for tag, attributes in hostile_page.tags if tag == "svg"]

    assert len(drawings) == 6
    assert {attributes["aria-hidden"] for attributes in drawings} == {"true"}
    assert {attributes["scope"] for tag, attributes in hostile_page.tags if tag == "th"} == {"col", "row"}


def test_no_two_elements_share_an_id(hostile_page):
    """A chart that refers to an element of a hidden one would not be drawn."""
    ids = [attributes["id"] for _, attributes in hostile_page.tags if "id" in attributes]

    assert sorted(ids) == ["unpriced", "unreported"]


# the command


def test_the_command_writes_the_page_and_prints_the_report(recorded, tmp_path):
    path = tmp_path / "report.html"
    result = run("report", str(recorded.record_file), "--html", str(path))

    assert result.output == run("report", str(recorded.record_file)).output
    assert Page(path.read_text(encoding="utf-8")).titles[0].startswith("Cost of 3 calls, 20")


def test_lines_that_were_skipped_are_on_the_page(recorded, tmp_path):
    with recorded.record_file.open("a") as file:
        file.write("{broken\n")
    path = tmp_path / "report.html"
    run("report", str(recorded.record_file), "--html", str(path))

    assert "Lines that could not be read, and are not counted: 1." in path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_an_error(recorded, tmp_path):
    result = run("report", str(recorded.record_file), "--html", str(tmp_path / "none" / "report.html"))

    assert result.exit_code == 2
    assert "report.html" in result.stderr
    assert "a file that can be written" in result.stderr
