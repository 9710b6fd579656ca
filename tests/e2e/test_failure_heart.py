"""A service that can no longer call anybody ends, so that whoever supervises it starts it again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx

from support.installation import Installed


def test_a_service_whose_heart_stops_ends_with_a_bug(tmp_path: Path) -> None:
    with Installed.make(tmp_path / "desk") as desk:
        service = desk.serve()
        signal = {
            "schema": "stage4.signal/1",
            "source": "detector",
            "kind": "latency",
            "severity": "critical",
            "status": "firing",
            "name": "Stage4LoopLatencyHigh",
            "labels": {"scheduler": "core"},
            "annotations": {},
            "starts_at": "2026-11-23T09:00:00Z",
        }
        answer = httpx.post(f"{desk.page}/api/v1/signals", json=signal, headers=desk.tokens, trust_env=False)
        assert answer.status_code == 200
        with closing(sqlite3.connect(desk.root / "var/stage4.db", timeout=10.0)) as database, database:
            database.execute("update incidents set document = '{'")
        desk.until(lambda: service.process.poll() is not None or None, "the end of the service")
        assert service.process.returncode == 70
