"""Appends entries from a process of its own and says on stdout what was acknowledged: one `seq digest` a line."""

from __future__ import annotations

import sys
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Stage4Error
from stage4.security.keyring import KeyRing
from support.decision_logs import draft


def opened(folder: Path) -> DecisionLog:
    """The log in `folder`, as another process opens it."""
    ring = KeyRing.load(folder / "secrets" / "keyring.json", {})
    return DecisionLog(folder / "runtime.jsonl", ring, SystemClock(), origin="tests", lock_timeout=30.0)


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
