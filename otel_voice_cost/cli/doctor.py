"""``doctor``: read the environment as the processor would, and list problems."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Annotated, Literal

import typer
from opentelemetry.sdk.trace import TracerProvider

from ..build import build_prices
from ..export.dialects import resolve_dialects
from ..export.processor_order import get_processors, order_problem
from ..export.span_attributes import sdk_shares_spans
from ..prices.catalog import PriceCatalog
from ..processor import VoiceCostSpanProcessor
from ..settings import Settings
from ..sources.livekit import LiveKitSource
from ..sources.livekit.hooks import unhooked_classes
from .app import Json, app, fail, output, print_json, table
from .gaps import find_gaps

__all__ = ["Finding"]

_PACKAGES = {"opentelemetry-sdk": "1.34", "genai-prices": "0.1.13", "livekit-agents": "1.2"}
_NEWEST_LIVEKIT = (1, 8)
_SHORT = 2_000  # characters; metrics JSON is longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        topic: The topic checked.
        status: ``ok``; ``note``, for information; ``wrong``, to be fixed.
        text: The finding, and the action to take.
    """

    topic: str
    status: Literal["ok", "note", "wrong"]
    text: str


@app.command()
def doctor(
    provider: Annotated[
        str | None, typer.Argument(help="Your tracer provider, as module:name; its processors are checked.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check versions, variables, prices, the hook into LiveKit and the order of processors.

    The exit status is 1 if something is wrong.

    Example: voice-cost doctor my_agent.telemetry:provider
    """
    settings, problems = Settings.from_environment()
    catalog, _, more = build_prices(settings)
    findings = [
        *_versions(),
        *(Finding(topic="variables", status="wrong", text=str(problem)) for problem in problems),
        *_switches(settings),
        *(Finding(topic="prices", status="wrong", text=str(problem)) for problem in more),
        Finding(topic="prices", status="ok", text=f"{sum(1 for _ in catalog.rates())} rates, and genai-prices"),
        *(Finding(topic="dialects", status="wrong", text=str(p)) for p in resolve_dialects(settings.dialects)[1]),
        Finding(topic="dialects", status="ok", text=", ".join(settings.dialects) or "none but our own"),
        *_hook(),
        *_order(provider),
        *_models(catalog),
    ]
    if as_json:
        print_json([{"topic": f.topic, "status": f.status, "text": f.text} for f in findings])
    else:
        rows = table("", "topic", "found")
        for finding in findings:
            rows.add_row(finding.status, finding.topic, finding.text)
        output().print(rows)
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(1)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _versions() -> Iterator[Finding]:
    own = version("otel-voice-cost")
    yield Finding(topic="versions", status="ok", text=f"otel-voice-cost {own}, Python {sys.version.split()[0]}")
    for package, lowest in _PACKAGES.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            text = f"{package} is not installed here: run this where the agent runs."
            yield Finding(topic="versions", status="note", text=text)
            continue
        if _numbers(found) < _numbers(lowest):
            text = f"{package} {found} is older than {lowest}, the oldest that is supported: upgrade it."
            yield Finding(topic="versions", status="wrong", text=text)
        elif package == "livekit-agents" and _numbers(found)[:2] > _NEWEST_LIVEKIT:
            text = f"{package} {found} is newer than what was tested: spans are priced by the metrics they carry."
            yield Finding(topic="versions", status="note", text=text)
        else:
            yield Finding(topic="versions", status="ok", text=f"{package} {found}")


def _switches(settings: Settings) -> Iterator[Finding]:
    """Yield findings on variables that keep spans, and so costs, from arriving."""
    if not settings.enabled:
        yield Finding(topic="variables", status="note", text="VOICE_COST_ENABLED is false: spans pass untouched.")
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield Finding(topic="variables", status="wrong", text="OTEL_SDK_DISABLED is true: no span is made. Unset it.")
    sampler = os.environ.get("OTEL_TRACES_SAMPLER", "")
    if sampler.endswith(("always_off", "traceidratio")):
        text = f"OTEL_TRACES_SAMPLER is {sampler}: calls that are not sampled have no spans and no cost."
        yield Finding(topic="variables", status="note", text=text)
    for name in ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"):
        limit = os.environ.get(name, "")
        if limit.isdigit() and int(limit) < _SHORT:
            text = f"{name} is {limit}: it cuts LiveKit's metrics off. Usage is then taken from events; raise it."
            yield Finding(topic="variables", status="note", text=text)


def _hook() -> Iterator[Finding]:
    if not sdk_shares_spans():
        text = "This SDK hides swapped attributes: wrap the exporter, VoiceCostSpanProcessor(BatchSpanProcessor(...))."
        yield Finding(topic="SDK", status="wrong", text=text)
    try:
        importlib.import_module("livekit.agents")
    except ImportError:
        yield Finding(
            topic="hook", status="note", text="livekit-agents cannot be imported here: the hook was not tried."
        )
        return
    missing = unhooked_classes(LiveKitSource())
    if missing:
        names = ", ".join(missing)
        text = f"LiveKit's {names} cannot be listened to: usage without a span is lost. Upgrade otel-voice-cost."
        yield Finding(topic="hook", status="wrong", text=text)
    else:
        yield Finding(topic="hook", status="ok", text="LiveKit's usage reports are heard")


def _order(target: str | None) -> Iterator[Finding]:
    if target is None:
        text = (
            "Name your tracer provider to have its processors looked at: voice-cost doctor my_agent.telemetry:provider"
        )
        yield Finding(topic="order", status="note", text=text)
        return
    provider = _imported(target)
    processors = get_processors(provider)
    ours = [processor for processor in processors if isinstance(processor, VoiceCostSpanProcessor)]
    if not ours:
        text = f"{target} has no VoiceCostSpanProcessor: add one before the exporter, or call install(provider)."
        yield Finding(topic="order", status="wrong", text=text)
    elif len(ours) > 1:
        text = f"{target} has {len(ours)} VoiceCostSpanProcessors: the first accounts for sessions. Keep one."
        yield Finding(topic="order", status="wrong", text=text)
    else:
        span = provider.get_tracer("voice-cost doctor").start_span("voice-cost doctor")  # never ended, never exported
        problem = order_problem(span, ours[0])
        names = " → ".join(type(processor).__name__ for processor in processors)
        yield Finding(topic="order", status="wrong" if problem else "ok", text=problem or names)


def _imported(target: str) -> TracerProvider:
    module, _, name = target.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        provider = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001  # the user's module may raise anything
        fail([f"{target}: got {type(error).__name__}: {error}, expected a module and a name in it"])
    if not isinstance(provider, TracerProvider):
        fail([f"{target}: got {type(provider).__name__}, expected an OpenTelemetry SDK TracerProvider"])
    return provider


def _models(catalog: PriceCatalog) -> Iterator[Finding]:
    """Yield findings on models of the installed plugins without a price."""
    names = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in distributions()}
    installed = {name.removeprefix("livekit-plugins-").replace("-", "_") for name in names if "livekit-plugins" in name}
    gaps = [g for g in find_gaps(catalog, datetime.now(timezone.utc)) if g.plugin_class.plugin in installed]
    if not gaps:
        yield Finding(topic="models", status="note", text="No LiveKit plugins are installed here.")
        return
    unpriced = [gap for gap in gaps if gap.status == "unpriced" and gap.model]
    for gap in unpriced:
        text = f"{gap.plugin_class.plugin} {gap.plugin_class.name} {gap.model}: {gap.reason}"
        yield Finding(topic="models", status="note", text=text)
    yield Finding(
        topic="models", status="ok", text=f"{len(gaps) - len(unpriced)} models of installed plugins are known"
    )
