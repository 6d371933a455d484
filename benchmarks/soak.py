"""Fifty calls at once, for as long as you like: throughput, time of `on_end`, memory, and cost out for usage in."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from decimal import Decimal

from calls import Call, TimedProcessor, percentile, resident_megabytes, use
from rich import box
from rich.console import Console
from rich.table import Table
from shapes import exporting, provider_of

SESSIONS, TURNS = 50, 10


async def caller(provider: object, until: float, seed: int) -> tuple[int, Decimal]:
    """Hold one call after another; return how many, and what they must cost."""
    calls, expected, dice = 0, Decimal(0), random.Random(seed)
    while time.monotonic() < until:
        call = Call(provider, seed * 1_000_000 + calls)
        for _ in range(TURNS):
            call.turn()
            await asyncio.sleep(dice.uniform(0, 0.2))
        call.end()
        calls, expected = calls + 1, expected + call.expected
    return calls, expected


async def soak(seconds: float, console: Console) -> bool:
    processor = TimedProcessor()
    provider = use(provider_of(processor, exporting()))
    began = time.monotonic()
    callers = [asyncio.create_task(caller(provider, began + seconds, seed)) for seed in range(SESSIONS)]
    await asyncio.sleep(min(30, seconds / 4))
    gc.collect()
    early = resident_megabytes()
    results = await asyncio.gather(*callers)
    took = time.monotonic() - began
    provider.shutdown()
    gc.collect()
    late = resident_megabytes()
    times, expected = processor.microseconds, sum((usd for _, usd in results), Decimal(0))
    rows = Table(title=f"{SESSIONS} calls at once, {took:.0f} s", box=box.SIMPLE, show_header=False)
    rows.add_row("calls", f"{sum(calls for calls, _ in results):,}")
    rows.add_row("spans", f"{len(times):,}, {len(times) / took:,.0f} a second")
    rows.add_row("on_end, median", f"{percentile(times, 0.5):.0f} µs")
    rows.add_row("on_end, 99 of 100", f"{percentile(times, 0.99):.0f} µs")
    rows.add_row(
        "on_end, longest", f"{max(times):.0f} µs; {processor.longest_own:.0f} µs of its own, collections apart"
    )
    rows.add_row(
        "memory",
        f"{early:.0f} MB early on, {late:.0f} MB at the end, of it {len(times) * 4 / 1e6:.0f} MB of these measurements",
    )
    rows.add_row("usage in, at list prices", f"{expected:.12f} USD")
    rows.add_row("cost out, on spans", f"{processor.cost:.12f} USD")
    rows.add_row("counted", str(processor.stats()))
    console.print(rows)
    equal = abs(expected - processor.cost) < Decimal("1e-9")
    console.print("Usage in equals cost out." if equal else "Usage in and cost out DIFFER.")
    return equal and processor.stats().failed == 0


if __name__ == "__main__":
    wide = Console(width=None if sys.stdout.isatty() else 140)
    sys.exit(0 if asyncio.run(soak(float(sys.argv[1]), wide)) else 1)
