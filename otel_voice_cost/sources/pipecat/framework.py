"""Pipecat without a call."""

from __future__ import annotations

import sys

from ..framework import BilledClass, Framework, Release
from . import TESTED, PipecatSource
from .classes import load_service_classes

__all__ = ["PIPECAT"]

_TRACING = (
    "Pipecat makes spans only with PipelineWorker(..., enable_tracing=True), which shows in a call alone. "
    "Without it the log says once: Pipecat runs without tracing, so the cost of its calls is in the metrics alone."
)


def _used_classes() -> tuple[BilledClass, ...]:
    """Return the classes that are imported: the package has the services of all vendors."""
    return tuple(each for each in load_service_classes() if _is_imported(*each.label.rsplit(".", 1)))


def _is_imported(module: str, name: str) -> bool:
    return hasattr(sys.modules.get(module), name)


PIPECAT = Framework(
    source=PipecatSource(),
    package="pipecat-ai",
    oldest=Release(TESTED[0]),
    newest=Release(TESTED[-1]),
    before_oldest="Before 1.7 speech-to-text has no usage.",
    modules=(
        "pipecat.processors.frame_processor",
        "pipecat.services.stt_service",
        "pipecat.services.tts_service",
    ),
    instrumentations=(("pipecat", "Pipecat's tokens (with enable_usage_metrics)"),),
    notes=(("tracing", _TRACING),),
    classes=load_service_classes,
    used_classes=_used_classes,
    unused="No service of Pipecat is imported here. Name a provider in your agent, or see voice-cost gaps.",
)
