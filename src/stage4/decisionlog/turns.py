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

    __slots__ = ("answered", "done", "drafts", "error", "gate", "receipts")

    def __init__(self, drafts: Sequence[Prepared] = ()) -> None:
        self.drafts = drafts
        self.receipts: tuple[Receipt, ...] = ()
        self.error: Stage4Error | None = None
        self.done = False
        self.answered = False
        self.gate = threading.Lock()


class Turns:
    """Who leads, and who waits.

    An interrupt may come between any two steps. So each step leaves every turn where somebody finds it, and `leave`
    may be repeated: who leads is said by one name, not by several that could disagree.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._company: list[Turn] = []
        self._leader: Turn | None = None

    def leads(self, turn: Turn, timeout: float) -> bool:
        """Wait; True where this thread is to lead, False where another one answered its turn.

        Raises TimeoutError after `timeout` seconds without either, and then nothing was done for it. Whoever leads, or
        is interrupted here, must call `leave`.
        """
        with self._guard:
            if self._leader is None:
                self._leader = turn
                return True
            turn.gate.acquire()
            self._waiting.append(turn)
        while not turn.gate.acquire(timeout=timeout):
            with self._guard:
                if self._leader is turn or turn.answered:
                    break
                if turn in self._waiting:
                    self._waiting.remove(turn)
                    raise TimeoutError
            # Someone took it along: whether it is on the disk is known when that thread is done.
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
            return self._leader is turn

    def company(self) -> list[Turn]:
        """The turns that may go along with the leader's: all up to the first that wants the log for itself."""
        with self._guard:
            while self._waiting and self._waiting[0].drafts:
                self._company.append(self._waiting[0])
                self._waiting.popleft()
            return list(self._company)

    def leave(self, turn: Turn) -> None:
        """Let the company go and the next thread lead, if `turn` leads; wait no longer, if it waits.

        An interrupt is passed on when it is done. One that comes before the first step is not heard here: then the
        caller calls again, as to leave twice changes nothing.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                self._pass_on(turn)
                break
            except (KeyboardInterrupt, SystemExit) as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _pass_on(self, turn: Turn) -> None:
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if self._leader is turn:
                while self._company:
                    going = self._company[-1]
                    going.answered = True
                    if going in self._waiting:
                        self._waiting.remove(going)
                    _open(going)
                    self._company.pop()
                # The thread that leads now takes itself out of those who wait.
                self._leader = self._waiting[0] if self._waiting else None
            if self._leader is not None:
                _open(self._leader)


def _open(turn: Turn) -> None:
    """Let the thread of `turn` go on; under the guard, so that nobody else opens its gate meanwhile."""
    if turn.gate.locked():
        turn.gate.release()
