"""``doctor``: read the environment as the processor would, and list problems."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Annotated, Literal

import typer
from opentelemetry.sdk.trace import TracerProvider

from ..build import build_prices, sources
from ..export.dialects import resolve_dialects
from ..export.processor_order import get_processors, order_problem
from ..export.span_attributes import sdk_shares_spans
from ..prices.catalog import PriceCatalog
from ..processor import VoiceCostSpanProcessor
from ..settings import Settings
from ..sources.framework import Framework, Release
from .app import Json, app, fail, output, print_json, table
from .gaps import FRAMEWORKS, find_gaps
from .live import LiveCall

__all__ = ["Finding"]

_PACKAGES = {"opentelemetry-sdk": Release("1.34"), "genai-prices": Release("0.1.13")}
_CLIENTS = (  # of vendors, by the entry points of OpenTelemetry's, OpenLLMetry's and OpenInference's instrumentations
    "anthropic",
    "bedrock",
    "google-genai",
    "google_genai",
    "google_generativeai",
    "groq",
    "mistralai",
    "openai",
    "vertexai",
)
_TRACED_CLIENTS = {"anthropic": (Release("1.14"), "ANTHROPIC_OPEN_TELEMETRY")}  # since when, and the switch
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
        str | None,
        typer.Argument(help="Your tracer provider, or a function that returns it, as module:name; it is checked."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Hold a call of five seconds through the provider, and say what leaves it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check versions, variables, prices, hooks, and the order of processors.

    The exit status is 1 if something is wrong.
    With `--live`, spans of a scripted call reach your backend: a trace of about one cent, which no vendor bills.

    Example: voice-cost doctor --live my_agent.telemetry:provider
    """
    if live and provider is None:
        fail(["--live: got no provider, expected module:name, such as my_agent.telemetry:provider"])
    settings, problems = Settings.from_environment()
    catalog, _, more = build_prices(settings)
    frameworks = [framework for framework in FRAMEWORKS if framework.installed()]
    findings = [
        *_versions(frameworks),
        *(Finding(topic="variables", status="wrong", text=str(problem)) for problem in problems),
        *_switches(settings),
        *(Finding(topic="prices", status="wrong", text=str(problem)) for problem in more),
        Finding(topic="prices", status="ok", text=f"{sum(1 for _ in catalog.rates())} rates, and genai-prices"),
        *(Finding(topic="dialects", status="wrong", text=str(p)) for p in resolve_dialects(settings.dialects)[1]),
        Finding(topic="dialects", status="ok", text=", ".join(settings.dialects) or "none but our own"),
        *_hooks(frameworks),
        *_of_provider(provider, frameworks if live else None),
        *_instrumentations(frameworks),  # after the user's module is imported
        *_traced_clients(frameworks),
        *_models(frameworks, catalog),
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


def _versions(frameworks: Sequence[Framework]) -> Iterator[Finding]:
    own = version("otel-voice-cost")
    yield Finding(topic="versions", status="ok", text=f"otel-voice-cost {own}, Python {sys.version.split()[0]}")
    for package, oldest in _PACKAGES.items():
        yield _version(package, version(package), oldest)
    for framework in frameworks:
        package, found = framework.package, framework.installed() or ""
        if Release(found)[:2] > framework.newest[:2]:
            text = f"{package} {found} is newer than {framework.newest}, the newest that was tested."
            yield Finding(topic="versions", status="note", text=text)
        else:
            yield _version(package, found, framework.oldest, framework.before_oldest)
    if not frameworks:
        names = " nor ".join(framework.package for framework in FRAMEWORKS)
        text = f"Neither {names} is installed here: run this where the agent runs."
        yield Finding(topic="versions", status="note", text=text)


def _version(package: str, found: str, oldest: Release, reason: str = "") -> Finding:
    if Release(found) >= oldest:
        return Finding(topic="versions", status="ok", text=f"{package} {found}")
    text = f"{package} {found} is older than {oldest}, the oldest that is supported: upgrade it. {reason}"
    return Finding(topic="versions", status="wrong", text=text.strip())


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


def _hooks(frameworks: Sequence[Framework]) -> Iterator[Finding]:
    if not sdk_shares_spans():
        text = "This SDK hides swapped attributes: wrap the exporter, VoiceCostSpanProcessor(BatchSpanProcessor(...))."
        yield Finding(topic="SDK", status="wrong", text=text)
    for framework in frameworks:
        name = framework.source.name
        try:
            missing = ", ".join(framework.find_unhooked())
        except ImportError as error:
            text = f"{framework.package} cannot be imported here ({error}): the hook was not tried."
            yield Finding(topic="hook", status="note", text=text)
            continue
        if missing:
            outdated = framework.package if framework.is_too_old() else "otel-voice-cost"
            text = f"{name}'s {missing} cannot be listened to: usage without a span is lost. Upgrade {outdated}."
            yield Finding(topic="hook", status="wrong", text=text)
        else:
            yield Finding(topic="hook", status="ok", text=f"{name}'s usage reports are heard")
        yield from (Finding(topic=topic, status="note", text=text) for topic, text in framework.notes)


def _instrumentations(frameworks: Sequence[Framework]) -> Iterator[Finding]:
    """Yield findings on installed instrumentations that repeat usage on spans of their own."""
    repeated = {name: f"the requests of {name} clients" for name in _CLIENTS if frameworks}
    repeated |= {name: text for framework in frameworks for name, text in framework.instrumentations}
    entries = [entry for entry in entry_points(group="opentelemetry_instrumentor") if entry.name in repeated]
    for package, entry in sorted((entry.dist.name, entry) for entry in entries if entry.dist):
        text = f"{package} puts {repeated[entry.name]} on further spans, so a backend counts them twice"
        if _is_on(entry):
            yield Finding(topic="spans", status="wrong", text=f"{text}: call {entry.attr}().uninstrument().")
        else:
            yield Finding(topic="spans", status="note", text=f"{text} if it is switched on: it is not so far.")


def _is_on(entry: EntryPoint) -> bool:
    """Return True if an instrumentation is switched on, as far as its module was imported by others.

    Source:
        opentelemetry-instrumentation 0.66b2, ``instrumentor.py``: ``BaseInstrumentor._instance`` of each class.
    """
    instance = getattr(getattr(sys.modules.get(entry.module), entry.attr, None), "_instance", None)
    return bool(getattr(instance, "is_instrumented_by_opentelemetry", False))


def _traced_clients(frameworks: Sequence[Framework]) -> Iterator[Finding]:
    """Yield findings on clients of vendors that make spans unasked.

    Source:
        anthropic 1.14.0 to 1.17.0, ``_tracing.py``: ``env_open_telemetry``, and a tracer of the global provider.
    """
    for package, (since, variable) in _TRACED_CLIENTS.items() if frameworks else ():
        try:
            release = version(package)
        except PackageNotFoundError:
            continue
        if Release(release) >= since and os.environ.get(variable, "").lower() != "false":
            text = f"{package} {release} puts its requests on further spans of the global provider"
            text = f"{text}, so a backend counts them twice: set {variable}=false."
            yield Finding(topic="spans", status="note", text=text)


def _of_provider(target: str | None, live: Sequence[Framework] | None) -> Iterator[Finding]:
    """Yield findings on the user's provider.

    Args:
        target: As module:name.
        live: Frameworks to hold a call with, or None for no call.
    """
    if target is None:
        text = (
            "Name your tracer provider to have its processors looked at: voice-cost doctor my_agent.telemetry:provider"
        )
        yield Finding(topic="order", status="note", text=text)
        return
    provider = _imported(target)
    yield from _order(provider, target)
    call = LiveCall(provider)
    if not call.exporters and not call.unwatched:
        text = f"{target} exports nothing: add a processor such as BatchSpanProcessor(OTLPSpanExporter())."
        yield Finding(topic="export", status="wrong", text=text)
    elif live is not None:
        yield from _live(call, live)


def _live(call: LiveCall, frameworks: Sequence[Framework]) -> Iterator[Finding]:
    if not frameworks:
        yield Finding(topic="live", status="wrong", text="No framework is installed here: no call can be held.")
        return
    try:
        call.hold(frameworks[0])
    except Exception as error:  # noqa: BLE001  # the user's processors, or parts that are missing
        text = f"The call did not come to its end: {type(error).__name__}: {error}"
        yield Finding(topic="live", status="wrong", text=text)
    for exporter in call.exporters:
        problem = exporter.problem()
        yield Finding(topic="live", status="wrong" if problem else "ok", text=problem or exporter.summary())
    for name in call.unwatched:
        yield Finding(
            topic="live", status="note", text=f"{name} exports in a way of its own: what it sends is not known."
        )


def _order(provider: TracerProvider, target: str) -> Iterator[Finding]:
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
    if callable(provider):
        try:
            provider = provider()
        except Exception as error:  # noqa: BLE001
            fail([f"{target}(): got {type(error).__name__}: {error}, expected a provider"])
        if provider is None:  # it has set the framework's
            provider = next(
                (known for source in sources() if isinstance(known := source.provider(), TracerProvider)), None
            )
    if not isinstance(provider, TracerProvider):
        fail([f"{target}: got {type(provider).__name__}, expected an OpenTelemetry SDK TracerProvider"])
    return provider


def _models(frameworks: Sequence[Framework], catalog: PriceCatalog) -> Iterator[Finding]:
    """Yield findings on models without a price, of classes that are used here."""
    for framework in frameworks:
        used = find_gaps(framework, catalog, datetime.now(timezone.utc), framework.used_classes())
        if not used:
            yield Finding(topic="models", status="note", text=framework.unused)
            continue
        unpriced = [gap for gap in used if gap.status == "unpriced" and gap.model]
        for gap in unpriced:
            text = f"{gap.billed_class.title} {gap.model}: {gap.reason}"
            yield Finding(topic="models", status="note", text=text)
        known = f"{len(used) - len(unpriced)} of {len(used)} models"
        text = f"{known} of {framework.source.name}'s classes that are used here are known"
        yield Finding(topic="models", status="ok", text=text)
