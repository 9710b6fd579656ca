"""Reads incidents while nobody serves them: for the commands that must work with the service down.

It reads the embedded database by the standard library alone, so that a script answers at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from stage4.clock import parse_instant
from stage4.config import Installation
from stage4.errors import Unavailable

SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """What an incident is now, as the database says."""

    id: str
    ticket: str
    state: str
    kind: str
    tier: str
    owner: str | None
    onset: datetime
    opened_at: datetime
    steps: Mapping[str, str]


def open_incidents(installation: Installation) -> list[IncidentSummary]:
    """Incidents somebody works on, the oldest first; none where there is no database yet. Raises Unavailable."""
    return _read(installation, "state IN ('triggered', 'acknowledged', 'resolved') ORDER BY opened_at, id", ())


def find(installation: Installation, incident_id: str) -> IncidentSummary | None:
    """The incident, or None where the database has no such one. Raises Unavailable, also where there is no database."""
    if not _path(installation).exists():
        raise Unavailable("incident.storage_unavailable", reason=f"{_path(installation)} does not exist")
    found = _read(installation, "id = ?", (incident_id,))
    return found[0] if found else None


def _path(installation: Installation) -> Path:
    url = installation.settings.operations.storage_url
    if not url.startswith(SQLITE):
        raise Unavailable("incident.storage_unavailable", reason="it can be read without the service in SQLite only")
    return installation.path(url.removeprefix(SQLITE))


def _read(installation: Installation, where: str, values: tuple[str, ...]) -> list[IncidentSummary]:
    path = _path(installation)
    if not path.exists():
        return []
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0)
        try:
            rows = connection.execute(f"SELECT document FROM incidents WHERE {where}", values).fetchall()
        finally:
            connection.close()
        return [_summary(json.loads(document)) for (document,) in rows]
    except (sqlite3.Error, ValueError, KeyError) as e:
        raise Unavailable("incident.storage_unavailable", reason=str(e)) from e


def _summary(document: Mapping[str, object]) -> IncidentSummary:
    steps = document["steps"]
    owner = document.get("owner")
    assert isinstance(steps, dict)
    return IncidentSummary(
        id=str(document["id"]),
        ticket=str(document["ticket"]),
        state=str(document["state"]),
        kind=str(document["kind"]),
        tier=str(document["tier"]),
        owner=str(owner) if owner is not None else None,
        onset=parse_instant(str(document["onset"])),
        opened_at=parse_instant(str(document["opened_at"])),
        steps={step: str(record["state"]) for step, record in sorted(steps.items())},
    )
