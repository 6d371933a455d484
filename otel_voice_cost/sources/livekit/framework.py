"""LiveKit Agents without a call."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distributions

from ..framework import BilledClass, Framework, Release
from . import TESTED, LiveKitSource
from .plugins import PluginClass, load_plugin_classes
from .providers import canonical_provider

__all__ = ["LIVEKIT"]

_PLUGINS = "livekit-plugins-"


@cache
def _classes() -> tuple[BilledClass, ...]:
    return tuple(map(_to_billed_class, load_plugin_classes()))


def _to_billed_class(plugin_class: PluginClass) -> BilledClass:
    return BilledClass(
        module=plugin_class.plugin,
        name=plugin_class.name,
        label=plugin_class.label,
        title=f"{plugin_class.plugin} {plugin_class.name}",
        component=plugin_class.component,
        provider=canonical_provider(plugin_class.provider, plugin_class.label),
        models=plugin_class.models,
        units=plugin_class.units,
        mode=plugin_class.mode,
        is_adapter=plugin_class.is_adapter,
    )


def _used_classes() -> tuple[BilledClass, ...]:
    """Return the classes whose plugins are installed."""
    names = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in distributions()}
    installed = {name.removeprefix(_PLUGINS).replace("-", "_") for name in names if name.startswith(_PLUGINS)}
    return tuple(each for each in _classes() if each.module in installed)


LIVEKIT = Framework(
    source=LiveKitSource(),
    package="livekit-agents",
    oldest=Release("1.2"),
    newest=max(map(Release, TESTED)),
    before_oldest="Before 1.2 metrics name no model.",
    modules=("livekit.agents",),
    instrumentations=(),
    notes=(),
    classes=_classes,
    used_classes=_used_classes,
    unused="No LiveKit plugins are installed here.",
)
