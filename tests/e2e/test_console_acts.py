"""The page of an incident says what its reader can do now, and shows hostile words as words."""

from __future__ import annotations

from pathlib import Path

import httpx

from support.installation import Installed

HOSTILE = '<script>alert(1)</script> {n} {0} "'


def test_the_page_has_the_commands_that_are_due_and_escapes_what_others_wrote(tmp_path: Path) -> None:
    with Installed.make(tmp_path / "desk", language="pl") as desk:
        desk.serve()
        signal = {
            "schema": "stage4.signal/1",
            "source": "detector",
            "kind": "latency",
            "severity": "critical",
            "status": "firing",
            "name": HOSTILE,
            "labels": {"scheduler": "core"},
            "annotations": {},
            "starts_at": "2026-01-01T00:00:00Z",
        }
        answer = httpx.post(f"{desk.page}/api/v1/signals", json=signal, headers=desk.tokens, trust_env=False)
        [incident] = answer.json()["incidents"]
        address = f"{desk.page}/incidents/{incident}?refresh=0"

        def called() -> str | None:
            page = httpx.get(address, trust_env=False).text
            return page if "stage4 incident confirm" in page else None

        page = desk.until(called, "the call of L2 on the page")
        assert f"stage4 incident ack {incident} --by OSOBA" in page
        assert f"stage4 incident stop {incident} --by OSOBA" in page
        assert "L2.5 --by OSOBA --choice disable|not_needed" in page
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; {n} {0}" in page
