"""The root of the command line, and its commands by topic. Each is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_group

__all__ = ["COMMANDS", "app"]


class _Entry(NamedTuple):
    """A command: its module, and the first sentence of its help."""

    module: str
    help: str


COMMANDS = {
    "Prices": {
        "price": _Entry("prices", "Price one usage and explain every step."),
        "prices": _Entry("prices", "List the rates of price files and variables, or update them."),
        "estimate": _Entry("estimate", "Estimate the cost of a call with other models, side by side."),
        "gaps": _Entry("gaps", "Show which models of LiveKit's plugins and Pipecat's services have a price."),
        "check": _Entry("check", "Check price files and variables, and say how they were understood."),
    },
    "A set-up": {
        "doctor": _Entry("doctor", "Check versions, variables, prices, hooks, and the order of processors."),
        "config": _Entry("config", "Show the options in force, and where each comes from."),
        "langfuse": _Entry("langfuse", "Work with a Langfuse project."),
        "demo": _Entry("demo", "Hold a phone call offline, and show its cost on the spans."),
    },
    "Past calls": {
        "report": _Entry("report", "Show where the money of past calls went."),
        "load": _Entry("load", "Read past calls once and keep them in a database of DuckDB."),
        "reprice": _Entry("reprice", "Price past calls again, with the rules of the processor."),
        "what-if": _Entry("what_if", "Show what past calls would have cost with other models."),
        "reconcile": _Entry("reconcile", "Compare a vendor's invoice with past calls, by day, model and unit."),
        "export": _Entry("export", "Write past calls as charges in the columns of FOCUS 1.2, one charge a row."),
    },
}
_MODULES = {name: entry.module for entries in COMMANDS.values() for name, entry in entries.items()}

_EXAMPLES = """\
voice-cost demo
voice-cost price --provider deepgram --model nova-3 --stt-seconds 62
voice-cost doctor my_agent.telemetry:provider
voice-cost report calls-*.jsonl"""


class _Commands(TyperGroup):
    """Imports the module of a command when it is called: some bring a database.

    Contexts and commands are click's or, since typer 0.26, of a copy of click inside typer.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _MODULES:
            return None
        import_module(f".{_MODULES[cmd_name]}", __package__)
        from .app import app as known  # noqa: PLC0415  # on which the module has registered its commands

        return get_group(known).commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        from .app import suggest  # noqa: PLC0415

        if args[0] not in _MODULES and not args[0].startswith("-"):
            ctx.fail(f"No command {args[0]!r}. {suggest(args[0], _MODULES)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for topic, entries in COMMANDS.items():
            with formatter.section(topic):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            for example in _EXAMPLES.splitlines():
                formatter.write(f"  {example}\n")


app = typer.Typer(
    cls=_Commands,
    help="What voice calls cost: prices, the set-up of the processor, and questions to past calls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # a callback of typer
    if wanted:
        typer.echo(f"otel-voice-cost {version('otel-voice-cost')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Only options."""
