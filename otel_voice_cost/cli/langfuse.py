"""``langfuse push-models``: the voice models of the catalogue, as model definitions of a Langfuse project."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from ..dialects.langfuse import bucket
from ..dialects.voice_cost import to_text
from ..prices.catalog import PriceCatalog
from ..prices.rates import EXACT, Rate
from ..usage import Component, Measure, Mode
from .app import Json, app, catalog, fail, output, print_json, table

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI

__all__ = ["ModelDefinition", "definitions_of"]

_langfuse = typer.Typer(help="Work with a Langfuse project.", no_args_is_help=True)
app.add_typer(_langfuse, name="langfuse")

_OURS = "voice-cost: "  # how names of our definitions begin
_CLOUD = "https://cloud.langfuse.com"
_PAGE = 100
_LITERALS = 4  # a pattern with fewer would match models of others
_SAYS_NOTHING = {"auto", "default", "unknown"}
_MEASURES = {Measure.TOKEN: "TOKENS", Measure.TIME: "MILLISECONDS", Measure.SESSION: "MILLISECONDS"}
_BILLED = {Component.REALTIME, Component.STT, Component.TTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefinition:
    """A model as Langfuse's API takes it.

    Attributes:
        name: Begins with ``voice-cost: ``; unique in a project.
        pattern: Regular expression for the model on a span, any case, whole.
        unit: A label in Langfuse; prices are found by usage key.
        prices: Usage key → US dollars for one.
    """

    name: str
    pattern: str
    unit: str
    prices: dict[str, float] = field(hash=False)


def definitions_of(prices: PriceCatalog, at: datetime) -> Iterator[ModelDefinition]:
    """The speech and realtime models of price files and variables with a name of their own.

    A model that streams is given its streaming price: Langfuse cannot tell. Models without an id
    that says who they are (``*``, ``unknown``) are left out, for they would match everybody's.
    """
    groups: defaultdict[tuple[str, Component, tuple[str, ...]], dict[str, Rate]] = defaultdict(dict)
    for rate in prices.rates():
        standard = not (rate.fallback or rate.addon or rate.plan or rate.mode is Mode.BATCH)
        if rate.component in _BILLED and standard and rate.usd > 0 and rate.holds_on(at.date()):
            names = tuple(name for name in rate.model if name not in _SAYS_NOTHING and _literals(name) >= _LITERALS)
            if names:
                found = groups[rate.provider, rate.component, names]
                found.setdefault(bucket(rate.unit, rate.component), rate)  # rates that win come first
    seen = set()
    for (provider, component, names), rates in groups.items():
        name = f"{_OURS}{provider}/{names[0]} {component.value}"
        if name not in seen:
            seen.add(name)
            yield ModelDefinition(
                name=name,
                pattern="(?i)^(" + "|".join(_regex(model) for model in names) + ")$",
                unit=_MEASURES.get(next(iter(rates.values())).unit.measure, "CHARACTERS"),
                prices={key: _usd_of_one(rate) for key, rate in rates.items()},
            )


def _literals(name: str) -> int:
    return len(name.replace("*", ""))


def _regex(name: str) -> str:
    """A glob as a regular expression that Postgres understands too."""
    return "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", name))


def _usd_of_one(rate: Rate) -> float:
    thousandth = 1_000 if rate.unit.measure in (Measure.TIME, Measure.SESSION) else 1
    return float(EXACT.divide(rate.usd, EXACT.create_decimal(rate.per * thousandth)))


@_langfuse.command()
def push_models(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove all models that this command made.")] = False,
    as_json: Json = False,
) -> None:
    """Register the catalogue's voice models in a Langfuse project, so that it prices usage that comes without us.

    Project and credentials: LANGFUSE_BASE_URL (or LANGFUSE_HOST), LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY.
    Models of the same name that differ are deleted and made anew; others are left alone.

    Example: voice-cost langfuse push-models --dry-run
    """
    client = _client()
    wanted = [] if delete else list(definitions_of(catalog(), datetime.now(timezone.utc)))
    existing = {model.model_name: model for model in _reported(_models, client)}
    steps = list(_steps(wanted, existing, delete=delete))
    failed = []
    console = Console(stderr=True)
    todo = [] if dry_run else [step for step in steps if step[0] != "keep"]
    for action, name, definition in track(todo, "Models", console=console, disable=not console.is_terminal):
        try:
            if action in ("delete", "replace"):
                client.models.delete(existing[name].id)
            if definition is not None:
                _create(client, definition)
        except Exception as error:  # noqa: BLE001  # one bad model must not cost the others
            failed.append(f"{name}: {_said(error)}")
    _show(steps, as_json=as_json)
    if failed:
        fail(failed)


_Step = tuple[str, str, ModelDefinition | None]


def _steps(wanted: Iterable[ModelDefinition], existing: dict[str, Any], *, delete: bool) -> Iterator[_Step]:
    if delete:
        yield from (("delete", name, None) for name in existing)
        return
    for definition in wanted:
        found = existing.get(definition.name)
        if found is None:
            yield "create", definition.name, definition
        elif found.match_pattern == definition.pattern and _prices(found) == definition.prices:
            yield "keep", definition.name, definition
        else:
            yield "replace", definition.name, definition


def _prices(model: Any) -> dict[str, float]:
    return next((dict(tier.prices) for tier in model.pricing_tiers or () if tier.is_default), {})


def _client() -> LangfuseAPI:
    try:
        from langfuse.api import LangfuseAPI  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        fail(["voice-cost langfuse needs Langfuse's client: pip install langfuse"])
    names = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        fail([f"{name}: got nothing, expected a key of your Langfuse project" for name in missing])
    return LangfuseAPI(
        base_url=os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or _CLOUD,
        username=os.environ[names[0]],
        password=os.environ[names[1]],
    )


def _models(client: LangfuseAPI) -> list[Any]:
    """Our definitions in the project, of all pages."""
    found: list[Any] = []
    page, pages = 1, 1
    while page <= pages:
        answer = client.models.list(page=page, limit=_PAGE)
        found += [model for model in answer.data if model.model_name.startswith(_OURS)]
        page, pages = page + 1, answer.meta.total_pages
    return found


def _create(client: LangfuseAPI, definition: ModelDefinition) -> None:
    from langfuse.api import ModelUsageUnit, PricingTierInput  # noqa: PLC0415  # an extra

    tier = PricingTierInput(name="Standard", is_default=True, priority=0, conditions=[], prices=definition.prices)
    client.models.create(
        model_name=definition.name,
        match_pattern=definition.pattern,
        unit=ModelUsageUnit(definition.unit),
        pricing_tiers=[tier],
    )


def _reported(step: Any, client: LangfuseAPI) -> Any:
    try:
        return step(client)
    except Exception as error:  # noqa: BLE001  # whatever the network brings
        fail([f"Langfuse: {_said(error)}"])


def _said(error: Exception) -> str:
    """What went wrong, without headers or credentials."""
    status, body = getattr(error, "status_code", None), getattr(error, "body", None)
    if status is None:
        return f"{type(error).__name__}: {error}"
    message = body.get("message", "") if isinstance(body, dict) else ""
    return f"{status} {message}".strip()


def _show(steps: list[_Step], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "action": action,
                    "model": name,
                    "pattern": d.pattern if d else None,
                    "prices": d.prices if d else None,
                }
                for action, name, d in steps
            ]
        )
        return
    rows = table("", "model", "US dollars for one")
    for action, name, definition in steps:
        prices = definition.prices.items() if definition else ()
        money = ", ".join(f"{key} {to_text(EXACT.create_decimal(repr(usd)))}" for key, usd in prices)
        rows.add_row(action, name, money)
    output().print(rows)
