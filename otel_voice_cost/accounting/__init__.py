"""Usage accounting: match, price and book each usage before it is exported.

All methods but `emit` run as steps of `SessionRegistry.gate`, with its lock held. They never call application code:
they return follow-ups, which the caller runs without the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from opentelemetry.sdk.trace import Event, ReadableSpan

from .._diagnostics import Diagnostics
from .._runtime.forks import reset_after_fork
from .._runtime.locks import FollowUp
from ..bill import SessionCost, UnreportedPart
from ..cost import EXACT, Cost, describe
from ..errors import UsageError
from ..export.attributes import (
    PRICED_KEYS,
    total_attributes,
    unpriced_attributes,
    unreported_attributes,
    work_attributes,
)
from ..export.dialects import Attributes, Dialect, Label, SpanView
from ..export.dialects.genai import COST
from ..export.metrics import LATE, UNMATCHED, UNREPORTED, Instruments
from ..export.usage_spans import UsageSpan, UsageSpanEmitter
from ..prices.calculate import calculate_cost
from ..sources import Ending, Role, Source, SpanKey, SpanRule, UsageReport, Work
from ..usage import Component, Reading, Usage, to_moment, with_text, without_text
from .budget import BudgetMonitor
from .matching import Repeats
from .plan import PlannedCost, Plans
from .session import AnyCost, PendingCost, PendingCosts, Session, SessionRegistry, to_cost
from .session_charges import SessionCharge, charged_usage
from .span_tree import SpanNode
from .unreported import Anchors, Attempt, Pricing

if TYPE_CHECKING:
    from ..prices.catalog import PriceCatalog
    from ..prices.rates import RateCard

__all__ = ["Accounting"]

UnreportedMode = Literal["count", "estimate", "bill"]

# Attributes that identify the session, its user and its trace; usage spans copy them.
_IDS = frozenset(
    {
        "gen_ai.conversation.id",
        "langfuse.session.id",
        "langfuse.trace.name",
        "langfuse.user.id",
        "session.id",
        "user.id",
    }
)
# Up to Python 3.11, looking up an enum member takes fifteen times as long as a global name.
_SESSION, _AGENT_TURN, _USER_TURN = Role.SESSION, Role.AGENT_TURN, Role.USER_TURN
_REQUEST, _WRAPPER, _IGNORED = Role.REQUEST, Role.WRAPPER, Role.IGNORED
_STT, _TTS = Component.STT, Component.TTS
# Costs that backends add up, as an application's own code may have written them.
_GIVEN_COSTS = frozenset({COST, "langfuse.observation.cost_details", "llm.cost.total", "operation.cost"})
_MAX_OUTSIDE = 256  # spans outside sessions with usage reported below them
_MAX_GIVEN_USD = 10**12  # highest cost accepted from a span; anything above is an error
_NS_PER_SECOND = Decimal(10**9)
_NO_IDS: Mapping[str, Any] = {}

_OUTSIDE = (
    "Speech-to-text was used outside of a session. Its cost is on separate spans, below the span that was current."
)


class _EndedSpan(NamedTuple):
    """An ended span of a framework, with the data looked up for it."""

    span: ReadableSpan
    key: SpanKey
    source: Source
    rule: SpanRule
    view: SpanView
    node: SpanNode | None
    session: Session | None
    turn: SpanKey | None

    @property
    def is_reported_request(self) -> bool:
        """True if the framework reports the usage of every such request."""
        return self.rule.role is _REQUEST and self.rule.nests


class Accounting:
    """Prices the usage that one processor is responsible for, and books it.

    Attributes:
        outside: Costs reported outside of sessions, by the span that was current.
        budget: Watches what sessions spend, if there is a budget.
    """

    def __init__(
        self,
        *,
        registry: SessionRegistry,
        catalog: PriceCatalog,
        dialects: Dialect,
        instruments: Instruments,
        diagnostics: Diagnostics,
        emitter: UsageSpanEmitter,
        charges: tuple[SessionCharge, ...] = (),
        budget: BudgetMonitor | None = None,
        unreported: UnreportedMode = "estimate",
        revision: str | None = None,
        on_record: Callable[[SessionCost], None] = lambda record: None,
    ) -> None:
        """Begin without usage.

        Args:
            registry: The sessions of the process.
            catalog: All rates.
            dialects: Write a cost as attributes.
            instruments: Count every cost.
            diagnostics: Logs and counts faults.
            emitter: Emits usage spans.
            charges: Billed to every session by time or number.
            budget: Watches what sessions spend.
            unreported: What becomes of work without usage: it is counted, estimated in addition, or billed.
            revision: Label of the deployment.
            on_record: Called without the lock with each session that ends; must not raise or block.
        """
        self._registry = registry
        self._catalog = catalog
        self._dialects = dialects
        self._plans = Plans(catalog, dialects)
        self._instruments = instruments
        self._diagnostics = diagnostics
        self._emitter = emitter
        self._charges = charges
        self.budget = budget
        self._unreported = unreported
        self._revision = revision
        self._pricing = Pricing(self._price_quietly, catalog.rule_for)
        self._on_record = on_record
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Clear the usage outside of sessions in a forked child; the parent accounts for it."""
        self.outside: dict[SpanKey, tuple[Source, PendingCosts]] = {}
        self._repeats_outside = Repeats()
        self._anchors = Anchors()

    def emit(self, spans: list[UsageSpan]) -> None:
        """Emit usage spans and remove each from the list. Calls the application's span processors."""
        while spans:
            try:
                span = spans.pop(0)
            except IndexError:  # another thread emitted it
                return
            with self._diagnostics.guard(span.name):
                self._emitter.emit(span)

    # spans

    def find_work(self, source: Source, rule: SpanRule) -> Work | None:
        """Return the numbers of the request whose span begins in this task, if its source measures work."""
        is_measured = self._unreported != "count" and rule.nests and rule.role is _REQUEST
        return source.current_work() if is_measured else None

    def begin(self, span: ReadableSpan, key: SpanKey, rule: SpanRule | None, work: Work | None) -> bool:
        """Record the start of a span without the lock; return False if `on_start` must record it.

        Args:
            span: The live span.
            key: Its trace and span id.
            rule: None for an application span, or one that carries no usage so far.
            work: From `find_work`.
        """
        spans, above = self._registry.spans, span.parent
        parent = spans.find(above[:2]) if above else None
        start_ns = span.start_time or 0
        if rule is None or rule.role is _IGNORED:
            return parent is None or spans.begin_below(key, parent, start_ns=start_ns, is_open=False)
        if parent is None:
            return rule.role is not _SESSION and not rule.nests
        if rule.role is _SESSION or rule.role is _AGENT_TURN:
            return False
        request = rule.component if rule.nests else None
        return spans.begin_below(key, parent, start_ns=start_ns, request=request, work=work, is_open=True)

    def on_start(
        self,
        span: ReadableSpan,
        key: SpanKey,
        source: Source | None,
        rule: SpanRule | None,
        work: Work | None,
        above: ReadableSpan | None,
    ) -> list[FollowUp]:
        """Record the start of a span. A session also needs the live span above it, if there is one in this process."""
        if source is not None and rule is not None and rule.role is _SESSION:
            return self._open(span, key, source, above)
        spans = self._registry.spans
        spans.begin(
            key,
            spans.find(span.parent[:2]) if span.parent else None,
            start_ns=span.start_time or 0,
            is_turn=rule is not None and rule.role is _AGENT_TURN,
            request=rule.component if rule is not None and rule.nests else None,
            work=work,
        )
        return []

    def can_ignore(self, key: SpanKey) -> bool:
        """Return True if the end of a span without usage changes nothing."""
        return key not in self.outside and not self._registry.spans.is_open(key)

    def _open(self, span: ReadableSpan, key: SpanKey, source: Source, above: ReadableSpan | None) -> list[FollowUp]:
        if self._registry.spans.is_open(key):
            self._diagnostics.warn_once(
                "second processor",
                "Two VoiceCostSpanProcessors see the same sessions. The first accounts for them, this one is passive.",
            )
            return []
        attributes: Any = span._attributes  # the public property is not a live view while it is empty
        session, dropped = self._registry.open(
            key, span.start_time or time_ns(), owner=self, source=source, attributes=attributes
        )
        session.names_trace = span.parent is None
        if above is not None:
            session.identity = _ids_in(above.attributes or {})
            scope = above.instrumentation_scope
            session.names_trace = scope is not None and scope.name in source.scopes
        follow_ups = self.settle(dropped, time_ns()) if dropped else []
        if self.budget is not None:
            follow_ups.append(partial(self.budget.note_loop, session))  # in the application's context
        return follow_ups

    def on_end(
        self, span: ReadableSpan, key: SpanKey, source: Source, rule: SpanRule | None, attributes: Attributes
    ) -> tuple[Attributes, list[FollowUp]]:
        """Account for an ended span unless another processor already has; return the attributes to add to it.

        Args:
            span: The span; its own attribute mapping is slow to read.
            key: Its trace and span id.
            source: The framework that created it.
            rule: None if it carries no usage.
            attributes: A copy of the span's.
        """
        is_first, node = self._registry.spans.end(key)
        owner = self if node is None or node.session is None else node.session.owner()
        if not is_first or owner is None or rule is None:
            return {}, []
        return owner._account(span, key, source, rule, node, attributes)

    def on_foreign_end(self, key: SpanKey) -> None:
        """Record the end of an application span."""
        self._registry.spans.end(key)

    def _account(
        self,
        span: ReadableSpan,
        key: SpanKey,
        source: Source,
        rule: SpanRule,
        node: SpanNode | None,
        attributes: Attributes,
    ) -> tuple[Attributes, list[FollowUp]]:
        if not attributes.keys().isdisjoint(PRICED_KEYS):
            return {}, []
        if rule.is_newer:
            name = f"{span.name} is a span of a newer {source.name}"
            self._diagnostics.warn_once("newer release", f"{name}: priced by its metrics.")
        view = SpanView(attributes, rule.role, rule.component, span, source.texts)
        session, turn = (node.session, node.turn) if node is not None else (None, None)
        ended = _EndedSpan(span, key, source, rule, view, node, session, turn)
        if session is not None and not session.identity and not attributes.keys().isdisjoint(_IDS):
            session.identity, session.labels = _ids_in(attributes), None
        written, follow_ups = (self._bill(ended), []) if rule.role is _REQUEST else self._account_other(ended)
        if session is not None and rule.role is not _IGNORED:
            present = attributes.keys()
            labels = session.labels if session.labels is not None else self._get_labels(session)
            for name, value, synonyms in labels:
                if present.isdisjoint(synonyms):
                    written[name] = value
        return written, follow_ups

    def _account_other(self, ended: _EndedSpan) -> tuple[Attributes, list[FollowUp]]:
        """Account for a span that is not a request."""
        role, session = ended.rule.role, ended.session
        if role is _SESSION:
            if session is None:
                return {}, []
            self._warn_of_given_cost(ended)
            return self.close(session, ended.span.end_time or 0, ended.view.attributes, ended.span.events)
        if role is _USER_TURN:
            return self._write_stt_usage(ended)
        if ended.rule.is_attempt:
            self._end_try(ended)
        written = self._bill(ended)
        if role is _AGENT_TURN and session is not None:
            written |= self._turn_totals(session, ended.key)
        return written, []

    def _bill(self, ended: _EndedSpan) -> Attributes:
        """Price a request, or return the attributes of a span that bills nothing."""
        reason, more = None, Attributes()
        try:
            is_billed, reading, request = self._match(ended)
        except UsageError as error:
            self._diagnostics.record_fault(error, ended.span.name)
            is_billed, reading, request, reason = True, None, None, _unreadable(error)
        cost = self._cost(reading, ended) if is_billed else None
        node, rule = ended.node, ended.rule
        is_silent = cost is None and is_billed and ended.is_reported_request
        if is_silent and reason is None and not (node is not None and node.has_billing_child):
            reason, more = f"{ended.source.name} reported no usage for this request", self._end_unreported(ended)
        if cost is not None:
            if node is not None and node.enclosing_request is not None and rule.nests:
                node.mark_enclosing_requests(request)
            self._book(cost, ended.session, turn=ended.turn)
            if node is not None and node.work is not None and reading is not None:
                self._learn(cost if rule.component is _TTS else reading, node, node.work)
            return self._written(cost, ended)
        silent = self._dialects.wrapper_attributes(ended.view)
        if reason is None:
            self._warn_of_given_cost(ended)
            return silent
        usage = ended.source.read_model(ended.span, rule, ended.view.attributes)
        self._book(Cost(usage=usage, usd=None, unpriced_reason=reason), ended.session, turn=ended.turn)
        return silent | unpriced_attributes(reason) | more

    def _learn(self, known: AnyCost | Reading, node: SpanNode, work: Work) -> None:
        """Let estimates learn from a request whose usage was reported.

        Args:
            known: What was reported; of speech, what was billed.
            node: The request.
            work: Its numbers.
        """
        if node.session is None:
            return
        try:
            received = work.received_characters - node.received
            node.session.unreported.add_complete(_to_usage(known), work, received, self._anchors)
        except Exception as error:  # noqa: BLE001  # the request keeps its cost
            self._diagnostics.record_fault(error, "an estimate")

    def _end_try(self, ended: _EndedSpan) -> None:
        """Note one try of a request: the vendor may bill one that failed."""
        request = ended.node.request if ended.node is not None else None
        if request is None or request.component is not ended.rule.component:
            return
        request.has_failed = ended.view.is_error
        if request.has_failed:
            received = request.work.received_characters if request.work is not None else 0
            ending = ended.source.read_ending(ended.span, ended.rule, ended.view.attributes)
            self._add_attempt(ended, ending, request.work, received - request.received)
            request.received = received

    def _end_unreported(self, ended: _EndedSpan) -> Attributes:
        """Note a request without usage, unless its last try did; return what to write."""
        node, work = ended.node, ended.node.work if ended.node is not None else None
        ending = ended.source.read_ending(ended.span, ended.rule, ended.view.attributes)
        reason = "failed"
        if work is not None and work.is_reported:  # its span lost the metrics, and gets no second cost
            return {}
        if node is None or not node.has_failed:
            received = 0 if node is None or work is None else work.received_characters - node.received
            self._add_attempt(ended, ending, work, received)
            reason = ending.value
        return self._dialects.unreported_attributes(reason, ended.view) | work_attributes(reason, work)

    def _add_attempt(self, ended: _EndedSpan, ending: Ending, work: Work | None, received: int) -> None:
        usage = ended.source.read_model(ended.span, ended.rule, ended.view.attributes)
        if work is not None:
            usage = Usage(component=work.component, provider=work.provider, model=work.model, at=usage.at)
        self._instruments.count(UNREPORTED, usage, self._get_agent(ended.session))
        if ended.session is not None:
            with self._diagnostics.guard("an estimate"):  # the request is counted all the same
                attempt = Attempt(usage, ending, ended.turn, work, received)
                ended.session.unreported.add(attempt, self._pricing, self._anchors)

    def _match(self, ended: _EndedSpan) -> tuple[bool, Reading | None, Hashable]:
        """Return the usage of a span, and remove the waiting report of the same usage.

        Returns:
            False if it is billed elsewhere; the usage, None if the span carries none; as `SpanUsage.request`.

        Raises:
            UsageError: The usage cannot be read.
        """
        carried = ended.source.read_span(ended.span, ended.rule, ended.view.attributes)
        if carried is None:
            return True, None, None
        node, session = ended.node, ended.session
        is_billed, request, read, report = True, carried.request, carried.read, None
        if carried.match_key is not None:
            is_billed = session is None or session.matching.match(carried.match_key)
        elif node is not None:
            is_reported = ended.rule.is_reported and session is not None
            if ended.rule.role is _WRAPPER and (node.has_billing_child or is_reported):
                return False, None, None
            report = session and session.matching.match_by_fragments(carried.component, carried.fragments)
            if report:
                request, read = report.read_request(), partial(report.read, ended.view.attributes)
        if node is not None and node.has_billing_child:
            # an outer speech request always repeats the inner ones; an outer model request may add usage
            is_billed = is_billed and carried.component is not _TTS and request not in node.requests_inside
        reading = read() if is_billed else None
        lost_key = carried.match_key is None and ended.is_reported_request
        if lost_key and reading is not None and report is None and session is not None:
            session.matching.remember(carried.component, carried.fragments)
        return is_billed, reading, request

    def _cost(self, reading: Reading | None, ended: _EndedSpan) -> AnyCost | None:
        """Return the cost of a request. A cost set by a gateway or the agent's own code takes precedence."""
        usd = ended.view.attributes.get(COST)
        is_given = isinstance(usd, (int, float)) and not isinstance(usd, bool) and 0 <= usd < _MAX_GIVEN_USD
        if is_given and ended.rule.role is _REQUEST:
            if reading is None:
                usage = ended.source.read_model(ended.span, ended.rule, ended.view.attributes)
            else:
                usage = reading.to_usage()
            return Cost(usage=usage, usd=Decimal(str(usd)), rate_source="span")
        return None if reading is None else self._price(reading, ended.view)

    def _warn_of_given_cost(self, ended: _EndedSpan) -> None:
        attributes = ended.view.attributes
        if ended.rule.role is _REQUEST or attributes.keys().isdisjoint(_GIVEN_COSTS):
            return
        given = next(key for key in attributes if key in _GIVEN_COSTS)
        self._diagnostics.warn_once(
            "own cost",
            f"A {given} of the application is on {ended.span.name}, but the requests inside it have their cost too: "
            "backends that add up all spans count them twice. Remove the code that writes it.",
        )

    def _written(self, cost: AnyCost, ended: _EndedSpan) -> Attributes:
        attributes = self._attributes(cost, ended.view)
        if self._diagnostics.debugging:
            name = f"{ended.span.name} {ended.key[1]:016x}"
            self._diagnostics.debug(f"{name}: {describe(to_cost(cost))}; wrote {', '.join(attributes)}")
        return attributes

    def _attributes(self, cost: AnyCost, view: SpanView) -> Attributes:
        if not isinstance(cost, PlannedCost):
            return self._dialects.cost_attributes(cost, view)
        attributes: Attributes = {}
        cost.plan.write(cost.numbers, view, attributes)
        return attributes

    def _write_stt_usage(self, ended: _EndedSpan) -> tuple[Attributes, list[FollowUp]]:
        """Return the speech-to-text usage since the last user turn as attributes of this turn.

        The turn gets the model with the largest amount; other models, after a fallback or handoff, get usage spans.
        A turn that names a model leaves the others for the turns that name them.
        """
        session, model = ended.session, None
        if ended.rule.component is _STT:
            model = ended.source.read_model(ended.span, ended.rule, ended.view.attributes)
        pending = session.pop_stt_usage(before_turn=True, model=model) if session is not None else []
        if session is None or not pending:
            return self._dialects.wrapper_attributes(ended.view), []
        others = [self._usage_span(session, other) for other in pending[1:]]
        return self._written(pending[0].cost, ended), self._emitting(others)

    def _turn_totals(self, session: Session, turn: SpanKey) -> Attributes:
        totals = session.pop_turn(turn)
        if not totals:
            return {}
        return total_attributes(
            "turn", totals.by_component, totals.usd, unpriced=totals.unpriced, estimated=totals.estimated
        )

    # reports

    def on_report(self, report: UsageReport, session: Session) -> list[FollowUp]:
        """Book a report: price speech-to-text and usage without a span at once, keep anything else for its span."""
        session.touch(report.time_ns)
        if session.repeats.is_repeat(report):
            return []
        if report.component is _STT:
            return self._emitting(self._book_pending(report, session, is_stt=True))
        if not report.match_key:
            return self._emitting(self._book_pending(report, session, is_stt=False))
        oldest = session.matching.add(report)
        return self._emitting(self._book_pending(oldest, session, is_stt=False)) if oldest is not None else []

    def on_report_outside(self, report: UsageReport, source: Source) -> list[FollowUp]:
        """Book a report without session or span of a framework, for a usage span below the current span."""
        self._diagnostics.info_once("outside", _OUTSIDE)
        cost = self.book_unsampled(report)
        if cost is None:
            return []
        pending = self.outside.setdefault(report.span_key, (source, PendingCosts()))[1]
        overflow = pending.add(cost, report.time_ns)
        spans = [self._usage_span_outside(report.span_key, source, overflow, _NO_IDS)] if overflow is not None else []
        if len(self.outside) > _MAX_OUTSIDE:
            spans += self.pop_outside(next(iter(self.outside)))
        return self._emitting(spans)

    def book_unsampled(self, report: UsageReport) -> AnyCost | None:
        """Price and count a report outside of sessions; return None if it bills nothing or repeats another."""
        if self._repeats_outside.is_repeat(report):
            return None
        cost = self._price_report(report)
        if cost is not None:
            self._book(cost, None)
        return cost

    def pop_outside(self, key: SpanKey, attributes: Mapping[str, Any] = _NO_IDS) -> list[UsageSpan]:
        """Return usage spans for the usage reported below a span outside of sessions.

        Args:
            key: The span.
            attributes: Attributes of the span, if it has ended.
        """
        if key not in self.outside:
            return []
        source, pending = self.outside.pop(key)
        ids = _ids_in(attributes)
        return [self._usage_span_outside(key, source, one, ids) for one in pending.pop_all()]

    def _price_report(self, report: UsageReport) -> AnyCost | None:
        """Return the cost of a report, or None if it bills nothing."""
        try:
            reading = report.read({})
        except UsageError as error:
            self._diagnostics.record_fault(error, f"a report of {report.component.value}")
            return Cost(usage=report.read_model(), usd=None, unpriced_reason=_unreadable(error))
        return None if reading is None else self._price(reading)

    def _book_pending(self, report: UsageReport, session: Session, *, is_stt: bool) -> list[UsageSpan]:
        """Price a report for the next user turn (``is_stt``) or a usage span; return spans to emit at once."""
        cost = self._price_report(report)
        if cost is None:
            return []
        if report.component is _TTS:
            session.unreported.discard(cost.usage)
        if session.has_ended:
            self._instruments.count(LATE, cost.usage, None)
        overflow = self._book(cost, session, report_ns=report.time_ns, is_stt=is_stt)
        return [self._unmatched_span(session, overflow)] if overflow is not None else []

    # prices and sums

    def _price(self, reading: Reading, view: SpanView | None = None) -> AnyCost:
        """Return the cost of a usage, by a plan if there is one.

        Args:
            reading: The usage.
            view: View of the span, which may have the spoken text: a few vendors bill it in other units.
        """
        planned = self._plans.price(reading)
        if planned is not None:
            return planned
        cost, card = self._calculate(reading.to_usage(), view)
        self._plans.learn(reading, cost, card)
        return cost

    def _calculate(self, usage: Usage, view: SpanView | None = None) -> tuple[Cost, RateCard | None]:
        """Return the cost of a usage and its rates; log the first of each model that is unpriced or estimated."""
        card = self._catalog.card_for(usage)
        if card is not None and card.needs_text and view is not None:
            text = view.read_texts(view.attributes).spoken
            usage = with_text(usage, text) if text is not None else usage
        elif card is None:
            usage = without_text(usage)
        cost = calculate_cost(usage, card)
        if cost.usd is None:
            message = f"No cost: {cost.unpriced_reason}. Write a price in VOICE_COST_PRICES."
            self._diagnostics.warn_once("unpriced", message)
        elif cost.estimated:
            name = f"{usage.component.value} of {usage.provider}/{usage.model}"
            loaded_from = cost.lines[0].rate.loaded_from
            self._diagnostics.info_once("estimated", f"The cost of {name} is an estimate, by {loaded_from}.")
        return cost, card

    def _price_quietly(self, usage: Usage) -> Cost:
        return calculate_cost(usage, self._catalog.card_for(usage))

    def _book(
        self,
        cost: AnyCost,
        session: Session | None,
        *,
        turn: SpanKey | None = None,
        report_ns: int | None = None,
        is_stt: bool = False,
    ) -> PendingCost | None:
        """Count a cost, add it to its session and turn, and check the budget.

        Args:
            cost: The cost of one usage.
            session: None outside of sessions.
            turn: The agent turn of the span that carries it.
            report_ns: Time of its report, if no span carries it yet.
            is_stt: True if it waits for a user turn.

        Returns:
            The oldest waiting cost if too many wait, else None.
        """
        self._instruments.add(cost, self._get_agent(session))
        if session is None:
            return None
        overflow = None
        if report_ns is None:
            session.add_cost(cost, turn)
        else:
            overflow = session.add_pending(cost, report_ns, is_stt=is_stt)
        if self.budget is not None and not session.has_ended:
            self.budget.check(session, self.current_cost)
        return overflow

    # sessions

    def close(
        self, session: Session, end_ns: int, attributes: Mapping[str, Any], events: Iterable[Event] = ()
    ) -> tuple[Attributes, list[FollowUp]]:
        """End a session and return the attributes to add to its span.

        After an interrupt nothing is booked twice; shutdown handles the rest.

        Args:
            session: The session; nothing is done if it is already ending.
            end_ns: Its end, nanoseconds since the epoch.
            attributes: Attributes of its span.
            events: Events of its span.
        """
        if session.is_ending:
            return {}, []
        end_ns = max(end_ns, session.start_ns)  # the clock may jump back
        written: Attributes = {}
        try:
            session.is_ending = True
            facts = session.source.describe_session(attributes, events, session.start_ns)
            self._get_labels(session)
            session.identity = session.identity | facts.inherited
            self._add_unmatched(session)
            self._add_charges(session, end_ns, facts.phone_start_ns)
            self._add_estimates(session, end_ns)
            record = self._record(session, end_ns, attributes, ended=True)
            written = self._session_attributes(record)
            if not session.is_recorded:
                session.is_recorded = True
                self._registry.gate.outside(partial(self._on_record, record))
        except Exception as error:  # noqa: BLE001  # still emit the spans created so far
            self._diagnostics.record_fault(error, "the end of a session")
        except BaseException:
            session.is_ending = False
            raise
        dropped = self._registry.close(session)
        return written, self._emitting(session.usage_spans) + self.settle(dropped, end_ns)

    def _session_attributes(self, record: SessionCost) -> Attributes:
        totals = total_attributes(
            "session",
            record.by_component,
            record.usd,
            unpriced=record.unpriced_count,
            estimated=any(part.estimated_usd for part in record.parts),
        )
        return totals | self._dialects.session_attributes(record, self._registry.add_to_trace(record))

    def settle(self, sessions: Iterable[Session], now_ns: int) -> list[FollowUp]:
        """Price all unmatched usage, and end the sessions that have not ended."""
        follow_ups: list[FollowUp] = []
        for session in sessions:
            if session.has_ended:
                self._add_unmatched(session)
                follow_ups += self._emitting(session.usage_spans)
            else:
                follow_ups += self.close(session, now_ns, session.attributes)[1]
        return follow_ups

    def flush(self, session: Session) -> list[FollowUp]:
        """Create usage spans for the pending costs of a session. Its open requests keep their spans."""
        if session.has_ended:
            self._add_unmatched(session)
        else:
            self._add_pending(session)
        return self._emitting(session.usage_spans)

    def flush_outside(self, key: SpanKey) -> list[FollowUp]:
        """Create usage spans for the usage reported below a span outside of sessions."""
        return self._emitting(self.pop_outside(key))

    def current_cost(self, session: Session, now_ns: int) -> SessionCost:
        """Return the cost of a running session so far."""
        return self._record(session, now_ns, session.attributes, ended=False)

    def find_running(self, session_id: str) -> Session | None:
        """Return the running session with an id: its trace id, or an id that its span carries."""
        for session in self._registry.running(self):
            if session_id == f"{session.key[0]:032x}" or any(
                session_id in session.source.describe_session(attributes, (), 0).ids
                for attributes in (session.identity, session.attributes)
            ):
                return session
        return None

    def _record(self, session: Session, now_ns: int, attributes: Mapping[str, Any], *, ended: bool) -> SessionCost:
        trace_id, span_id = f"{session.key[0]:032x}", f"{session.key[1]:016x}"
        ids = session.source.describe_session({**session.identity, **attributes}, (), 0).ids
        unreported, by_turn = session.estimates or self._estimates(session)
        return SessionCost(
            session_id=ids[0] if ids else trace_id,
            trace_id=trace_id,
            span_id=span_id,
            agent=self._get_agent(session),
            started_at=to_moment(session.start_ns),
            seconds=_to_seconds(now_ns - session.start_ns),
            ended=ended,
            parts=session.parts,
            turns=session.turns(by_turn),
            unreported=unreported,
            is_unreported_billed=session.is_unreported_billed,
            revision=self._revision,
        )

    def _get_labels(self, session: Session) -> list[Label]:
        """Return the attributes that tell backends the session of a span."""
        if session.labels is None:
            session.labels = []
            with self._diagnostics.guard("the ids of a session"):  # its spans keep their cost
                known = {**session.identity, **session.attributes}
                facts = session.source.describe_session(known, (), 0)
                session_id = facts.ids[0] if facts.ids else f"{session.key[0]:032x}"
                title = facts.title if session.names_trace else None
                session.labels = self._dialects.session_labels(known, session_id, title)
        return session.labels

    def _identify(self, session: Session) -> dict[str, Any]:
        """Return the attributes of the session that each of its usage spans gets."""
        given = session.identity
        labels = {
            name: value for name, value, synonyms in self._get_labels(session) if given.keys().isdisjoint(synonyms)
        }
        return labels | given

    def _get_agent(self, session: Session | None) -> str | None:
        if session is None:
            return None
        if session.agent is None:
            session.agent = session.source.describe_session(session.attributes, (), 0).agent or ""
        return session.agent or None

    def _add_unmatched(self, session: Session) -> None:
        """Add usage spans for all unmatched usage."""
        for report in session.matching.pop_unmatched():
            session.usage_spans += self._book_pending(report, session, is_stt=False)
        self._add_pending(session)

    def _add_pending(self, session: Session) -> None:
        for pending in session.pop_pending():
            session.usage_spans.append(self._unmatched_span(session, pending))

    def _add_charges(self, session: Session, end_ns: int, phone_start_ns: int | None) -> None:
        """Book the charges by time or number, and add their usage spans."""
        if session.is_charged or not self._charges:
            return
        session.is_charged = True
        phone_ns = None if phone_start_ns is None else max(end_ns - phone_start_ns, 0)
        for usage in charged_usage(self._charges, to_moment(end_ns), end_ns - session.start_ns, phone_ns):
            cost, _ = self._calculate(usage)
            self._book(cost, session)
            session.usage_spans.append(self._usage_span(session, PendingCost(cost, session.start_ns, end_ns)))

    def _estimates(self, session: Session) -> tuple[tuple[UnreportedPart, ...], dict[SpanKey, Decimal]]:
        with self._diagnostics.guard("an estimate"):  # the record is handed over all the same
            return session.unreported.parts(self._pricing, self._anchors)
        return (), {}

    def _add_estimates(self, session: Session, end_ns: int) -> None:
        """Add usage spans for what was not reported, and book it if it is to be billed."""
        if session.estimates is not None:
            return
        session.estimates = self._estimates(session)
        for part in session.estimates[0] if self._unreported != "count" else ():
            attributes = self._identify(session) | unreported_attributes(part)
            if self._unreported == "bill" and part.usd is not None:
                session.is_unreported_billed = True
                attributes |= self._billed(part, session, end_ns)
            name = f"{part.component.value}_unreported"
            span = UsageSpan(name, session.source, session.key, session.start_ns, end_ns, attributes)
            session.usage_spans.append(span)

    def _billed(self, part: UnreportedPart, session: Session, end_ns: int) -> Attributes:
        usage = Usage(
            component=part.component,
            provider=part.provider,
            model=part.model,
            quantities=part.quantities,
            at=to_moment(end_ns),
        )
        cost = Cost(usage=usage, usd=part.usd, rate_source="estimate", is_estimate=True)
        self._book(cost, session)
        return self._dialects.cost_attributes(cost, self._own_view(session.identity, session.source, part.component))

    # usage spans

    def _emitting(self, spans: list[UsageSpan]) -> list[FollowUp]:
        return [partial(self.emit, spans)] if spans else []

    def _unmatched_span(self, session: Session, pending: PendingCost) -> UsageSpan:
        self._instruments.count(UNMATCHED, pending.cost.usage, self._get_agent(session))
        return self._usage_span(session, pending)

    def _usage_span(self, session: Session, pending: PendingCost) -> UsageSpan:
        return self._usage_span_below(session.key, session.source, pending, self._identify(session))

    def _usage_span_outside(
        self, parent: SpanKey, source: Source, pending: PendingCost, ids: Mapping[str, Any]
    ) -> UsageSpan:
        self._instruments.count(UNMATCHED, pending.cost.usage, None)
        return self._usage_span_below(parent, source, pending, ids)

    def _usage_span_below(
        self, parent: SpanKey, source: Source, pending: PendingCost, ids: Mapping[str, Any]
    ) -> UsageSpan:
        cost = to_cost(pending.cost)
        view = self._own_view(ids, source, cost.usage.component)
        return UsageSpan(
            name=f"{cost.usage.component.value}_usage",
            source=source,
            parent=parent,
            start_ns=pending.first_ns,
            end_ns=pending.last_ns,
            attributes={**ids, **self._dialects.cost_attributes(cost, view)},
        )

    def _own_view(self, attributes: Mapping[str, Any], source: Source, component: Component) -> SpanView:
        return SpanView(attributes, None, component, None, source.texts)


def _ids_in(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name in _IDS}


def _to_usage(known: AnyCost | Reading) -> Usage | Reading:
    if isinstance(known, PlannedCost):
        return known.billed_reading()
    return known.usage if isinstance(known, Cost) else known


def _unreadable(error: UsageError) -> str:
    return f"metrics could not be read: {error}"


def _to_seconds(length_ns: int) -> Decimal:
    """Convert nanoseconds to seconds, at least zero."""
    return EXACT.divide(Decimal(max(length_ns, 0)), _NS_PER_SECOND)
