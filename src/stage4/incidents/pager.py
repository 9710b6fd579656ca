"""Hands notices over to the notifiers: at least once, each attempt counted, a late answer recognised as late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

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

    def drain(self) -> int:
        """Delivers what may go out now; returns how many were handed over. Raises Unavailable for the storage only."""
        delivered = 0
        while True:
            now = self.clock.now()
            with self.store.read() as tx:
                if not tx.notices_wait(now):
                    return delivered
            with self.store.write() as tx:
                leased = tx.claim_notices(now, now + LEASE)
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
