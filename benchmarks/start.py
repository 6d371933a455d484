"""Start-up and the catalogue's memory, each in fresh processes that have imported livekit.agents."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from rich import box
from rich.console import Console
from rich.table import Table

RUNS = 10
START = """
import time, livekit.agents
began = time.perf_counter()
from otel_voice_cost import VoiceCostSpanProcessor
imported = time.perf_counter()
VoiceCostSpanProcessor()
print((imported - began) * 1e3, (time.perf_counter() - imported) * 1e3)
"""
MEMORY = """
import gc, tracemalloc
from otel_voice_cost import PriceCatalog
tracemalloc.start()
catalog = PriceCatalog.default()
gc.collect()
print(tracemalloc.get_traced_memory()[0] / 1e6)
"""


def fresh(code: str) -> list[float]:
    """The numbers that code prints in a process of its own."""
    with_bytecode = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=with_bytecode)
    return [float(number) for number in done.stdout.split()]


def main() -> None:
    fresh(START)  # compiles what is not compiled yet
    imports, builds = zip(*(fresh(START) for _ in range(RUNS)), strict=True)
    (memory,) = fresh(MEMORY)
    rows = Table("start-up", "median", "least", box=box.SIMPLE)
    rows.add_row("import otel_voice_cost", f"{statistics.median(imports):.0f} ms", f"{min(imports):.0f} ms")
    rows.add_row("build the processor", f"{statistics.median(builds):.0f} ms", f"{min(builds):.0f} ms")
    rows.add_row("memory of the catalogue", f"{memory:.1f} MB", "")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(rows)
    console.print(f"Python {sys.version.split()[0]}; {RUNS} fresh processes.")


if __name__ == "__main__":
    main()
