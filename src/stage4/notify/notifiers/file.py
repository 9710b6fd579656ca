"""A file that grows by one JSON line a notice: for demonstrations, tests, and as a last local channel."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from stage4 import files
from stage4.clock import format_instant
from stage4.config.installation import Installation
from stage4.config.settings import Notifier as NotifierSettings
from stage4.errors import UsageError
from stage4.notify.notice import Delivery, DeliveryState, Notice, render
from stage4.words import Language


@dataclass(slots=True)
class FileNotifier:
    """Appends notices to `path`, durably; remembers the keys that are in the file already."""

    id: str
    path: Path
    language: Language
    _delivered: set[str] | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, installation: Installation, settings: NotifierSettings) -> FileNotifier:
        """The notifier of one `operations.notifiers` entry of kind `file`."""
        if not settings.path:
            raise UsageError("notify.field_missing", id=settings.id, field="path")
        return cls(settings.id, installation.path(settings.path), installation.settings.operations.language)

    def deliver(self, notice: Notice) -> Delivery:
        """Append one line; a full disk or missing right is RETRY."""
        try:
            if self._delivered is None:
                self._delivered = self._keys()
            if notice.key not in self._delivered:
                self._append(notice)
                self._delivered.add(notice.key)
        except OSError as error:
            return Delivery(DeliveryState.RETRY, f"{self.path}: {files.reason(error)}")
        return Delivery(DeliveryState.DELIVERED, str(self.path))

    def _keys(self) -> set[str]:
        if not self.path.exists():
            return set()
        keys = set()
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                keys.add(json.loads(line)["key"])
            except (ValueError, KeyError, TypeError):
                continue  # a torn line of an earlier crash: its notice is delivered again, which is the safe side
        return keys

    def _append(self, notice: Notice) -> None:
        line = json.dumps(
            {
                "key": notice.key,
                "at": format_instant(notice.at),
                "target": notice.target,
                "person": notice.person_id,
                "incident": notice.incident_id,
                "urgency": notice.urgency,
                "attempt": notice.attempt,
                "code": notice.code,
                "text": render(notice, self.language),
                **notice.extra,
            },
            ensure_ascii=False,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            files.write_all(descriptor, (b"\n" if torn else b"") + line.encode("utf-8") + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
