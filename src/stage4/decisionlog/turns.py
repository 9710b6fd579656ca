"""
The threads of one process that append to one log: one leads, and takes along what the others ask for.

Whoever comes while nobody leads, leads. Whoever comes meanwhile waits for the answer or for its own turn to lead;
turns are given in the order of arrival.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from stage4.decisionlog.entry import Prepared, Receipt
from stage4.errors import Stage4Error


class Turn:
    """What one thread asks for: `drafts` to append, or the log for itself where there are none.

    Answered, it has either its receipts or its error.
    """

    __slots__ = ("answered", "drafts", "error", "gate", "receipts")

    def __init__(self, drafts: Sequence[Prepared] = ()) -> None:
        self.drafts = drafts
        self.receipts: tuple[Receipt, ...] = ()
        self.error: Stage4Error | None = None
        self.answered = False
        self.gate = threading.Lock()


class Turns:
    """Who leads, and who waits."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._led = False

    def leads(self, turn: Turn, timeout: float) -> bool:
        """Wait; True where this thread is to lead, False where another one answered its turn.

        Raises TimeoutError after `timeout` seconds without either, and then nothing was done for it.
        """
        with self._guard:
            if not self._led:
                self._led = True
                return True
            turn.gate.acquire()
            self._waiting.append(turn)
        if not turn.gate.acquire(timeout=timeout):
            with self._guard:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                    raise TimeoutError
            # Someone took it along: whether it is on the disk is known when that thread is done.
            turn.gate.acquire()
        return not turn.answered

    def company(self) -> list[Turn]:
        """The turns that may go along with the leader's: all up to the first that wants the log for itself."""
        taken = []
        with self._guard:
            while self._waiting and self._waiting[0].drafts:
                taken.append(self._waiting.popleft())
        return taken

    def end(self, company: Sequence[Turn] = ()) -> None:
        """Let the answered `company` go, and the next thread lead."""
        for turn in company:
            turn.answered = True
            turn.gate.release()
        with self._guard:
            following = self._waiting.popleft() if self._waiting else None
            self._led = following is not None
        if following is not None:
            following.gate.release()
