"""A framework without a call: its releases, its classes that use billed services, and what an installation may lack."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version

from ..usage import Component, Mode, Unit, Usage
from . import Source

__all__ = ["BilledClass", "Framework", "Release"]

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledClass:
    """A class of a framework that uses billed services, or an adapter that wraps one.

    Attributes:
        module: The part of its module that tells vendors apart.
        name: Name of the class.
        label: Module and name in full.
        title: Its name for readers: with its plugin if all plugins use the same names.
        component: Its component.
        provider: Id of the vendor in the catalog.
        models: Its default model and examples of others, as it reports them; empty if the user has to name one.
        units: The units that it reports in a session; empty if none.
        mode: The mode of speech-to-text in a session.
        is_adapter: True if it passes on the reports of the class it wraps.
        remark: A limit of its price; empty if there is none.
        is_self_hosted: True if its model runs on the user's own machines, so no vendor has a price for its usage.
    """

    module: str
    name: str
    label: str
    title: str
    component: Component
    provider: str
    models: tuple[str, ...]
    units: tuple[Unit, ...]
    mode: Mode | None = None
    is_adapter: bool = False
    remark: str = ""
    is_self_hosted: bool = False

    def to_usage(self, model: str, at: datetime) -> Usage:
        """Return one of each unit that it reports, of a model."""
        return Usage(
            component=self.component,
            provider=self.provider,
            model=model.strip().lower(),
            quantities=dict.fromkeys(self.units, _ONE),
            at=at,
            mode=self.mode,
        )


class Release(tuple[int, ...]):
    """The numbers of a release, which sort as releases do. Prints as it was written, without anything behind them."""

    __slots__ = ()

    def __new__(cls, text: str) -> Release:
        """Read the first three parts of a release's name."""
        return super().__new__(cls, (int(part) for part in text.split(".")[:3] if part.isdigit()))

    def __str__(self) -> str:
        """Return the name of the release."""
        return ".".join(map(str, self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """A framework that is read.

    Attributes:
        source: Reads it.
        package: Its distribution.
        oldest: The oldest release that is supported.
        newest: The newest release that was tested.
        before_oldest: The reason why older releases are not supported.
        modules: Modules with the classes whose reports are received.
        instrumentations: What instrumentations of it repeat on spans of their own, by the name of their entry point.
        notes: Facts that show in a call alone, by topic.
        classes: Returns its billed classes, of the newest release.
        used_classes: Returns those of them that are used here, as far as this is known without a call.
        unused: A sentence for the case that there are none.
    """

    source: Source
    package: str
    oldest: Release
    newest: Release
    before_oldest: str
    modules: tuple[str, ...]
    instrumentations: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    classes: Callable[[], tuple[BilledClass, ...]]
    used_classes: Callable[[], tuple[BilledClass, ...]]
    unused: str

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return self.source.name.lower()

    def installed(self) -> str | None:
        """Return the installed release, or None if there is none."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    def is_too_old(self) -> bool:
        """Return True if the installed release is older than the oldest that is supported."""
        installed = self.installed()
        return installed is not None and Release(installed) < self.oldest

    def find_unhooked(self) -> list[str]:
        """Return the names of classes whose reports cannot be received.

        Raises:
            ImportError: The framework cannot be imported.
        """
        for module in self.modules:
            importlib.import_module(module)
        probe = _Probe()
        subscription = self.source.subscribe(probe.ignore)
        try:
            return subscription.renew()
        finally:
            subscription.cancel()


class _Probe:
    def ignore(self, _source: Source, _read: object) -> None:
        """Do nothing."""
