"""`stage4 rotation`: the table, the plan, a rotation recorded by hand, a bundle renewed; refusals with a next step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stage4.app.installing import create, read_environment
from stage4.cli import main as stage4
from stage4.clock import SystemClock, format_instant
from stage4.security.rotation_journal import journal_path
from support.certificates import make, pem

TLS, KEYS = "var/security/tls_rotation.json", "var/security/key_rotation.json"
REASON = ("--reason", "planned")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demonstration installation of now; the working directory."""
    root = tmp_path / "demo"
    create(root, SystemClock(), installation_id="rotated")
    monkeypatch.chdir(root)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    for name, value in read_environment(root).items():
        monkeypatch.setenv(name, value)
    return root


class Answers:
    """Runs `stage4 rotation`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str, code: int = 0) -> str:
        """What the command says, on both streams."""
        assert stage4(["rotation", *argv]) == code
        said = self._capsys.readouterr()
        return said.out + said.err

    def document(self, *argv: str, code: int = 0) -> Any:
        assert stage4(["--json", "rotation", *argv]) == code
        document = json.loads(self._capsys.readouterr().out)
        assert document["exit_code"] == code
        return document


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answers:
    return Answers(capsys)


def later(**span: float) -> str:
    return format_instant((SystemClock().now() + timedelta(**span)).replace(microsecond=0))


def edit(root: Path, relative: str, change: Callable[[Any], Any]) -> None:
    path = root / relative
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def everything(root: Path) -> dict[str, bytes]:
    """Every file of the installation but the lock."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


def entries(root: Path) -> list[dict[str, Any]]:
    log = root / "audit/decision_logs/runtime.jsonl"
    read = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [entry for entry in read if entry["kind"] == "rotation"]


def test_the_list_has_every_key_with_its_interval_and_the_worst_first(root: Path, answer: Answers) -> None:
    edit(root, KEYS, lambda rows: rows | {"old::thing": "2020-01-01T00:00:00Z"})
    lines = answer("list", "--at", later(days=55)).splitlines()
    assert lines[0].split() == ["key", "purpose", "last", "rotated", "interval", "due", "days", "left", "state"]
    assert lines[1].split()[:2] == ["core-oem", "metrics-token"]
    assert lines[1].endswith("due")
    assert [line.split()[1] for line in lines[2:6]] == ["tls_ca", "tls_client", "tls_server", "decision-log"]
    assert lines[6].endswith("overdue (not required)")

    document = answer.document("list", "--at", later(days=55))
    assert [row["interval_days"] for row in document["rotations"]] == [60.0, 90.0, 90.0, 90.0, 90.0, 90.0]
    assert document["rotations"][0]["days_left"] == 5.0


def test_the_list_is_spoken_in_polish(root: Path, answer: Answers) -> None:
    said = answer("list", "--lang", "pl")
    assert "ostatnia rotacja" in said
    assert "aktualna" in said


@pytest.mark.parametrize(
    ("argv", "state"), [(("--at", later(days=61)), "overdue"), (("--at", "2020-01-01T00:00:00Z"), "future")]
)
def test_what_is_overdue_or_dated_to_come_is_exit_1(
    argv: tuple[str, str], state: str, root: Path, answer: Answers
) -> None:
    document = answer.document("list", *argv, code=1)
    assert document["rotations"][0]["state"] == state


def test_what_was_never_recorded_is_exit_1(root: Path, answer: Answers) -> None:
    edit(root, TLS, lambda rows: {})
    assert [row["state"] for row in answer.document("list", code=1)["rotations"]][:3] == ["missing"] * 3


def test_a_row_that_cannot_be_read_is_named_and_is_exit_1(root: Path, answer: Answers) -> None:
    edit(root, KEYS, lambda rows: rows | {"a::b": 17})
    said = answer("list", code=1)
    assert "a::b: the value is not an instant in UTC" in said
    assert answer.document("list", code=1)["registries"][1]["bad_rows"] == [
        {"row": "a::b", "code": "security.registry_row_instant"}
    ]


@pytest.mark.parametrize("content", ["[]", "{", "\ufeff{}", None])
def test_a_registry_that_cannot_be_read_leaves_it_open(content: str | None, root: Path, answer: Answers) -> None:
    path = root / TLS
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    document = answer.document("list", code=3)
    assert [row["state"] for row in document["rotations"]][:3] == ["unknown"] * 3
    answer("plan", code=3)


def test_a_window_as_long_as_the_interval_is_said(root: Path, answer: Answers) -> None:
    core = root / "config/core.yaml"
    core.write_text(core.read_text().replace("interval_days: 60, warn_within_days: 10", "interval_days: 7"))
    assert "the warning window (14 days) is not shorter than the interval (7 days)" in answer("list")


def test_a_row_full_of_control_characters_cannot_write_on_the_terminal(root: Path, answer: Answers) -> None:
    edit(root, KEYS, lambda rows: rows | {"a\x1b[2J::b": "2026-11-23T09:42:01Z", "x" * 5000: 1})
    said = answer("list", code=1)
    assert "\x1b" not in said
    assert "a\ufffd[2J::b" in said
    assert "x" * 200 not in said


def test_a_bar_and_colour_are_for_terminals_only(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stage4(["rotation", "list"]) == 0
    assert "░" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert stage4(["rotation", "list", "--at", later(days=45)]) == 0
    assert "█████" in capsys.readouterr().out


def test_the_plan_names_the_command_for_each_in_the_order_they_fall_due(root: Path, answer: Answers) -> None:
    assert "nothing falls due in the next 30 days" in answer("plan")
    document = answer.document("plan", "--days", "90")
    assert [(step["command"], [row["purpose"] for row in step["rotations"]]) for step in document["steps"]] == [
        ("stage4 rotation mark core-oem metrics-token --reason …", ["metrics-token"]),
        ("stage4 rotation rotate --bundle core-oem", ["tls_ca", "tls_client", "tls_server"]),
        ("stage4 rotation mark live-router decision-log --reason …", ["decision-log"]),
    ]
    assert "replace the key, then: stage4 rotation mark live-router" in answer("plan", "--days", "90")


def test_the_plan_says_a_command_that_settles_several_rows_once(root: Path, answer: Answers) -> None:
    edit(root, TLS, lambda rows: {row: at for row, at in rows.items() if row != "core-oem::tls_client"})

    said = answer("plan", "--days", "90").splitlines()

    assert said[0] == "-  core-oem::tls_client, core-oem::tls_ca, core-oem::tls_server  missing"
    assert sum("rotation rotate" in line for line in said) == 1


def test_the_plan_does_not_call_empty_what_could_not_be_read(root: Path, answer: Answers) -> None:
    (root / TLS).unlink()

    said = answer("plan", code=3)

    assert "nothing falls due" not in said
    lines = [line for line in said.splitlines() if line.startswith("cannot tell")]
    assert lines == [
        f"cannot tell  core-oem::{purpose}  {TLS} cannot be read" for purpose in ("tls_ca", "tls_client", "tls_server")
    ]
    assert f"error: file {TLS} does not exist" in said
    assert len(answer.document("plan", code=3)["unread"]) == 3
    edit(root, KEYS, lambda rows: rows | {"live-router::decision-log": "2020-01-01T00:00:00Z"})
    assert "stage4 rotation mark live-router" in answer("plan", code=3)


def test_paths_are_named_as_the_audit_names_them(root: Path, answer: Answers) -> None:
    assert str(root) not in answer("rotate", "--dry-run") + answer("mark", "core-oem", "tls_ca", *REASON)
    assert [each["path"] for each in answer.document("list")["registries"]] == [TLS, KEYS]
    edit(root, TLS, lambda rows: rows | {"x": 1})
    (root / KEYS).write_text("[]")
    said = answer("list", code=1)
    assert str(root) not in said
    assert f"{TLS}: row x:" in said


def test_in_production_the_plan_leaves_certificates_to_people(root: Path, answer: Answers) -> None:
    core = root / "config/core.yaml"
    core.write_text(core.read_text().replace("installation: demo", "installation: production"))
    assert {step["by_hand"] for step in answer.document("plan", "--days", "90")["steps"]} == {True}
    said = answer("plan", "--days", "90")
    assert "install a new certificate with a new key, then: stage4 rotation mark core-oem tls_server" in said
    assert "where PURPOSE is tls_ca, tls_server and tls_client in turn" in answer("rotate", "--dry-run", code=4)


def test_a_token_is_recorded_by_hand(root: Path, answer: Answers) -> None:
    at = later(hours=-1)
    said = answer("mark", "Core-OEM", "metrics-token", "--at", at, *REASON)
    assert f"rotation core-oem::metrics-token at {at} is in registry" in said
    assert json.loads((root / KEYS).read_text())["core-oem::metrics-token"] == at
    assert (root / KEYS).stat().st_mode & 0o777 == 0o600
    (entry,) = entries(root)
    assert (entry["category"], entry["status"]) == ("security", "marked")
    told = entry["metadata"]
    assert (told["key"], told["purpose"], told["rotated_at"], told["reason"]) == (
        "core-oem",
        "metrics-token",
        at,
        "planned",
    )


def test_a_certificate_is_recorded_where_it_agrees(root: Path, answer: Answers) -> None:
    document = answer.document("mark", "core-oem", "tls_server", *REASON)
    assert document["seq"] == 1
    assert json.loads((root / TLS).read_text())["core-oem::tls_server"] == document["rotated_at"]


def test_a_certificate_of_long_ago_is_not_taken_for_a_new_one(root: Path, answer: Answers) -> None:
    begins: datetime = SystemClock().now() - timedelta(days=60)
    (root / "secrets/mtls/core-oem-server.pem").write_bytes(pem(make("old", begins=begins).certificate))
    before = everything(root)
    said = answer("mark", "core-oem", "tls_server", *REASON, code=4)
    assert "hint: install the new certificate first" in said
    said = answer("mark", "core-oem", "tls_server", "--at", later(days=-90), *REASON, code=4)
    assert "hint: give --at" in said
    assert everything(root) == before
    at = format_instant(begins.replace(microsecond=0))
    assert answer.document("mark", "core-oem", "tls_server", "--at", at, *REASON)["rotated_at"] == at


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("core-oem", "metrics-token", "--at", later(hours=1)), 4, "is in the future"),
        (("core-oem", "metrics-token", "--at", "yesterday"), 2, "yesterday"),
        (("core-oem", "metrics-tokn"), 2, "core-oem::metrics-tokn is not under rotation"),
        (("other", "tls_server"), 2, "other::tls_server is not under rotation"),
        (("a::b", "c"), 2, "'a::b'"),
        (("", "c"), 2, "must not be empty"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_changes_nothing(
    argv: tuple[str, ...], code: int, said: str, root: Path, answer: Answers
) -> None:
    before = everything(root)
    assert said in answer("mark", *argv, *REASON, code=code)
    assert everything(root) == before


def test_another_account_records_nothing(root: Path, answer: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(root)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert "hint: run the command as the service's account" in answer("mark", "core-oem", "tls_ca", *REASON, code=4)
    assert "hint: run the command as the service's account" in answer("rotate", code=4)
    assert everything(root) == before


@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "x" * 501])
def test_a_reason_is_needed_and_is_one_line(reason: str, root: Path, answer: Answers) -> None:
    answer("mark", "core-oem", "metrics-token", "--reason", reason, code=2)
    assert not entries(root)


def test_without_the_log_nothing_is_recorded_and_nothing_renewed(root: Path, answer: Answers) -> None:
    next((root / "secrets/decision_log").glob("*.key")).unlink()
    for _ in range(2):
        before = everything(root)
        answer("mark", "core-oem", "metrics-token", *REASON, code=3)
        answer("rotate", code=3)
        assert everything(root) == before
        (root / "secrets/decision_log/keyring.json").unlink(missing_ok=True)


def test_a_dry_run_shows_the_plan_and_changes_nothing(root: Path, answer: Answers) -> None:
    before = everything(root)
    said = answer("rotate", "--bundle", "core-oem", "--dry-run").splitlines()
    assert said[0] == "dry run: bundle core-oem would be replaced by a new one; nothing was changed"
    assert [line.partition(".")[0] for line in said[1:10]] == list("123456789")
    assert answer.document("rotate", "--dry-run")["outcome"] == "planned"
    assert "would go into registry" in answer("mark", "core-oem", "tls_ca", *REASON, "--dry-run")
    assert everything(root) == before


def test_a_bundle_is_renewed_and_the_log_says_which(root: Path, answer: Answers) -> None:
    document = answer.document("rotate", "--bundle", "core-oem")
    (entry,) = entries(root)
    assert (entry["seq"], entry["status"]) == (document["seq"], "rotated")
    assert entry["metadata"]["new_fingerprints"] == document["new_fingerprints"]
    assert entry["metadata"]["old_fingerprints"] == document["old_fingerprints"]
    assert set(json.loads((root / TLS).read_text()).values()) == {document["rotated_at"]}
    for key in (root / "secrets/mtls").glob("*-key.pem"):
        assert key.read_text().splitlines()[1] not in json.dumps([entry, document])
    said = answer("rotate", "--lang", "pl")
    assert "każda rotacja tworzy całkiem nowe CA" in said
    assert "Niczego nie trzeba uruchamiać ponownie" in said


def test_what_the_settings_leave_to_people_is_said(root: Path, answer: Answers) -> None:
    core = root / "config/core.yaml"
    text = core.read_text()
    text = text.replace("client_ca_path: secrets/mtls/core-oem-ca.pem", "client_ca_path: secrets/trusted.pem")
    text = text.replace(
        "certificate_path: secrets/mtls/core-oem-server.pem",
        "certificate_path: secrets/own.pem\n      pinned_fingerprints: ['sha256:00']",
    )
    core.write_text(text)
    document = answer.document("rotate")
    assert [each["code"] for each in document["followups"]] == [
        "rotation.own_certificate",
        "rotation.copy_authority",
        "rotation.pinned",
    ]
    assert document["followups"][2]["params"]["fingerprint"] == f"sha256:{document['new_fingerprints']['server']}"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--bundle", "../etc"), 2, "cannot be the name of a bundle"),
        (("--bundle", "other"), 4, "the settings have no bundle other"),
        (("--bundle", ""), 2, "cannot be the name of a bundle"),
    ],
)
def test_a_bundle_that_is_not_there_is_refused(
    argv: tuple[str, ...], code: int, said: str, root: Path, answer: Answers
) -> None:
    before = everything(root)
    assert said in answer("rotate", *argv, code=code)
    assert everything(root) == before


def test_a_foreign_authority_and_a_link_out_are_refused(root: Path, answer: Answers) -> None:
    ca = root / "secrets/mtls/core-oem-ca.pem"
    kept = ca.read_bytes()
    ca.write_bytes(pem(make("theirs", ca=True).certificate))
    assert "comes from another CA" in answer("rotate", code=4)
    outside = root.parent / "ca.pem"
    outside.write_bytes(kept)
    ca.unlink()
    ca.symlink_to(outside)
    assert "outside the installation" in answer("rotate", code=4)


def test_an_interrupted_rotation_is_seen_by_every_command(root: Path, answer: Answers) -> None:
    answer("rotate")
    journal = {
        "schema": "stage4.rotation_journal/1",
        "rotation_id": "x",
        "bundle": "core-oem",
        "phase": "installing",
        "at": later(hours=-1),
        "backup": next((root / "var/security/backups").iterdir()).name,
        "old": entries(root)[0]["metadata"]["old_fingerprints"],
        "new": {},
        "rows": {"tls_ca": None},
    }
    journal_path(root, "core-oem").write_text(json.dumps(journal))
    assert answer.document("list", code=1)["unfinished"] == "core-oem"
    assert "a rotation of bundle core-oem was interrupted" in answer("plan")
    assert "was interrupted" in answer("mark", "core-oem", "tls_ca", *REASON, code=4)
    assert "would be finished or taken back" in answer("rotate", "--dry-run")
    assert answer.document("rotate", code=1)["outcome"] == "rolled_back"
    assert entries(root)[-1]["status"] == "rolled_back"
    # Its row was not there before, so it is not there now; the next rotation records it again.
    assert answer.document("rotate")["outcome"] == "rotated"
    answer("list")
