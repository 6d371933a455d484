"""Compare stacks of models on past calls: swapped models by the processor's own rules, all others as recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cost import EXACT, exact_sum
from ..errors import Problem, VoiceCostError
from ..prices.catalog import PriceCatalog
from ..prices.globs import fits
from ..prices.names import split_name
from .reading import PastCalls
from .reprice import ModelChange, reprice_calls
from .stacks import Stack, nearest
from .swapping import Model, swap_model

if TYPE_CHECKING:
    from ibis.expr.types import Table

__all__ = ["Comparison", "StackCost", "SwapError", "SwappedModel", "compare_stacks"]

_ZERO = Decimal(0)
_SECONDS_PER_MINUTE = Decimal(60)
_PLACES = Decimal("0.000000001")  # of a cost per minute
_UNKNOWN = "unknown"


class SwapError(VoiceCostError):
    """Swaps do not fit the calls; it lists all that do not."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SwappedModel:
    """One model of the calls in a stack.

    Attributes:
        change: Its cost before and after, under the name of the model of the calls.
        new: The model in its place, ``provider/model``; None if it is not swapped.
    """

    change: ModelChange
    new: str | None = None

    @property
    def is_refused(self) -> bool:
        """True if it had a cost and has none with the other model."""
        return self.change.before_usd is not None and self.change.after_usd is None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackCost:
    """The cost of past calls with a stack.

    Attributes:
        name: Name of the stack.
        models: Each model of the calls, the most expensive first.
        after_usd: US dollars of all calls; None if a swap is refused, because the rest is not their cost.
        usd_per_minute: Of the calls whose length is known.
    """

    name: str
    models: tuple[SwappedModel, ...]
    after_usd: Decimal | None
    usd_per_minute: Decimal | None

    def total(self, name: str) -> Decimal:
        """Return the sum of one of the amounts in US dollars over all models."""
        return exact_sum(getattr(model.change, name) or _ZERO for model in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Past calls as recorded and with other stacks.

    Attributes:
        before_usd: US dollars as recorded.
        usd_per_minute: Of the calls whose length is known; None if there are none.
        seconds: Length of these calls.
        stacks: The stacks in their order.
    """

    before_usd: Decimal
    usd_per_minute: Decimal | None
    seconds: Decimal
    stacks: tuple[StackCost, ...]


def _all(swaps: Iterable[tuple[Model, str]]) -> Iterable[tuple[Model, str]]:
    return swaps


def compare_stacks(
    past: PastCalls,
    stacks: Sequence[Stack],
    catalog: PriceCatalog,
    at: datetime | None = None,
    watch: Callable[[list[tuple[Model, str]]], Iterable[tuple[Model, str]]] = _all,
) -> Comparison:
    """Price past calls with other models.

    A model that no swap names keeps its recorded cost. Estimates of what nobody reported are left out.

    Args:
        past: The calls.
        stacks: The stacks, after `check_stacks`.
        catalog: The prices of the models that come in.
        at: The time whose prices hold; by default, the time of each usage.
        watch: Passes the swaps of models through while they are made, to show progress.

    Raises:
        SwapError: The calls have no model that a swap names, or only one of another component.
    """
    calls = _Calls(past, catalog, at)
    plans = [calls.plan(stack) for stack in stacks]
    if problems := [problem for _, found in plans for problem in found]:
        raise SwapError(problems)
    swaps = {(model, new) for plan, _ in plans for model, new in plan.items()}
    for model, new in watch(sorted(swaps)):
        calls.swap(model, new)
    before_usd = exact_sum(change.before_usd or _ZERO for change in calls.recorded.values())
    return Comparison(
        before_usd=before_usd,
        usd_per_minute=calls.per_minute(before_usd, calls.outside_usd.values()),
        seconds=calls.seconds,
        stacks=tuple(calls.cost(stack.name, plan) for stack, (plan, _) in zip(stacks, plans, strict=True)),
    )


class _Swapped(NamedTuple):
    """A model's cost with another in its place, and the part of it outside of calls of known length."""

    change: ModelChange
    outside_usd: Decimal


class _Calls:
    """The calls of a comparison, with what its stacks have in common.

    Attributes:
        recorded: The recorded cost of each model.
        outside_usd: The part of it outside of calls of known length.
        seconds: The length of the calls, as far as it is known.
    """

    def __init__(self, past: PastCalls, catalog: PriceCatalog, at: datetime | None) -> None:
        self._past, self._catalog, self._at = past, catalog, at
        known = past.calls.filter(past.calls.seconds > 0)
        self.seconds: Decimal = known.seconds.sum().to_pyarrow().as_py() or _ZERO
        self._known = known.select("call").distinct()
        rows = past.cost_rows
        names = {name: rows[name].fill_null(_UNKNOWN) for name in Model._fields}
        self._rows = rows.mutate(**names)
        self.recorded = {_model(row): _unchanged(row) for row in _recorded(self._rows)}
        self.outside_usd = {_model(row): row["usd"] or _ZERO for row in _recorded(self._outside(self._rows))}
        self._swapped: dict[tuple[Model, str], _Swapped] = {}

    def plan(self, stack: Stack) -> tuple[dict[Model, str], list[Problem]]:
        """Return the model in place of each that a stack swaps, and the swaps that fit no model of the calls."""
        plan: dict[Model, str] = {}
        problems = []
        for swap in stack.swaps:
            time = self._at or datetime.now(timezone.utc)
            possible = {c.value for c in self._catalog.components_of(*split_name(swap.new), time)}
            fitting = [model for model in self.recorded if fits(model.name.lower(), swap.old)]
            found = {model.component for model in fitting}
            if not found:
                names = {model.name for model in self.recorded}
                problems.append(Problem(stack.place, swap.old, f"a model of these calls{nearest(swap.old, names)}"))
            elif not found & possible:
                old, new = (", ".join(sorted(components)) for components in (found, possible))
                value = f"{swap.old} ({old}) = {swap.new} ({new})"
                problems.append(Problem(stack.place, value, "models of one component"))
            for model in fitting:
                if model.component in possible:
                    plan.setdefault(model, swap.new)
        return plan, problems

    def swap(self, model: Model, new: str) -> None:
        """Price the usage of a model with another."""
        of_component = self._rows.filter(self._rows.component == model.component)
        rows, notes = swap_model(of_component, self._past.reported, model, new, self._catalog, self._at)
        change = self._reprice(rows)
        outside = self._reprice(self._outside(rows)).after_usd if model in self.outside_usd else _ZERO
        is_same = new == model.name and change.unpriced_before == change.unpriced_after
        if is_same and notes.rates == _recorded_rates(self._of(model)):
            # minimums and rounding hold per request, of which a file may have the sum
            change = replace(change, after_usd=change.before_usd, difference_usd=_ZERO)
        named = replace(
            change,
            **model._asdict(),
            reasons={text for reason in change.reasons for text in notes.reasons.get(reason) or {reason}},
            approximations=change.approximations | notes.approximations,
        )
        self._swapped[model, new] = _Swapped(named, outside or _ZERO)

    def cost(self, name: str, plan: Mapping[Model, str]) -> StackCost:
        """Return the cost of the calls with a stack whose models were swapped."""
        models, outside = [], []
        for model, unchanged in self.recorded.items():
            new = plan.get(model)
            if new is None:
                found = _Swapped(unchanged, self.outside_usd.get(model, _ZERO))
            else:
                found = self._swapped[model, new]
            models.append(SwappedModel(change=found.change, new=new))
            outside.append(found.outside_usd)
        usd = exact_sum(model.change.after_usd or _ZERO for model in models)
        is_whole = not any(model.is_refused for model in models)
        return StackCost(
            name=name,
            models=tuple(models),
            after_usd=usd if is_whole else None,
            usd_per_minute=self.per_minute(usd, outside) if is_whole else None,
        )

    def per_minute(self, usd: Decimal, outside: Iterable[Decimal]) -> Decimal | None:
        """Return the cost per minute of the calls whose length is known."""
        if not self.seconds:
            return None
        inside = EXACT.subtract(usd, exact_sum(outside))
        return EXACT.divide(EXACT.multiply(inside, _SECONDS_PER_MINUTE), self.seconds).quantize(_PLACES, context=EXACT)

    def _of(self, model: Model) -> Table:
        return self._rows.filter(*(self._rows[name] == value for name, value in model._asdict().items()))

    def _outside(self, rows: Table) -> Table:
        return rows.anti_join(self._known, "call")

    def _reprice(self, rows: Table) -> ModelChange:
        (change,) = reprice_calls(replace(self._past, usage=rows), self._catalog, self._at).models
        return change


def _recorded(rows: Table) -> list[dict[str, Any]]:
    """Return the recorded cost of each model and its number of requests without one, the most expensive first."""
    by = list(Model._fields)
    requests = rows.group_by([*by, "request"]).agg(usd=rows.usd.sum())
    models = requests.group_by(by).agg(usd=requests.usd.sum(), unpriced=requests.usd.isnull().sum())
    found: list[dict[str, Any]] = models.to_pyarrow().to_pylist()
    return sorted(found, key=lambda row: (-(row["usd"] or _ZERO), _model(row)))


def _model(row: Mapping[str, Any]) -> Model:
    return Model(*(row[name] for name in Model._fields))


def _recorded_rates(rows: Table) -> set[str]:
    """Return the rates of rows in words; with a discount, none of them is the price that was paid."""
    priced = rows.filter(rows.usd.notnull(), rows.rate.notnull())
    found = priced.mutate(is_list=priced.usd == priced.list_usd).select("rate", "is_list").distinct()
    kinds: list[dict[str, Any]] = found.to_pyarrow().to_pylist()
    return {rate if kind["is_list"] else _UNKNOWN for kind in kinds for rate in kind["rate"].split("; ")}


def _unchanged(row: Mapping[str, Any]) -> ModelChange:
    return ModelChange(
        **_model(row)._asdict(),
        before_usd=row["usd"],
        after_usd=row["usd"],
        unpriced_before=row["unpriced"],
        unpriced_after=row["unpriced"],
    )
