"""Session, turn and enclosing request of spans that are open or that children and reports may still refer to."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sources import SpanKey, Work
from ..usage import Component

if TYPE_CHECKING:
    from .session import Session

__all__ = ["SpanNode", "SpanTree"]

_MAX_SPANS = 65_536  # of one running session, ended spans included
_MAX_OUTSIDE = 4_096  # open requests outside of sessions
_MAX_NESTED = 32  # enclosing requests that are marked
_MAX_REQUESTS_INSIDE = 32
_SWEPT_AT_ONCE = 4  # spans of closed sessions removed per new span: removing all at once would take too long


@dataclass(eq=False, repr=False, slots=True)
class SpanNode:
    """Facts about an agent turn or a request, shared by the spans below it that are neither.

    Attributes:
        session: Its session; None outside of sessions.
        turn: The agent turn above it, or itself.
        request: The nearest request above it, or itself.
        component: The component, if it is a request.
        enclosing_request: The request that it is part of.
        has_billing_child: True if a request inside it bills.
        requests_inside: The last requests inside it that bill, as in `SpanUsage.request`.
        work: The numbers of the request, if its source watches work.
        received: Characters of its answer that came in earlier tries.
        has_failed: True if its last try failed.
    """

    session: Session | None = None
    turn: SpanKey | None = None
    request: SpanNode | None = None
    component: Component | None = None
    enclosing_request: SpanNode | None = None
    has_billing_child: bool = False
    requests_inside: tuple[Hashable, ...] = ()
    work: Work | None = None
    received: int = 0
    has_failed: bool = False

    def mark_enclosing_requests(self, request: Hashable) -> None:
        """Mark the enclosing requests: this request bills, so they may only repeat it.

        Args:
            request: As `SpanUsage.request`; None if it has no id.
        """
        enclosing = self.enclosing_request
        for _ in range(_MAX_NESTED):
            if enclosing is None or enclosing.component is not self.component:
                return
            enclosing.has_billing_child = True
            if request is not None:
                enclosing.requests_inside = (*enclosing.requests_inside[1 - _MAX_REQUESTS_INSIDE :], request)
            enclosing = enclosing.enclosing_request


_NO_PARENT = SpanNode()


def _node_below(parent: SpanNode, turn: SpanKey | None, request: Component | None, work: Work | None) -> SpanNode:
    """Return the node of an agent turn or request; of any other span, that of its parent."""
    if turn is None and request is None:
        return parent
    if request is None:
        return SpanNode(parent.session, turn, parent.request)
    node = SpanNode(parent.session, turn or parent.turn, None, request, parent.request)
    node.request, node.work = node, work
    return node


class SpanTree:
    """The spans of a process that affect the bill, limited per session."""

    def __init__(self) -> None:
        self._nodes: dict[SpanKey, SpanNode] = {}
        self._open: set[SpanKey] = set()
        self._outside: OrderedDict[SpanKey, None] = OrderedDict()
        self._closed_sessions: deque[tuple[Session, deque[SpanKey]]] = deque()  # and their spans, to be removed

    def begin_session(self, key: SpanKey, session: Session) -> None:
        """Add the span of a session."""
        self._nodes[key] = SpanNode(session=session)
        self._open.add(key)

    def begin(
        self,
        key: SpanKey,
        parent: SpanNode | None,
        *,
        start_ns: int = 0,
        is_turn: bool = False,
        request: Component | None = None,
        work: Work | None = None,
    ) -> None:
        """Add a span below a known one, or any request.

        Args:
            key: Trace and span id.
            parent: The node of its parent.
            start_ns: Its start, nanoseconds since the epoch.
            is_turn: True for an agent turn.
            request: The component, if the span is a request that may contain others.
            work: The numbers of the request.
        """
        if parent is None:
            if request is None:
                return
            parent = _NO_PARENT
        if key in self._open and self.is_open(key):  # another processor of the provider added it
            return
        self._open.add(key)
        node = _node_below(parent, key if is_turn else None, request, work)
        self._note(key, node, start_ns)
        session = parent.session
        if session is None:
            self._bound_outside(key)
        else:
            while len(session.spans) > _MAX_SPANS:
                self._forget(session.spans.popleft())
            if is_turn:
                session.begin_turn(key)
        if self._closed_sessions:
            self._sweep()

    def begin_below(
        self,
        key: SpanKey,
        parent: SpanNode,
        *,
        start_ns: int = 0,
        request: Component | None = None,
        work: Work | None = None,
        is_open: bool,
    ) -> bool:
        """Add a span below a known one without the lock. It must not be an agent turn.

        Each step is one atomic operation of a dictionary, set or deque.

        Args:
            key: As for `begin`.
            parent: As for `begin`.
            start_ns: As for `begin`.
            request: As for `begin`.
            work: The numbers of the request.
            is_open: True if the end of the span matters too.

        Returns:
            False if this needs more steps: nothing was added, and `begin` must be called with the lock held.
        """
        session = parent.session
        if session is None or self._closed_sessions or len(session.spans) >= _MAX_SPANS:
            return False
        known = self._nodes.get(key)
        if known is not None:  # another processor of the provider added it, or ids repeat
            return known is parent
        if is_open:
            self._open.add(key)
        self._nodes[key] = parent if request is None else _node_below(parent, None, request, work)
        session.spans.append(key)
        if start_ns > session.last_ns:
            session.last_ns = start_ns
        if session.is_dropped:  # by another thread in the meantime
            self._forget(key)
        return True

    def _note(self, key: SpanKey, node: SpanNode, start_ns: int) -> None:
        self._nodes[key] = node
        session = node.session
        if session is not None:
            session.spans.append(key)
            if start_ns > session.last_ns:
                session.last_ns = start_ns

    def _bound_outside(self, key: SpanKey) -> None:
        self._outside[key] = None
        if len(self._outside) > _MAX_OUTSIDE:
            self._forget(self._outside.popitem(last=False)[0])

    def find(self, key: SpanKey) -> SpanNode | None:
        """Return the node of a span, or None if it is unknown. Works for some time after its end."""
        node = self._nodes.get(key)
        return None if node is None or (node.session is not None and node.session.is_dropped) else node

    def is_open(self, key: SpanKey) -> bool:
        """Return True if the span is known and has not ended."""
        return key in self._open and self.find(key) is not None

    def end(self, key: SpanKey) -> tuple[bool, SpanNode | None]:
        """Record the end of a span. Late children and reports of its session still find it.

        Returns:
            False if another processor of the provider has already received the end of this span, and its node.
        """
        node = self._nodes.get(key)
        if key in self._open:
            self._open.discard(key)
        elif node is not None:
            return False, None
        if key in self._outside:
            del self._outside[key]
            self._forget(key)
        return True, None if node is None or (node.session is not None and node.session.is_dropped) else node

    def forget_session(self, session: Session, *, keep: int = 0) -> None:
        """Schedule the spans of a session for removal, a few with each new span.

        Args:
            session: The session.
            keep: Number of the latest spans to keep.
        """
        node = self._nodes.get(session.key)
        if keep == 0 and node is not None and node.session is session:  # ids may repeat
            self._forget(session.key)
        surplus = len(session.spans) - keep
        if surplus > 0:
            self._closed_sessions.append((session, deque(session.spans.popleft() for _ in range(surplus))))

    def _sweep(self) -> None:
        session, spans = self._closed_sessions[0]
        for _ in range(min(_SWEPT_AT_ONCE, len(spans))):
            key = spans.popleft()
            node = self._nodes.get(key)
            if node is not None and node.session is session:
                self._forget(key)
        if not spans:
            self._closed_sessions.popleft()

    def _forget(self, key: SpanKey) -> None:
        self._nodes.pop(key, None)
        self._open.discard(key)
