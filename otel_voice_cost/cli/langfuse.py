"""``langfuse push-models``: register the catalog's voice models as model definitions of a Langfuse project.

Langfuse rejects a second definition with the same name, and current servers cannot change one. So a changed model
is created under a spare name, the old one is deleted, the new one is created under its own name, and the spare one
is deleted: one of them prices the model at all times. If a run is interrupted, the next one completes it.

Source:
    Langfuse 4.16.0, ``web/src/features/models/server/publicApiModelService.ts``, ``createModelForApi``.
"""

from __future__ import annotations

import base64
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import track

from ..cost import EXACT, to_text
from ..export.dialects.langfuse import bucket
from ..prices.catalog import PriceCatalog
from ..prices.rates import Rate
from ..usage import Component, Dimension, Mode
from .app import Json, app, catalog, fail, output, print_json, table

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI

__all__ = ["ModelDefinition", "connect_to_project", "describe_error", "to_definitions"]

_langfuse = typer.Typer(help="Work with a Langfuse project.", no_args_is_help=True)
app.add_typer(_langfuse, name="langfuse")

_PREFIX = "voice-cost: "  # of the names of all definitions that this command creates
_SPARE = " (replacement)"  # ends the spare name of a definition
_OWN_NAME = re.compile(rf"{_PREFIX}[^/]+/.+ (?:realtime|stt|tts)(?:{re.escape(_SPARE)})?")
_OWN_PATTERN = re.compile(r"\(\?i\)\^\(.+\)\$")
_CLOUD = "https://cloud.langfuse.com"
_PATH = "/api/public/models"
_PUBLIC, _SECRET = "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"
_PAGE = 100
_LITERALS = 4  # a pattern with fewer would match unrelated models
_SAYS_NOTHING = {"auto", "default", "unknown"}
_MEASURES = {Dimension.TOKEN: "TOKENS", Dimension.TIME: "MILLISECONDS", Dimension.SESSION: "MILLISECONDS"}
_FORMS = {"application/json", "application/xml", "nothing", "text/html", "text/plain", "text/xml"}
# Langfuse's messages, printed from these constants.
_PHRASES = ("Invalid credentials", "already exists in project", "not a valid regex pattern", "Invalid request data")
_STATUS = {401: "Invalid credentials", 403: "no access to this project", 429: "too many requests"}
_BILLED = {Component.REALTIME, Component.STT, Component.TTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefinition:
    """A model in the form of Langfuse's API.

    Attributes:
        name: ``voice-cost: provider/model component``; unique in a project.
        pattern: Regular expression for the whole model name on a span, any case.
        unit: A label in Langfuse; prices are looked up by usage key.
        prices: Usage key → US dollars for one.
    """

    name: str
    pattern: str
    unit: str
    prices: dict[str, float] = field(hash=False)


def to_definitions(prices: PriceCatalog, at: datetime) -> Iterator[ModelDefinition]:
    """Yield the speech and realtime models of price files and variables that have a specific id.

    A streaming model gets its streaming price: Langfuse cannot tell modes apart. Models with
    unspecific ids (``*``, ``unknown``) are left out, because they would match any model.
    """
    groups: defaultdict[tuple[str, Component, tuple[str, ...]], dict[str, Rate]] = defaultdict(dict)
    for rate in prices.rates():
        standard = not (rate.fallback or rate.addon or rate.plan or rate.mode is Mode.BATCH)
        if rate.component in _BILLED and standard and rate.usd > 0 and rate.holds_on(at.date()):
            names = tuple(name for name in rate.model if name not in _SAYS_NOTHING and _literals(name) >= _LITERALS)
            if names:
                found = groups[rate.provider, rate.component, names]
                found.setdefault(bucket(rate.unit, rate.component), rate)  # rates are in order of precedence
    seen = set()
    for (provider, component, names), rates in groups.items():
        name = f"{_PREFIX}{provider}/{names[0]} {component.value}"
        if name not in seen:
            seen.add(name)
            yield ModelDefinition(
                name=name,
                pattern="(?i)^(" + "|".join(_regex(model) for model in names) + ")$",
                unit=_MEASURES.get(next(iter(rates.values())).unit.dimension, "CHARACTERS"),
                prices={key: _usd_of_one(rate) for key, rate in rates.items()},
            )


def _literals(name: str) -> int:
    return len(name.replace("*", ""))


def _regex(name: str) -> str:
    """Convert a glob to a regular expression that Postgres also supports."""
    return "".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", name))


def _usd_of_one(rate: Rate) -> float:
    thousandth = 1_000 if rate.unit.dimension in (Dimension.TIME, Dimension.SESSION) else 1
    return float(EXACT.divide(rate.usd, EXACT.create_decimal(rate.per * thousandth)))


@_langfuse.command()
def push_models(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes without making them.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete all models that this command created.")] = False,
    as_json: Json = False,
) -> None:
    """Register the catalog's voice models in a Langfuse project, so that it prices usage without this package.

    Project and credentials: LANGFUSE_BASE_URL, LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY.
    Changed models of an earlier run are replaced, those no longer in the catalog are deleted; models that this
    command did not create are not touched.

    Example: voice-cost langfuse push-models --dry-run
    """
    client = connect_to_project()
    wanted = [] if delete else list(to_definitions(catalog(), datetime.now(timezone.utc)))
    try:
        existing = {model.model_name: model for model in _models(client)}
    except Exception as error:  # noqa: BLE001  # any network error
        fail([f"Langfuse: {describe_error(error)}"])
    steps = list(_steps(wanted, existing))
    failed = [] if dry_run else _carry_out(client, steps, existing)
    _show(steps, as_json=as_json)
    if failed:
        fail(failed)


_Step = tuple[str, str, ModelDefinition | None]


def _steps(wanted: Iterable[ModelDefinition], existing: dict[str, Any]) -> Iterator[_Step]:
    """Yield an action, a name and its definition for each model; deletions come last."""
    names = set()
    for definition in wanted:
        names |= {definition.name, definition.name + _SPARE}
        found, spare = existing.get(definition.name), existing.get(definition.name + _SPARE)
        if found is None and spare is None:
            yield "create", definition.name, definition
        elif spare is None and _is_same(found, definition):
            yield "keep", definition.name, definition
        else:
            yield "replace", definition.name, definition
    for name, model in existing.items():
        if name not in names and _OWN_PATTERN.fullmatch(model.match_pattern):
            yield "delete", name, None


def _carry_out(client: LangfuseAPI, steps: Sequence[_Step], existing: dict[str, Any]) -> list[str]:
    """Change the project; return the failures, each with its model."""
    failed: list[str] = []
    incomplete = False
    console = Console(stderr=True)
    todo = [step for step in steps if step[0] != "keep"]
    for _, name, definition in track(todo, "Models", console=console, disable=not console.is_terminal):
        try:
            if definition is not None:
                _put(client, definition, existing)
            elif incomplete:  # the model may be in the catalog under another name, which was rejected
                failed.append(f"{name}: not deleted, because other models could not be made")
            else:
                _delete(client, existing[name])
        except Exception as error:  # noqa: BLE001  # one invalid model must not stop the others
            incomplete = incomplete or definition is not None
            failed.append(f"{name}: {describe_error(error)}")
    return failed


def _put(client: LangfuseAPI, definition: ModelDefinition, existing: dict[str, Any]) -> None:
    """Replace the project's definitions of a model by one under its own name, so that one exists at all times."""
    found, spare = existing.get(definition.name), existing.get(definition.name + _SPARE)
    if found is not None and not _is_same(found, definition):
        if spare is not None and not _is_same(spare, definition):
            _delete(client, spare)
            spare = None
        if spare is None:
            spare = _create(client, definition, definition.name + _SPARE)
        _delete(client, found)
        found = None
    if found is None:
        _create(client, definition, definition.name)
    if spare is not None:
        _delete(client, spare)


def _is_same(model: Any, definition: ModelDefinition) -> bool:
    prices = next((dict(tier.prices) for tier in model.pricing_tiers or () if tier.is_default), {})
    return bool(model.match_pattern == definition.pattern and prices == definition.prices)


def connect_to_project() -> LangfuseAPI:
    """Return Langfuse's client of the project that the environment names; exit if something is missing."""
    try:
        from langfuse.api import LangfuseAPI  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        fail(["voice-cost langfuse needs Langfuse's client: pip install langfuse"])
    missing = [name for name in (_PUBLIC, _SECRET) if not os.environ.get(name)]
    if missing:
        fail([f"{name}: got nothing, expected a key of your Langfuse project" for name in missing])
    return LangfuseAPI(base_url=_base_url(), username=os.environ[_PUBLIC], password=os.environ[_SECRET])


def _base_url() -> str:
    return os.environ.get("LANGFUSE_BASE_URL") or _CLOUD


def _models(client: LangfuseAPI) -> list[Any]:
    """Return all definitions of the project that this command created."""
    found: list[Any] = []
    page, pages = 1, 1
    while page <= pages:
        answer = client.models.list(page=page, limit=_PAGE)
        found += filter(_is_own, answer.data)
        page, pages = page + 1, answer.meta.total_pages
    return found


def _is_own(model: Any) -> bool:
    """Return True if this command created a model's name and it contains no key: names are printed."""
    keys = os.environ[_PUBLIC], os.environ[_SECRET]
    quotes = any(key in model.model_name for key in (*keys, base64.b64encode(":".join(keys).encode()).decode()))
    return not quotes and not model.is_langfuse_managed and _OWN_NAME.fullmatch(model.model_name) is not None


def _create(client: LangfuseAPI, definition: ModelDefinition, name: str) -> Any:
    from langfuse.api import ModelUsageUnit, PricingTierInput  # noqa: PLC0415  # an extra

    tier = PricingTierInput(name="Standard", is_default=True, priority=0, conditions=[], prices=definition.prices)
    return client.models.create(
        model_name=name,
        match_pattern=definition.pattern,
        unit=ModelUsageUnit(definition.unit),
        pricing_tiers=[tier],
    )


def _delete(client: LangfuseAPI, model: Any) -> None:
    """Delete a model. A missing one counts as deleted: the response to an earlier request may have been lost."""
    try:
        client.models.delete(model.id)
    except Exception as error:
        if getattr(error, "status_code", None) != HTTPStatus.NOT_FOUND:
            raise


def describe_error(error: Exception, path: str = _PATH) -> str:
    """Describe an error in this module's words: a server or proxy may return the request, including credentials.

    Args:
        error: The error of a request.
        path: The path of the request.
    """
    status, body = getattr(error, "status_code", None), getattr(error, "body", None)
    if status is None:
        if isinstance(error, ValueError):
            return f"got JSON of another form, expected Langfuse's, from {_url(path)}"
        detail = f": {error}" if type(error).__name__ == "ConnectError" else ""  # raised before anything was sent
        return f"{type(error).__name__}{detail}, from {_url(path)}"
    if isinstance(body, str):  # JSON would have been decoded
        headers = {key.lower(): value for key, value in (getattr(error, "headers", None) or {}).items()}
        form = headers.get("content-type", "nothing").partition(";")[0].strip().lower()
        return f"{status}, expected JSON, got {form if form in _FORMS else 'another form'} from {_url(path)}"
    message = str(body.get("message", "")) if isinstance(body, dict) else ""
    phrase = next((phrase for phrase in _PHRASES if phrase in message), _STATUS.get(status))
    return f"{status} {phrase}" if phrase else f"{status} from {_url(path)}"


def _url(path: str) -> str:
    """Return the URL of the API without user and password."""
    try:
        parts = urlsplit(_base_url())
    except ValueError:
        return "LANGFUSE_BASE_URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}{path}"


def _show(steps: list[_Step], *, as_json: bool) -> None:
    if as_json:
        fields = ((action, name, d.pattern if d else None, d.prices if d else None) for action, name, d in steps)
        print_json([dict(zip(("action", "model", "pattern", "prices"), each, strict=True)) for each in fields])
        return
    rows = table("", "model", "US dollars for one")
    for action, name, definition in steps:
        prices = definition.prices.items() if definition else ()
        money = ", ".join(f"{key} {to_text(EXACT.create_decimal(repr(usd)))}" for key, usd in prices)
        rows.add_row(action, name, money)
    output().print(rows)
