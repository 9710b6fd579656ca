"""A channel that does not answer holds up neither the other channels nor the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from stage4.app.service import Lanes
from stage4.incidents.incident import Kind
from stage4.incidents.pager import Pager
from stage4.notify import Delivery, DeliveryState, Notice
from support.world import World


class Stuck:
    """Answers only once it is let go."""

    id = "stuck"

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def deliver(self, notice: Notice) -> Delivery:
        self.let_go.wait(30)
        return Delivery(DeliveryState.RETRY, "no answer")


class Swift:
    id = "swift"

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.arrived = threading.Event()

    def deliver(self, notice: Notice) -> Delivery:
        self.keys.append(notice.key)
        self.arrived.set()
        return Delivery(DeliveryState.DELIVERED, "here")


def test_the_other_channel_is_served_while_one_hangs(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        stuck, swift, lanes = Stuck(), Swift(), Lanes()
        pager = Pager(w.engine.core.store, w.clock, {"stuck": stuck, "swift": swift}, lanes.deliver)
        w.engine.core.notifiers = ("stuck", "swift")
        try:
            w.engine.open_manual(Kind.LATENCY, "slow", "l1-anna")
            drained: Callable[[], int] = pager.drain
            assert drained() == 0
            assert swift.arrived.wait(10), "the swift channel waited for the stuck one"
            assert drained() == 0, "a channel at work is left to its work"
        finally:
            stuck.let_go.set()
            lanes.close()
        assert len(swift.keys) == len(set(swift.keys)) > 0
