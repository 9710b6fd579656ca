"""
Faults that are staged for drills: `var/runtime/faults.json`.

Each fault acts on the environment itself and not on its telemetry, so that everything behind it is rehearsed too:

* `latency`     every evaluation is delayed by `ms` milliseconds, inside the worker
* `no_signals`  evaluations return nothing, not even a hold
* `pnl`         prices gap against the book, far enough for `multiple` times a daily limit; the gap stays
* `risk`        volatility grows by `factor` while the venues refuse orders, so that no allocation can be put right

A production installation refuses them. Elsewhere a file that cannot be read stages nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from stage4 import files
from stage4.clock import format_instant
from stage4.config import Installation
from stage4.errors import Refused, Stage4Error, UsageError

FAULTS_FILE = Path("var/runtime/faults.json")
LIMIT = 64 * 1024

FaultKind = Literal["latency", "no_signals", "pnl", "risk"]
DEFAULTS: Mapping[FaultKind, Mapping[str, float]] = {
    "latency": {"ms": 400.0},
    "no_signals": {},
    "pnl": {"multiple": 3.5},
    "risk": {"factor": 4.0},
}
CEILINGS = {"ms": 60_000.0, "multiple": 20.0, "factor": 50.0}


class _Fault(msgspec.Struct, frozen=True):
    until: datetime
    ms: float = DEFAULTS["latency"]["ms"]
    multiple: float = DEFAULTS["pnl"]["multiple"]
    factor: float = DEFAULTS["risk"]["factor"]


@dataclass(frozen=True, slots=True)
class Faults:
    """What is staged at one instant."""

    latency_ms: float = 0.0
    no_signals: bool = False
    loss_multiple: float = 0.0
    volatility_factor: float = 1.0
    orders_refused: bool = False


NONE = Faults()


def parse(content: bytes, now: datetime) -> Faults:
    """What `content` stages at `now`; raises UsageError `runtime.bad_faults`."""
    try:
        document = msgspec.json.decode(content, type=dict[FaultKind, _Fault])
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError("runtime.bad_faults", reason=str(error)) from error
    if any(fault.until.tzinfo is None for fault in document.values()):
        raise UsageError("runtime.bad_faults", reason="an instant needs a time zone")
    acting = {kind: fault for kind, fault in document.items() if now < fault.until}
    latency, pnl, risk = acting.get("latency"), acting.get("pnl"), acting.get("risk")
    return Faults(
        latency_ms=_bounded("ms", latency.ms) if latency else 0.0,
        no_signals="no_signals" in acting,
        loss_multiple=_bounded("multiple", pnl.multiple) if pnl else 0.0,
        volatility_factor=_bounded("factor", risk.factor) if risk else 1.0,
        orders_refused=risk is not None,
    )


def stage(installation: Installation, kind: FaultKind, *, until: datetime, **parameters: float) -> Mapping[str, object]:
    """Let a fault act until `until`, beside those already staged; the document as written.

    Raises Refused `runtime.faults_refused` in production, UsageError `runtime.unknown_fault` or
    `runtime.bad_faults`.
    """
    refuse_in_production(installation)
    if kind not in get_args(FaultKind) or not parameters.keys() <= DEFAULTS[kind].keys():
        raise UsageError("runtime.unknown_fault", fault=kind, parameters=", ".join(sorted(parameters)))
    chosen = {name: _bounded(name, value) for name, value in {**DEFAULTS[kind], **parameters}.items()}
    path = installation.path(FAULTS_FILE)
    document = dict(_standing(path))
    document[kind] = {"until": format_instant(until), **chosen}
    files.write_json(path, document, mode=0o600)
    return document


def clear(installation: Installation) -> bool:
    """Stage nothing any more; False when nothing was staged."""
    path = installation.path(FAULTS_FILE)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def refuse_in_production(installation: Installation) -> None:
    """Raises Refused `runtime.faults_refused` where real money could be at stake."""
    if not installation.is_rehearsal:
        raise Refused("runtime.faults_refused", installation=installation.settings.operations.installation_id)


class FaultFile:
    """Reads the staged faults, again only when the file has changed."""

    def __init__(self, installation: Installation) -> None:
        self._path = installation.path(FAULTS_FILE)
        self._seen: tuple[int, int] | None = None
        self._content = b"{}"
        if self._path.exists():
            refuse_in_production(installation)
        self._allowed = installation.is_rehearsal

    def current(self, now: datetime) -> Faults:
        """What is staged at `now`; nothing when the file is missing or cannot be read."""
        if not self._allowed:
            return NONE
        try:
            facts = self._path.stat()
        except OSError:
            self._seen = None
            return NONE
        try:
            if self._seen != (facts.st_mtime_ns, facts.st_ino):
                self._content = files.read_limited(self._path, LIMIT)
                self._seen = (facts.st_mtime_ns, facts.st_ino)
            return parse(self._content, now)
        except Stage4Error:
            return NONE


def _standing(path: Path) -> Mapping[str, object]:
    try:
        standing = files.read_json(path, LIMIT)
    except Stage4Error:
        return {}
    return standing if isinstance(standing, dict) else {}


def _bounded(name: str, value: float) -> float:
    if not 0 < value <= CEILINGS[name]:
        raise UsageError("runtime.bad_faults", reason=f"{name} must be above 0 and at most {CEILINGS[name]:g}")
    return value
