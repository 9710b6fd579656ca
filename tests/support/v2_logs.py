"""Writes version 2 entries as other implementations do, with nothing of ours: the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

SECRET = b"correct horse battery staple"
KEY_ID = "ops-2025"

Wire = Callable[[dict[str, object]], str]


def sorted_spaced(entry: dict[str, object]) -> str:
    """The summary command's form."""
    return json.dumps(entry, ensure_ascii=False, sort_keys=True)


def unsorted_spaced(entry: dict[str, object]) -> str:
    """The stream watcher's form."""
    return json.dumps(entry, ensure_ascii=False)


def compact_sorted(entry: dict[str, object]) -> str:
    """The portfolio log's form."""
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def escaped(entry: dict[str, object]) -> str:
    """ASCII only: everything else by \\u escapes."""
    return json.dumps(entry)


def padded(entry: dict[str, object]) -> str:
    """White space around the line and Windows line ends, which readers of version 2 strip."""
    return " \t" + json.dumps(entry, ensure_ascii=False) + " \r"


WIRES: tuple[Wire, ...] = (sorted_spaced, unsorted_spaced, compact_sorted, escaped, padded)


def entry(number: int = 1, **changes: object) -> dict[str, object]:
    """An unsigned entry with what schema v2 requires, a fraction, a tag and Polish letters."""
    facts: dict[str, object] = {
        "timestamp": f"2025-10-{number % 28 + 1:02}T08:{number % 60:02}:00.{number % 1000:03}Z",
        "stage": "stage4_multi_strategy",
        "status": "ok",
        "kind": "snapshot" if number % 5 else "metadata",
        "artefacts": {"report": f"audit/report-{number}.json", "drift": 0.25 * number, "count": number, "none": None},
        "runtime_flags": {"verify_decision_log.summary": True, "dry_run": False},
        "signatures": {"decision_log.entry": "hmac:pending"},
        "metadata": {"incident_id": f"INC-20251001-{number % 7:04}", "note": f'uwaga „{number}” – "zażółć"'},
        "tags": ["stage4", "nadzór"],
        "fps": 59.94,
    }
    return facts | changes


def signed(
    facts: dict[str, object],
    secret: bytes = SECRET,
    *,
    key_id: str | None = KEY_ID,
    algorithm: str = "HMAC-SHA256",
    wire: Wire = sorted_spaced,
) -> bytes:
    """The line (without LF) of a signed entry."""
    digest = {"HMAC-SHA256": hashlib.sha256, "HMAC-SHA384": hashlib.sha384}[algorithm]
    payload = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    value = base64.b64encode(hmac.new(secret, payload, digest).digest()).decode()
    signature = {"algorithm": algorithm, "value": value}
    if key_id is not None:
        signature["key_id"] = key_id
    return wire(facts | {"signature": signature}).encode()


def lines(count: int, *, mixed: bool = False, key_id: str | None = KEY_ID, first: int = 1) -> list[bytes]:
    """`count` signed lines; `mixed` goes through every wire form."""
    return [
        signed(entry(number), key_id=key_id, wire=WIRES[number % len(WIRES)] if mixed else sorted_spaced)
        for number in range(first, first + count)
    ]


def put(path: Path, content: list[bytes]) -> Path:
    """Write the lines, each with its LF."""
    path.write_bytes(b"".join(line + b"\n" for line in content))
    return path


def key_file(folder: Path, secret: bytes = SECRET) -> Path:
    """The secret as people keep it: a line of text."""
    path = folder / "v2.key"
    path.write_bytes(secret + b"\n")
    return path
