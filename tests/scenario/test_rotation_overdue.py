"""
A rotation that is overdue, from the audit that finds it to the one that is content; and one that was only claimed.

The installation is made 100 days ago, and everything else happens now, with the commands as people type them.
"""

from __future__ import annotations

import json
import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stage4.app.installing import create, read_environment
from stage4.cli import audit_stage4_compliance
from stage4.cli import main as stage4
from stage4.clock import SystemClock, format_instant
from stage4.security.rotation import RotationRegistry
from stage4.testing.clock import ManualClock

TLS = ("tls_ca", "tls_client", "tls_server")


class Desk:
    """An installation, and what L2 asks it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def audit(self, *flags: str, code: int = 0) -> dict[str, Any]:
        assert audit_stage4_compliance.main(["--root", str(self.root), *flags]) == code
        document: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return document

    def command(self, line: str, code: int = 0) -> dict[str, Any]:
        """A command as the plan prints it."""
        program, *argv = shlex.split(line)
        assert program == "stage4"
        assert stage4(["--json", *argv]) == code
        document: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return document

    def record(self, at: datetime) -> None:
        """Somebody edits the registry of certificates."""
        path = self.root / "var/security/tls_rotation.json"
        registry = RotationRegistry.load(path)
        for purpose in TLS:
            registry = registry.record("core-oem", purpose, at)
        registry.write(path)


def outcomes(report: dict[str, Any], control: str) -> dict[str, str]:
    return {
        result["subject"].partition("::")[2]: result["outcome"]
        for result in report["results"]
        if result["control"] == control and "tls_" in result["subject"]
    }


def all_are(outcome: str) -> dict[str, str]:
    return dict.fromkeys(TLS, outcome)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    root = tmp_path / "demo"
    create(root, ManualClock(SystemClock().now() - timedelta(days=100)), installation_id="desk")
    monkeypatch.chdir(root)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    for name, value in read_environment(root).items():
        monkeypatch.setenv(name, value)
    keys = root / "var/security/key_rotation.json"
    keys.write_text(json.dumps(dict.fromkeys(json.loads(keys.read_text()), format_instant(SystemClock().now()))))
    return Desk(root, capsys)


def test_an_overdue_rotation_is_found_planned_done_and_accepted(desk: Desk) -> None:
    found = desk.audit(code=1)
    assert outcomes(found, "ROT-03") == all_are("fail")
    assert {each["role"] for each in found["certificates"]} == {"ca", "server", "client"}
    assert desk.command("stage4 rotation list", code=1)["rotations"][0]["state"] == "overdue"

    steps = desk.command("stage4 rotation plan --days 7")["steps"]
    assert [row["purpose"] for step in steps for row in step["rotations"]] == list(TLS)
    (line,) = [step["command"] for step in steps]
    assert line == "stage4 rotation rotate --bundle core-oem"
    assert desk.command(line)["outcome"] == "rotated"

    settled = desk.audit()
    assert settled["status"] in ("ok", "warn")
    for control in ("ROT-02", "ROT-03", "ROT-04", "ROT-05"):
        assert outcomes(settled, control) == all_are("pass"), control
    assert desk.command("stage4 rotation list")["exit_code"] == 0
    assert desk.command("stage4 rotation plan --days 7")["steps"] == []


def test_a_rotation_that_was_only_claimed_is_found_again_and_again(desk: Desk) -> None:
    desk.audit(code=1)
    # The second in which a report begins is not before that second.
    desk.record(SystemClock().now() + timedelta(seconds=1))
    late = ("--at", format_instant(SystemClock().now() + timedelta(minutes=1)))
    for _ in range(2):
        claimed = desk.audit(*late, code=1)
        assert outcomes(claimed, "ROT-03") == all_are("pass")
        assert outcomes(claimed, "ROT-04") == all_are("fail")
        assert outcomes(claimed, "ROT-05") == all_are("fail")
    refused = desk.command("stage4 rotation mark core-oem tls_server --reason claimed", code=4)
    assert refused["error"]["code"] == "rotation.certificate_older"

    assert desk.command("stage4 rotation rotate --bundle core-oem")["outcome"] == "rotated"
    honest = desk.audit(*late)
    assert outcomes(honest, "ROT-04") == outcomes(honest, "ROT-05") == all_are("pass")


def test_without_an_earlier_report_it_is_skipped_with_the_reason(desk: Desk) -> None:
    report = desk.audit(code=1)
    assert outcomes(report, "ROT-05") == all_are("skipped")
    said = {result["message"] for result in report["results"] if result["control"] == "ROT-05"}
    assert said == {f"rotation core-oem::{purpose}: no earlier report to compare" for purpose in TLS}


def test_a_backup_tells_what_was_there_when_the_reports_are_gone(desk: Desk) -> None:
    desk.command("stage4 rotation rotate --bundle core-oem")
    report = desk.audit()
    assert outcomes(report, "ROT-05") == all_are("pass")
    sources = {result["params"]["source"] for result in report["results"] if result["control"] == "ROT-05"}
    assert {Path(source).parts[:3] for source in sources} == {("var", "security", "backups")}
