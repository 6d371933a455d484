"""Every option and ``VOICE_COST_*`` variable, read once."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import Problem, SettingsError

__all__ = ["Settings"]

_PREFIX = "VOICE_COST_"


class Settings(BaseSettings):
    """The options of the processor. Each is also a variable, ``VOICE_COST_`` and its name in capitals.

    Attributes:
        enabled: False makes the processor pass every span through untouched.
        prices: Prices in the short form, see `otel_voice_cost.prices.short_form`; they win over
            shipped ones.
        prices_file: Price files, separated by the system's path separator; they win over
            shipped prices and lose to ``prices``.
        dialects: Backends to write for, separated by commas.
        speech_as_tokens: Whether speech billed by characters or seconds is also written as
            ``gen_ai.usage.input_tokens``, characters as they are and seconds × 100, and counts in Langfuse's usage.
        langfuse_content: Whether Langfuse is shown what was heard and spoken, as input and output of speech
            spans, as far as LiveKit left it there.
        records: File that gets a line for each call that ends; the day is put into its name.
        session_budget_usd: US dollars a call may cost before a line is logged; budgets with actions are made in code.
        session_rates: What every call is billed for by time or per call, in the form of ``prices``.
        debug: Whether each span is logged: what was read, which rate won, what was written; no content.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    enabled: bool = True
    prices: str = ""
    prices_file: str = ""
    dialects: Annotated[tuple[str, ...], NoDecode] = ("genai", "langfuse")
    speech_as_tokens: bool = True
    langfuse_content: bool = False
    records: str = ""
    session_budget_usd: Annotated[Decimal, Field(gt=0)] | None = None
    session_rates: str = ""
    debug: bool = False

    def __init__(self, **values: Any) -> None:
        """Read the environment; ``values`` win over it.

        Raises:
            SettingsError: With every bad value: its variable, what it holds and what was expected.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError([_problem(detail) for detail in error.errors(include_url=False)]) from error

    @field_validator("dialects", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @classmethod
    def from_environment(cls) -> tuple[Settings, tuple[Problem, ...]]:
        """Read the environment without raising: a bad variable leaves its option at the default.

        Returns:
            The settings, and a problem for each variable that was left out.
        """
        try:
            return cls(), ()
        except SettingsError as error:
            bad = {problem.place.removeprefix(_PREFIX).lower() for problem in error.problems}
            defaults = {name: field.default for name, field in cls.model_fields.items() if name in bad}
            return cls(**defaults), error.problems


def _problem(detail: Any) -> Problem:
    name = ".".join(str(part) for part in detail["loc"])
    return Problem(place=_PREFIX + name.upper(), value=repr(detail["input"])[:60], expected=detail["msg"])
