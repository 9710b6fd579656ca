"""Sees the audits that anybody runs, by the reports they leave: a fail calls people, whoever ran it and wherever."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from stage4 import files
from stage4.audit import schemas
from stage4.audit.store import ACCEPTANCE, COMPLIANCE, REPORT_LIMIT, SUPPORT
from stage4.errors import Stage4Error
from stage4.incidents.arrivals import Arrivals
from stage4.incidents.core import Core
from stage4.incidents.rows import instant, micros

REPORTS = (COMPLIANCE, "security_baseline.json")
SEEN = "audits_seen_until"
OVERLAP = timedelta(hours=1)


@dataclass(slots=True)
class AuditWatch:
    """Reads each new report once. Reports from before the first start are history and call nobody."""

    core: Core
    arrivals: Arrivals
    root: Path
    _seen_until: int = -1

    def look(self) -> int:
        """Takes in new reports; returns how many. Also those that were left while the service was down."""
        if self._seen_until < 0:
            self._seen_until = self._begin()
        new = sorted(each for each in self._reports() if each[0] > self._seen_until)
        for written_at, path in new:
            self._take(path)
            with self.core.store.write() as tx:
                tx.set_fact(SEEN, written_at)
            self._seen_until = written_at
        return len(new)

    def _begin(self) -> int:
        with self.core.store.write() as tx:
            seen = tx.fact(SEEN)
            if not seen:
                seen = max((written_at for written_at, _ in self._reports()), default=micros(self.core.clock.now()))
                tx.set_fact(SEEN, seen)
            return seen

    def _reports(self) -> list[tuple[int, Path]]:
        """When each report was written, in microseconds; folders of runs long seen are passed over by name."""
        oldest = f"{instant(max(self._seen_until, 0)) - OVERLAP:%Y%m%dT%H%M%SZ}" if self._seen_until > 0 else ""
        reports = []
        try:
            for run in (self.root / ACCEPTANCE).iterdir():
                for name in REPORTS if run.name >= oldest else ():
                    with contextlib.suppress(OSError):
                        path = run / SUPPORT / name
                        reports.append((path.stat().st_mtime_ns // 1000, path))
        except OSError:
            return []
        return reports

    def _take(self, path: Path) -> None:
        try:
            document = files.read_json(path, REPORT_LIMIT)
        except Stage4Error:
            # Reports are written whole: one that cannot be read tells nothing, which counts as fail.
            document = {"schema": schemas.COMPLIANCE, "status": "fail", "verdict": "cannot tell", "path": str(path)}
        if isinstance(document, dict):
            self.arrivals.audit(document, None, None)
