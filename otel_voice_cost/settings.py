"""All options and ``VOICE_COST_*`` variables, read once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import Problem, SettingsError
from .export.dialects import resolve_dialects
from .prices.documents import to_json
from .prices.files import read_text
from .prices.price_sheet import PriceSheet, parse_sheet
from .prices.problems import expected_in, masked, nearest, shown

__all__ = ["Settings", "load_price_sheets", "session_sheet"]

_PREFIX = "VOICE_COST_"
_LONGEST = 80  # of a name in a message
_RENAMED = {"speech_as_tokens": ("speech_usage", '"tokens" for true, "metadata" for false')}  # before the first release
_LONGEST_NAME = 200  # of a Kubernetes service and its port
# Kubernetes sets these in every container if a service is named voice-cost or voice-cost-…
_OF_KUBERNETES = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_[A-Z]+(?:_(?:PROTO|PORT|ADDR))?)?)"
)


class Settings(BaseSettings):
    """The options of the processor. Each is also a variable, ``VOICE_COST_`` and its name in capitals.

    Attributes:
        enabled: False makes the processor pass on every span unchanged.
        prices: Prices in the short form, see `otel_voice_cost.prices.short_form`, as text or, in code, as a
            mapping; they override shipped prices.
        prices_file: Price files, separated by the system's path separator; they override shipped prices,
            ``prices`` overrides them.
        dialects: Backends to write for, separated by commas.
        speech_usage: Where backends show characters and seconds of speech: ``tokens``, in their token figures, one
            token for each character or second; or ``metadata``, apart from them.
        langfuse_content: True to show Langfuse the transcribed and spoken text, as input and output of speech
            spans, if LiveKit put it there.
        records_file: File that gets a line for each call that ends; the day is added to its name.
        session_budget_usd: US dollars a call may cost before a line is logged; budgets with actions are set in code.
        session_rates: Rates that every call is billed by time or per call, in the form of ``prices``.
        unreported: Treatment of work that a vendor bills and LiveKit does not report: ``count``; ``estimate``, in
            addition to the cost; or ``bill``, as part of it.
        revision: Label of the deployment, on spans, records and metrics: a release, an image, a commit.
        debug: True to log usage, rate and written attributes of each span, without content.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    enabled: bool = True
    prices: str = ""
    prices_file: str = ""
    dialects: Annotated[tuple[str, ...], NoDecode] = ("genai", "langfuse")
    speech_usage: Literal["tokens", "metadata"] = "tokens"
    langfuse_content: bool = False
    records_file: str = ""
    session_budget_usd: Annotated[Decimal, Field(gt=0)] | None = None
    session_rates: str = ""
    unreported: Literal["count", "estimate", "bill"] = "estimate"
    revision: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    debug: bool = False
    _in_code: frozenset[str] = PrivateAttr(default=frozenset())  # options that arguments set

    def __init__(self, **values: Any) -> None:
        """Read the environment and price files; ``values`` override the environment.

        Raises:
            SettingsError: Options, prices or price files have mistakes; it lists argument or variable, value and
                expectation of each.
        """
        problems = self._take(values)
        place = self._place("dialects")
        problems += [p._replace(place=place, value=masked(p.value)) for p in resolve_dialects(self.dialects)[1]]
        for sheet in (session_sheet(self), *load_price_sheets(self)):
            problems += sheet.problems
        if problems:
            raise SettingsError(problems)

    @field_validator("dialects", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("prices", "session_rates", mode="before")
    @classmethod
    def _written(cls, value: object) -> object:
        return to_json(value) if isinstance(value, Mapping) else value

    @classmethod
    def from_environment(cls) -> tuple[Settings, tuple[Problem, ...]]:
        """Read the environment without raising: the option of an invalid variable keeps its default.

        Prices and dialects are not validated here; `load_price_sheets`, `session_sheet` and
        `otel_voice_cost.export.dialects` report their mistakes and keep their valid entries.

        Returns:
            The settings, and a problem for each variable that was ignored or is unknown.
        """
        settings = cls.__new__(cls)
        problems = settings._take({})
        secret = [name for name in settings.dialects if masked(name) != name]
        if secret:  # other messages would quote them
            problems += [
                Problem(place=f"{_PREFIX}DIALECTS", value=shown(n), expected="names of dialects") for n in secret
            ]
            settings = settings.model_copy(update={"dialects": tuple(n for n in settings.dialects if n not in secret)})
        return settings, (*problems, *_unknown_variables())

    def _take(self, values: dict[str, Any]) -> list[Problem]:
        """Set every option, an invalid one to its default. Return a problem for each invalid one."""
        problems: list[Problem] = []
        sound = values
        try:
            super().__init__(**values)
        except ValidationError as error:
            details = error.errors(include_url=False)
            problems += [_problem(detail, values) for detail in details]
            bad = {str(detail["loc"][0]) for detail in details}
            sound = {name: value for name, value in values.items() if name not in bad}
            defaults = {name: option.default for name, option in type(self).model_fields.items() if name in bad}
            super().__init__(**sound, **defaults)
        self._in_code = frozenset(sound).intersection(("dialects", "prices", "prices_file", "session_rates"))
        return problems

    def _place(self, name: str) -> str:
        """Return the place where an option was set, for messages."""
        return f"Settings.{name}" if name in self._in_code else _PREFIX + name.upper()


def session_sheet(settings: Settings) -> PriceSheet:
    """Return the sheet in ``session_rates``, with all its problems."""
    return _parsed(settings.session_rates, settings._place("session_rates"))


def load_price_sheets(settings: Settings) -> list[PriceSheet]:
    """Return the sheets in ``prices`` and ``prices_file`` with all problems; the first takes precedence."""
    sheets = [_parsed(settings.prices, settings._place("prices"))]
    place = settings._place("prices_file")
    for path in filter(None, settings.prices_file.split(os.pathsep)):
        text = read_text(Path(path))
        if isinstance(text, Problem):  # an unreadable path may be a key instead
            sheets.append(PriceSheet(problems=(text._replace(place=f"{place}, {masked(text.place)}"),)))
        else:
            sheet = _parsed(text, path)
            problems = tuple(problem._replace(place=f"{place}, {problem.place}") for problem in sheet.problems)
            sheets.append(replace(sheet, problems=problems))
    return sheets


# A processor uses the sheets that its settings were validated with; each is parsed once.
_parsed = lru_cache(maxsize=16)(parse_sheet)


def _problem(detail: Any, values: Mapping[str, Any]) -> Problem:
    """Convert an error of pydantic to a problem with an argument, or else with a variable."""
    names = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        place = f"Settings.{masked(names[0])[:_LONGEST]}"
        if names[0] in _RENAMED:
            now, values_now = _RENAMED[names[0]]
            return Problem(place=place, value="an option of an older version", expected=f"{now}, {values_now}")
        return Problem(place=place, value="an unknown option", expected=nearest(names[0], list(Settings.model_fields)))
    place = f"Settings.{'.'.join(names)}" if names[0] in values else _PREFIX + ".".join(names).upper()
    expected = expected_in(detail)
    return Problem(place=place, value=shown(detail["input"]), expected=expected)


def _unknown_variables() -> list[Problem]:
    """Return a problem, without the value, for each unknown variable with this package's prefix."""
    known = [name.upper() for name in Settings.model_fields]
    problems = []
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(_PREFIX)
        if name != variable.upper() and name not in known and not _OF_KUBERNETES.fullmatch(name[:_LONGEST_NAME]):
            place, value, expected = masked(variable)[:_LONGEST], "an unknown variable", nearest(name, known, _PREFIX)
            if name.lower() in _RENAMED:
                now, values_now = _RENAMED[name.lower()]
                value, expected = "a variable of an older version", f"{_PREFIX}{now.upper()}, {values_now}"
            problems.append(Problem(place=place, value=value, expected=expected))
    return problems
