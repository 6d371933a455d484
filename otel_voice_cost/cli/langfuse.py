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
from decimal import Context
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
from .app import Json, app, catalog, fail, output, print_errors, print_json, table

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI

__all__ = ["ModelDefinition", "connect_to_project", "describe_error", "to_definitions"]

_langfuse = typer.Typer(help="Work with a Langfuse project.", no_args_is_help=True)
app.add_typer(_langfuse, name="langfuse")

_MARK = " (voice-cost)"  # ends the names of all definitions that this command creates; lists cut the end off
_SPARE = " (replacement)"  # ends the spare name of a definition
_MODEL = r"[^/]+/.+ (?:realtime|stt|tts)"
_OWN_NAME = re.compile(rf"(?:{_MODEL}{re.escape(_MARK)}|voice-cost: {_MODEL})(?:{re.escape(_SPARE)})?")  # new, old form
_OWN_PATTERN = re.compile(r"\(\?i\)\^\(.+\)\$")
_CLOUD = "https://cloud.langfuse.com"
_PATH = "/api/public/models"
_PUBLIC, _SECRET = "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"
_PAGE = 100
_LITERALS = 4  # a pattern with fewer would match unrelated models
# A model id of these words alone names no product: its pattern would match other people's models.
_PLAIN = re.compile(
    "agent|asr|auto|base|conversation|conversational|custom|default|dictation|enhanced|finance|form|general|generative"
    "|instant|latest|long|medical|meeting|model|natural|neural|personal|phonecall|realtime|short|speech|standard"
    "|streaming|stt|studio|telephony|tts|unknown|video|voice|voicemail"
)
# The voices of Azure and Google begin with their language: en-US-Studio-O.
_OF_VOICE = r"[a-z]{2,3}\-(?:[a-z]{2}|[0-9]{3})(?=\-).*"
_WILDCARDS = "*?["
_SHOWN_DIGITS = Context(prec=6)
_MEASURES = {Dimension.TOKEN: "TOKENS", Dimension.TIME: "SECONDS", Dimension.SESSION: "SECONDS"}
_FORMS = {"application/json", "application/xml", "nothing", "text/html", "text/plain", "text/xml"}
# Langfuse's messages, printed from these constants.
_PHRASES = ("Invalid credentials", "already exists in project", "not a valid regex pattern", "Invalid request data")
_STATUS = {401: "Invalid credentials", 403: "no access to this project", 429: "too many requests"}
_BILLED = {Component.REALTIME, Component.STT, Component.TTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefinition:
    """A model in the form of Langfuse's API.

    Attributes:
        name: ``provider/model component (voice-cost)``; unique in a project.
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

    Langfuse knows a model by its name alone. A streaming model gets its streaming price, and these ids are left out:
    unspecific ones (``*``, ``standard``), those that vendors sell at different prices, and globs that another
    definition has an id for.
    """
    groups: defaultdict[tuple[str, Component, tuple[str, ...]], dict[str, Rate]] = defaultdict(dict)
    for rate in prices.rates():
        standard = not (rate.fallback or rate.addon or rate.plan or rate.mode is Mode.BATCH)
        if rate.component in _BILLED and standard and rate.usd > 0 and rate.holds_on(at.date()):
            found = groups[rate.provider, rate.component, rate.model]
            found.setdefault(bucket(rate.unit, rate.component), rate)  # rates are in order of precedence
    providers = {provider for provider, _, _ in groups}
    drafts: dict[tuple[str, Component, str], tuple[list[str], dict[str, Rate]]] = {}
    for (provider, component, models), rates in groups.items():
        names = [name for name in models if _is_specific(name, providers - {provider})]
        if names:
            drafts.setdefault((provider, component, names[0]), (names, rates))
    usd = {key: {use: _usd_of_one(rate) for use, rate in rates.items()} for key, (_, rates) in drafts.items()}
    for key, (names, rates) in drafts.items():
        others = [(draft, usd[other]) for other, (draft, _) in drafts.items() if other != key]
        clear = [name for name in names if not any(_clashes(name, usd[key], *other) for other in others)]
        if clear:
            yield ModelDefinition(
                name=f"{key[0]}/{clear[0]} {key[1].value}{_MARK}",
                pattern="(?i)^(" + "|".join(dict.fromkeys(map(_regex, clear))) + ")$",
                unit=_MEASURES.get(next(iter(rates.values())).unit.dimension, "CHARACTERS"),
                prices=usd[key],
            )


def _is_specific(name: str, other_providers: Iterable[str]) -> bool:
    """Return True if a model id names a product."""
    literals = re.sub(r"\*|\[.*?\]", "", name)
    words = re.findall(r"[a-z]+|[0-9]+", literals)
    is_plain = all(map(_PLAIN.fullmatch, words)) and not name.startswith("*")
    return len(literals) >= _LITERALS and not is_plain and name not in other_providers


def _clashes(name: str, usd: dict[str, float], other_names: list[str], other_usd: dict[str, float]) -> bool:
    """Return True if a model of this name could be priced by another definition, at other prices."""
    if usd == other_usd:
        return False
    if set(name).isdisjoint(_WILDCARDS):
        return name in other_names
    ids = [other for other in other_names if set(other).isdisjoint(_WILDCARDS)]
    return any(re.fullmatch(_regex(name), other) for other in ids)


def _regex(name: str) -> str:
    """Convert a glob to a regular expression that Postgres also supports.

    A voice (``*studio*``) is only matched after its language, and a word (``falcon*``) only as a whole.
    """
    pieces = re.split(r"(\*|\?|\[.*?\])", name)
    if not pieces[0] and pieces[1:2] == ["*"]:
        return _OF_VOICE + "".join(map(_piece, pieces[2:]))
    if pieces[0].isalpha() and pieces[1:] == ["*", ""]:
        return pieces[0] + "([^a-z].*)?"
    return "".join(map(_piece, pieces))


def _piece(piece: str) -> str:
    if piece.startswith("["):
        return piece.replace("[!", "[^", 1)
    return {"*": ".*", "?": "."}.get(piece) or re.escape(piece)


def _usd_of_one(rate: Rate) -> float:
    return float(EXACT.divide(rate.usd, EXACT.create_decimal(rate.per)))


@_langfuse.command()
def push_models(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes without making them.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete all models that this command created.")] = False,
    as_json: Json = False,
) -> None:
    """Register the catalog's voice models in a Langfuse project, so that it prices usage without this package.

    Project and credentials: LANGFUSE_BASE_URL, LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY.
    Changed models of an earlier run are replaced, those no longer in the catalog are deleted; models that this
    command did not create are not touched. A dry run without credentials shows all models.

    Example: voice-cost langfuse push-models --dry-run
    """
    wanted = [] if delete else list(to_definitions(catalog(), datetime.now(timezone.utc)))
    missing = [name for name in (_PUBLIC, _SECRET) if not os.environ.get(name)]
    if dry_run and missing and not delete:
        _show(list(_steps(wanted, {})), as_json=as_json)
        print_errors([f"Not compared with your project: {' and '.join(missing)} not set."])
        return
    client = connect_to_project()
    try:
        existing = {model.model_name: model for model in _models(client)}
    except Exception as error:  # noqa: BLE001  # any network error
        fail([f"Langfuse: {describe_error(error)}"], status=1)
    steps = list(_steps(wanted, existing))
    failed = [] if dry_run else _carry_out(client, steps, existing)
    _show(steps, as_json=as_json)
    if failed:
        fail(failed, status=1)


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
    if missing := [name for name in (_PUBLIC, _SECRET) if not os.environ.get(name)]:
        fail([f"{name}: got nothing, expected a key of your Langfuse project" for name in missing])
    try:
        from langfuse.api import LangfuseAPI  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        fail(["voice-cost langfuse needs Langfuse's client: pip install langfuse"])
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
        money = ", ".join(f"{key} {to_text(_SHOWN_DIGITS.create_decimal_from_float(usd))}" for key, usd in prices)
        rows.add_row(action, name.replace(_MARK, ""), money)
    output().print(rows)
