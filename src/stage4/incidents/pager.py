"""Hands notices over to the notifiers: at least once, each attempt counted, a late answer recognised as late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from stage4.clock import Clock
from stage4.incidents.rows import Event, Outgoing
from stage4.incidents.store_sql import Store
from stage4.notify import Delivery, DeliveryState, Notifier

LEASE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Pager:
    """Drains the outbox. A notice is retried until it is delivered or rejected; nothing is dropped."""

    store: Store
    clock: Clock
    notifiers: Mapping[str, Notifier]
    spawn: Callable[[str, Callable[[], None]], None] = lambda _notifier, work: work()

    def drain(self) -> int:
        """Delivers what may go out now; returns how many were handed over. Raises Unavailable for the storage only.

        `spawn` has each notifier deliver in a place of its own: a channel that does not answer must delay neither
        the other channels nor the timers. Then the number is not known yet, and 0 is returned.
        """
        with self.store.read() as tx:
            waiting = tx.notifiers_waiting(self.clock.now())
        delivered: list[int] = []
        for notifier in waiting:
            self.spawn(notifier, partial(self._drain_into, delivered, notifier))
        return sum(delivered)

    def _drain_into(self, delivered: list[int], notifier: str) -> None:
        delivered.append(self._drain_one(notifier))

    def _drain_one(self, notifier: str) -> int:
        delivered = 0
        while True:
            now = self.clock.now()
            with self.store.write() as tx:
                leased = tx.claim_notices(now, now + LEASE, notifier)
            if not leased:
                return delivered
            delivered += sum(self._hand_over(outgoing) for outgoing in leased)

    def _hand_over(self, outgoing: Outgoing) -> bool:
        notifier = self.notifiers.get(outgoing.notifier)
        notice = replace(outgoing.notice, attempt=outgoing.attempts)
        if notifier is None:
            delivery = Delivery(DeliveryState.REJECTED, f"notifier {outgoing.notifier} is not configured")
        else:
            delivery = notifier.deliver(notice)
        now = self.clock.now()
        retry = delivery.state is DeliveryState.RETRY
        state = "pending" if retry else delivery.state.value
        with self.store.write() as tx:
            current = tx.settle_notice(outgoing, state, delivery.detail, now + pause(outgoing.attempts))
            if current and delivery.state is DeliveryState.REJECTED:
                facts = {"target": notice.target, "notifier": outgoing.notifier, "detail": delivery.detail[:200]}
                tx.put_event(
                    Event(notice.incident_id or "", now, "notice_rejected", None, {**facts, "status": "warning"})
                )
        return delivery.state is DeliveryState.DELIVERED


def pause(attempts: int) -> timedelta:
    """How long to wait after this many attempts: 1, 2, 4 … at most 60 seconds."""
    return min(timedelta(seconds=2 ** min(attempts - 1, 10)), LONGEST_PAUSE)
