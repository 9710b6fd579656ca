"""The verifier's memory does not grow with the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.decision_logs import LogRoom, draft

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_decision_log.py"


def test_ten_times_the_log_takes_no_more_memory(tmp_path: Path) -> None:
    few, many = (log_of(tmp_path / str(n), n) for n in (10_000, 100_000))
    assert many.path.stat().st_size > 50 << 20
    assert peak(many) - peak(few) < 8 << 20


def log_of(folder: Path, entries: int) -> LogRoom:
    room = LogRoom.create(folder, 1)
    log = room.log()
    for first in range(0, entries, 5000):
        log.append_many([draft(number) for number in range(first, first + 5000)])
    return room


def peak(room: LogRoom) -> int:
    """The most memory that verifying it took, in bytes; in one process, so that nothing is shared."""
    command = [sys.executable, str(SCRIPT), str(room.path), "--keyring", str(room.ring.path), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024
