"""Appends entries from a process of its own and says on stdout what was acknowledged: one `seq digest` a line."""

from __future__ import annotations

import contextlib
import random
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog import archive
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Conflict, Stage4Error
from stage4.security.keyring import KeyRing
from support.decision_logs import draft


def opened(folder: Path) -> DecisionLog:
    """The log in `folder`, as another process opens it."""
    ring = KeyRing.load(folder / "secrets" / "keyring.json", {})
    return DecisionLog(folder / "runtime.jsonl", ring, SystemClock(), origin="tests", lock_timeout=30.0)


def append_and_archive(folder: Path, seed: int, said: Connection) -> None:
    """Append until killed, tell each receipt, and now and then archive the log."""
    log, chance = opened(folder), random.Random(seed)
    while True:
        if chance.random() < 0.03:
            with contextlib.suppress(Conflict):
                archive.rotate(log, compression=chance.choice(("zst", "gz")))
        # Long entries cross page borders, where a kill can tear a write.
        text = "x" * chance.randrange(6000) if chance.random() < 0.2 else "short"
        drafts = [draft(number, metadata={"text": text}) for number in range(chance.choice((1, 1, 1, 5)))]
        for receipt in log.append_many(drafts):
            said.send_bytes(f"{receipt.seq} {receipt.digest}".encode("ascii"))


def main(folder: Path, count: int, file_limit: int = 0) -> int:
    """Append `count` entries (0: until killed); `file_limit` is the largest file this process may write, in bytes."""
    if file_limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    log = opened(folder)
    number = 0
    while not count or number < count:
        number += 1
        try:
            # Long entries cross page borders, where a kill can tear a write.
            receipt = log.append(draft(number, metadata={"number": number, "text": "x" * (number * 977 % 12_000)}))
        except Stage4Error as error:
            print(error.code, flush=True)
            return int(error.exit_code)
        print(receipt.seq, receipt.digest, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
