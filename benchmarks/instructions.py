"""Instructions of one span, counted by valgrind's callgrind: they repeat to a thousandth, on a busy machine too.

Each variant runs twice in a fresh process, with few and with many spans; the difference is that of the spans alone.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import subprocess
import sys

FEW, MANY = 50, 200
SHAPES = ("llm_request", "tts_request", "LiveKit's, bills nothing", "user_turn")
VARIANTS = ("alone", "with this package")


def hold(variant: str, shape: str, spans: int) -> None:
    """Make spans: what valgrind counts."""
    from shapes import exporting, provider_of, span_maker  # noqa: PLC0415

    from otel_voice_cost import VoiceCostSpanProcessor  # noqa: PLC0415

    logging.disable(logging.WARNING)
    batch = exporting(every_seconds=3_600)  # else a slow run counts the work of its thread
    processors = [batch] if variant == "alone" else [VoiceCostSpanProcessor(), batch]
    make = span_maker(provider_of(*processors), shape)
    gc.disable()
    for _ in range(spans):
        make()
    os._exit(0)


def calculate(spans: int) -> None:
    """Calculate costs with genai-prices alone."""
    from genai_prices import Usage, calc_price  # noqa: PLC0415

    usage = Usage(input_tokens=300, cache_read_tokens=128, output_tokens=20)
    gc.disable()
    for _ in range(spans):
        calc_price(usage, model_ref="gpt-4.1-mini", provider_id="openai")
    os._exit(0)


def counted(*arguments: str) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__, *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        sys.exit(f"valgrind counted nothing: {done.stderr[-500:]}")
    return int(found[1])


def per_span(*arguments: str) -> float:
    return (counted(*arguments, str(MANY)) - counted(*arguments, str(FEW))) / (MANY - FEW)


def main() -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    price = per_span("calc_price")
    rows = Table("span", "SDK alone", "this package adds", "of the SDK's", "of one calc_price", box=box.SIMPLE)
    for shape in SHAPES:
        alone, ours = (per_span(variant, shape) for variant in VARIANTS)
        added = ours - alone
        rows.add_row(shape, f"{alone:,.0f}", f"{added:,.0f}", f"{added / alone:.2f}", f"{added / price:.2f}")
    rows.add_row("genai_prices.calc_price", f"{price:,.0f}")
    Console(width=None if sys.stdout.isatty() else 120).print(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["calc_price"]:
        calculate(int(sys.argv[2]))
    elif len(sys.argv) == 4:
        hold(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
