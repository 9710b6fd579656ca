"""
The kept reports that may be believed: whoever asks what an earlier audit said asks here.

A report is believed where all of this holds.

1. Its directory names an instant, and that is not in the future.
2. It can be read and has results; one that only says why its audit failed, or was replayed, is passed over.
3. It has a signature of this installation that holds: of its key ring, for its id.
4. It says itself that its run began when its directory says: a copy under another date is none.

What fails 1, 3 or 4 is `doubted`, unless the ring cannot sign now: then an honest report is unsigned too, and nobody
can tell. Without a key ring nothing is believed. This shows no report that was deleted, and
none that somebody who can read the ring made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.audit import report_signature, store
from stage4.audit.reading import Place
from stage4.clock import parse_instant
from stage4.config import Installation
from stage4.errors import ExitCode, Stage4Error, UsageError
from stage4.security.keyring import KeyRing

# The newest reports that are looked at for the sake of what is wrong with them.
LOOKED_AT: Final = 16
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True, slots=True)
class KeptReport:
    """One that may be believed, and when its run began, whatever instant it was asked to judge."""

    path: Path
    started_at: datetime
    document: Mapping[str, object]

    @property
    def what_if(self) -> bool:
        return self.document.get("what_if") is True

    @property
    def bundle(self) -> object:
        policy = self.document.get("policy")
        return policy.get("bundle") if isinstance(policy, dict) else None


@dataclass
class KeptReports:
    """Of the installation at `root`, as of `now`; each is read once, and only when it is asked for."""

    root: Path
    ring: KeyRing | None
    installation_id: str
    now: datetime
    _runs: list[tuple[datetime, Path]] | None = None
    _judged: dict[Path, KeptReport | None] = field(default_factory=dict)
    _doubted: dict[Path, None] = field(default_factory=dict)

    @classmethod
    def of(cls, installation: Installation, environ: Mapping[str, str], now: datetime) -> KeptReports:
        """`now` is the clock's, not the instant that an audit is asked to judge."""
        operations = installation.settings.operations
        ring = None
        with suppress(Stage4Error):
            ring = KeyRing.load(installation.path(operations.decision_log.keyring), environ)
        return cls(installation.root, ring, operations.installation_id, now)

    @property
    def can_tell(self) -> bool:
        """Whether there is a ring, and the secret of the key that it signs with."""
        return self.ring is not None and self.ring.active_key().available

    @property
    def any(self) -> bool:
        """Whether something is kept at all."""
        return bool(self._kept())

    def believed(self) -> Iterator[KeptReport]:
        """The newest first."""
        for at, path in self._kept():
            report = self._judge(at, path)
            if report is not None:
                yield report

    def newest(
        self, before: datetime | None = None, *, what_if: bool | None = None, bundle: str | None = None
    ) -> KeptReport | None:
        """
        The newest whose run began earlier than `before`; None where there is none.

        With `what_if` only reports that answer a what-if question count, or only those that do not.
        """
        for report in self.believed():
            if (
                (before is None or report.started_at < before.replace(microsecond=0))
                and (what_if is None or report.what_if is what_if)
                and (bundle is None or report.bundle == bundle)
            ):
                return report
        return None

    def doubted(self) -> tuple[str, ...]:
        """The newest that are not believed, by the paths that a report shows; empty where nobody can tell."""
        for at, path in islice(self._kept(), LOOKED_AT):
            self._judge(at, path)
        if not self.can_tell:
            return ()
        place = Place(self.root)
        return tuple(place.shown(path) for path in islice(sorted(self._doubted, reverse=True), LOOKED_AT))

    def _kept(self) -> list[tuple[datetime, Path]]:
        """The runs that are not in the future, the newest first."""
        if self._runs is None:
            self._runs = []
            for path in sorted(store.runs(self.root), key=lambda run: store.order(run.parts[-3]), reverse=True):
                at = _instant(path.parts[-3][:16])
                if at is None:
                    continue
                if at <= self.now:
                    self._runs.append((at, path))
                else:
                    self._doubted[path] = None
        return self._runs

    def _judge(self, at: datetime, path: Path) -> KeptReport | None:
        if path not in self._judged:
            self._judged[path] = self._read(at, path)
        return self._judged[path]

    def _read(self, at: datetime, path: Path) -> KeptReport | None:
        try:
            document = files.read_json(path, store.REPORT_LIMIT)
        except Stage4Error:
            self._doubted[path] = None
            return None
        if not isinstance(document, dict) or not isinstance(document.get("results"), list):
            return None
        if _began(document) != at or not self.signed(document):
            self._doubted[path] = None
            return None
        return None if document.get("replayed") is True else KeptReport(path, at, document)

    def signed(self, document: Mapping[str, object]) -> bool:
        """Whether `document` has a signature of this installation that holds."""
        if self.ring is None:
            return False
        return report_signature.checked(document, self.ring, self.installation_id).exit_code is ExitCode.DONE


def _instant(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp + "+0000", "%Y%m%dT%H%M%SZ%z") if _STAMP.fullmatch(stamp) else None
    except ValueError:
        return None


def _began(document: Mapping[str, object]) -> datetime | None:
    """To the second, as directories are named."""
    try:
        return parse_instant(str(document.get("started_at"))).replace(microsecond=0)
    except UsageError:
        return None
