"""Langfuse's Python SDK, exporting a call to a receiver."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import TracerProvider

from otel_voice_cost import VoiceCostSpanProcessor, install
from otel_voice_cost.demo.call import hold_call
from otel_voice_cost.demo.receiver import OtlpReceiver

Langfuse = pytest.importorskip("langfuse").Langfuse


def client(provider: TracerProvider, receiver: OtlpReceiver, key: str, **options):
    """A separate client for each test: the SDK keeps one per public key."""
    base_url = receiver.endpoint.removesuffix("/v1/traces")
    return Langfuse(
        public_key=f"pk-lf-{key}",
        secret_key="sk-lf-1",
        base_url=base_url,
        tracer_provider=provider,
        **{"should_export_span": lambda _span: True, **options},
    )


def added_before(provider, receiver, catalog):
    provider.add_span_processor(VoiceCostSpanProcessor(catalog=catalog))
    client(provider, receiver, "before")


def installed_after(provider, receiver, catalog):
    client(provider, receiver, "after")
    install(provider, catalog=catalog)


def wrapped(provider, receiver, catalog):
    """The SDK's processor is built by hand and wrapped."""
    from langfuse._client.span_processor import LangfuseSpanProcessor  # noqa: PLC0415  # the SDK has no public name

    processor = LangfuseSpanProcessor(
        public_key="pk-lf-wrapped",
        secret_key="sk-lf-1",
        base_url=receiver.endpoint.removesuffix("/v1/traces"),
        should_export_span=lambda _span: True,
    )
    provider.add_span_processor(VoiceCostSpanProcessor(processor, catalog=catalog))


@pytest.mark.parametrize("way", [added_before, installed_after, wrapped], ids=lambda way: way.__name__)
async def test_every_cost_of_a_call_arrives(way, price_catalog):
    with OtlpReceiver() as receiver:
        provider = TracerProvider()
        way(provider, receiver, price_catalog)
        set_tracer_provider(provider)
        await hold_call(speed=5)
        provider.force_flush()
        provider.shutdown()

    priced = [span for span in receiver.spans if "langfuse.observation.cost_details" in span.attributes]
    total = sum(
        Decimal(str(json.loads(span.attributes["langfuse.observation.cost_details"])["total"])) for span in priced
    )
    (session,) = [span for span in receiver.spans if span.name == "agent_session"]
    assert {span.attributes.get("voice_cost.component") for span in priced} >= {"llm", "stt", "tts"}
    assert abs(total - Decimal(session.attributes["voice_cost.session.usd"])) < Decimal("1e-11")
    assert session.attributes["langfuse.trace.metadata.voice_cost_usd"] == pytest.approx(float(total))


async def test_the_sdks_filter_keeps_priced_spans(price_catalog):
    """Without a custom filter it drops LiveKit's spans that have no gen_ai attribute."""
    with OtlpReceiver() as receiver:
        provider = TracerProvider()
        provider.add_span_processor(VoiceCostSpanProcessor(catalog=price_catalog))
        client(provider, receiver, "filter", should_export_span=None)
        set_tracer_provider(provider)
        await hold_call(speed=5)
        provider.force_flush()
        provider.shutdown()

    names = [span.name for span in receiver.spans]
    assert sum("voice_cost.usd" in span.attributes for span in receiver.spans) == 14
    assert "user_speaking" not in names
