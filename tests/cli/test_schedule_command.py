"""`stage4 schedule list|suspend|resume`: who suspended what, until when, who may lift it, and what the log says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stage4.app.installing import create, read_environment
from stage4.cli import main
from stage4.clock import SystemClock
from stage4.config import load
from stage4.runtime.scheduler import SuspensionReason
from stage4.runtime.suspension import Suspension, SuspensionDocument
from stage4.runtime.suspension_files import SUSPENSIONS, place, read_all

CLOCK = SystemClock()
NAMES = ("mean_reversion_intraday", "volatility_target_daily", "cross_exchange_watch")
ONE = NAMES[0]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    create(tmp_path / "desk", CLOCK, installation_id="desk-1", language="en")
    monkeypatch.delenv("STAGE4_LANG", raising=False)
    for name, value in read_environment(tmp_path / "desk").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "desk"


def call(root: Path, capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capfd.readouterr()
    assert main(["--root", str(root), "--json", "schedule", *words]) == code
    return json.loads(capfd.readouterr().out)


def said(root: Path, capfd: pytest.CaptureFixture[str], *words: str, lang: str = "en") -> str:
    capfd.readouterr()
    main(["--root", str(root), "--lang", lang, "schedule", *words])
    return capfd.readouterr().out


def signed(root: Path, person: str = "l2-marek") -> Sequence[str]:
    return ("--reason", "mended", "--signer", f"{person}={root / 'secrets/people' / person}")


def kinds(root: Path) -> list[str]:
    log = load(root).decision_log_path
    lines = log.read_text().splitlines() if log.exists() else []
    return [kind for line in lines if (kind := json.loads(line)["kind"]).startswith("scheduler_")]


def failed(root: Path) -> None:
    document = SuspensionDocument(
        cause=SuspensionReason.FAILURES, reason="ZeroDivisionError", requested_by="scheduler", since=CLOCK.now()
    )
    place(root, Suspension("own", ONE, document))


def test_without_a_scheduler_the_files_are_told(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = call(root, capfd, "list")
    assert (document["schema"], document["scheduler"]) == ("stage4.schedules/1", "absent")
    assert {row["schedule"]: row["state"] for row in document["schedules"]}[ONE] == "unknown"
    assert "No scheduler answers" in said(root, capfd, "list")
    assert "Żadne środowisko się nie zgłasza" in said(root, capfd, "list", lang="pl")


def test_a_suspension_names_who_why_and_until_when_and_stands_in_the_log(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = call(root, capfd, "suspend", ONE, "--reason", "bad prices", "--for", "2h", "--requested-by", "l2-ewa")
    assert (document["already"], document["logged"], document["scheduler"]) == (False, True, "at_start")
    row = next(row for row in call(root, capfd, "list")["schedules"] if row["schedule"] == ONE)
    (held,) = row["suspensions"]
    assert (row["state"], held["reason"], held["requested_by"]) == ("suspended", "bad prices", "l2-ewa")
    assert held["expires_at"] is not None
    assert "SUSPENDED: l2-ewa" in said(root, capfd, "list")
    assert "skończy się samo" in said(root, capfd, "list", lang="pl")
    assert kinds(root) == ["scheduler_suspension_requested"]


def test_a_shorter_request_is_told_of_the_longer_one_that_stands(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call(root, capfd, "suspend", ONE, "--reason", "first", "--requested-by", "l2-ewa")
    document = call(root, capfd, "suspend", ONE, "--reason", "second", "--for", "1h")
    assert (document["already"], document["suspension"]["requested_by"]) == (True, "l2-ewa")


def test_a_rehearsal_changes_nothing(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(root, capfd, "suspend", ONE, "--reason", "drill", "--dry-run")["dry_run"] is True
    assert read_all(root) == ()
    failed(root)
    assert call(root, capfd, "resume", ONE, *signed(root), "--dry-run")["lifted"][0]["kind"] == "own"
    assert len(read_all(root)) == 1
    assert kinds(root) == []


def test_failures_are_shown_with_their_reason_and_lifted_by_l2_with_a_signature(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failed(root)
    text = said(root, capfd, "list")
    assert "after three failed evaluations in a row" in text
    assert "ZeroDivisionError" in text
    assert "does not end by itself" in text
    document = call(root, capfd, "resume", ONE, *signed(root))
    assert document["still_suspended_by"] == {ONE: []}
    assert read_all(root) == ()
    assert kinds(root) == ["scheduler_resume_requested"]


@pytest.mark.parametrize("person", ["l1-anna", "nobody"])
def test_others_may_not_resume(root: Path, capfd: pytest.CaptureFixture[str], person: str) -> None:
    failed(root)
    key = root / "secrets/people" / (person if person != "nobody" else "l2-marek")
    call(root, capfd, "resume", ONE, "--reason", "mended", "--signer", f"{person}={key}", code=4)
    assert len(read_all(root)) == 1
    assert kinds(root) == []


def test_a_key_of_somebody_else_does_not_resume(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    failed(root)
    key = root / "secrets/people/l1-anna"
    call(root, capfd, "resume", ONE, "--reason", "mended", "--signer", f"l2-marek={key}", code=4)
    assert len(read_all(root)) == 1


def test_what_cannot_be_logged_is_suspended_all_the_same_and_never_resumed(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = load(root).decision_log_path
    log.parent.mkdir(parents=True, exist_ok=True)
    log.mkdir()
    assert call(root, capfd, "suspend", ONE, "--reason", "drill")["logged"] is False
    call(root, capfd, "resume", ONE, *signed(root), code=2)
    assert len(read_all(root)) == 1


def test_a_file_that_cannot_be_read_is_a_suspension_and_exit_3(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / SUSPENSIONS).mkdir()
    (root / SUSPENSIONS / f"schedule.{ONE}.json").write_bytes(b"{")
    row = next(row for row in call(root, capfd, "list", code=3)["schedules"] if row["schedule"] == ONE)
    assert row["state"] == "suspended"
    assert "cannot be read" in said(root, capfd, "list")
    call(root, capfd, "resume", ONE, *signed(root))
    assert read_all(root) == ()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("suspend", "--reason", "drill"), 2),
        (("suspend", ONE, "--tag", "x", "--reason", "drill"), 2),
        (("suspend", "no_such", "--reason", "drill"), 2),
        (("suspend", "--tag", "no_such", "--reason", "drill"), 2),
        (("suspend", ONE, "--reason", "two\nlines"), 2),
        (("suspend", ONE, "--reason", "drill", "--for", "soon"), 2),
        (("resume", ONE, "--reason", "mended", "--signer", "l2-marek"), 2),
        (("resume", ONE, "--reason", "mended", "--signer", "l2-marek=key"), 4),
    ],
)
def test_a_wrong_call_changes_nothing(
    root: Path, capfd: pytest.CaptureFixture[str], words: Sequence[str], code: int
) -> None:
    call(root, capfd, *words, code=code)
    assert read_all(root) == ()
    assert kinds(root) == []
