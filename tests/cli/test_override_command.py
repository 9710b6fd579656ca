"""`stage4 override show`: everything in force, with and without a scheduler, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stage4.app.installing import create
from stage4.cli import main
from stage4.clock import SystemClock
from stage4.runtime.latch import GATE_FILE
from stage4.runtime.stop import OVERRIDES, Scope, ScopeKind, request_stop
from support.answering import answering
from support.sleepers import hung

CLOCK = SystemClock()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    create(tmp_path / "desk", CLOCK, installation_id="desk-1", language="en")
    monkeypatch.delenv("STAGE4_LANG", raising=False)
    return tmp_path / "desk"


def shown(root: Path, capfd: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert main(["--root", str(root), "--json", "override", "show"]) == code
    document = json.loads(capfd.readouterr().out)
    assert (document["schema"], document["exit_code"]) == ("stage4.override/1", code)
    return document


def said(root: Path, capfd: pytest.CaptureFixture[str], lang: str = "en") -> str:
    main(["--root", str(root), "--lang", lang, "override", "show"])
    return capfd.readouterr().out


def test_nothing_is_stopped(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = shown(root, capfd)
    assert (document["stops"], document["stops_all"], document["scheduler"]) == ([], False, {"answer": "absent"})
    assert "Nothing is stopped." in said(root, capfd)
    assert "Nic nie jest zatrzymane." in said(root, capfd, "pl")


def test_who_why_since_when_until_when_and_the_schedulers_word(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(root):
        request_stop(
            root,
            reason="latency",
            ticket="OUT-7",
            requested_by="l2-jan",
            expires_at=datetime(2020, 1, 1, tzinfo=UTC),
            clock=CLOCK,
        )
        request_stop(root, scope=Scope(ScopeKind.TAG, "żółty"), reason="r", clock=CLOCK)
        document, text = shown(root, capfd), said(root, capfd)
        polish = said(root, capfd, "pl")
    assert document["stops_all"]
    assert [stop["scope"] for stop in document["stops"]] == [
        {"kind": "all", "name": ""},
        {"kind": "tag", "name": "żółty"},
    ]
    first = document["stops"][0]
    assert (first["stands"], first["latched"], first["fault"]) == (True, True, None)
    assert first["in_force"]["requested_by"] == "l2-jan"
    assert first["in_force"]["expires_at"] == "2020-01-01T00:00:00Z"
    assert document["scheduler"]["answer"] == "answers"
    for part in ("everything", "l2-jan", "latency", "OUT-7", "has passed", "tag żółty"):
        assert part in text
    assert "nic nie wznowi się samo" in polish


def test_a_stop_whose_file_was_removed_by_hand_is_still_shown(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    request_stop(root, reason="r", clock=CLOCK)
    (root / OVERRIDES / "multi_strategy_disable.json").unlink()
    stop = shown(root, capfd)["stops"][0]
    assert (stop["stands"], stop["latched"], stop["fault"]) == (False, True, "gate.stop_vanished")
    assert "vanished without a valid order" in said(root, capfd)


@pytest.mark.parametrize(("content", "fault"), [(b"", "gate.stop_empty"), (b"{", "gate.stop_malformed")])
def test_a_file_that_says_nothing_is_shown_with_its_fault(
    root: Path, capfd: pytest.CaptureFixture[str], content: bytes, fault: str
) -> None:
    (root / OVERRIDES / "multi_strategy_disable.json").write_bytes(content)
    stop = shown(root, capfd)["stops"][0]
    assert (stop["fault"], stop["in_force"], stop["latched"]) == (fault, None, False)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [("unlink", "gate.latch_missing"), ("garbage", "gate.latch_damaged"), ("dir", "gate.directory_missing")],
)
def test_what_cannot_be_read_counts_as_a_stop_of_all_and_cannot_be_told(
    root: Path, capfd: pytest.CaptureFixture[str], broken: str, fault: str
) -> None:
    if broken == "unlink":
        (root / GATE_FILE).unlink()
    elif broken == "garbage":
        (root / GATE_FILE).write_bytes(b"\xff")
    else:
        for lying in (root / OVERRIDES).iterdir():
            lying.unlink()
        (root / OVERRIDES).rmdir()
    document = shown(root, capfd, code=3)
    assert (document["faults"], document["stops_all"]) == ([fault], True)


def test_settings_that_cannot_be_loaded_do_not_hide_a_stop(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    request_stop(root, reason="r", clock=CLOCK)
    (root / "config/core.yaml").write_bytes(b"\xff{")
    assert shown(root, capfd)["stops_all"]


def test_a_scheduler_that_ended_or_hangs_is_not_taken_for_one_that_answers(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stage4.runtime import override_report

    request_stop(root, reason="r", clock=CLOCK)
    with hung(root, CLOCK):
        monkeypatch.setattr(override_report, "FRESH", timedelta(0))
        document = shown(root, capfd)
        assert document["scheduler"]["answer"] == "hung"
        assert document["stops"][0]["scheduler"] is None
        assert "is SILENT" in said(root, capfd)
    assert shown(root, capfd)["scheduler"]["answer"] == "ended"
