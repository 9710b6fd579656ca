"""
Checkpoints and proofs: how large a proof is, how long it takes, and how long a checkpoint keeps writers waiting.

    python bench/bench_proofs.py [--entries 100000] [--tree 1000000]

Sizes are those of a tree of `--tree` leaves; times are those of a log of `--entries` entries on this machine's disk.
The bound is hashing every line of the same log once.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.checkpoints import judging, notary, proving
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, SignerKey
from stage4.decisionlog.checkpoints.proof import Consistency, Inclusion, Roots, consistency_spans, inclusion_spans
from stage4.decisionlog.checkpoints.tree import Frontier, Range
from stage4.decisionlog.entry import Draft
from stage4.decisionlog.writer import DecisionLog, Held
from stage4.security.keyring import create_keyring

BATCH = 1000
LOG = "stage4-log/" + "A" * 22


class Watched(DecisionLog):
    """A log that knows for how long it was held last, in seconds."""

    held_for = 0.0

    @contextlib.contextmanager
    def held(self) -> Iterator[Held]:
        with super().held() as held:
            began = time.perf_counter()
            yield held
            self.held_for = time.perf_counter() - began


def entry(number: int) -> Draft:
    """An incident note of about 650 bytes as a line."""
    metadata = {
        "incident_id": "INC-20261123-0001",
        "number": number,
        "note": "opóźnienie pętli ponad progiem krytycznym",
    }
    return Draft("incident_note", "stage4_incident", "L1.3", "recorded", metadata=metadata, tags=("latency",))


def took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def note_over(tree: Frontier) -> Note:
    text = Checkpoint(LOG, tree.size, tree.root()).text
    keys = (SignerKey(LOG + "/forward", bytes(32)), SignerKey(LOG, bytes(range(32))))
    return Note(text, tuple(key.sign(text) for key in keys))


def sizes(count: int) -> list[tuple[str, int]]:
    """The bytes of proof files over a tree of `count` leaves, the entry's own line left out."""
    tree = Frontier()
    inclusion, consistency = Roots(inclusion_spans(count // 3, count)), Roots(consistency_spans(count // 3, count))
    for start in range(0, count, 100_000):
        numbers = range(start, min(count, start + 100_000))
        leaves = [hashlib.sha256(number.to_bytes(8)).digest() for number in numbers]
        tree.extend(Range.of(start, leaves))
        inclusion.feed(start, leaves)
        consistency.feed(start, leaves)
    note = note_over(tree)
    return [
        ("inclusion", len(Inclusion(count // 3, inclusion.hashes(), note, None).encode())),
        ("consistency", len(Consistency(count // 3, consistency.hashes(), note).encode())),
    ]


def hash_bound(path: Path) -> None:
    with path.open("rb") as source:
        for line in source:
            hashlib.sha256(line).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--tree", type=int, default=1_000_000)
    arguments = parser.parse_args()
    for kind, size in sizes(arguments.tree):
        print(f"{kind} proof in a tree of {arguments.tree:,} entries: {size:,} bytes")
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), SystemClock()
        ring = create_keyring(folder / "keyring.json", clock.now())
        log = Watched(folder / "runtime.jsonl", ring, clock, origin="bench", lock_timeout=30.0)
        for first in range(0, arguments.entries, BATCH):
            log.append_many([entry(first + number) for number in range(BATCH)])
        rows = [("hash every line, the bound", took(lambda: hash_bound(log.path)))]
        rows.append(("first checkpoint", took(lambda: notary.make(log, ring, clock))))
        rows.append(("… of it with the log locked", log.held_for))
        log.append_many([entry(number) for number in range(BATCH)])
        rows.append((f"next checkpoint, {BATCH} entries later", took(lambda: notary.make(log, ring, clock))))
        rows.append(("… of it with the log locked", log.held_for))
        proof = proving.prove_inclusion(log.path, arguments.entries // 3)
        rows.append(("proof of one entry", took(lambda: proving.prove_inclusion(log.path, arguments.entries // 3))))
        old = arguments.entries + 2
        rows.append(("proof of growth", took(lambda: proving.prove_consistency(log.path, old, None))))
        pins = judging.pins_of(notary.pin_of(ring, Checkpoint.of(proof.note).origin.removeprefix("stage4-log/")) or "")
        line = proof.line or b""
        rows.append(("check of one entry's proof", took(lambda: judging.judge_inclusion(proof, line, pins))))
    for what, seconds in rows:
        print(f"{what:<44}{seconds * 1000:>12,.1f} ms")


if __name__ == "__main__":
    main()
