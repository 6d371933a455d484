"""The longest `on_end`, and memory, over a million spans of ten thousand sessions."""

from __future__ import annotations

import gc
import sys
import time

from calls import Call, TimedProcessor, percentile, resident_megabytes, use
from rich import box
from rich.console import Console
from rich.table import Table
from shapes import provider_of

TURNS = 10  # of ten spans each


def plain_loop() -> float:
    """Microseconds of its own thread's time that some additions took: what the machine adds to anything."""
    began, total = time.thread_time_ns(), 0
    for number in range(400):
        total += number
    return (time.thread_time_ns() - began) / 1e3


def main(sessions: int) -> None:
    processor = TimedProcessor()
    provider = use(provider_of(processor))  # none behind: an exporter's thread would take turns with ours
    early, early_objects, began, hiccup = 0.0, 0, time.monotonic(), 0.0
    for number in range(sessions):
        call = Call(provider, number)
        for _ in range(TURNS):
            call.turn()
        call.end()
        hiccup = max(hiccup, *(plain_loop() for _ in range(100)))
        if number == sessions // 10:
            gc.collect()
            early, early_objects = resident_megabytes(), len(gc.get_objects())
    took = time.monotonic() - began
    gc.collect()
    late, late_objects = resident_megabytes(), len(gc.get_objects())
    times = processor.microseconds
    own_memory = len(times) * times.itemsize * 9 / 10 / 1e6  # of the measurement, since the first look
    rows = Table(f"{len(times):,} spans of {sessions:,} sessions, {took:.0f} s", "", box=box.SIMPLE)
    rows.add_row("on_end, median", f"{percentile(times, 0.5):.0f} µs")
    rows.add_row("on_end, 999 of 1,000", f"{percentile(times, 0.999):.0f} µs")
    rows.add_row("on_end, longest by the clock", f"{max(times):.0f} µs")
    rows.add_row("on_end, longest of its own thread's time", f"{processor.longest_own:.0f} µs, collections apart")
    rows.add_row("the same of a plain loop of 30 µs, as often", f"{hiccup:.0f} µs")
    rows.add_row(f"memory after {sessions // 10:,} sessions", f"{early:.1f} MB, {early_objects:,} objects")
    rows.add_row(f"memory after {sessions:,} sessions", f"{late - own_memory:.1f} MB, {late_objects:,} objects")
    rows.add_row("counted", str(processor.stats()))
    Console(width=None if sys.stdout.isatty() else 140).print(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]))
