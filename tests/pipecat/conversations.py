"""The conversations: scripts of callers, and the agents that they call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace.sampling import Sampler

from otel_voice_cost.usage import Component

from ..vendors.meter import MeterEntry
from .agent import Line, Setup, hold

__all__ = ["CONVERSATIONS", "Conversation"]

_Hold = Callable[[], Awaitable[list[MeterEntry]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation that can be held.

    Attributes:
        name: Short name.
        hold: Holds it, and returns what the vendors' meters say.
        unreported: Components of which Pipecat reports only the requests that ended well.
        traced: Whether it has spans that are exported.
        sampler: Sampler of the provider, if not the default.
    """

    name: str
    hold: _Hold
    unreported: frozenset[Component]
    traced: bool = True
    sampler: Sampler | None = None


CONVERSATIONS: list[Conversation] = []


def conversation(*unreported: Component, **fields: Any) -> Callable[[_Hold], _Hold]:
    """Put a conversation into `CONVERSATIONS`."""

    def put(hold_it: _Hold) -> _Hold:
        CONVERSATIONS.append(
            Conversation(name=hold_it.__name__, hold=hold_it, unreported=frozenset(unreported), **fields)
        )
        return hold_it

    return put


@conversation()
async def one_turn() -> list[MeterEntry]:
    """One question, and the answer heard to its end."""
    return await hold(Setup(), Line.ask_and_listen)


@conversation()
async def silence_only() -> list[MeterEntry]:
    """Nobody speaks."""
    return await hold(Setup(), lambda line: line.be_silent(2.0))
