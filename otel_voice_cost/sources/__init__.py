"""Frameworks as sources of usage: the protocol that each of them implements in a folder here.

Nothing outside of a framework's folder knows the names of its spans, attributes and classes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Tracer, TracerProvider

from ..usage import Component, Reading, Unit, Usage

__all__ = [
    "Attributes",
    "Ending",
    "ReportedField",
    "Role",
    "SessionFacts",
    "Source",
    "SpanKey",
    "SpanRule",
    "SpanUsage",
    "Subscription",
    "Texts",
    "UsageReport",
    "Work",
]

Attributes = Mapping[str, Any]
SpanKey = tuple[int, int]  # trace id, span id


class Role(str, Enum):
    """The meaning of a span for the bill."""

    AGENT_TURN = "agent_turn"  # gets the total of a turn, and may bill itself
    IGNORED = "ignored"  # says nothing of usage
    REQUEST = "request"  # bills
    SESSION = "session"  # gets the total of a session
    USER_TURN = "user_turn"  # gets the speech-to-text usage reported since the last one
    WRAPPER = "wrapper"  # names a model that a request inside bills


class Ending(str, Enum):
    """The way in which a request without usage ended."""

    CUT_OFF = "cut off"  # the client left
    BROKEN = "broken"  # the connection failed after something was sent
    TIMEOUT = "timeout"  # nothing came in time
    REFUSED = "refused"  # the vendor or the network refused it
    COMPLETE = "no report"  # it ended well, and its usage is not reported


@dataclass(slots=True)
class Work:
    """Work that was requested from a vendor, in numbers. The source updates them while the work is done.

    Attributes:
        component: The component that asked.
        provider: Provider id.
        model: Model id.
        started_ns: Nanoseconds since the epoch.
        ended_ns: When it ended; 0 until then.
        prompt_characters: Of a prompt, tool definitions apart.
        prompt_items: Messages, calls and results in it.
        tools: Tool definitions.
        prompt_tokens: Of the prompt, if the vendor has stated them, cached and written ones included; else 0.
        cached_tokens: The cached part of them.
        written_tokens: The part written to a cache.
        has_media: True if the prompt has images or audio, which have no characters.
        received_characters: Of the answer that came: text and arguments of calls.
        pushed_characters: Text that speech was to be made of.
        sent_characters: What the plugin took of it to send, one more for each piece; 0 if it splits no text.
        received_seconds: Audio that came.
        pushed_seconds: Audio to be transcribed.
        reported_seconds: The reported part of it.
        is_reported: True if tokens were reported: of a request, or in place of seconds.
    """

    component: Component
    provider: str
    model: str
    started_ns: int
    ended_ns: int = 0
    prompt_characters: int = 0
    prompt_items: int = 0
    tools: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    has_media: bool = False
    received_characters: int = 0
    pushed_characters: int = 0
    sent_characters: int = 0
    received_seconds: float = 0.0
    pushed_seconds: float = 0.0
    reported_seconds: float = 0.0
    is_reported: bool = False


class SpanRule(Protocol):
    """The way to read spans of one kind. Each source has its own class."""

    @property
    def role(self) -> Role:
        """The meaning of the span."""

    @property
    def component(self) -> Component:
        """The component that the span bills, if it bills.

        Speech-to-text for a user turn that names a model: it gets the usage of that model alone.
        """

    @property
    def nests(self) -> bool:
        """True if requests of the same component may run inside, and then bill in its place."""

    @property
    def is_reported(self) -> bool:
        """True if the usage of a wrapper is also reported inside sessions, and the report counts."""

    @property
    def is_attempt(self) -> bool:
        """True if the span is one try of the request above it."""

    @property
    def is_newer(self) -> bool:
        """True if the span is not of a tested release."""


class SpanUsage(NamedTuple):
    """Usage that a span carries.

    Attributes:
        component: The component that used it.
        match_key: Equal to the report of the same usage; None if the span lost it.
        fragments: Parts of the report's key that the span still proves, if it lost the key.
        request: The name of the request among those around it, if it has one.
        read: Returns the usage, or None if it bills nothing. Raises `UsageError` if it cannot be read.
    """

    component: Component
    match_key: str | None
    fragments: tuple[str, ...]
    request: Hashable
    read: Callable[[], Reading | None]


class UsageReport(NamedTuple):
    """Usage that a component reported by event.

    Attributes:
        component: The component that used it.
        match_key: Equal to that of the span that carries the same usage; empty if there is certainly none.
        span_key: The span that was current, or the span of the session.
        time_ns: Of the report, nanoseconds since the epoch.
        read: Returns the usage, or None if it bills nothing; takes the attributes of the span that carries it, which
            may name the model. Raises `UsageError` if it cannot be read.
        read_model: Returns a usage without amounts, of the model alone.
        read_request: Returns the name of the request among those around it, if it has one.
        has_span: True if the framework makes a span that carries such usage.
        sampled: True if that span is exported, or if there was none.
        reporter: The id of the object that reported.
        holds: Ids of the reporting objects that this one has as attributes: it may be a class around one of them.
        work: The request, empty if the vendor names none, and its amounts; None if a span tells the work apart.
        knows_session: True if the span tells the session, so that none is assumed if the span is unknown.
        hint: Said once in the log if no span can carry the usage.
    """

    component: Component
    match_key: str
    span_key: SpanKey
    time_ns: int
    read: Callable[[Attributes], Reading | None]
    read_model: Callable[[], Usage]
    read_request: Callable[[], Hashable]
    has_span: bool
    sampled: bool = True
    reporter: int = 0
    holds: frozenset[int] = frozenset()
    work: tuple[object, ...] | None = None
    knows_session: bool = False
    hint: str | None = None


class SessionFacts(NamedTuple):
    """Facts about a session, from the span that stands for it.

    Attributes:
        ids: The ids by which people look it up, the first wins.
        agent: Name of the agent, or None.
        inherited: Attributes that usage spans take over: ids and the application's metadata.
        phone_start_ns: When a caller by telephone came, nanoseconds since the epoch; None without one.
        title: A readable name for its trace, the same for all sessions of an agent; None if its span has such a name.
    """

    ids: tuple[str, ...]
    agent: str | None
    inherited: dict[str, Any]
    phone_start_ns: int | None
    title: str | None = None


class Texts(NamedTuple):
    """Content of a span, as far as the framework left it there.

    Attributes:
        spoken: The text that speech was made from.
        heard: The transcript of speech, or the answer of a model.
        asked: The user's words that a turn of the agent answers.
    """

    spoken: str | None = None
    heard: str | None = None
    asked: str | None = None


class ReportedField(NamedTuple):
    """A place of an amount on the span of a request.

    Attributes:
        key: Attribute, which holds the amount or a JSON object.
        field: Field of the object; empty if the attribute is the amount.
        unit: Unit of the amount.
    """

    key: str
    field: str
    unit: Unit


class Subscription(Protocol):
    """The usage reports of one framework, for one listener."""

    def cancel(self) -> None:
        """Stop the reports."""

    def renew(self) -> list[str]:
        """Hook what is not hooked by now; return the names of classes that cannot be."""

    def is_first(self) -> bool:
        """Return whether no other listener subscribed before."""


class Source(Protocol):
    """Reads the spans and usage reports of one framework."""

    @property
    def name(self) -> str:
        """The framework, for messages."""

    @property
    def setup_hint(self) -> str:
        """Advice for users whose provider receives no span."""

    @property
    def scopes(self) -> frozenset[str]:
        """Names of the instrumentation scopes whose spans are its own."""

    @property
    def session_id_keys(self) -> tuple[str, ...]:
        """Attributes of a session's span that hold its id, the first wins."""

    @property
    def agent_keys(self) -> tuple[str, ...]:
        """Attributes of a session's span that hold the agent's name, the first wins."""

    @property
    def reported_fields(self) -> tuple[ReportedField, ...]:
        """Amounts that requests carry in addition to those that are billed, to price them by another unit later."""

    def rule_for(self, span: ReadableSpan) -> SpanRule | None:
        """Return the rule for a span of the framework's, or None if nothing is known of it.

        The span may be live: then only its name and scope are known.
        """

    def read_span(self, span: ReadableSpan, rule: SpanRule, attributes: Attributes) -> SpanUsage | None:
        """Return the usage that a span carries, or None if it carries none."""

    def read_model(self, span: ReadableSpan, rule: SpanRule, attributes: Attributes) -> Usage:
        """Return a usage without amounts, of the model that a span names."""

    def read_ending(self, span: ReadableSpan, rule: SpanRule, attributes: Attributes) -> Ending:
        """Return how a request or an attempt without usage ended."""

    def current_work(self) -> Work | None:
        """Return the work in whose task this is called, as far as the source watches work."""

    def describe_session(self, attributes: Attributes, events: Iterable[Event], start_ns: int) -> SessionFacts:
        """Return the facts about a session."""

    def texts(self, attributes: Attributes) -> Texts:
        """Return the content of a span."""

    def tracer(self) -> Tracer | None:
        """Return the framework's tracer, for usage spans; None if the framework is not imported."""

    def provider(self) -> TracerProvider:
        """Return the tracer provider that the framework uses."""

    def subscribe(
        self,
        listener: Callable[[Source, Callable[[], UsageReport | None]], None],
        on_stream: Callable[[Source, Work], None] | None = None,
    ) -> Subscription:
        """Call a bound method with every report of usage, once each.

        Args:
            listener: A bound method, held weakly. It is called with this source and a function that reads the report,
                which may raise; the listener itself must not.
            on_stream: A method of the same object, called with every stream of speech-to-text that opens. With it, the
                source watches the work of all components.
        """
