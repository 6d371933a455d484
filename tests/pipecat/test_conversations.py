"""Conversations with Pipecat's own services: the cost on the spans against the vendors' meters."""

from __future__ import annotations

import pytest

from .accounts import table
from .conversations import CONVERSATIONS, Conversation


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_the_cost_on_all_spans_is_the_price_of_the_meters(conversation: Conversation, hold_and_price) -> None:
    accounts = hold_and_price(conversation)
    print("\n" + table([accounts]))  # noqa: T201  # shown if it fails

    assert accounts.meter, "no vendor was called"
    assert accounts.usd_on_spans() == (accounts.usd_of_meter() if conversation.traced else {})
    assert accounts.stats.failed == accounts.stats.unpriced == accounts.stats.late == 0
