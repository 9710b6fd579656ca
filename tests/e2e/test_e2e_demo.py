"""The demonstration that plays itself: from the first alert to the closed incident and evidence that verifies."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.installation import Installed, Outcome
from support.programs import tool

STORY_SECONDS = 200
CLOSING = "closing"
SIGNERS = (("l1", "l1-anna"), ("l2", "l2-marek"), ("incident_manager", "im-zofia"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installed, Outcome]]:
    with Installed.make(tmp_path_factory.mktemp("demo") / "desk") as desk:
        yield desk, desk.stage4("demo", "--auto", "--duration", "40s", timeout=STORY_SECONDS)


def evidence(desk: Installed) -> Path:
    (folder,) = (desk.root / "var/evidence").glob("INC-*")
    return folder


def test_it_ends_with_a_closed_incident_and_names_its_evidence(told: tuple[Installed, Outcome]) -> None:
    desk, outcome = told
    assert outcome.code == 0, outcome.out + outcome.err
    assert str(evidence(desk)) in outcome.out


def test_everything_that_must_exist_exists_and_has_its_digest(told: tuple[Installed, Outcome]) -> None:
    folder = evidence(told[0])
    checked = subprocess.run(
        ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "L1.2/compliance.json" in names
    assert sum(name.startswith("L1.3/") and name.endswith(".png") for name in names) == 4
    for step, command in (
        ("L2.2", "load_test_scheduler.py"),
        ("L2.3", "watch_metrics_stream.py"),
        ("L2.4", "audit_security_baseline.py"),
    ):
        assert f"{step}/{command}.json" in names
        assert f"{step}/{command}.command_log.json" in names
    assert sum(name.startswith(f"{CLOSING}/STAGE4_SUPPORT_PLAYBOOK.") for name in names) >= 2


@pytest.mark.parametrize(("role", "person"), SIGNERS)
def test_ssh_keygen_accepts_every_signature(told: tuple[Installed, Outcome], role: str, person: str) -> None:
    folder = evidence(told[0])
    statement = folder / CLOSING / f"statement.{role}.{person}.json"
    argv = [tool("ssh-keygen"), "-Y", "verify", "-f", "allowed_signers", "-I", person, "-n", "stage4-signoff"]
    verified = subprocess.run(
        [*argv, "-s", f"{statement}.sig"], cwd=folder, input=statement.read_bytes(), capture_output=True, check=False
    )
    assert verified.returncode == 0, verified.stderr


def test_its_log_verifies_and_one_changed_byte_is_named(told: tuple[Installed, Outcome], tmp_path: Path) -> None:
    desk, _ = told
    assert desk.shell("python scripts/verify_decision_log.py audit/decision_logs/runtime.jsonl").code == 0
    altered = bytearray(desk.log.read_bytes())
    place = altered.index(b'"status":"acknowledged"') + 12
    altered[place] ^= 1
    copy = tmp_path / "runtime.jsonl"
    copy.write_bytes(altered)
    outcome = desk.shell(f"python scripts/verify_decision_log.py {copy}")
    assert outcome.code == 1
    (finding,) = outcome.document["findings"]
    assert finding["class"] == "edit"
    assert finding["line"] == altered[:place].count(b"\n") + 1


def test_the_scheduler_was_stopped_and_brought_back(told: tuple[Installed, Outcome]) -> None:
    kinds = [entry["kind"] for entry in told[0].entries()]
    for kind in ("scheduler_stop_requested", "scheduler_enabled", "rollback_completed", "incident_closed"):
        assert kind in kinds
    assert (
        kinds.index("scheduler_stop_requested") < kinds.index("scheduler_enabled") < kinds.index("rollback_completed")
    )


def test_an_audit_that_fails_makes_it_end_with_1(tmp_path: Path) -> None:
    with Installed.make(tmp_path / "desk") as desk:
        (desk.root / "secrets/mtls/core-oem-client.pem").write_text("cert")
        outcome = desk.stage4("demo", "--auto", "--duration", "20s", timeout=STORY_SECONDS)
    assert outcome.code == 1, outcome.out + outcome.err
    assert "L1.2" in outcome.out + outcome.err
