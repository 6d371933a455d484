"""A price file is external data of any size and shape; at most its own prices are lost."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from otel_voice_cost import PriceCatalog, PriceError
from otel_voice_cost.prices.files import read_sheet
from otel_voice_cost.prices.price_sheet import parse_sheet

RATE = """
[[rate]]
provider = "cartesia"
model = "sonic-3"
component = "tts"
unit = "character"
usd = {usd}
per = {per}
"""


def test_a_file_of_more_than_four_megabytes_is_not_read(tmp_path):
    path = tmp_path / "large.toml"
    path.write_text("# " + "x" * 4_000_000)

    (problem,) = read_sheet(path).problems

    assert str(problem) == f"{path}: got a larger file, expected 4 MB at most"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_bytes(codecs.BOM_UTF8 + RATE.format(usd=1, per=1).encode())

    assert next(PriceCatalog.load(path).rates()).usd == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_reported(tmp_path, encoding):
    path = tmp_path / "prices.toml"
    path.write_text("# für\n", encoding=encoding)

    (problem,) = read_sheet(path).problems

    assert str(problem) == f"{path}: got UnicodeDecodeError, expected a readable file in UTF-8"


@pytest.mark.parametrize("path", ["a\0b", "x" * 5_000])
def test_an_invalid_path_is_a_problem(path):
    (problem,) = read_sheet(Path(path)).problems

    assert problem.expected == "a readable file in UTF-8"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_or_device_is_not_read(tmp_path):
    pipe = tmp_path / "prices.toml"
    os.mkfifo(pipe)

    for path in (pipe, "/dev/zero", tmp_path):
        with pytest.raises(PriceError, match="got no regular file, expected a readable file in UTF-8"):
            PriceCatalog.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "got no TOML"),
        ('{"a":' + "[" * 100_000, "got no JSON"),
        (RATE.format(usd="1e999999", per=1), "usd: got "),
        (RATE.format(usd="0." + "1" * 90, per=1), "usd: got "),
        (RATE.format(usd="inf", per=1), "usd: got "),
        (RATE.format(usd="1", per="9" * 30), "per: got 999"),
        (RATE.format(usd="1", per="9" * 9_000), "got no TOML"),
        ('{"a/b": {"tts": "' + "9" * 40 + '/min"}}', "a/b.tts, usd: got "),
        ('{"a/b": {"tts": "1/' + "9" * 40 + 'M characters"}}', "a/b.tts, per: got "),
        ('{"__class__/b": {"__init__": "free"}}', "expected one of avatar"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("[[rate]]\nmodel = 2026-01-01", "rate 1 (2026-01-01), provider: got nothing"),
        ('{"name": {"a/b": "\\ud800"}}', "expected provider/model = "),
        ('{"a/b": {"tts": "1/' + "9" * 9_000 + ' characters"}}', "expected a whole number of units above zero"),
        (RATE.format(usd="1e" + "9" * 20, per=1), "got a number out of range"),
        (".".join("a" * 100_000) + " = 1", "got a dotted key of more than 16 parts in line 1"),
        ("[" + ".".join("a" * 100_000) + "]", "got a dotted key of more than 16 parts in line 1"),
    ],
)
def test_an_invalid_price_is_reported_and_left_out(text, message):
    sheet = parse_sheet(text, "VOICE_COST_PRICES")

    assert sheet.rates == ()
    assert message in str(sheet.problems[0])
    assert len(str(sheet.problems[0])) < 500


def test_pathological_globs_are_fast():
    sheet = parse_sheet('{"cartesia/' + "*a" * 40 + 'b": {"tts": "1/character"}}', "VOICE_COST_PRICES")

    assert (
        PriceCatalog([sheet.rates]).rate_for(provider="cartesia", model="a" * 250, component="tts", unit="character")
        is None
    )


def test_a_price_file_is_never_executed():
    """TOML and JSON are read only as data."""
    sheet = parse_sheet('{"a/b": {"tts": "__import__(\\"os\\").system(\\"true\\")"}}', "VOICE_COST_PRICES")

    assert [problem.expected[:13] for problem in sheet.problems] == ["a price such "]
