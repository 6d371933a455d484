"""The bill of a call: record, file, metrics, live view and spans agree to the last digit."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import livekit.agents.metrics
import pytest
from livekit.agents.metrics.base import Metadata
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_voice_cost import Component, PriceCatalog, Settings, Unit, VoiceCostSpanProcessor
from otel_voice_cost.export.records import as_focus

from ..conftest import SPEECH, llm_metrics, stt_metrics, tts_metrics
from ..faults.test_concurrency import report

RATES = """
[[rate]]
provider = "twilio"
model = "sip"
component = "telephony"
unit = "session_second"
usd = 0.0085
per = 60
increment = 60

[[rate]]
provider = "livekit"
model = "agent"
component = "platform"
unit = "session_second"
usd = 0.01
per = 60
free = 30

[[rate]]
provider = "krisp"
model = "bvc"
component = "noise_cancellation"
unit = "request"
usd = 0.002
"""


class Call:
    """A provider with every output of a bill."""

    def __init__(self, exporter, catalog, **options):
        self.records, self.reader = [], InMemoryMetricReader()
        self.provider = TracerProvider()
        self.exporter = exporter
        self.processor = VoiceCostSpanProcessor(
            catalog=catalog,
            on_session_end=self.records.append,
            meter_provider=MeterProvider([self.reader]),
            settings=options["settings"] if "settings" in options else Settings(**options),
        )
        self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        set_tracer_provider(self.provider)
        self.tracer = self.provider.get_tracer("livekit-agents")

    @contextmanager
    def session(self, seconds=90.0, **attributes):
        start_ns = time.time_ns() - int(seconds * 1e9)
        session = self.tracer.start_span("agent_session", attributes=attributes, start_time=start_ns)
        with trace.use_span(session, end_on_exit=False):
            yield session
        session.end(start_ns + int(seconds * 1e9))

    def turn(self, **llm):
        report(stt_metrics(audio_duration=2.0))
        self.tracer.start_span("user_turn").end()
        with self.tracer.start_as_current_span("agent_turn"):
            self.span("llm_request", "lk.llm_metrics", llm_metrics(**llm))
            self.span("tts_request", "lk.tts_metrics", tts_metrics())

    def span(self, name, key, metrics):
        attributes = {key: json.dumps(metrics), "lk.pii.input_text": SPEECH}
        self.tracer.start_span(name, attributes=attributes).end()

    def metric(self, name):
        data = self.reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        return [point for metric in data if metric.name == name for point in metric.data.data_points]

    def close(self):
        self.provider.shutdown()
        (record,) = self.records
        return record


@pytest.fixture
def call(exporter, price_catalog):
    call = Call(exporter, price_catalog)
    yield call
    call.provider.shutdown()


def costs_on(spans):
    return [Decimal(span.attributes["voice_cost.usd"]) for span in spans if "voice_cost.usd" in span.attributes]


def test_record_file_metrics_live_view_and_spans_agree(exporter, price_catalog, tmp_path):
    call = Call(exporter, price_catalog, records_file=str(tmp_path / "calls.jsonl"), session_rates=RATES)
    with call.session():
        call.turn()
        call.turn(prompt_tokens=901, prompt_cached_tokens=128)
        report(stt_metrics(audio_duration=1.7))
        live = call.processor.current_cost()
    record = call.close()

    usd = (Decimal(120 + 32) + Decimal("309.2") + Decimal("12.8") + 32) / 10**6 + Decimal("0.018")
    usd += Decimal("5.7") * Decimal("0.0048") / 60 + Decimal("0.01") + Decimal("0.002")
    spans = exporter.get_finished_spans()
    attributes = spans[-1].attributes
    (line,) = [json.loads(text) for path in tmp_path.iterdir() for text in path.read_text().splitlines()]
    assert record.usd == usd
    assert sum(costs_on(spans)) == usd
    assert Decimal(attributes["voice_cost.session.usd"]) == usd
    assert Decimal(line["EffectiveCost"]) == usd
    assert sum(Decimal(charge["EffectiveCost"]) for charge in line["Charges"]) == usd
    assert sum(part.usd for part in record.parts) == usd
    assert sum(line.usd for part in record.parts for line in part.lines) == usd
    assert live.usd == usd - Decimal("0.012")  # what is billed by the call comes at its end
    assert [point.sum for point in call.metric("voice_cost.session.cost")] == [pytest.approx(float(usd))]
    assert sum(point.sum for point in call.metric("gen_ai.client.operation.cost")) == pytest.approx(float(usd))
    assert [turn.usd for turn in record.turns] == [
        Decimal(span.attributes["voice_cost.turn.usd"]) for span in spans if span.name == "agent_turn"
    ]


def test_the_contents_of_a_record(call):
    with call.session(**{"langfuse.session.id": "call-7", "lk.agent_name": "order-desk"}):
        call.turn()
        call.span("tts_request", "lk.tts_metrics", tts_metrics(metadata={"model_name": "new", "model_provider": "X"}))
        live = call.processor.current_cost("call-7")
        assert call.processor.current_cost(live.trace_id).parts == call.processor.current_cost().parts == live.parts
        assert call.processor.current_cost("call-8") is None
    record = call.close()

    assert (record.session_id, record.agent, record.currency, record.ended) == ("call-7", "order-desk", "USD", True)
    assert record.seconds == 90
    assert record.ended_at - record.started_at == timedelta(seconds=90)
    assert record.usd_per_minute == record.usd * 60 / 90
    assert [(part.component, part.model, part.usage_count, part.unpriced_count) for part in record.parts] == [
        (Component.LLM, "gpt-4.1-mini", 1, 0),
        (Component.STT, "nova-3", 1, 0),
        (Component.TTS, "sonic-3", 1, 0),
        (Component.TTS, "new", 1, 1),
    ]
    unknown = record.parts[-1]
    assert unknown.unpriced_quantities == {Unit.CHARACTER: 180}
    assert unknown.unpriced_reason == "no tts rate for x/new"
    assert (record.unpriced_count, record.estimated_usd, record.list_usd) == (1, 0, record.usd)
    line = record.parts[0].lines[0]
    assert (line.rate.citation, line.amount) == ("prices.toml https://example.com/pricing 2026-11-01", 300)
    assert not live.ended
    assert call.processor.current_cost() is None
    assert [dict(point.attributes) for point in call.metric("voice_cost.session.cost")] == [
        {"gen_ai.agent.name": "order-desk"}
    ]


def test_a_revision_is_on_spans_with_a_cost_on_the_record_and_on_every_metric(exporter, price_catalog, tmp_path):
    path = tmp_path / "calls.jsonl"
    call = Call(exporter, price_catalog, records_file=str(path), revision="2026.11.1")
    unknown = tts_metrics(request_id="tts-9", metadata={"model_name": "new", "model_provider": "Nobody"})
    with call.session():
        call.turn()
        call.span("tts_request", "lk.tts_metrics", unknown)
        report(stt_metrics(audio_duration=1.7))  # a usage span
    record = call.close()

    labelled = {s.name for s in exporter.get_finished_spans() if s.attributes.get("voice_cost.revision") == "2026.11.1"}
    assert labelled == {"agent_session", "user_turn", "llm_request", "tts_request", "stt_usage"}
    (line,) = [json.loads(text) for file in tmp_path.iterdir() for text in file.read_text().splitlines()]
    assert line["x_Revision"] == record.revision == "2026.11.1"
    metrics = call.reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    points = [point for metric in metrics for point in metric.data.data_points]
    assert len({metric.name for metric in metrics}) >= 6
    assert {point.attributes.get("voice_cost.revision") for point in points} == {"2026.11.1"}


def test_discount_and_markup_are_in_the_record(exporter, price_catalog):
    dear = price_catalog.with_prices({"markup": {"openai": "50%"}})
    call = Call(exporter, dear)
    with call.session():
        call.turn()
    record = call.close()

    assert record.markup_usd == Decimal("0.000076")
    assert exporter.get_finished_spans()[-1].attributes["voice_cost.session.markup_usd"] == "0.000076"


def test_the_only_call_is_the_default(call):
    assert call.processor.current_cost() is None
    first = call.tracer.start_span("agent_session")
    assert call.processor.current_cost().span_id == f"{first.context.span_id:016x}"
    second = call.tracer.start_span("agent_session")

    assert call.processor.current_cost() is None
    with trace.use_span(second, end_on_exit=False):
        assert call.processor.current_cost().span_id == f"{second.context.span_id:016x}"
    first.end()
    second.end()


def test_a_flush_during_a_call_saves_the_stt_usage(call, exporter):
    """An open request keeps its span; nothing is counted twice."""
    with call.session():
        report(stt_metrics(audio_duration=2.0))
        request = llm_metrics()
        span = call.tracer.start_span("llm_request", attributes={"lk.llm_metrics": json.dumps(request)})
        report(request)
        call.processor.force_flush()
        assert [span.name for span in exporter.get_finished_spans()] == ["stt_usage"]
        span.end()
        call.turn()
    record = call.close()

    spans = exporter.get_finished_spans()
    assert sum(costs_on(spans)) == record.usd
    assert [span.name for span in spans].count("stt_usage") == 1
    assert {part.component: part.usage_count for part in record.parts}[Component.LLM] == 2


def test_list_and_effective_cost(exporter):
    call = Call(exporter, PriceCatalog.default().with_prices({"discount": {"cartesia": "20%"}}))
    with call.session():
        call.turn()
    record = call.close()

    assert record.list_usd - record.usd == Decimal("0.0018")
    attributes = exporter.get_finished_spans()[-1].attributes
    assert Decimal(attributes["voice_cost.session.list_usd"]) == record.list_usd


def test_a_cost_carried_by_the_span_is_in_the_record(call):
    with call.session():
        call.tracer.start_span("llm_request", attributes={"gen_ai.usage.cost": 0.25}).end()
    record = call.close()

    assert (record.usd, record.list_usd) == (Decimal("0.25"), Decimal("0.25"))


def test_a_session_that_never_ends_has_a_record_at_shutdown(exporter, price_catalog):
    call = Call(exporter, price_catalog, session_rates=RATES)
    with trace.use_span(call.tracer.start_span("agent_session", attributes={"session.id": "s"}), end_on_exit=False):
        call.turn()
    record = call.close()

    assert (record.session_id, record.ended) == ("s", True)
    assert record.usd == sum(costs_on(exporter.get_finished_spans()))
    assert Component.NOISE_CANCELLATION in record.by_component


SIP = {"lk.sip.callID": "SCL_1", "lk.sip.trunkID": "ST_1"}


@pytest.mark.parametrize(
    ("seconds", "attributes", "joined", "expected"),
    [
        (90.0, {}, None, {"platform": "0.01"}),
        (90.0, SIP, None, {"platform": "0.01", "telephony": "0.017"}),  # two whole minutes
        (90.0, SIP, 35.0, {"platform": "0.01", "telephony": "0.0085"}),  # the caller was there for 55 s
        (20.0, {}, None, {"platform": "0"}),  # within what is free
    ],
)
def test_time_is_billed_as_the_vendor_rounds_it(exporter, price_catalog, seconds, attributes, joined, expected):
    call = Call(exporter, price_catalog, session_rates=RATES)
    with call.session(seconds, **attributes) as session:
        if joined is not None:
            kind = {"lk.participant_kind": "PARTICIPANT_KIND_SIP"}
            session.add_event("participant_linked", kind, session.start_time + int(joined * 1e9))
    record = call.close()

    spans = {span.name: span for span in exporter.get_finished_spans()}
    found = {component.value: str(usd.normalize()) for component, usd in record.by_component.items()}
    assert found == {**expected, "noise_cancellation": "0.002"}
    assert set(spans) == {"agent_session", *(f"{component}_usage" for component in found)}
    platform = spans["platform_usage"]
    assert platform.attributes["voice_cost.quantity.session_second"] == seconds
    assert platform.attributes["langfuse.observation.type"] == "generation"
    assert "gen_ai.usage.input_tokens" not in platform.attributes
    assert platform.parent.span_id == spans["agent_session"].context.span_id
    assert (platform.end_time - platform.start_time) / 1e9 == pytest.approx(seconds)


def test_session_rates_in_a_price_file_and_in_the_short_form(exporter, monkeypatch, tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(RATES)
    monkeypatch.setenv("VOICE_COST_PRICES_FILE", str(path))
    monkeypatch.setenv(
        "VOICE_COST_SESSION_RATES", '{"tavus/replica": {"avatar": {"price": "0.37/min", "increment": 6, "free": 60}}}'
    )
    call = Call(exporter, None)
    with call.session(91.0):
        pass
    record = call.close()

    # 91 s, of them 60 free, in steps of 6: 36 s
    assert record.by_component[Component.AVATAR] == Decimal("0.37") * 36 / 60
    assert {part.model for part in record.parts} == {"agent", "bvc", "replica"}


def test_shipped_rates_of_avatars_are_not_charged_to_every_call(call):
    with call.session():
        pass

    assert call.close().parts == ()


def test_an_id_that_a_session_gets_after_its_start_is_known_while_it_runs(call):
    session = call.tracer.start_span("agent_session")
    session.set_attribute("session.id", "late")

    assert call.processor.current_cost("late").session_id == "late"
    session.end()


def test_an_invalid_session_rate_is_logged_and_left_out(exporter, price_catalog, monkeypatch, caplog):
    monkeypatch.setenv("VOICE_COST_SESSION_RATES", '{"twilio/sip": {"telephony": "cheap"}}')
    call = Call(exporter, price_catalog, settings=None)
    with call.session():
        pass

    assert call.close().parts == ()
    assert "VOICE_COST_SESSION_RATES, twilio/sip.telephony: got 'cheap', expected a price such as" in caplog.text


@pytest.mark.skipif(not hasattr(livekit.agents.metrics, "EOTInferenceMetrics"), reason="not reported by this release")
def test_turn_detection_and_interruption_are_lines_too(exporter, monkeypatch):
    """Free detection has a cost of zero, not an unknown one."""
    from livekit.agents import inference  # noqa: PLC0415  # not in every release
    from livekit.agents.metrics import EOTInferenceMetrics, InterruptionMetrics  # noqa: PLC0415  # the same

    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    monkeypatch.setenv("LIVEKIT_URL", "wss://example.com")
    call = Call(exporter, None)
    common = {"timestamp": time.time(), "total_duration": 0.1, "prediction_duration": 0.1, "detection_delay": 0.1}
    interruption = inference.AdaptiveInterruptionDetector()
    turns = inference.TurnDetector()
    with call.session():
        for _ in range(2):
            interruption.emit(
                "metrics_collected",
                InterruptionMetrics(
                    num_interruptions=1,
                    num_backchannels=0,
                    num_requests=3,
                    metadata=Metadata(model_name=interruption.model, model_provider=interruption.provider),
                    **common,
                ),
            )
        turns.emit(
            "metrics_collected",
            EOTInferenceMetrics(
                metadata=Metadata(model_name=turns.model, model_provider=turns.provider), num_requests=1, **common
            ),
        )
    record = call.close()

    assert {part.component: part.quantities[Unit.REQUEST] for part in record.parts} == {
        Component.INTERRUPTION: 6,
        Component.TURN_DETECTION: 1,
    }
    assert (record.usd, record.unpriced_count) == (0, 0)
    spans = {span.name: span.attributes.get("voice_cost.usd") for span in exporter.get_finished_spans()}
    assert spans == {"agent_session": None, "interruption_usage": "0", "turn_detection_usage": "0"}


# the file of records


def test_each_day_has_a_separate_file_and_lines_are_appended(exporter, price_catalog, tmp_path):
    for _ in range(2):
        call = Call(exporter, price_catalog, records_file=str(tmp_path / "calls.jsonl"))
        with call.session():
            call.turn()
        record = call.close()

    (path,) = tmp_path.iterdir()
    assert path.name == f"calls-{record.ended_at:%Y-%m-%d}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[1]["x_TraceId"] == record.trace_id
    assert SPEECH not in path.read_text()
    assert {"BilledCost", "BillingCurrency", "ChargePeriodStart", "ChargePeriodEnd", "ListCost"} <= set(lines[0])
    assert lines[0]["Charges"][0] == {
        "ChargeCategory": "Usage",
        "ConsumedQuantity": "300",
        "ConsumedUnit": "input_token",
        "EffectiveCost": "0.00012",
        "ListCost": "0.00012",
        "ListUnitPrice": "0.4",
        "PricingUnit": "1000000 input_token",
        "ProviderName": "openai",
        "ResourceName": "gpt-4.1-mini",
        "ServiceName": "gpt-4.1-mini",
        "x_AddOn": None,
        "x_Component": "llm",
        "x_Estimated": False,
        "x_Mode": None,
        "x_RateSource": "prices.toml https://example.com/pricing 2026-11-01",
        "x_UsedQuantity": "300",
    }


def test_charges_add_up_if_some_spans_of_a_model_carried_their_cost(exporter, price_catalog):
    """A gateway states the cost of its requests; others to the same model are priced by rates."""
    call = Call(exporter, price_catalog)
    with call.session():
        call.turn()
        attributes = {"lk.llm_metrics": json.dumps(llm_metrics(request_id="gateway")), "gen_ai.usage.cost": 0.25}
        call.tracer.start_span("llm_request", attributes=attributes).end()

    record = as_focus(call.close())

    assert sum(Decimal(charge["EffectiveCost"]) for charge in record["Charges"]) == Decimal(record["EffectiveCost"])
    assert {charge["EffectiveCost"] for charge in record["Charges"] if charge["x_RateSource"] == "span"} == {"0.25"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_an_unwritable_file_loses_records_and_logs_it_but_never_loses_the_call(
    exporter, price_catalog, tmp_path, caplog
):
    call = Call(exporter, price_catalog, records_file=str(tmp_path / "calls.jsonl"))
    with call.session():
        call.turn()
        day = call.processor.current_cost().ended_at
        (tmp_path / f"calls-{day:%Y-%m-%d}.jsonl").mkdir()
    with call.session():
        call.turn()
    call.provider.shutdown()

    assert len(call.records) == 2
    assert len(costs_on(exporter.get_finished_spans())) == 6
    assert call.processor.stats().failed == 2
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert f"the file of records {tmp_path}/calls-{day:%Y-%m-%d}.jsonl (Is a directory" in line


def test_a_callback_that_raises_or_is_slow_delays_nothing(exporter, price_catalog, caplog):
    def callback(record):
        time.sleep(0.3)
        raise RuntimeError(SPEECH)

    provider = TracerProvider()
    processor = VoiceCostSpanProcessor(catalog=price_catalog, on_session_end=callback)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("livekit-agents")
    tracer.start_span("agent_session").end()

    assert processor.force_flush(50) is True  # of spans; the record has a tenth of the time
    assert processor.stats().failed == 0
    assert processor.force_flush(5_000) is True
    assert processor.stats().failed == 1
    assert "Error in on_session_end: RuntimeError (test_bill.py:" in caplog.text
    provider.shutdown()
