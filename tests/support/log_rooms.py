"""An installation with settings, key ring and a short log, without a database: for the commands of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from stage4.security.keyring import create_keyring
from support.decision_logs import LogRoom, draft

CORE = Path(__file__).parents[2] / "config" / "core.yaml"
INCIDENT = "INC-20261123-0001"


def installed_log(folder: Path, monkeypatch: pytest.MonkeyPatch, entries: int = 2) -> LogRoom:
    """The installation at `folder`, which becomes the working directory; its log has a genesis and `entries` more."""
    (folder / "config").mkdir()
    (folder / "config" / "core.yaml").write_bytes(CORE.read_bytes())
    (folder / "audit" / "decision_logs").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in ("STAGE4_ROOT", "COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    blank = LogRoom.create(folder / "unused")
    ring = create_keyring(folder / "secrets" / "decision_log" / "keyring.json", blank.clock.now())
    room = LogRoom(folder / "audit" / "decision_logs" / "runtime.jsonl", ring, blank.clock)
    if entries:
        room.log().append_many([draft(number) for number in range(1, entries + 1)])
    return room
