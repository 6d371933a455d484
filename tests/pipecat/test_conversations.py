"""Conversations with Pipecat's own services: the cost on the spans against the vendors' meters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

pytest.importorskip("pipecat", reason="Pipecat needs Python 3.11")

from loguru import logger

from .accounts import Accounts, Amounts, table
from .conversations import CONVERSATIONS, REPORTS_STT, Conversation

logger.disable("pipecat")  # its log quotes what is said

_ROUNDING_ERROR = Decimal("1e-15")  # US dollars, of seconds that are added up as doubles


@pytest.fixture(scope="module")
def held() -> Iterator[list[Accounts]]:
    """Every conversation that was held; with ``-s``, printed in the end."""
    accounts: list[Accounts] = []
    yield accounts
    print("\n" + table(accounts))  # noqa: T201


def _without_output(amounts: Amounts) -> Amounts:
    return Counter({key: amount for key, amount in amounts.items() if key[2] != "output_token"})


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_the_cost_on_all_spans_is_the_price_of_the_meters(
    conversation: Conversation, hold_and_price: Callable[[Conversation], Accounts], held: list[Accounts]
) -> None:
    accounts = hold_and_price(conversation)
    held.append(accounts)
    metered, on_spans = accounts.usd_of_meter(), accounts.usd_on_spans()

    assert conversation.happened(accounts.meter, accounts.spans), "it did not go as it is described"
    assert metered or not REPORTS_STT, "no vendor bills anything"
    if conversation.guesses_output:
        assert _without_output(accounts.priced()) == _without_output(accounts.told())
        return
    if conversation.traced:
        assert on_spans.keys() == metered.keys()
        allowed = 0 if conversation.exact_seconds else _ROUNDING_ERROR
        differing = {key: usd for key, usd in on_spans.items() if abs(usd - metered[key]) > allowed}
        assert differing == {}, "\n" + table([accounts])
    else:
        assert on_spans == {}
    by_component: dict[str, float] = {}
    for (component, _), usd in metered.items():
        by_component[component] = by_component.get(component, 0.0) + float(usd)
    assert accounts.usd_in_metrics() == pytest.approx(by_component, rel=1e-12)
    assert set(accounts.stt_reasons) <= {None if REPORTS_STT else "Pipecat reported no usage for this request"}
    assert accounts.stats.unpriced == accounts.cut_off + (0 if REPORTS_STT else len(accounts.stt_reasons))
    assert accounts.stats.failed == accounts.stats.late == 0
