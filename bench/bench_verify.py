"""
Verifying the decision log against what this machine can do at all, and against journald on the same lines.

    python bench/bench_verify.py [--entries 1000000]

"command" is the whole of verify_decision_log.py from its start to its end. The bound is measured in the same run: the
standard library's HMAC and hash of the same lines, with nothing parsed or chained. Memory is what the processes of the
command do not share with others, at its highest.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import zstandard

from stage4.clock import SystemClock
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.decompression import archive_blocks
from stage4.decisionlog.entry import Draft
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing, create_keyring

COMMAND = [sys.executable, str(Path(__file__).parents[1] / "scripts" / "verify_decision_log.py")]
BATCH = 5000
SAMPLE = 100_000
JOURNAL_REMOTE = Path("/lib/systemd/systemd-journal-remote")


def entry(number: int) -> Draft:
    """An incident note of about 640 bytes as a line."""
    metadata = {
        "incident_id": "INC-20261123-0001",
        "number": number,
        "note": "opóźnienie pętli ponad progiem krytycznym",
    }
    return Draft("incident_note", "stage4_incident", "L1.3", "recorded", metadata=metadata, tags=("latency",))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def verified(*arguments: object, expected: int | None = None) -> None:
    """Run the command; it must find nothing wrong, and `expected` entries."""
    command = [*COMMAND, *map(str, arguments)]
    document = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
    if expected is not None and document["entries"] != expected:
        raise SystemExit(f"{document['entries']} entries verify, not {expected}: {document['findings'][:3]}")


def best_of(times: int, work: Callable[[], object]) -> float:
    return min(seconds(work) for _ in range(times))


def memory_mb(*arguments: object) -> float:
    """The highest sum of private memory over the command's processes, in MB."""
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    highest = 0
    while process.poll() is None:
        highest = max(highest, private_of(process.pid))
        time.sleep(0.02)
    return highest / 1e6


def private_of(pid: int) -> int:
    """Bytes that a process and its children share with nobody; 0 for what has ended meanwhile."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Private_"))
    return own + sum(private_of(int(child)) for child in children)


def sign_and_hash(path: Path, first: int, count: int) -> None:
    """One HMAC and one chain hash a line by the standard library, and nothing else."""
    inner, outer, sha256 = hashlib.sha256(bytes(64)), hashlib.sha256(bytes(64)), hashlib.sha256
    for line in lines_of(path, first, count):
        begun = inner.copy()
        begun.update(line)
        ended = outer.copy()
        ended.update(begun.digest())
        ended.digest()
        sha256(line).digest()


def lines_of(path: Path, first: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as source:
        yield from islice(source, first, first + count)


def bound(path: Path, count: int, processes: int) -> float:
    """Seconds that `count` lines cost without any parsing, in so many processes."""
    each = count // processes
    started = [
        multiprocessing.Process(target=sign_and_hash, args=(path, number * each, each)) for number in range(processes)
    ]
    began = time.perf_counter()
    for process in started:
        process.start()
    for process in started:
        process.join()
    return time.perf_counter() - began


def archives(folder: Path, path: Path, keyring: Path, count: int) -> Iterator[str]:
    """An archive of the first lines: how fast it unpacks, and how fast it verifies."""
    content = b"".join(lines_of(path, 0, count))
    for suffix, packed in (
        (".zst", zstandard.ZstdCompressor().compress(content)),
        (".gz", gzip.compress(content, 6)),
    ):
        archive = folder / f"old.jsonl{suffix}"
        archive.write_bytes(packed)
        unpacking = seconds(lambda archive=archive: sum(block.size for block in archive_blocks(archive)))  # type: ignore[misc]
        whole = best_of(2, lambda archive=archive: verified(archive, "--keyring", keyring, "--workers", 2))  # type: ignore[misc]
        yield row(f"archive {suffix}, command, 2 workers", count / whole, f"unpacking alone {count / unpacking:,.0f}")


def journald(folder: Path, path: Path, count: int) -> str:
    """`journalctl --verify` on the same lines as messages."""
    if shutil.which("journalctl") is None or not JOURNAL_REMOTE.exists():
        return "journalctl --verify: journalctl or systemd-journal-remote is not installed"
    exported = folder / "lines.export"
    with exported.open("wb") as target:
        for number, line in enumerate(lines_of(path, 0, count)):
            stamp = 1_790_000_000_000_000 + number
            target.write(b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n" % (stamp, number + 1))
            target.write(b"_BOOT_ID=%s\nMESSAGE=%s\n" % (b"0123456789abcdef" * 2, line))
            target.write(b"\n")
    journal = folder / "lines.journal"
    subprocess.run([JOURNAL_REMOTE, "-o", journal, exported], check=True, capture_output=True)
    taken = seconds(
        lambda: subprocess.run(["journalctl", "--verify", "--file", journal], check=True, capture_output=True)
    )
    return row("journalctl --verify, not sealed", count / taken, "one process")


def row(what: str, rate: float, beside: str = "") -> str:
    return f"{what:<44}{rate:>12,.0f} entries/s  {beside}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keyring = folder / "keyring.json"
        create_keyring(keyring, SystemClock().now())
        ring = KeyRing.load(keyring, {})
        log = DecisionLog(folder / "runtime.jsonl", ring, SystemClock(), origin="bench", lock_timeout=30.0)
        while (made := log.append_many([entry(number) for number in range(BATCH)])[-1].seq + 1) < arguments.entries:
            pass
        path, size = log.path, log.path.stat().st_size
        print(f"{made:,} entries of {size // made} bytes, {os.cpu_count()} cores")
        sample = min(SAMPLE, made)
        for workers in (1, 2):
            limit = sample / bound(path, sample, workers)
            whole = best_of(
                3, lambda workers=workers: verified(path, "--keyring", keyring, "--workers", workers, expected=made)
            )
            print(row(f"full verify, command, {workers} worker(s)", made / whole, f"bound {limit:,.0f}"))
        print(f"private memory with 2 workers: {memory_mb(path, '--keyring', keyring, '--workers', 2):.0f} MB")
        for line in archives(folder, path, keyring, sample):
            print(line)
        print(journald(folder, path, sample))
        kept = folder / "kept.checkpoint"
        if notary.make(log, ring, SystemClock()) is not None:
            kept.write_bytes(path.with_name(path.name + ".checkpoint").read_bytes())
            log.append_many([entry(number) for number in range(1000)])
            since = best_of(3, lambda: verified(path, "--keyring", keyring, "--from-checkpoint", kept))
            print(f"incremental, command, 1,000 new entries: {since * 1000:.0f} ms")


if __name__ == "__main__":
    main()
