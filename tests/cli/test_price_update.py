"""``voice-cost prices update``: from wheels and price files, by path and URL, as a user runs it."""

from __future__ import annotations

import json
import socket
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from otel_voice_cost import PriceCatalog, Settings, Usage
from otel_voice_cost.build import build_prices
from otel_voice_cost.cli.commands import app
from otel_voice_cost.prices.documents import read_document
from otel_voice_cost.prices.files import read_sheet
from otel_voice_cost.prices.price_sheet import parse_sheet
from otel_voice_cost.usage import Component

from .test_commands import GOOD, run

AT = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
DATA = files("otel_voice_cost.prices") / "data"
SHIPPED = {entry.name: entry.read_text() for entry in DATA.iterdir() if entry.name.endswith(".toml")}
INSTALLED = f"otel-voice-cost {version('otel-voice-cost')}"
NOVA_4 = """
[[rate]]
model = "nova-4"
component = "stt"
unit = "audio_second"
usd = 0.0060
per = 60
source = "https://deepgram.com/pricing"
checked = 2027-01-02
"""
AURA = "usd = 0.030\nper = 1000\n"
NEWER = {
    **{name: text for name, text in SHIPPED.items() if name != "hume.toml"},
    "deepgram.toml": (SHIPPED["deepgram.toml"] + NOVA_4).replace(AURA, AURA.replace("30", "25")),
    "telnyx.toml": SHIPPED["telnyx.toml"].replace("[[rate]]", "[[rate]]\n# read again", 1),
}


def wheel(path: Path, texts=NEWER, *, name="otel_voice_cost", release="0.2.0", folder="otel_voice_cost/prices/data"):
    """A wheel with price files, as pip would download it."""
    path = path / f"{name}-{release}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in texts.items():
            archive.writestr(f"{folder}/{file}", text)
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        metadata = f"Metadata-Version: 2.4\nName: {name.replace('_', '-')}\nVersion: {release}\n"
        archive.writestr(f"{name}-{release}.dist-info/METADATA", metadata)
    return path


@contextmanager
def served(pages):
    """A server with these pages, and 404 for all others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            page = pages.get(self.path.partition("?")[0])
            self.send_response(200 if page is not None else 404)
            self.end_headers()
            self.wfile.write(page or b"not here")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def entries(texts):
    """Rates and rules of price files, each counted, without the file that each was read from."""
    sheets = [parse_sheet(text, name) for name, text in texts.items()]
    return Counter(replace(entry, loaded_from="") for sheet in sheets for entry in (*sheet.rates, *sheet.rules))


def update(*arguments, answer=None, **environment):
    environment = {"COLUMNS": "80", "VOICE_COST_PRICES_FILE": None, **environment}
    return CliRunner().invoke(app, ["prices", "update", *map(str, arguments)], input=answer, env=environment)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "list-prices.toml"


def test_a_wheel_is_shown_approved_and_put_to_use_exactly(tmp_path, output):
    """The file, loaded, has every price and rule of the wheel and no other."""
    source = wheel(tmp_path)

    result = update(source, "--output", output, answer="y\n")

    assert result.exit_code == 0, result.output
    assert entries({"list-prices.toml": output.read_text()}) == entries(NEWER)
    catalog = PriceCatalog.load(output)
    assert Counter(replace(rate, loaded_from="") for rate in catalog.rates()) == Counter(
        replace(rate, loaded_from="") for text in NEWER.values() for rate in parse_sheet(text, "a").rates
    )
    assert {rate.loaded_from for rate in catalog.rates()} == {str(output)}
    assert not list(tmp_path.glob(".*"))


def test_the_difference_is_shown_with_page_and_day(tmp_path, output):
    result = update(wheel(tmp_path), "--output", output, answer="n\n")

    _, *changes, end = result.output.split("\n\n")
    assert changes == [
        "added: deepgram/nova-4 stt\n  new  $0.006/min\n  https://deepgram.com/pricing, read 2027-01-02",
        "changed: deepgram/aura-2, deepgram/aura-2-* tts\n"
        "  old  $0.03/1k characters\n"
        "  new  $0.025/1k characters\n"
        "  https://deepgram.com/pricing, read 2026-09-30",
        "removed: hume/evi* realtime\n"
        "  old  $0.06/min of session, until 2026-11-12\n"
        "  https://www.hume.ai/pricing, read 2026-09-30",
        "removed: hume/octave, hume/octave* tts\n"
        "  old  $0.15/1k characters, until 2026-11-12\n"
        "  https://www.hume.ai/pricing, read 2026-09-30",
    ]
    assert end.startswith("1 added, 2 removed, 1 changed.\n")


def test_a_no_writes_nothing(tmp_path, output):
    result = update(wheel(tmp_path), "--output", output, answer="n\n")

    assert (result.exit_code, output.exists()) == (1, False)


def test_no_answer_is_a_no(tmp_path, output):
    result = update(wheel(tmp_path), "--output", output, answer="")

    assert (result.exit_code, output.exists()) == (1, False)


@pytest.mark.parametrize(("arguments", "answer", "approved"), [(["--yes"], None, "--yes"), ([], "y\n", "answered yes")])
def test_the_file_states_its_origin_and_who_approved_it(tmp_path, output, monkeypatch, arguments, answer, approved):
    monkeypatch.setenv("LOGNAME", "anna")
    source = wheel(tmp_path)
    before = datetime.now(timezone.utc).replace(microsecond=0)

    update(source, "--output", output, *arguments, answer=answer)

    section = read_document(output.read_text(), "list-prices.toml")["list_prices"]
    assert before <= section.pop("approved_at") <= datetime.now(timezone.utc)
    assert section == {
        "source": str(source),
        "release": "otel-voice-cost 0.2.0",
        "sha256": sha256(source.read_bytes()).hexdigest(),
        "approved_by": "anna",
        "approved_with": approved,
    }


def test_json_writes_only_with_yes(tmp_path, output):
    source = wheel(tmp_path)

    dry = json.loads(update(source, "--output", output, "--json").stdout)
    assert not output.exists()
    done = json.loads(update(source, "--output", output, "--json", "--yes").stdout)

    assert (dry["written"], done["written"]) == (None, str(output))
    assert dry["changes"] == done["changes"]
    assert Counter(change["change"] for change in done["changes"]) == {"added": 1, "removed": 2, "changed": 1}
    aura = next(change for change in done["changes"] if change["change"] == "changed")
    assert [(rate["usd"], rate["per"], rate["source"]) for rate in aura["old"] + aura["new"]] == [
        ("0.03", 1000, "https://deepgram.com/pricing"),
        ("0.025", 1000, "https://deepgram.com/pricing"),
    ]


def test_a_second_update_is_compared_with_the_first(tmp_path, output):
    source = wheel(tmp_path)
    update(source, "--output", output, "--yes")

    again = update(source, "--output", output, "--yes", VOICE_COST_PRICES_FILE=str(output))

    assert f"Prices now: {output}" in again.output.replace("\n", " ")
    assert "0 added, 0 removed, 0 changed." in again.output
    assert "Nothing was written." in again.output


def test_the_variable_may_name_the_file_before_it_exists(tmp_path, output):
    result = update(wheel(tmp_path), "--output", output, "--yes", VOICE_COST_PRICES_FILE=str(output))

    assert (result.exit_code, output.exists()) == (0, True)


def test_a_page_that_was_read_again_is_worth_a_file(tmp_path, output):
    texts = {
        **SHIPPED,
        "deepgram.toml": SHIPPED["deepgram.toml"].replace("checked = 2026-09-30", "checked = 2027-01-02"),
    }

    result = update(wheel(tmp_path, texts), "--output", output, "--yes")

    assert "0 added, 0 removed, 0 changed." in result.output
    assert (
        "read 2027-01-02"
        in run(
            "price",
            "--provider",
            "deepgram",
            "--model",
            "nova-3",
            "--stt-seconds",
            "1",
            VOICE_COST_PRICES_FILE=str(output),
        ).output
    )


def test_a_vendors_file_from_a_url_replaces_that_vendor_alone(output):
    """Without a query or a password in the file: they may be secrets."""
    with served({"/deepgram.toml": NEWER["deepgram.toml"].encode()}) as host:
        result = update(f"http://{host}/deepgram.toml?token=secret-1", "--output", output, "--yes")

    assert result.exit_code == 0, result.output
    assert entries({"a": output.read_text()}) == entries({**SHIPPED, "deepgram.toml": NEWER["deepgram.toml"]})
    assert f'source = "http://{host}/deepgram.toml"' in output.read_text()
    assert "secret-1" not in output.read_text() + result.output


def test_a_wheel_from_a_url(tmp_path, output):
    with served({"/w.whl": wheel(tmp_path).read_bytes()}) as host:
        update(f"http://{host}/w.whl", "--output", output, "--yes")

    assert entries({"a": output.read_text()}) == entries(NEWER)


def test_an_approved_file_is_taken_as_a_whole(tmp_path, output):
    """A colleague's: its vendors, and no others."""
    update(wheel(tmp_path), "--output", output, "--yes")

    update(output, "--output", tmp_path / "mine.toml", "--yes")

    assert entries({"a": (tmp_path / "mine.toml").read_text()}) == entries(NEWER)


def test_a_json_file_in_the_short_form(tmp_path, output):
    """With nulls, which TOML lacks, and an exchange rate other than that of the vendor it replaces."""
    source = tmp_path / "sarvam.json"
    source.write_text(
        json.dumps(
            {
                "currency": {"INR": 90.0},
                "sarvam/bulbul:v3": {"tts": "30 INR/10k characters"},
                "rate": [
                    {
                        "provider": "sarvam",
                        "model": "saaras:v3",
                        "component": "stt",
                        "unit": "audio_second",
                        "price": 30,
                        "currency": "INR",
                        "per": 3600,
                        "until": None,
                    }
                ],
            }
        )
    )

    result = update(source, "--output", output, "--yes")

    assert result.exit_code == 0, result.output
    sarvam = [rate for rate in PriceCatalog.load(output).rates() if rate.provider == "sarvam"]
    assert {(rate.model, str(rate)) for rate in sarvam} == {
        (("bulbul:v3",), "30 INR per 10000 character at 90.0 INR per USD"),
        (("saaras:v3",), "30 INR per 3600 audio_second at 90.0 INR per USD"),
    }
    others = {name: text for name, text in SHIPPED.items() if name != "sarvam.toml"}
    assert entries(others) <= entries({"a": output.read_text()})


def test_discounts_apply_to_updated_list_prices_and_own_prices_win(tmp_path, output):
    update(wheel(tmp_path), "--output", output, "--yes")
    own = tmp_path / "own.toml"
    own.write_text('"deepgram/nova-4".stt = "0.0010/min"\n[discount]\ndeepgram = "50%"\n')
    arguments = ("price", "--provider", "deepgram", "--json", "--on", "2026-11-26")

    for order in ([own, output], [output, own]):
        variable = ":".join(map(str, order))
        aura = run(*arguments, "--model", "aura-2", "--tts-characters", "1000", VOICE_COST_PRICES_FILE=variable)
        nova = run(*arguments, "--model", "nova-4", "--stt-seconds", "60", VOICE_COST_PRICES_FILE=variable)
        assert json.loads(aura.output)["usd"] == "0.0125"
        assert json.loads(nova.output)["usd"] == "0.001"


def test_a_removed_price_is_gone_and_avatars_are_not_charged_to_every_session(tmp_path, output):
    texts = {name: text for name, text in NEWER.items() if name != "cartesia.toml"}
    update(wheel(tmp_path, texts), "--output", output, "--yes")

    prices = build_prices(Settings(prices_file=str(output)))

    assert (prices.charges, prices.problems) == ((), [])
    usage = Usage(component=Component.TTS, provider="cartesia", model="sonic-3", at=AT)
    assert prices.catalog.card_for(usage) is None
    assert prices.catalog.rule_for(usage).failed == "unknown"
    assert PriceCatalog.default().rule_for(usage).failed == "free"


def test_a_file_of_ones_own_is_not_written_over(tmp_path):
    own = tmp_path / "prices.toml"
    own.write_text(GOOD)

    result = update(wheel(tmp_path), "--output", own, "--yes")

    assert (result.exit_code, own.read_text()) == (2, GOOD)
    assert "got a file that this command did not write, expected another --output" in result.stderr


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    result = update(wheel(tmp_path), "--output", tmp_path / "missing" / "a.toml", "--yes")

    assert result.exit_code == 2
    assert "FileNotFoundError, expected a file that can be written" in result.stderr


def damaged(path):
    source = wheel(path)
    data = bytearray(source.read_bytes())
    data[40:400] = bytes(360)
    source.write_bytes(data)
    return source


def written(name, data):
    def make(path):
        (path / name).write_bytes(data)
        return path / name

    return make


def archive_of_text(path):
    with zipfile.ZipFile(path / "a.zip", "w") as archive:
        archive.writestr("deepgram.toml", SHIPPED["deepgram.toml"])
    return path / "a.zip"


NEW_KEY = {**NEWER, "anam.toml": SHIPPED["anam.toml"] + "\n[[rate]]\nmodel = 'x'\nregion = 'eu'\n"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: path / "none.whl",
            "none.whl: got FileNotFoundError, expected a wheel of otel-voice-cost or a price",
        ),
        (lambda path: path, "got no regular file"),
        (archive_of_text, "a.zip: got an archive that is no wheel, expected a wheel of otel-voice-cost"),
        (damaged, "got a damaged archive"),
        (
            lambda path: wheel(path, name="requests", folder="requests"),
            "got requests 0.2.0, without price data, expected otel_voice_cost/prices/data/*.toml",
        ),
        (
            lambda path: wheel(path, NEW_KEY),
            f"got prices in a form that {INSTALLED} cannot read, expected {INSTALLED} to be upgraded to",
        ),
        (lambda path: wheel(path, NEW_KEY), "anam.toml, rate 3 (x), region: got an unknown key"),
        (written("a.toml", b"\xff\xfe\x00"), "a.toml: got data that is neither a wheel nor text"),
        (written("a.toml", b""), "a.toml: got no prices"),
        (written("a.toml", b"<!DOCTYPE html>"), "a.toml: got a page of HTML"),
        (written("a.toml", b"prices = "), "a.toml: got no TOML"),
        (written("a.toml", b'"a/b".stt = "1/min"\n[discount]\na = "10%"'), "got discounts or other terms of a team"),
        (written("a.toml", b"#" * 4_000_001), "a.toml: got a larger price file, expected 4 MB at most"),
    ],
)
def test_what_is_no_price_list_is_refused(tmp_path, output, make, message):
    result = update(make(tmp_path), "--output", output, "--yes")

    assert (result.exit_code, output.exists(), result.stdout) == (2, False, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("path", "message"),
    [("/none.whl", "got HTTP 404, expected a wheel"), ("/page", "got a page of HTML, expected a wheel")],
)
def test_a_page_without_prices_is_refused(output, path, message):
    with served({"/page": b"<html>Log in</html>"}) as host:
        result = update(f"http://user:secret-1@{host}{path}", "--output", output, "--yes")

    assert (result.exit_code, output.exists()) == (2, False)
    assert "secret-1" not in result.output


def test_a_server_that_does_not_answer_is_an_error(output):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    result = update(f"http://127.0.0.1:{port}/a.whl", "--output", output, "--yes")

    assert result.exit_code == 2
    assert "expected a server that answers" in result.stderr


def test_a_sign_off_with_mistakes_is_a_problem(tmp_path):
    path = tmp_path / "list.toml"
    path.write_text(f"[list_prices]\nsource = 'a'\nsha256 = 'b'\nname = 1\n{GOOD}")

    places = {problem.place.removeprefix(f"{path}, list_prices, ") for problem in read_sheet(path).problems}

    assert places == {"sha256", "name", "approved_at", "approved_by", "approved_with"}


def test_a_rule_in_a_file_of_the_variable_holds(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[[rule]]\nprovider = "acme"\ncomponent = "tts"\ncancelled = "free"\n')

    catalog = build_prices(Settings(prices_file=str(path))).catalog

    assert catalog.rule_for(Usage(component=Component.TTS, provider="acme", model="v1", at=AT)).cancelled == "free"
