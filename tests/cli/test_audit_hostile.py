"""Every hostile bundle and configuration of the matrix has its finding, and the clean installation has none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stage4.audit.controls import CONTROLS
from stage4.clock import format_instant
from support.certificates import NOW
from support.hostile.cases import Case
from support.hostile.ground import CRL, RING, Answer, Ground, clean, copied
from support.hostile.harmless import HARMLESS
from support.hostile.matrix import MATRIX

REFUSED = "error"
# What a run says of its own time and place, and nothing else, may differ between two runs.
TIMES = {"checked_at", "started_at", "stored", "evidence", "summary_signature"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return clean(tmp_path_factory.mktemp("hostile") / "clean")


@pytest.fixture
def ground(made: Ground, tmp_path: Path) -> Iterator[Ground]:
    yield copied(made, tmp_path / "desk")
    # Hundreds of installations are too much to keep until the next runs.
    shutil.rmtree(tmp_path, ignore_errors=True)


def rows(*names: str) -> list[Case]:
    by_id = {row.id: row for row in MATRIX}
    return [by_id[name] for name in names]


def assert_answered(row: Case, answer: Answer) -> None:
    """The expected findings are there, with the verdict and exit code that follow from them."""
    assert answer.code != 70, answer.stderr
    assert answer.document["status"] != "ok"
    assert answer.document["exit_code"] == answer.code
    if row.outcomes == {REFUSED}:
        assert (answer.code, answer.document["error"]["code"]) == (2, row.expected[0].code)
        return
    found = answer.findings("warn", "fail", "unknown", "waived")
    for each in row.expected:
        assert any(
            each.control == control and each.outcome == outcome and each.code in ("", code)
            for control, outcome, code in found
        ), found
    if answer.findings("fail"):
        assert (answer.code, answer.document["status"]) == (1, "fail")
    elif row.outcomes & {"unknown"}:
        assert (answer.code, answer.document["status"], answer.document["verdict"]) == (3, "fail", "cannot tell")
    else:
        assert (answer.code, answer.document["status"]) == (0, "warn")


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.id)
def test_a_hostile_condition_is_found_and_nothing_secret_is_said(row: Case, ground: Ground) -> None:
    if row.as_root and os.geteuid() != 0:
        pytest.skip("only root gives files to another account")
    row.spoil(ground)

    answer = ground.audit(*row.flags)

    assert_answered(row, answer)
    # Where nothing worse was made than a warning, nothing worse may be said.
    assert row.outcomes != {"warn"} or not answer.findings("fail", "unknown")
    assert ground.leaks(answer) == []


@pytest.mark.parametrize("row", HARMLESS, ids=lambda row: row.id)
def test_what_is_unusual_and_right_is_no_finding(row: Case, ground: Ground) -> None:
    row.spoil(ground)

    answer = ground.audit(*row.flags)

    # That settings or CAs are others than yesterday is said of every change.
    changes = {("AUD-02", "warn", f"{code}_changed") for code in ("audit_report.settings", "exposure.authorities")}
    assert answer.findings("warn", "fail", "unknown") - changes == set()


def test_the_clean_installation_is_ok_and_two_runs_differ_in_their_time_only(made: Ground, tmp_path: Path) -> None:
    runs, looked_at = [], []
    for second in range(2):
        ground = copied(made, tmp_path / "desk")
        answer = ground.audit("--check-paths", now=NOW + timedelta(seconds=second))
        assert (answer.code, answer.document["status"]) == (0, "ok")
        assert answer.findings("warn", "fail", "unknown") == set()
        assert ground.leaks(answer) == []
        evidence = json.loads((Path(answer.document["stored"]).parent / "evidence.json").read_bytes())
        assert evidence["evidence"].pop("collected_at") == answer.document["checked_at"]
        runs.append(answer.document)
        looked_at.append(evidence)
        ground.root.rename(tmp_path / f"desk-{second}")

    assert without_times(runs[0]) == without_times(runs[1])
    assert looked_at[0] == looked_at[1]
    assert runs[0]["checked_at"] != runs[1]["checked_at"]


def without_times(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in document.items() if name not in TIMES}


def test_the_matrix_has_hundreds_of_rows_and_one_for_every_control() -> None:
    names = [row.id for row in MATRIX]

    assert len(names) == len(set(names))
    assert len(names) >= 200
    assert {row.what for row in MATRIX if [r.what for r in MATRIX].count(row.what) > 1} == set()
    assert {control.id for control in CONTROLS} == {each.control for row in MATRIX for each in row.expected} - {"-"}


def audited_alone(ground: Ground, *before: str) -> Answer:
    """The script of the installation in a process of its own, behind the words `before`."""
    script = str(ground.root / "scripts/audit_stage4_compliance.py")
    argv = [*before, sys.executable, script, "--root", str(ground.root), "--at", format_instant(NOW)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **ground.environ}
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environ)
    return Answer(ran.returncode, json.loads(ran.stdout), ran.stderr)


END_TO_END = rows(
    "time-server-expired",
    "role-client-other-purpose",
    "issuer-server-same-identifier",
    "strength-client-sha1",
    "crl-server-revoked",
    "file-server-fifo",
    "settings-tls-list",
    "token-inline",
    "registry-tls-list",
    "log-deleted",
)


@pytest.mark.parametrize("row", END_TO_END, ids=lambda row: row.id)
def test_the_command_itself_says_so_in_a_process_of_its_own(row: Case, ground: Ground) -> None:
    row.spoil(ground)

    answer = audited_alone(ground)
    assert_answered(row, answer)
    assert "Traceback" not in answer.stderr
    assert ground.leaks(answer) == []


def test_what_may_not_be_read_is_told_of_as_unknown_file_by_file(ground: Ground) -> None:
    """Root reads everything, so it gives that right away first."""
    powerless = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    if os.geteuid() == 0 and shutil.which(powerless[0]) is None:
        pytest.skip("root reads everything here")
    locked = ("server-key", "ca")
    for path in (
        *map(ground.file, locked),
        ground.root / CRL,
        ground.registry("tls"),
        ground.root / RING,
        ground.root / "secrets/alertmanager.token",
    ):
        path.chmod(0)

    answer = audited_alone(ground, *(powerless if os.geteuid() == 0 else ()))

    unread = {control for control, _, code in answer.findings("unknown") if code == "files.unreadable"}
    assert {"X509-01", "X509-14", "ROT-01", "DLOG-01", "RBAC-03"} <= unread
    assert answer.code == 1
    assert "Traceback" not in answer.stderr
