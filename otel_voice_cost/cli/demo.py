"""``demo``: a phone call offline, with its cost."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from .app import app, fail

_MODULES = {"livekit": ("livekit.agents", "..demo.__main__"), "pipecat": ("pipecat", "..demo.pipecat.__main__")}
_OTLP = "opentelemetry.exporter.otlp.proto.http"


@app.command()
def demo(
    framework: Annotated[str, typer.Option(metavar="|".join(_MODULES), help="The framework of the agent.")] = "livekit",
) -> None:
    """Hold a phone call offline, and show its cost on the spans: no server, no key, no network.

    A real agent session with scripted speech: 20 seconds with LiveKit Agents, 3 with Pipecat.

    Example: voice-cost demo --framework pipecat
    """
    if framework not in _MODULES:
        raise typer.BadParameter(f"got {framework!r}, expected {' or '.join(_MODULES)}", param_hint="--framework")
    needed, module = _MODULES[framework]
    if missing := [name for name in (needed, _OTLP) if not _is_installed(name)]:
        fail([f"The demo needs {' and '.join(missing)}: pip install 'otel-voice-cost[cli,{framework},otlp]'"])
    raise typer.Exit(import_module(module, __package__).main())


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False
