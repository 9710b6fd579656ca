"""
Appending to the decision log against what this machine can do at all; bench_verify.py has verifying.

    python bench/bench_decisionlog.py [--entries 200000] [--writers 8]

The bounds are measured in the same run: one write with fdatasync under a lock, and for batches HMAC and hash of
the same lines.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.entry import Draft
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing, create_keyring

BATCH = 256
APPENDS = 4000


def entry(number: int) -> Draft:
    """An incident note of about 650 bytes as a line."""
    metadata = {
        "incident_id": "INC-20261123-0001",
        "number": number,
        "note": "opóźnienie pętli ponad progiem krytycznym",
    }
    return Draft("incident_note", "stage4_incident", "L1.3", "recorded", metadata=metadata, tags=("latency",))


def open_log(folder: Path) -> DecisionLog:
    ring = KeyRing.load(folder / "keyring.json", {})
    return DecisionLog(folder / "runtime.jsonl", ring, SystemClock(), origin="bench", lock_timeout=30.0)


def rate(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def mac_bound(lines: list[bytes]) -> None:
    """One HMAC and one chain hash a line by the standard library, and nothing else."""
    key = bytes(32)
    for line in lines:
        hmac.digest(key, line, "sha256")
        hashlib.sha256(line).digest()


def disk_bound(folder: str, line: bytes, count: int) -> None:
    """`count` times lock, one write, unlock, fdatasync."""
    descriptor = os.open(Path(folder) / "bound.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for _ in range(count):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, line)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.fdatasync(descriptor)
    os.close(descriptor)


def append(folder: str, _line: bytes, count: int) -> None:
    log = open_log(Path(folder))
    for number in range(count):
        log.append(entry(number))


def append_in_threads(log: DecisionLog, threads: int) -> float:
    """Appends a second by threads of one process, which share locks and flushes."""
    each = APPENDS // threads
    started = [threading.Thread(target=lambda: [log.append(entry(n)) for n in range(each)]) for _ in range(threads)]
    began = time.perf_counter()
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return each * threads / (time.perf_counter() - began)


def append_batches(log: DecisionLog, count: int) -> None:
    for first in range(0, count, BATCH):
        log.append_many([entry(first + number) for number in range(BATCH)])


def lines_of(path: Path, count: int) -> list[bytes]:
    with path.open("rb") as source:
        return list(islice(source, count))


def together(work: Callable[[str, bytes, int], None], folder: Path, line: bytes, writers: int) -> float:
    """Appends a second by `writers` processes at once, their start included."""
    each = APPENDS // writers
    started = [multiprocessing.Process(target=work, args=(str(folder), line, each)) for _ in range(writers)]
    began = time.perf_counter()
    for process in started:
        process.start()
    for process in started:
        process.join()
    return each * writers / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--writers", type=int, default=8)
    arguments = parser.parse_args()
    rows: list[tuple[str, float, str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_keyring(folder / "keyring.json", SystemClock().now())
        log = open_log(folder)
        for writers in (1, arguments.writers):
            line = log.append(entry(0)).raw + b"\n"
            bound = together(disk_bound, folder, line, writers)
            rows.append((f"durable append, {writers} writers", together(append, folder, line, writers), "disk", bound))
        threads = append_in_threads(log, arguments.writers)
        rows.append((f"durable append, {arguments.writers} threads", threads, "disk", rows[-1][-1]))
        log.path.unlink()
        # Whoever appended to the one that is gone would not begin another.
        log = open_log(folder)
        count = arguments.entries // BATCH * BATCH
        batch_rate = rate(count, lambda: append_batches(log, count))
        sample = lines_of(log.path, 100_000)
        bound = rate(len(sample), lambda: mac_bound(sample))
        length = sum(map(len, sample)) // len(sample)
        rows.append((f"durable append, batches of {BATCH}", batch_rate, "HMAC", bound))
    print(f"{'what':<36}{'ours, per s':>14}{'bound, per s':>16}  of the machine's")
    for what, ours, kind, limit in rows:
        print(f"{what:<36}{ours:>14,.0f}{limit:>16,.0f}  {kind}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{length} bytes a line; peak memory of this process, its bounds included: {peak} MiB")


if __name__ == "__main__":
    main()
