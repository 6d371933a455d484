"""The way of one span: what LiveKit reported → usage → rate → cost → attributes."""

from __future__ import annotations

from decimal import Decimal, localcontext

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from ._diagnostics import Diagnostics
from .cost import EXACT, Cost, in_words
from .dialects import Attributes, Dialects, SpanFacts
from .dialects import voice_cost as ours
from .dialects.genai import COST
from .ending import Ending, OwnSpan
from .errors import UsageError
from .livekit.events import SpanKey, UsageEvent
from .livekit.metrics import decoded, model_of, moment, read_gen_ai_usage, read_metrics, usage_fragments
from .livekit.spans import METRICS_KEYS, NEWER, Role, SpanRule, attributes_of, rule_of
from .pricing import Pricing
from .sessions import Session, SessionBook, SpanNode
from .usage import Component, Usage

__all__ = ["Pipeline", "span_key"]

_IDS = ("gen_ai.conversation.id", "langfuse.session.id", "session.id", "langfuse.user.id", "user.id")
_NO_USAGE = "LiveKit reported no usage for this request"
_MOST_USD = 10**12  # what a span may claim to have cost; beyond is a mistake


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
        """Return what an ended span of LiveKit's gets, and the spans to be made before it leaves.

        Raises:
            UsageError: The span's metrics are malformed.
        """
        rule = rule_of(span)
        if rule is None:
            return {}, []
        attributes = attributes_of(span)
        if not ours.MARKS.isdisjoint(attributes):
            return {}, []
        node = self._book.node(key)
        session = node.session if node else None
        if session is not None and session.passive:
            if rule.role is Role.SESSION:
                self._book.close(session)
            return {}, []
        if rule.releases is NEWER:
            self._diagnostics.warn("newer release", f"{span.name} is a span of a newer LiveKit: priced by its metrics.")
        facts = SpanFacts(name=span.name, attributes=attributes, is_error=span.status.status_code is StatusCode.ERROR)
        if session is not None:
            session.identity = session.identity or {key: attributes[key] for key in _IDS if key in attributes}
        with localcontext(EXACT):
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
        counted, usage = self._claimed_usage(span, rule, facts, node)
        cost = self._cost(usage, rule, facts, node.session if node else None) if counted else None
        if cost is None:
            silent = {} if rule.role is Role.TURN else self._dialects.repeat_attributes(facts)
            unknown = counted and rule.nests and rule.role is Role.BILLS and not (node and node.covered)
            return silent | (ours.no_usage_attributes(_NO_USAGE) if unknown else {})
        if node is not None:
            if rule.nests:
                node.cover()
            if node.session is not None:
                self._book.add_cost(node.session, cost, node.turn)
        return self._written(cost, facts, key)

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

    def _claimed_usage(
        self, span: ReadableSpan, rule: SpanRule, facts: SpanFacts, node: SpanNode | None
    ) -> tuple[bool, Usage | None]:
        """Whether the span counts, and its usage; the report it carries is taken off the waiting ones.

        It does not count where its report was settled before, or where a request inside it
        bills the same work.
        """
        attributes, time_ns = facts.attributes, span.end_time or 0
        session = node.session if node else None
        text = attributes.get(rule.metrics) if rule.metrics else None
        if rule.metrics and isinstance(text, str):
            component = METRICS_KEYS[rule.metrics]
            counts = True
            try:
                fields = decoded(text)
            except UsageError:
                event = self._book.claim_like(session, component, (text,)) if session else None
                if event is None:  # not cut off by a limit, but malformed
                    raise
                fields = decoded(event.text)
            else:
                counts = session is None or self._book.claim(session, text)
            repeats = rule.nests is Component.TTS and node is not None and node.covered
            return counts and not repeats, read_metrics(component, fields, time_ns, attributes)
        if not rule.gen_ai_usage:
            return True, None
        usage = read_gen_ai_usage(attributes, time_ns)
        if usage is None or node is None:
            return True, usage
        if rule.role is Role.REPEATS and (node.covered or (rule.by_event and session is not None)):
            return False, None
        if session is None:
            return True, usage
        event = self._book.claim_like(session, Component.LLM, usage_fragments(attributes))
        return True, read_metrics(Component.LLM, decoded(event.text), time_ns, attributes) if event else usage

    # speech-to-text

    def _hear(self, facts: SpanFacts, session: Session, key: SpanKey) -> tuple[Attributes, list[OwnSpan]]:
        """Put what was heard since the last user turn on this one.

        The turn takes the model that heard most. Another model, after a fallback or handoff, gets
        a span of its own.
        """
        heard = self._book.take_heard(session)
        for accrued in heard:
            self._book.add_cost(session, accrued.cost, None, before_turn=True)
        if not heard:
            return self._dialects.repeat_attributes(facts), []
        others = [self._ending.own_span(session, a.cost, a.first_ns, a.last_ns) for a in heard[1:]]
        return self._written(heard[0].cost, facts, key), others

    # reports

    def report(self, event: UsageEvent) -> None:
        """Book a report of usage: speech-to-text is priced, the rest waits for its span.

        Raises:
            UsageError: The report is malformed.
        """
        node = self._book.node(event.span_key)
        session = node.session if node else None
        if session is None or session.passive:
            return
        with localcontext(EXACT):
            if event.component is Component.STT:
                self._ending.accrue(session, event, heard=True)
                return
            oldest = self._book.report(session, event)
            if oldest is not None:
                self._ending.accrue(session, oldest, heard=False)

    def report_unsampled(self, event: UsageEvent) -> None:
        """Count a report from a trace that is not sampled, so that metrics hold; no span carries it.

        Raises:
            UsageError: The report is malformed.
        """
        with localcontext(EXACT):
            usage = read_metrics(event.component, decoded(event.text), event.time_ns)
            if usage is not None:
                self._pricing.price(usage, None)

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
    component = METRICS_KEYS.get(rule.metrics or "", Component.LLM)
    return Usage(component=component, provider=provider, model=model, at=moment(0))
