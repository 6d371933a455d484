"""Langfuse shows the true cost of every recorded release in both its write paths, and invents nothing."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest
from livekit.agents.telemetry import set_tracer_provider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

from .langfuse_model import observe, session_of
from .sessions.harness import amounts_in, cost_of_amounts
from .test_recorded import billed_once, play, scenarios

HALF = Decimal("0.5e-12")


def seen(spans, path):
    return [
        observe(span.name, span.attributes, is_error=span.status.status_code is StatusCode.ERROR, path=path)
        for span in spans
    ]


@pytest.mark.parametrize("path", ["legacy", "events"])
@pytest.mark.parametrize("entries", list(scenarios()))
def test_langfuse_shows_the_true_cost(entries, path, provider, exporter):
    """By component; each cost is rounded to twelve places, so a sum may be off by half of the last one per span."""
    set_tracer_provider(provider)
    amounts = amounts_in(billed_once(play(entries, provider)))
    provider.shutdown()
    spans = exporter.get_finished_spans()

    shown, counts = defaultdict(Decimal), defaultdict(int)
    for span, observation in zip(spans, seen(spans, path), strict=True):
        is_priced = "voice_cost.usd" in span.attributes
        component = span.attributes["voice_cost.component"] if is_priced else "none"
        shown[component] += observation.total or 0
        counts[component] += 1
        assert not observation.invented, observation
        if is_priced:
            assert observation.type == "generation"
            assert observation.model == span.attributes["gen_ai.response.model"]
            assert not observation.hidden
            buckets = {key: n for key, n in observation.usage.items() if key != "total"}
            assert sum(buckets.values()) == observation.usage["total"] > 0
            assert all(("input" in key) != ("output" in key) for key in buckets)
    assert shown.pop("none", 0) == 0
    for component, usd in shown.items():
        true = cost_of_amounts({key: n for key, n in amounts.items() if key[0] == component})
        assert abs(usd - true) <= HALF * counts[component] + Decimal("1e-9")  # the recorded seconds are rounded
    assert set(shown) == {key[0] for key in amounts}


@pytest.mark.parametrize("entries", list(scenarios()))
def test_langfuses_sessions_are_the_calls_with_their_cost(entries, provider, exporter):
    """A recorded call has no ids. Its trace is the session, and only spans outside of calls have none."""
    set_tracer_provider(provider)
    play(entries, provider)
    provider.shutdown()

    shown, bills, count = defaultdict(Decimal), defaultdict(Decimal), 0
    for span, observation in zip(
        exporter.get_finished_spans(), seen(exporter.get_finished_spans(), "events"), strict=True
    ):
        session = session_of(span.attributes)
        if session is not None:
            assert session == f"{span.context.trace_id:032x}"
            shown[session] += observation.total or 0
            bills[session] += Decimal(span.attributes.get("voice_cost.session.usd", 0))
            count += 1
    assert bills
    assert all(abs(shown[session] - usd) <= HALF * count for session, usd in bills.items())


@pytest.mark.parametrize("path", ["legacy", "events"])
def test_without_this_package_langfuse_shows_no_speech_cost_and_invents_the_rest(path, exporter):
    """Otherwise the test above would pass without this package."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for parameters in scenarios():
        play(parameters.values[0], provider)

    observations = seen(exporter.get_finished_spans(), path)

    assert any(observation.invented for observation in observations)
    assert all(observation.total is None for observation in observations)
