"""``export``: past calls as charges, for the tools of FinOps."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import Problem
from .app import Json, app, fail, output, print_errors, print_json
from .past_calls import Connect, Csv, Files, Parquet, Since, Table, Until, dollars, exact, printable, read

if TYPE_CHECKING:
    from ..analysis.findings import Unpriced
    from ..analysis.focus import Charges
    from ..analysis.reading import PastCalls

_FILE = "a file that ends in .csv or .parquet"
_ACCOUNT = "for all providers, or PROVIDER=VALUE; may be repeated."


@app.command()
def export(
    calls: Files = None,
    focus: Annotated[Path | None, typer.Option(help="File to write, CSV or Parquet by its ending.")] = None,
    by_day: Annotated[bool, typer.Option("--by-day", help="Add up the charges of each day; no ids of calls.")] = False,
    billing_account: Annotated[list[str] | None, typer.Option(help=f"Id of the account {_ACCOUNT}")] = None,
    billing_account_name: Annotated[list[str] | None, typer.Option(help=f"Name of the account {_ACCOUNT}")] = None,
    connect: Connect = None,
    table_name: Table = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    as_csv: Csv = False,
    parquet: Parquet = None,
) -> None:
    """Write past calls as charges in the columns of FOCUS 1.2, one charge a row.

    Usage without a price is left out and listed: a row needs a cost, and zero would be wrong. CSV and Parquet have the
    rows of the file; JSON has its sums.

    Example: voice-cost export calls-2026-11-*.jsonl --focus charges.parquet --billing-account openai=org-123
    """
    if focus is None and parquet is None and not as_csv:
        fail([Problem(place="--focus", value="no file", expected=f"{_FILE}, or --csv")])
    if focus is not None and focus.suffix not in (".csv", ".parquet"):
        fail([Problem(place="--focus", value=printable(str(focus)), expected=_FILE)])
    past = read(calls, connect, table_name, since, until)
    from ..analysis.focus import Accounts, find_charges, write_csv, write_parquet  # noqa: PLC0415  # an extra

    providers = _providers(past)
    accounts = Accounts(
        ids=_by_provider("--billing-account", billing_account or (), providers),
        names=_by_provider("--billing-account-name", billing_account_name or (), providers),
    )
    charges = find_charges(past, accounts, by_day=by_day)
    if focus is not None:
        _write(charges, focus, write_parquet if focus.suffix == ".parquet" else write_csv)
    if parquet is not None:
        _write(charges, parquet, write_parquet)
    if as_csv:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "charges.csv"
            _write(charges, path, write_csv)
            with path.open(encoding="utf-8", newline="") as file:
                shutil.copyfileobj(file, sys.stdout)
    totals = charges.totals()
    if as_json:
        print_json(_fields(charges, totals, past.skipped))
    elif not as_csv:
        _print(totals, [path for path in (focus, parquet) if path is not None])
    print_errors(_left_out(charges.unpriced))


def _providers(past: PastCalls) -> list[str]:
    found = past.cost_rows.provider.fill_null("unknown").name("provider").as_table().distinct().to_pyarrow().to_pylist()
    return sorted(row["provider"] for row in found)


def _by_provider(option: str, texts: Iterable[str], providers: list[str]) -> dict[str | None, str]:
    """Return values by provider; exit if one is for a provider that is not in the files."""
    values: dict[str | None, str] = {}
    for text in texts:
        provider, separator, value = text.rpartition("=")
        if not value or (separator and provider not in providers):
            expected = f"a value, or PROVIDER=VALUE with one of {', '.join(providers)}"
            fail([Problem(place=option, value=printable(text), expected=printable(expected))])
        values[provider or None] = value
    return values


def _write(charges: Charges, path: Path, write: Callable[[Any, Path], None]) -> None:
    """Write the charges; exit if the file cannot be written."""
    with Console(stderr=True).status(f"Writing {printable(path.name)}"):
        try:
            write(charges.rows, path)
        except OSError as error:
            fail([Problem(place=str(path), value=type(error).__name__, expected="a file that can be written")])


def _fields(charges: Charges, totals: dict[str, Any], skipped: int) -> dict[str, Any]:
    return {
        "charge_count": totals["charge_count"],
        "usd": exact(totals["usd"]),
        "estimated_usd": exact(totals["estimated_usd"]),
        "skipped": skipped,
        "unpriced": [
            {
                "component": usage.component,
                "provider": usage.provider,
                "model": usage.model,
                "reason": usage.reason,
                "call_count": usage.call_count,
            }
            for usage in charges.unpriced
        ],
    }


def _print(totals: dict[str, Any], files: Iterable[Path]) -> None:
    for path in files:
        text = f"{path}: {totals['charge_count']:,} charges, {dollars(totals['usd'])} US dollars, FOCUS 1.2."
        output().print(printable(text), markup=False, soft_wrap=True)


def _left_out(unpriced: Iterable[Unpriced]) -> list[str]:
    lines = [
        printable(f"  {usage.component} {usage.provider}/{usage.model}: {usage.reason}, {usage.call_count:,} calls")
        for usage in unpriced
    ]
    return ["Left out: usage without a price.", *lines] if lines else []
