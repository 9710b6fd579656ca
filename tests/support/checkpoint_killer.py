"""
Makes a checkpoint in copy after copy of a log, each time killed at the next thing it does to the disk.

    python checkpoint_killer.py FOLDER before|after

FOLDER/room is the log to copy; copy n is killed before or after call n of a function that changes files. Prints the
number of copies, the last of which was not killed. Forks from a process without threads, so that each copy costs
milliseconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing

CHANGING = ("fchmod", "fdatasync", "fsync", "ftruncate", "link", "open", "pwrite", "rename", "unlink", "write")


def kill_at(turn: int, moment: str) -> None:
    """Let this process die at call number `turn` of a function that changes files."""
    calls = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == turn and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **named)
            finally:
                if calls == turn:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in CHANGING:
        setattr(os, name, dying(getattr(os, name)))


def make(folder: Path) -> None:
    clock = SystemClock()
    ring = KeyRing.load(folder / "secrets" / "keyring.json", {})
    notary.make(DecisionLog(folder / "runtime.jsonl", ring, clock, origin="tests"), ring, clock)


def main() -> None:
    folder, moment = Path(sys.argv[1]), sys.argv[2]
    turn, killed = 0, True
    while killed:
        turn += 1
        copy = folder / f"{moment}-{turn}"
        shutil.copytree(folder / "room", copy)
        child = os.fork()
        if child == 0:
            kill_at(turn, moment)
            make(copy)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    print(turn)


if __name__ == "__main__":
    main()
