"""A server on the loopback with a meter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import ClassVar, TypeVar

from aiohttp import web

from otel_voice_cost.usage import Component, Mode, Unit

from .meter import MeterEntry

__all__ = ["Pace", "VendorServer"]

_Server = TypeVar("_Server", bound="VendorServer")


class VendorServer:
    """A vendor: ``async with`` opens it at `url`; what it bills is in `meter`, complete once it is closed.

    Attributes:
        component: The part of an agent that it serves.
        provider: Provider as the plugin reports it.
        mode: As for `MeterEntry`.
        stops_when_client_leaves: Whether a handler is cancelled when its client disconnects.
    """

    component: ClassVar[Component]
    provider: ClassVar[str]
    mode: ClassVar[Mode | None] = None
    stops_when_client_leaves: ClassVar[bool] = False

    def __init__(self) -> None:
        self.meter: list[MeterEntry] = []
        self.port = 0

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes that the plugin calls."""
        raise NotImplementedError

    def bill(
        self,
        model: str,
        quantities: Mapping[Unit, int | Decimal],
        reason: str,
        *,
        component: Component | None = None,
    ) -> None:
        """Put an entry on the meter; of the server's own component if no other is named."""
        self.meter.append(
            MeterEntry(
                component=component or self.component,
                provider=self.provider,
                model=model,
                quantities={unit: Decimal(amount) for unit, amount in quantities.items() if amount},
                reason=reason,
                mode=self.mode,
            )
        )

    async def __aenter__(self: _Server) -> _Server:
        application = web.Application()
        application.add_routes(self.routes())
        self._runner = web.AppRunner(
            application, handler_cancellation=self.stops_when_client_leaves, shutdown_timeout=1.0
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    @property
    def url(self) -> str:
        """URL of the open server."""
        return f"http://127.0.0.1:{self.port}"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


class Pace:
    """Steps along the clock: a late step does not delay those after it."""

    def __init__(self) -> None:
        self._next_at = time.monotonic()

    async def step(self, seconds: float) -> None:
        """Wait until that long after the last step."""
        self._next_at += seconds
        await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
