"""The classes of LiveKit's plugins with their names, models and reported units."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ...usage import Component, Mode, Unit

__all__ = ["PluginClass", "load_plugin_classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginClass:
    """A plugin class that uses billed services, or an adapter that wraps one.

    Attributes:
        plugin: Name of the plugin, as in ``livekit-plugins-deepgram``; a module for LiveKit's own classes.
        name: Name of the class.
        component: Its component.
        provider: The provider that it reports.
        gen_ai_provider_name: The spelling of the provider on spans since 1.8; None for most adapters.
        label: The label that it reports.
        models: Its default model and examples of others, as it reports them.
        units: The units that it reports in a session; empty if none.
        mode: The mode of speech-to-text in a session.
        is_adapter: True if it passes on the reports of the class it wraps.
    """

    plugin: str
    name: str
    component: Component
    provider: str
    gen_ai_provider_name: str | None
    label: str
    models: tuple[str, ...]
    units: tuple[Unit, ...]
    mode: Mode | None
    is_adapter: bool


@cache
def load_plugin_classes() -> tuple[PluginClass, ...]:
    """Return the 138 classes of livekit-plugins 1.8.9; reads a file once per process."""
    entries = json.loads(files(__package__).joinpath("plugins.json").read_text(encoding="utf-8"))
    return tuple(
        PluginClass(
            plugin=entry["plugin"],
            name=entry["class"],
            component=Component(entry["component"]),
            provider=entry["provider"],
            gen_ai_provider_name=entry["gen_ai_provider_name"],
            label=entry["label"],
            models=tuple(entry["models"]),
            units=tuple(Unit(unit) for unit in entry["units"]),
            mode=Mode(entry["mode"]) if "mode" in entry else None,
            is_adapter=entry.get("adapter", False),
        )
        for entry in entries
    )
