"""
Version 2 entries, as other implementations write them, judged one process: ours beside the plain way.

    python bench/bench_verify_v2.py [--entries 200000]

The plain way is what a verifier does with the standard library alone: read a line, take the signature out, write the
rest in its sorted form, compare the HMAC. It finds neither a member that stands twice nor NaN.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.verification.v2 import V2Judge
from stage4.decisionlog.verification.verifier import verify

SECRET = b"bench"
ROUNDS = 3


def canonical(entry: object) -> bytes:
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def line(number: int) -> bytes:
    """A signed entry of about 600 bytes, spaced and sorted."""
    entry: dict[str, object] = {
        "timestamp": f"2025-10-01T08:{number % 60:02}:00.{number % 1000:03}Z",
        "stage": "stage4_multi_strategy",
        "status": "ok",
        "kind": "snapshot",
        "artefacts": {"report": f"audit/report-{number}.json", "drift": 0.25 * number, "count": number},
        "runtime_flags": {"verify_decision_log.summary": True, "dry_run": False},
        "signatures": {"decision_log.entry": "hmac:pending"},
        "metadata": {"incident_id": f"INC-20251001-{number % 7:04}", "note": "opóźnienie pętli ponad progiem"},
        "tags": ["stage4", "nadzór"],
        "fps": 59.94,
    }
    value = base64.b64encode(hmac.new(SECRET, canonical(entry), hashlib.sha256).digest()).decode()
    signature = {"algorithm": "HMAC-SHA256", "value": value, "key_id": "ops"}
    return json.dumps(entry | {"signature": signature}, ensure_ascii=False, sort_keys=True).encode()


def plainly(path: Path) -> int:
    count = 0
    with path.open("rb") as source:
        for raw in source:
            entry = json.loads(raw)
            given = base64.b64decode(entry.pop("signature")["value"], validate=True)
            count += hmac.compare_digest(hmac.new(SECRET, canonical(entry), hashlib.sha256).digest(), given)
    return count


def ours(path: Path) -> int:
    return verify(path, None, SystemClock(), v2=V2Judge(SECRET, "ops")).v2_entries


def best(count: int, work: Callable[[Path], int], path: Path) -> float:
    """Entries a second, the best of several rounds."""
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        if work(path) != count:
            raise SystemExit("a sound entry was not recognised")
        rates.append(count / (time.perf_counter() - began))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    count = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "old.jsonl"
        with path.open("wb") as target:
            for number in range(count):
                target.write(line(number) + b"\n")
        size = path.stat().st_size
        rate = best(count, ours, path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        bound = best(count, plainly, path)
        content = path.read_bytes()
        place = size // 2 + content[size // 2 :].index(b'"status": "ok"')
        path.write_bytes(content[:place] + content[place:].replace(b'"ok"', b'"OK"', 1))
        if ours(path) != count - 1:
            raise SystemExit("an altered entry was not found")
    print(f"{'version 2, 1 process':<36}{'ours, per s':>14}{'plain, per s':>16}")
    print(f"{'verify ' + format(count, ','):<36}{rate:>14,.0f}{bound:>16,.0f}")
    print(f"{size // count} bytes a line; peak memory of ours: {peak} MiB")


if __name__ == "__main__":
    main()
