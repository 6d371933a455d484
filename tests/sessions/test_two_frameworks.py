"""A call with LiveKit Agents and one with Pipecat at the same time, in one process and on one provider."""

from __future__ import annotations

import asyncio
import sys

import pytest

from otel_voice_cost.demo.call import hold_call
from otel_voice_cost.testing import SessionCosts
from otel_voice_cost.usage import Component, Unit

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")


async def test_each_call_is_billed_its_own_usage(price_catalog):
    """Both use the same models, so usage that got into the other bill would show in its amounts."""
    from otel_voice_cost.demo.pipecat.call import Desk  # noqa: PLC0415

    assert "pipecat" in sys.modules
    costs = SessionCosts(catalog=price_catalog)
    desk = Desk()

    await asyncio.gather(hold_call(speed=5), desk.hold_call())

    pipecat, livekit = sorted(costs.sessions, key=lambda cost: cost.session_id != "demo")
    costs.close()
    assert {part.component: dict(part.quantities) for part in pipecat.parts} == {
        meter.component: meter.metered for meter in desk.meters
    }
    assert {part.component: part.quantities for part in livekit.parts if part.component is not Component.STT} == {
        Component.LLM: {Unit.INPUT_TOKEN: 711, Unit.CACHED_INPUT_TOKEN: 1_792, Unit.OUTPUT_TOKEN: 87},
        Component.TTS: {Unit.CHARACTER: 143},
    }
