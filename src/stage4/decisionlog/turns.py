"""
The threads of one process that append to one log: one leads, and takes along what the others ask for.

Whoever comes while nobody leads, leads. Whoever comes meanwhile waits for the answer or for its own turn to lead;
turns are given in the order of arrival. A thread that is interrupted, whether it waits or leads, gives way to the next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from stage4.decisionlog.entry import Prepared, Receipt
from stage4.errors import Stage4Error


class Turn:
    """What one thread asks for: `drafts` to append, or the log for itself where there are none.

    Over, it is `done` and has its receipts, or it has its error, or it was interrupted and has neither.
    """

    __slots__ = ("answered", "done", "drafts", "error", "gate", "leading", "receipts")

    def __init__(self, drafts: Sequence[Prepared] = ()) -> None:
        self.drafts = drafts
        self.receipts: tuple[Receipt, ...] = ()
        self.error: Stage4Error | None = None
        self.done = False
        self.answered = False
        self.leading = False
        self.gate = threading.Lock()


class Turns:
    """Who leads, and who waits."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._company: list[Turn] = []
        self._led = False

    def leads(self, turn: Turn, timeout: float) -> bool:
        """Wait; True where this thread is to lead, False where another one answered its turn.

        Raises TimeoutError after `timeout` seconds without either, and then nothing was done for it. Whoever leads, or
        is interrupted here, must call `leave`.
        """
        with self._guard:
            if not self._led:
                self._led = turn.leading = True
                return True
            turn.gate.acquire()
            self._waiting.append(turn)
        while not turn.gate.acquire(timeout=timeout):
            with self._guard:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                    raise TimeoutError
                if turn.leading or turn.answered:
                    break
            # Someone took it along: whether it is on the disk is known when that thread is done.
        return turn.leading

    def company(self) -> list[Turn]:
        """The turns that may go along with the leader's: all up to the first that wants the log for itself."""
        with self._guard:
            while self._waiting and self._waiting[0].drafts:
                self._company.append(self._waiting.popleft())
            return list(self._company)

    def leave(self, turn: Turn) -> None:
        """Let the company go and the next thread lead, if `turn` leads; wait no longer, if it waits."""
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if not turn.leading:
                return
            while self._company:
                answered = self._company.pop()
                answered.answered = True
                answered.gate.release()
            following = self._waiting.popleft() if self._waiting else None
            self._led = following is not None
            turn.leading = False
            if following is not None:
                following.leading = True
                following.gate.release()
