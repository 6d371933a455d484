"""Past calls with other models cost what the processor bills if the calls are held with them."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from decimal import Decimal

import duckdb
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pyarrow import parquet
from rich.text import Text

from otel_voice_cost.analysis.reading import read_calls
from otel_voice_cost.analysis.stacks import Stack, Swap, check_stacks
from otel_voice_cost.analysis.what_if import SwapError, compare_stacks
from otel_voice_cost.build import sources
from otel_voice_cost.prices.price_sheet import parse_sheet

from ..cli.test_commands import run
from ..conftest import llm_metrics, realtime_metrics, stt_metrics, tts_metrics
from ..faults.test_concurrency import report
from ..pipeline.test_bill import Call
from .conftest import Recorded
from .databases import fill_duckdb
from .langfuse_export import from_blob_storage, from_ui, to_csv, to_json
from .otlp import to_messages

NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)
OTHERS = """
source = "https://example.com/others"
checked = 2026-11-20

[[rate]]
provider = "acme"
model = "thinker"
component = "llm"
unit = "input_token"
usd = 0.30
per = 1_000_000

[[rate]]
provider = "acme"
model = "thinker"
component = "llm"
unit = "output_token"
usd = 3
per = 1_000_000

[[rate]]
provider = "acme"
model = "voice"
component = "tts"
unit = "character"
usd = 7
per = 300_000
minimum = 100
increment = 64

[[rate]]
provider = "acme"
model = "voice-by-time"
component = "tts"
unit = "audio_second"
usd = 0.83
per = 3600

[[rate]]
provider = "acme"
model = "listener"
component = "stt"
unit = "audio_second"
usd = 0.0054
per = 60
minimum = 20
mode = "streaming"

[[rate]]
provider = "acme"
model = "thirds"
component = "stt"
unit = "audio_second"
usd = 0.0055
per = 60

[[rate]]
provider = "acme"
model = ["listener", "file-listener"]
component = "stt"
unit = "audio_second"
usd = 0.0043
per = 60
increment = 15
mode = "batch"

[[rate]]
provider = "acme"
model = "live"
component = "realtime"
unit = "input_text_token"
usd = 3
per = 1_000_000

[[rate]]
provider = "acme"
model = "live"
component = "realtime"
unit = "output_text_token"
usd = 7
per = 1_000_000

[[rate]]
provider = "acme"
model = "live-by-time"
component = "realtime"
unit = "session_second"
usd = 0.05
per = 60
"""
RECORDED = {
    "llm": ("openai", "gpt-4.1-mini"),
    "tts": ("Cartesia", "sonic-3"),
    "stt": ("Deepgram", "nova-3"),
    "realtime": ("openai", "gpt-realtime"),
}
NAMES = {component: f"{provider.lower()}/{model}" for component, (provider, model) in RECORDED.items()}


def hold_call(call, number, models, *, streamed):
    """Hold a call of two turns with these models, of ``component: (provider, model)``."""
    names = {name: {"model_provider": vendor, "model_name": model} for name, (vendor, model) in models.items()}

    def of(make, component, **amounts):
        return make(**amounts, metadata=names[component])

    with call.session(90 + number, **{"session.id": f"session-{number}"}):
        for turn in (1, 2):
            for tenths in (13, 27 + turn):  # the sum of two reports
                report(of(stt_metrics, "stt", audio_duration=tenths / 10, streamed=streamed))
            call.tracer.start_span("user_turn").end()
            with call.tracer.start_as_current_span("agent_turn"):
                tokens = {
                    "prompt_tokens": 300 + number,
                    "prompt_cached_tokens": 128 * (turn - 1),
                    "request_id": f"{turn}",
                }
                call.span("llm_request", "lk.llm_metrics", of(llm_metrics, "llm", **tokens))
                speech = {"characters_count": 60 * turn + number, "audio_duration": 4.2 * turn, "request_id": f"{turn}"}
                call.span("tts_request", "lk.tts_metrics", of(tts_metrics, "tts", **speech))
        call.span("realtime_inference", "lk.realtime_model_metrics", of(realtime_metrics, "realtime"))


@pytest.fixture
def catalog(price_catalog):
    sheet = parse_sheet(OTHERS, "others.toml")
    assert not sheet.problems
    return price_catalog.with_sheet(sheet)


@pytest.fixture
def hold_calls(tmp_path, catalog):
    """Hold three calls, with other models in place of some."""

    def hold(*, streamed=True, **models):
        folder = tmp_path / f"calls-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        exporter = InMemorySpanExporter()
        call = Call(exporter, catalog)
        for number in range(3):
            hold_call(call, number, RECORDED | models, streamed=streamed)
        call.provider.shutdown()
        return Recorded(folder, call.records, exporter.get_finished_spans())

    return hold


@pytest.fixture
def swap(catalog):
    """Compare calls in files with one stack."""

    def compare(paths, *swaps, at=None):
        stack = Stack(name="other", place="--swap", swaps=tuple(Swap(*names) for names in swaps))
        return compare_stacks(read_calls(paths, sources()), [stack], catalog, at)

    return compare


def changed(comparison):
    """The change of the only swapped model of the only stack."""
    (stack,) = comparison.stacks
    (model,) = [model for model in stack.models if model.new]
    return model.change


def billed(records, component):
    return sum(part.usd for record in records for part in record.parts if part.component.value == component)


HELD = [
    ("llm", "acme/thinker", True),
    ("tts", "acme/voice", True),
    ("tts", "acme/voice-by-time", True),
    ("stt", "acme/listener", True),
    ("realtime", "acme/live", True),
]


@pytest.mark.parametrize(("component", "new", "streamed"), HELD)
def test_swapped_calls_cost_what_the_processor_bills_for_calls_with_the_other_model(
    hold_calls, swap, component, new, streamed
):
    """Minimums, increments, a vendor without a price for the cache, and one that bills another unit."""
    really = hold_calls(**{component: tuple(new.split("/"))})
    recorded = hold_calls()

    comparison = swap([recorded.span_file], (NAMES[component], new))

    change = changed(comparison)
    assert change.after_usd == billed(really.records, component) > 0
    assert change.before_usd == billed(recorded.records, component)
    assert (change.unpriced_after, change.reasons) == (0, set())
    assert comparison.before_usd == recorded.usd
    assert comparison.stacks[0].after_usd == really.usd


def test_batch_speech_to_text_is_swapped_in_its_mode_and_marked(hold_calls, swap):
    """A span has the sum of two requests, each rounded up to 15 seconds."""
    really = hold_calls(stt=("acme", "listener"), streamed=False)
    change = changed(swap([hold_calls(streamed=False).span_file], (NAMES["stt"], "acme/listener")))

    assert change.after_usd < billed(really.records, "stt")
    assert [text for text in change.approximations if "sums of requests" in text]


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
@pytest.mark.parametrize("component", sorted(NAMES))
def test_a_model_swapped_with_itself_costs_what_was_recorded(hold_calls, swap, component, kind):
    recorded = hold_calls()

    comparison = swap([getattr(recorded, kind)], (NAMES[component], NAMES[component]))

    change = changed(comparison)
    assert change.before_usd == change.after_usd == billed(recorded.records, component) > 0
    assert comparison.stacks[0].after_usd == recorded.usd
    assert (change.approximations, change.reasons) == (set(), set())


@pytest.mark.parametrize("kind", ["record_file", "span_file"])
@pytest.mark.parametrize("model", ["thirds", "listener"])
def test_rounding_and_minimums_of_requests_do_not_change_the_cost_of_the_same_model(hold_calls, swap, model, kind):
    """0.0055 / 60 has no end, and 15 seconds are billed at least: both for each report, of which a span has the sum."""
    recorded = hold_calls(stt=("acme", model), streamed=model == "thirds")

    change = changed(swap([getattr(recorded, kind)], (f"acme/{model}", f"acme/{model}")))

    assert change.before_usd == change.after_usd == billed(recorded.records, "stt") > 0


def test_another_price_of_the_same_model_is_applied(hold_calls, price_catalog, catalog):
    recorded = hold_calls(stt=("acme", "thirds"))
    stack = Stack(name="other", place="--swap", swaps=(Swap("acme/thirds", "acme/thirds"),))
    dearer = price_catalog.with_sheet(parse_sheet(OTHERS.replace("0.0055", "0.0056"), "others.toml"))

    change = changed(compare_stacks(read_calls([recorded.span_file], sources()), [stack], dearer))

    assert abs(change.after_usd - change.before_usd * 56 / 55) < Decimal("1e-15")


def test_a_new_discount_on_the_same_model_is_applied(hold_calls, catalog):
    recorded = hold_calls()
    stack = Stack(name="other", place="--swap", swaps=(Swap(NAMES["tts"], NAMES["tts"]),))
    discounted = catalog.with_prices({"discount": {"cartesia": "10%"}})

    change = changed(compare_stacks(read_calls([recorded.span_file], sources()), [stack], discounted))

    assert change.after_usd == change.before_usd * 9 / 10


def test_records_are_priced_by_sums_and_marked(hold_calls, swap):
    recorded, really = hold_calls(), hold_calls(llm=("acme", "thinker"))

    llm = changed(swap([recorded.record_file], (NAMES["llm"], "acme/thinker")))
    tts = changed(swap([recorded.record_file], (NAMES["tts"], "acme/voice")))

    assert llm.after_usd == billed(really.records, "llm")
    assert any("sums of requests" in text for text in tts.approximations)


def test_each_assumption_on_tokens_is_stated(hold_calls, swap):
    """acme has no price for cached input; how it counts tokens is not known."""
    change = changed(swap([hold_calls().span_file], (NAMES["llm"], "acme/thinker")))

    assert change.approximations == {
        "tokens are as openai/gpt-4.1-mini counts them; it is not measured how acme/thinker counts",
        "acme/thinker has no price per cached_input_token; billed as input_token",
    }


def test_seconds_of_speech_are_those_that_the_requests_reported(hold_calls, swap):
    """4.2 and 8.4 seconds in each of three calls, at 0.83 an hour, rounded to 18 places each."""
    change = changed(swap([hold_calls().span_file], (NAMES["tts"], "acme/voice-by-time")))

    one, two = (
        (Decimal(seconds) * Decimal("0.83") / 3600).quantize(Decimal(1).scaleb(-18)) for seconds in ("4.2", "8.4")
    )
    assert change.after_usd == 3 * (one + two)
    assert change.approximations == {
        "seconds of speech are those of cartesia/sonic-3; acme/voice-by-time may speak faster or slower"
    }


def test_a_unit_that_the_files_lack_is_converted_by_a_ratio_of_the_same_calls(hold_calls, swap):
    """Records have characters alone. The spans of other calls have both: 12.6 seconds for 180 to 184 characters."""
    measured, others = hold_calls(), hold_calls()
    swaps = (NAMES["tts"], "acme/voice-by-time")

    both = changed(swap([measured.span_file, others.record_file], swaps))

    ratio = (Decimal("37.8") / Decimal(546)).quantize(Decimal("0.000000001"))  # 180 + 182 + 184
    of_records = sum(
        (Decimal(180 + 2 * number) * ratio * Decimal("0.83") / 3600).quantize(Decimal(1).scaleb(-18))
        for number in range(3)
    )
    assert both.after_usd == changed(swap([measured.span_file], swaps)).after_usd + of_records
    assert (
        f"cartesia/sonic-3 to acme/voice-by-time: {ratio} audio_second for one character, "
        "measured on 6 requests of cartesia/sonic-3"
    ) in both.approximations


def test_a_ratio_of_other_models_is_taken_if_the_model_has_none(hold_calls, swap):
    measured, others = hold_calls(tts=("acme", "voice")), hold_calls()

    change = changed(swap([measured.span_file, others.record_file], (NAMES["tts"], "acme/voice-by-time")))

    assert change.after_usd > 0
    assert any("measured on 6 requests of other models of tts" in text for text in change.approximations)


def test_without_a_ratio_there_is_no_price_and_no_total(hold_calls, swap):
    comparison = swap([hold_calls().record_file], (NAMES["tts"], "acme/voice-by-time"))

    change, (stack,) = changed(comparison), comparison.stacks
    assert (change.after_usd, change.lost_usd, stack.after_usd, stack.usd_per_minute) == (
        None, change.before_usd, None, None
    )  # fmt: skip
    assert change.reasons == {
        "acme/voice-by-time bills audio_second; these calls have character of cartesia/sonic-3, "
        "and no request with both to measure a ratio"
    }


FORMS = {
    "protobuf": to_messages,
    "Langfuse, JSON": lambda spans: to_json([from_ui(span) for span in spans]).encode(),
    "Langfuse, CSV": lambda spans: to_csv([from_blob_storage(span) for span in spans]).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_reported_amounts_are_in_every_form_of_spans(hold_calls, swap, tmp_path, form):
    recorded, path = hold_calls(), tmp_path / "spans"
    path.write_bytes(FORMS[form](recorded.spans))

    change, other = (changed(swap([file], (NAMES["tts"], "acme/voice-by-time"))) for file in (path, recorded.span_file))

    assert change.after_usd == other.after_usd > 0
    assert change.approximations == other.approximations


def test_reported_amounts_are_read_from_a_database(hold_calls, tmp_path, others_file):
    recorded, path = hold_calls(), tmp_path / "traces.duckdb"
    with duckdb.connect(path) as database:
        fill_duckdb(database, recorded.spans)
    arguments = ("--swap", "cartesia/sonic-3=acme/voice-by-time", "--json")

    result = run("what-if", "--connect", f"duckdb://{path}", "--prices", others_file, *arguments)

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["stacks"] == json.loads(
        what_if(recorded.span_file, others_file, *arguments).stdout
    )["stacks"]  # fmt: skip


def test_reported_amounts_are_kept_with_loaded_calls(hold_calls, tmp_path, others_file):
    recorded, path = hold_calls(), tmp_path / "calls.duckdb"
    arguments = ("--swap", "cartesia/sonic-3=acme/voice-by-time", "--json")
    assert run("load", str(recorded.span_file), "--into", str(path)).exit_code == 0

    assert what_if(path, others_file, *arguments).stdout == what_if(recorded.span_file, others_file, *arguments).stdout


@pytest.mark.parametrize("seconds", ["-4.2", "0.0", "NaN", "true", "1e13", "[4.2]", "4.2, ", '\\"long\\"'])
def test_a_reported_amount_that_is_not_one_is_left_out(hold_calls, swap, seconds):
    recorded = hold_calls()
    text, name = recorded.span_file.read_text(), r"\"audio_duration\": "
    assert text.count(f"{name}4.2,") == text.count(f"{name}8.4,") == 3
    broken = text.replace(f"{name}4.2,", f"{name}{seconds},").replace(f"{name}8.4,", f"{name}{seconds},")
    recorded.span_file.write_text(broken)

    comparison = swap([recorded.span_file], (NAMES["tts"], "acme/voice-by-time"))

    assert comparison.before_usd == recorded.usd
    assert changed(comparison).after_usd is None


def test_tokens_are_not_converted_into_time(hold_calls, swap):
    change = changed(swap([hold_calls().span_file], (NAMES["realtime"], "acme/live-by-time")))

    assert change.after_usd is None
    assert change.reasons == {
        "acme/live-by-time bills session_second; these calls have token of openai/gpt-realtime, which no ratio converts"
    }


def test_a_price_for_the_other_mode_is_not_taken(hold_calls, swap):
    change = changed(swap([hold_calls().span_file], (NAMES["stt"], "acme/file-listener")))

    assert change.after_usd is None
    assert change.reasons == {"acme/file-listener has a price for batch alone, and deepgram/nova-3 was streaming"}


def test_a_price_of_a_later_day_needs_that_day(hold_calls, price_catalog):
    later = OTHERS.replace('component = "tts"', 'component = "tts"\nsince = 2099-01-01')
    catalog = price_catalog.with_sheet(parse_sheet(later, "others.toml"))
    stack = Stack(name="other", place="--swap", swaps=(Swap(NAMES["tts"], "acme/voice"),))
    path, day = hold_calls().span_file, datetime(2099, 1, 1, tzinfo=timezone.utc)

    def compare(at):
        return compare_stacks(read_calls([path], sources()), [stack], catalog, at)

    assert [problem.expected for problem in check_stacks([stack], catalog, NOW)] == [
        "a model that has a price on 2026-11-26"
    ]
    assert check_stacks([stack], catalog, day) == []
    assert changed(compare(day)).after_usd > 0


def test_a_gateways_cost_of_the_old_model_is_not_one_of_the_new(recorded, catalog):
    """A third of the requests of each call has a cost that the agent's gateway stated."""
    past = read_calls([recorded.span_file], sources())
    stack = Stack(name="other", place="--swap", swaps=(Swap(NAMES["llm"], "acme/thinker"),))

    change = changed(compare_stacks(past, [stack], catalog))

    # of three calls: requests of (301 + n), 300 and 300 input tokens, 20, 33 and 20 output tokens
    tokens = sum(301 + number + 300 + 300 for number in range(3)) * Decimal("0.30") + 3 * 73 * 3
    assert change.after_usd == tokens / 1_000_000


def test_models_that_are_not_swapped_keep_their_recorded_cost(hold_calls, price_catalog):
    """The other prices of the catalog are not applied to them."""
    recorded = hold_calls()
    cheaper = price_catalog.with_sheet(parse_sheet(OTHERS, "others.toml")).with_prices({"discount": {"openai": "50%"}})
    stack = Stack(name="other", place="--swap", swaps=(Swap(NAMES["tts"], "acme/voice"),))

    (made,) = compare_stacks(read_calls([recorded.span_file], sources()), [stack], cheaper).stacks

    for model in made.models:
        if model.new is None:
            assert model.change.before_usd == model.change.after_usd == billed(recorded.records, model.change.component)


def test_each_stack_has_its_cost_and_its_cost_per_minute(hold_calls, catalog):
    recorded = hold_calls()
    voice, words = (NAMES["tts"], "acme/voice"), (NAMES["llm"], "acme/thinker")
    stacks = [
        Stack(name=name, place=name, swaps=tuple(Swap(*names) for names in swaps))
        for name, swaps in {"voice": [voice], "words": [words], "both": [voice, words]}.items()
    ]

    comparison = compare_stacks(read_calls([recorded.span_file], sources()), stacks, catalog)

    by_name = {stack.name: stack for stack in comparison.stacks}
    differences = {name: stack.after_usd - recorded.usd for name, stack in by_name.items()}
    assert differences["both"] == differences["voice"] + differences["words"]
    assert comparison.seconds == 90 + 91 + 92
    for stack in comparison.stacks:
        assert stack.after_usd == stack.total("before_usd") + sum(model.change.change_usd for model in stack.models)
        assert stack.usd_per_minute == (stack.after_usd * 60 / 273).quantize(Decimal("0.000000001"))


def test_usage_outside_of_calls_is_not_in_the_cost_per_minute(hold_calls, swap, tmp_path):
    recorded = hold_calls()
    alone = swap([recorded.span_file], (NAMES["tts"], "acme/voice"))
    spans = [span for span in recorded.spans if span.name == "tts_request"][:1]
    other = Recorded(tmp_path, [], spans + spans)  # the session's span is not in this file
    other.span_file.write_text(other.span_file.read_text().replace(f"{spans[0].context.trace_id:032x}", "f" * 32))

    both = swap([recorded.span_file, other.span_file], (NAMES["tts"], "acme/voice"))

    assert both.before_usd > alone.before_usd
    assert both.stacks[0].after_usd > alone.stacks[0].after_usd
    assert both.usd_per_minute == alone.usd_per_minute
    assert both.stacks[0].usd_per_minute == alone.stacks[0].usd_per_minute


# the swaps


def refused(catalog, *swaps):
    stack = Stack(name="other", place="--swap", swaps=tuple(Swap(*names) for names in swaps))
    return [str(problem) for problem in check_stacks([stack], catalog, NOW)]


def test_an_unknown_model_is_refused_with_the_nearest_names(catalog):
    (text,) = refused(catalog, (NAMES["tts"], "acme/voices"))

    assert text == "--swap: got acme/voices, expected a model of the catalog, such as acme/voice, acme/voice-by-time"
    assert refused(catalog, (NAMES["tts"], "nobody/zzz")) == ["--swap: got nobody/zzz, expected a model of the catalog"]


def test_a_swap_between_components_is_refused_with_the_reason(catalog):
    assert refused(catalog, (NAMES["stt"], "acme/thinker")) == [
        "--swap: got deepgram/nova-3 (stt) = acme/thinker (llm), expected models of one component"
    ]


def test_a_model_of_the_calls_that_has_no_price_is_checked_by_its_component(recorded, catalog):
    """It is not in the catalog, so its component is known from the calls alone."""
    stacks = [Stack(name="other", place="--swap", swaps=(Swap("nobody/new", "acme/thinker"),))]
    assert check_stacks(stacks, catalog, NOW) == []

    with pytest.raises(SwapError, match=r"got nobody/new \(tts\) = acme/thinker \(llm\), expected models of one"):
        compare_stacks(read_calls([recorded.span_file], sources()), stacks, catalog)


def test_a_model_that_no_call_used_is_refused_with_the_nearest_names(recorded, catalog):
    stack = Stack(name="other", place="--stack other", swaps=(Swap("cartesia/sonic-2", "acme/voice"),))

    with pytest.raises(SwapError, match=r"--stack other: got cartesia/sonic-2, expected a .* such as cartesia/sonic-3"):
        compare_stacks(read_calls([recorded.span_file], sources()), [stack], catalog)


def test_a_glob_swaps_every_model_of_the_component(recorded, catalog):
    stack = Stack(name="other", place="--swap", swaps=(Swap("*/*", "acme/voice"),))

    (made,) = compare_stacks(read_calls([recorded.span_file], sources()), [stack], catalog).stacks

    assert {model.change.model for model in made.models if model.new} == {"sonic-3", "new"}


# the command


@pytest.fixture
def others_file(tmp_path):
    (tmp_path / "others.toml").write_text(OTHERS)
    return str(tmp_path / "others.toml")


def what_if(path, others_file, *arguments, **environment):
    return run("what-if", str(path), "--prices", others_file, *arguments, **environment)


STACKS = (
    *("--stack", "voice: cartesia/sonic-3=acme/voice"),
    *("--stack", "both: Cartesia/sonic-3 = acme/voice, api.openai.com/gpt-4.1-mini=acme/thinker"),
)


def test_json_and_csv_have_every_digit(recorded, others_file):
    told = json.loads(what_if(recorded.span_file, others_file, *STACKS, "--json").output)
    rows = list(csv.DictReader(io.StringIO(what_if(recorded.span_file, others_file, *STACKS, "--csv").output)))

    assert Decimal(told["before_usd"]) == recorded.usd
    assert [stack["name"] for stack in told["stacks"]] == ["voice", "both"]
    for stack in told["stacks"]:
        of_stack = [row for row in rows if row["stack"] == stack["name"]]
        assert sum(Decimal(row["after_usd"] or 0) for row in of_stack) == Decimal(stack["after_usd"])
        assert Decimal(stack["change_usd"]) == Decimal(stack["after_usd"]) - recorded.usd
        assert [row["model"] for row in of_stack] == [model["model"] for model in stack["models"]]
    (words,) = [row for row in rows if row["new_model"] == "thinker"]
    assert (words["component"], words["provider"], words["new_provider"]) == ("llm", "openai", "acme")
    assert "billed as input_token" in words["approximate"]


def test_parquet_has_the_rows_of_the_csv(recorded, others_file, tmp_path):
    path = tmp_path / "what-if.parquet"
    printed = what_if(recorded.span_file, others_file, *STACKS, "--csv", "--parquet", str(path)).output

    rows = parquet.read_table(path).to_pylist()
    assert [row["after_usd"] for row in rows] == [
        Decimal(row["after_usd"]) if row["after_usd"] else None for row in csv.DictReader(io.StringIO(printed))
    ]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_table_fits_a_terminal_of_80_columns(recorded, others_file, count):
    stacks = [f"--stack=name of stack {number}: cartesia/sonic-3=acme/voice" for number in range(count)]
    result = what_if(recorded.record_file, others_file, *stacks, COLUMNS="80", FORCE_COLOR="1")

    lines = Text.from_ansi(result.stdout).plain.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    assert any("per minute" in line for line in lines)
    assert any(line.startswith("~ minimum, increment") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--swap, --stack: got nothing, expected PROVIDER/MODEL=PROVIDER/MODEL, such as cartesia/sonic-3="),
        (("--swap", "sonic-3"), "--swap: got sonic-3, expected PROVIDER/MODEL=PROVIDER/MODEL"),
        (("--stack", "cheap:"), "--stack cheap: got nothing, expected PROVIDER/MODEL=PROVIDER/MODEL"),
        (
            ("--swap", "cartesia/sonic-3=acme/voicee"),
            "--swap: got acme/voicee, expected a model of the catalog, such as",
        ),
        (("--swap", "deepgram/nova-3=acme/thinker"), "expected models of one component"),
        (("--swap", "a/b=acme/voice", "--swap", "a/b=acme/voice"), "--swap: got a/b twice, expected one swap"),
        (("--stack", "x: a/b=acme/voice", "--stack", "x: a/c=acme/voice"), "--stack: got x twice, expected a name"),
    ],
)
def test_a_wrong_option_is_an_error_before_any_file_is_read(tmp_path, others_file, arguments, message):
    result = what_if(tmp_path / "absent.jsonl", others_file, *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "absent.jsonl" not in result.stderr


def test_a_refused_swap_has_no_total_a_reason_and_exit_status_1(recorded, others_file):
    result = what_if(recorded.record_file, others_file, "--swap", "cartesia/sonic-3=acme/voice-by-time")

    assert result.exit_code == 1
    assert "no price" in next(line for line in result.stdout.splitlines() if line.strip().startswith("all"))
    assert "No price: acme/voice-by-time bills audio_second; these calls have character" in result.stdout


def test_the_calls_decide_if_a_model_was_used(recorded, others_file):
    result = what_if(recorded.span_file, others_file, "--swap", "cartesia/sonic-2=acme/voice")

    assert result.exit_code == 2
    assert "--swap: got cartesia/sonic-2, expected a model of these calls, such as cartesia/sonic-3" in result.stderr


def test_a_day_selects_the_prices(recorded, tmp_path):
    (tmp_path / "dated.toml").write_text(
        OTHERS.replace("usd = 7\nper = 300_000", "usd = 14\nper = 300_000\nsince = 2027-01-01")
    )
    arguments = ("--swap", "cartesia/sonic-3=acme/voice", "--json")

    def told(day):
        return what_if(recorded.span_file, str(tmp_path / "dated.toml"), *arguments, "--on", day)

    assert "acme/voice, expected a model that has a price on 2026-12-31" in told("2026-12-31").stderr
    assert json.loads(told("2027-01-01").output)["stacks"][0]["models"][0]["new_model"] == "voice"


def test_names_from_files_and_options_are_shown_as_they_are(recorded, others_file):
    text = recorded.record_file.read_text().replace('"ServiceName": "sonic-3"', '"ServiceName": "[red]\\u001bsonic"')
    recorded.record_file.write_text(text)

    printed = what_if(recorded.record_file, others_file, "--stack", "[b]\x1bx: openai/gpt-4.1-mini=acme/thinker").stdout

    assert "cartesia/[red]?sonic" in printed
    assert "\x1b" not in printed
