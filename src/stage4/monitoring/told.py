"""
What the direct path last told as firing: `var/run/direct_alerts.json`.

It outlives the telemetry process, so that an alert of one life can be ended in the next. It is written before an
alert is told, and an end leaves it only when somebody took it. How it fails: open. A memory that is missing or
damaged is empty, and one that cannot be written holds no alert back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from stage4 import files
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.monitoring.detector import DetectedAlert
from stage4.telemetry.catalogue import AlertKind

TOLD_FILE = Path("var/run/direct_alerts.json")
SCHEMA: Literal["stage4.direct_alerts/1"] = "stage4.direct_alerts/1"
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_log = logging.getLogger(__name__)


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    severity: str
    kind: AlertKind | None
    labels: dict[str, str]
    annotations: dict[str, str]
    started_at: _Instant
    value: float
    ended_at: _Instant | None


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal["stage4.direct_alerts/1"] = SCHEMA
    alerts: tuple[_Told, ...]


class ToldAlerts:
    """The memory in the file `path`. It has one owner at a time, and is not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[tuple[str, datetime, datetime | None]] | None = None
        self._complained = False

    def load(self) -> tuple[DetectedAlert, ...]:
        """What fired when the last life ended, and the ends that nobody took; empty, with a line in the log, when
        that cannot be known."""
        try:
            document = _decoded(files.read_limited(self._path), self._path)
        except Stage4Error as error:
            level = logging.INFO if error.code == "files.missing" else logging.WARNING
            _log.log(level, "what fired before this start is not known: %s", error)
            return ()
        return tuple(DetectedAlert(**msgspec.structs.asdict(told)) for told in document.alerts)

    def keep(self, alerts: Sequence[DetectedAlert]) -> None:
        """Replace the memory by `alerts` when another alert is among them, or one has ended; values may be old."""
        known = [(alert.fingerprint, alert.started_at, alert.ended_at) for alert in alerts]
        if known == self._kept:
            return
        try:
            files.write_json(self._path, {"schema": SCHEMA, "alerts": msgspec.to_builtins(alerts)})
        except Unavailable as error:
            if not self._complained:
                _log.warning("what fires is not remembered: %s", error)
            self._complained = True
        else:
            self._kept, self._complained = known, False


def _decoded(content: bytes, path: Path) -> _Document:
    try:
        return msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError("files.bad_json", path=path, reason=str(error)) from error
