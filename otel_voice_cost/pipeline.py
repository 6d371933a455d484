"""The way of one span: what LiveKit reported → usage → rate → cost → attributes."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from typing import NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from ._diagnostics import Diagnostics
from .cost import Cost, in_words
from .dialects import Attributes, Dialects, SpanFacts
from .dialects import voice_cost as ours
from .dialects.genai import COST
from .ending import IDS, Ending, OwnSpan, unreadable
from .errors import UsageError
from .livekit.events import SpanKey, UsageEvent
from .livekit.metrics import (
    decoded,
    model_of,
    moment,
    read_gen_ai_usage,
    read_metrics,
    unreadable_usage,
    usage_fragments,
    work_of,
)
from .livekit.spans import METRICS_KEYS, NEWER, Role, SpanRule, attributes_of, rule_of
from .pricing import Pricing
from .sessions import Session, SessionBook, SpanNode
from .usage import Component, Usage

__all__ = ["Pipeline", "span_key"]

_NO_USAGE = "LiveKit reported no usage for this request"
_MOST_USD = 10**12  # what a span may claim to have cost; beyond is a mistake


class _Claim(NamedTuple):
    """What a span uses.

    Attributes:
        counts: Whether nothing else bills it.
        usage: None where the span says nothing of it.
        work: What tells the request apart; None where nothing can.
    """

    counts: bool = True
    usage: Usage | None = None
    work: Hashable = None


def span_key(span: ReadableSpan) -> SpanKey:
    """The ids that name a span."""
    context = span.context
    return context[:2] if context else (0, 0)


class Pipeline:
    """Prices spans and reports, and books them in one session book."""

    def __init__(
        self, pricing: Pricing, ending: Ending, dialects: Dialects, book: SessionBook, diagnostics: Diagnostics
    ) -> None:
        self._pricing = pricing
        self._ending = ending
        self._dialects = dialects
        self._book = book
        self._diagnostics = diagnostics

    # spans

    def attributes_for(self, span: ReadableSpan, key: SpanKey) -> tuple[Attributes, list[OwnSpan]]:
        """Return what an ended span of LiveKit's gets, and the spans to be made before it leaves."""
        rule = rule_of(span)
        if rule is None:
            return {}, []
        attributes = attributes_of(span)
        if not ours.MARKS.isdisjoint(attributes):
            return {}, []
        node = self._book.node(key)
        session = node.session if node else None
        if rule.releases is NEWER:
            self._diagnostics.warn("newer release", f"{span.name} is a span of a newer LiveKit: priced by its metrics.")
        facts = SpanFacts(name=span.name, attributes=attributes, is_error=span.status.status_code is StatusCode.ERROR)
        if session is not None:
            session.identity = session.identity or {key: attributes[key] for key in IDS if key in attributes}
        if rule.role is Role.SESSION:
            return self._end(span, session, attributes)
        if rule.role is Role.HEARS:
            return self._hear(facts, session, key) if session else (self._dialects.repeat_attributes(facts), [])
        written = self._bill(span, rule, facts, node, key)
        if rule.role is Role.TURN and session is not None:
            written |= self._turn_totals(session, key)
        return written, []

    def _end(
        self, span: ReadableSpan, session: Session | None, attributes: Attributes
    ) -> tuple[Attributes, list[OwnSpan]]:
        if session is None:
            return {}, []
        return self._ending.end(session, span.end_time or 0, attributes, span.events)

    def _bill(
        self, span: ReadableSpan, rule: SpanRule, facts: SpanFacts, node: SpanNode | None, key: SpanKey
    ) -> Attributes:
        """Price a request, or say that the span bills nothing."""
        session, unknown = node.session if node else None, None
        try:
            claim = self._claimed_usage(span, rule, facts, node)
        except UsageError as error:
            self._diagnostics.fault(error, facts.name)
            claim, unknown = _Claim(), unreadable(error)
        cost = self._cost(claim.usage, rule, facts, session) if claim.counts else None
        if cost is None and claim.counts and rule.role is Role.BILLS and rule.nests and not (node and node.covered):
            unknown = unknown or _NO_USAGE
        if cost is None and unknown is None:
            self._warn_of_own_cost(rule, facts)
            return {} if rule.role is Role.TURN else self._dialects.repeat_attributes(facts)
        if cost is None:
            return self._unknown(span, rule, facts, node, unknown or "")
        if node is not None:
            if rule.nests:
                node.cover(claim.work)
            if session is not None:
                self._book.add_cost(session, cost, node.turn)
        return self._written(cost, facts, key)

    def _unknown(
        self, span: ReadableSpan, rule: SpanRule, facts: SpanFacts, node: SpanNode | None, reason: str
    ) -> Attributes:
        """Count a request whose amounts nobody knows, and say why on its span."""
        component = _component_of(rule)
        session = node.session if node else None
        text = facts.attributes.get(rule.metrics or "")
        usage = unreadable_usage(component, text, span.end_time or 0, facts.attributes)
        cost = self._pricing.unpriced(usage, session, reason)
        if node is not None and session is not None:
            self._book.add_cost(session, cost, node.turn)
        silent = {} if rule.role is Role.TURN else self._dialects.repeat_attributes(facts)
        return silent | ours.no_usage_attributes(reason)

    def _warn_of_own_cost(self, rule: SpanRule, facts: SpanFacts) -> None:
        if COST in facts.attributes and rule.role is Role.REPEATS:
            self._diagnostics.warn(
                "own cost",
                f"A {COST} of the application is on {facts.name}, which repeats a request inside it: "
                "backends that add it up count the request twice. Remove the code that writes it.",
            )

    def _written(self, cost: Cost, facts: SpanFacts, key: SpanKey) -> Attributes:
        """What a span that bills gets."""
        attributes = self._dialects.cost_attributes(cost, facts)
        if self._diagnostics.debugging:
            self._diagnostics.debug(f"{facts.name} {key[1]:016x}: {in_words(cost)}; wrote {', '.join(attributes)}")
        return attributes

    def _cost(self, usage: Usage | None, rule: SpanRule, facts: SpanFacts, session: Session | None) -> Cost | None:
        """The cost of a request. One that a gateway or the agent's own code gave wins over ours."""
        usd = facts.attributes.get(COST)
        given = isinstance(usd, (int, float)) and not isinstance(usd, bool) and 0 <= usd < _MOST_USD
        if given and rule.role is Role.BILLS:
            cost = Cost(usage=usage or _no_amount(rule, facts), usd=Decimal(str(usd)), rate_source="span")
            return self._pricing.counted(cost, session)
        if usage is None:
            return None
        return self._pricing.price(usage, session, facts.attributes)

    def _claimed_usage(self, span: ReadableSpan, rule: SpanRule, facts: SpanFacts, node: SpanNode | None) -> _Claim:
        """What a span uses; the report that it carries waits no longer.

        It does not count where its report was settled before, or where a request inside it
        bills the same work.

        Raises:
            UsageError: The span's metrics are malformed.
        """
        text = facts.attributes.get(rule.metrics) if rule.metrics else None
        if rule.metrics and isinstance(text, str):
            return self._claimed_metrics(METRICS_KEYS[rule.metrics], text, span.end_time or 0, facts, node)
        if not rule.gen_ai_usage:
            return _Claim()
        attributes, session = facts.attributes, node.session if node else None
        usage = read_gen_ai_usage(attributes, span.end_time or 0)
        if usage is None or node is None:
            return _Claim(usage=usage)
        if rule.role is Role.REPEATS and (node.covered or (rule.by_event and session is not None)):
            return _Claim(counts=False)
        event = self._book.claim_like(session, Component.LLM, usage_fragments(attributes)) if session else None
        if event is None:
            return _Claim(usage=usage)
        fields = decoded(event.text)
        return _Claim(usage=read_metrics(Component.LLM, fields, span.end_time or 0, attributes), work=work_of(fields))

    def _claimed_metrics(
        self, component: Component, text: str, time_ns: int, facts: SpanFacts, node: SpanNode | None
    ) -> _Claim:
        session, counts = node.session if node else None, True
        try:
            fields = decoded(text)
        except UsageError:
            event = self._book.claim_like(session, component, (text,)) if session else None
            if event is None:  # not cut off by a limit, but malformed
                raise
            fields = decoded(event.text)
        else:
            counts = session is None or self._book.claim(session, text)
        work = work_of(fields) if component is Component.LLM else None
        if node is not None and node.covered:
            counts = counts and component is not Component.TTS and work not in node.work_inside
        usage = read_metrics(component, fields, time_ns, facts.attributes) if counts else None
        return _Claim(counts=counts, usage=usage, work=work)

    # speech-to-text

    def _hear(self, facts: SpanFacts, session: Session, key: SpanKey) -> tuple[Attributes, list[OwnSpan]]:
        """Put what was heard since the last user turn on this one.

        The turn takes the model that heard most. Another model, after a fallback or handoff, gets
        a span of its own.
        """
        heard = self._book.take_heard(session, before_turn=True)
        if not heard:
            return self._dialects.repeat_attributes(facts), []
        others = [self._ending.own_span(session, a.cost, a.first_ns, a.last_ns) for a in heard[1:]]
        return self._written(heard[0].cost, facts, key), others

    # reports

    def report(self, session: Session, event: UsageEvent) -> list[OwnSpan]:
        """Book a report of usage: speech-to-text is priced, the rest waits for its span.

        Returns:
            Spans to be made at once, where too much waits.
        """
        session.last_ns = event.time_ns
        if self._book.is_repeat(session, event):
            return []
        if event.component is Component.STT:
            return self._ending.accrue(session, event, heard=True)
        oldest = self._book.report(session, event)
        return self._ending.accrue(session, oldest, heard=False) if oldest is not None else []

    def report_outside(self, event: UsageEvent) -> list[OwnSpan]:
        """Book a report of usage that belongs to no session and that no span of LiveKit's carries.

        Returns:
            As `report`.
        """
        return self._ending.accrue_outside(event)

    def report_unsampled(self, event: UsageEvent) -> None:
        """Count a report from a trace that is not sampled, so that metrics hold; no span carries it."""
        self._ending.cost_outside(event)

    # turns

    def _turn_totals(self, session: Session, turn: SpanKey) -> Attributes:
        totals = self._book.take_turn(session, turn)
        if not totals:
            return {}
        return ours.total_attributes(
            "turn", totals.by_component, totals.usd, unpriced=totals.unpriced, estimated=totals.estimated
        )


def _no_amount(rule: SpanRule, facts: SpanFacts) -> Usage:
    """The usage of a request whose cost is given and whose amounts are not."""
    provider, model = model_of(facts.attributes)
    return Usage(component=_component_of(rule), provider=provider, model=model, at=moment(0))


def _component_of(rule: SpanRule) -> Component:
    """What a span bills; without metrics of its own, a language model."""
    return METRICS_KEYS.get(rule.metrics or "", Component.LLM)
