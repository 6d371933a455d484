"""Coverage-guided fuzzing of attributes, reports and price sheets with atheris: ``make fuzz``.

Arguments are libFuzzer's. The checks are in `properties`; a failing input is written to a file.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["otel_voice_cost"]):
    from otel_voice_cost.sources.livekit.spans import SPAN_RULES
    from tests.faults.properties import KEYS, METRICS, check_prices, check_report, check_span

NAMES = sorted(set(SPAN_RULES) - {"agent_session"})
PRICES = Path(__file__).parents[2] / "otel_voice_cost" / "prices" / "data"


def check(data: bytes) -> None:
    """Check one input; its first byte selects the kind of the rest."""
    if not data:
        return
    text = data[1:].decode("utf-8", "surrogateescape" if data[0] & 128 else "replace")
    kinds = sorted(METRICS)
    kind = kinds[data[0] % len(kinds)]
    what = (data[0] >> 2) % 4
    if what == 0 and kind in KEYS:
        name, key = KEYS[kind]
        check_span(name, {key: text})
    elif what == 1:
        check_report(text, METRICS[kind]["type"])
    elif what == 2:
        check_prices(text)
    else:
        provider = atheris.FuzzedDataProvider(data[1:])
        name = NAMES[provider.ConsumeIntInRange(0, len(NAMES) - 1)]
        keys = [key for _, key in KEYS.values()]
        keys += ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cost", "gen_ai.request.model"]
        attributes: dict[str, object] = {}
        for key in keys:
            if provider.ConsumeBool():
                choices = (provider.ConsumeRegularFloat, lambda: provider.ConsumeInt(8), provider.ConsumeBool)
                number = provider.ConsumeIntInRange(0, len(choices))
                attributes[key] = provider.ConsumeUnicode(60) if number == len(choices) else choices[number]()
        check_span(name, attributes)


def seeds(folder: Path) -> None:
    """Return valid initial inputs: metrics of every kind, and the shipped price files."""
    kinds = sorted(METRICS)
    for number, kind in enumerate(kinds):
        for what in (0, 1):
            data = bytes([number + 4 * what]) + json.dumps(METRICS[kind]).encode()
            (folder / f"{kind}-{what}").write_bytes(data)
    for path in PRICES.glob("*.toml"):
        (folder / path.stem).write_bytes(bytes([8]) + path.read_bytes()[:2_000])


if __name__ == "__main__":
    logging.getLogger("otel_voice_cost").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as corpus:
        seeds(Path(corpus))
        atheris.Setup([*sys.argv, "-timeout=5", "-max_len=4096", "-print_final_stats=1", corpus], check)
        atheris.Fuzz()
