"""
Keeps each audit below `var/audit/acceptance/<TS>/stage4_support/`: the only place an audit ever writes to.

`compliance.json` holds exactly the bytes that were printed; `command.json` beside it is the log of the command: argv,
exit code, times, digest of stdout, text of stderr. `evidence.json` is what the audit looked at, and the same report
in other formats (`compliance.md`, ...) lies there too; these are written first, so that a report has all it names.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from stage4 import __version__, files
from stage4.clock import format_instant
from stage4.errors import Unavailable

ACCEPTANCE: Final = Path("var/audit/acceptance")
SUPPORT: Final = "stage4_support"
COMPLIANCE: Final = "compliance.json"
EVIDENCE: Final = "evidence.json"
REPORT_LIMIT: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """What was run, and how it ended."""

    argv: Sequence[str]
    exit_code: int
    started_at: datetime
    finished_at: datetime
    stderr: Sequence[str]


def open_run(root: Path, started_at: datetime) -> Path:
    """
    A new directory of this run, `-2`, `-3`, ... where two start in one second.

    Raises Unavailable `audit.store_outside` when a link leads out of the installation, `files.cannot_write`
    when the disk refuses.
    """
    acceptance = root / ACCEPTANCE
    if not acceptance.resolve().is_relative_to(root.resolve()):
        raise Unavailable("audit.store_outside", path=acceptance)
    try:
        acceptance.mkdir(parents=True, exist_ok=True)
        stamp = f"{started_at:%Y%m%dT%H%M%SZ}"
        for number in itertools.count(1):
            run = acceptance / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                run.mkdir()
            except FileExistsError:
                continue
            break
        support = run / SUPPORT
        support.mkdir()
    except OSError as error:
        raise Unavailable("files.cannot_write", path=acceptance, reason=files.reason(error)) from error
    return support


def save(
    directory: Path, name: str, content: bytes, command: Command, beside: Mapping[str, bytes] | None = None
) -> None:
    """Write the document, its command log and what lies beside, 0600; raises Unavailable `files.cannot_write`."""
    for other, held in (beside or {}).items():
        files.atomic_write(directory / other, held, 0o600)
    log = "command.json" if name == COMPLIANCE else f"{name.removesuffix('.json')}.command.json"
    files.atomic_write(directory / name, content, 0o600)
    document = {
        "schema": "stage4.command/1",
        "argv": list(command.argv),
        "exit_code": command.exit_code,
        "started_at": format_instant(command.started_at),
        "finished_at": format_instant(command.finished_at),
        "stdout": {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "stderr": list(command.stderr),
        "version": __version__,
    }
    files.write_json(directory / log, document, 0o600)


def runs(root: Path) -> Iterator[Path]:
    """The documents of all compliance audits that are kept, in no order."""
    return (root / ACCEPTANCE).glob(f"*/{SUPPORT}/{COMPLIANCE}")


def order(name: str) -> tuple[str, int]:
    """By which the directories of runs are sorted in time: `-10` of one second comes after `-2`."""
    stamp, _, number = name.partition("-")
    return stamp, int(number) if number.isdecimal() else 1
