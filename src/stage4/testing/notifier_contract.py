"""The promises of `notify.Notifier` as checks; call them with a fresh notifier over your own channel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from stage4.notify import DeliveryState, Notice, Notifier


def notice(key: str = "INC-20261123-0001/l2/1") -> Notice:
    """A notice for the checks."""
    at = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
    return Notice(key, "l2", "notify.test", {"installation": "żółw"}, at, "INC-20261123-0001", "l2-marek", "high")


def same_key_twice_is_one_message(notifier: Notifier, received: Callable[[], list[str]]) -> None:
    """`received` returns the texts that reached the channel so far."""
    assert notifier.deliver(notice()).state is DeliveryState.DELIVERED
    assert notifier.deliver(notice()).state is DeliveryState.DELIVERED
    assert len(received()) == 1
    assert "żółw" in received()[0]


def another_key_is_another_message(notifier: Notifier, received: Callable[[], list[str]]) -> None:
    """Two keys, two messages, in order."""
    notifier.deliver(notice("a"))
    notifier.deliver(notice("b"))
    assert len(received()) == 2


def a_broken_channel_is_retry(notifier: Notifier, secret: str) -> None:
    """`notifier` cannot reach its channel now; it says so, and its detail does not hold `secret`."""
    delivery = notifier.deliver(notice())
    assert delivery.state is DeliveryState.RETRY
    assert not secret or secret not in delivery.detail
