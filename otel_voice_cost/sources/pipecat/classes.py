"""The service classes of Pipecat, each with its vendor, default model and reported units."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from ...usage import Component, Mode, Unit
from ..framework import BilledClass

__all__ = ["DATA", "load_service_classes"]

DATA = "classes.json"
"""The list, made from the newest tested release by `make pipecat-classes`."""

_PACKAGE = "pipecat.services."
_REMARKS = {
    "endpoint": "an endpoint of your own is billed by the hour",
    "local": "runs on a machine of your own",
    "spans": "by the characters on spans, unsent ones included",
}
_SELF_HOSTED = {"endpoint", "local"}


@cache
def load_service_classes() -> tuple[BilledClass, ...]:
    """Return the classes of pipecat-ai 1.14.0 that use a service; reads a file once per process."""
    entries = json.loads(files(__package__).joinpath(DATA).read_text(encoding="utf-8"))
    return tuple(
        BilledClass(
            module=entry["module"].partition(".")[0],
            name=entry["class"],
            label=f"{_PACKAGE}{entry['module']}.{entry['class']}",
            title=entry["class"],
            component=Component(entry["component"]),
            provider=entry["provider"],
            models=tuple(entry["models"]),
            units=tuple(Unit(unit) for unit in entry["units"]),
            mode=Mode(entry["mode"]) if "mode" in entry else None,
            remark="; ".join(_REMARKS[name] for name in entry.get("remarks", ())),
            is_self_hosted=not _SELF_HOSTED.isdisjoint(entry.get("remarks", ())),
        )
        for entry in entries
    )
