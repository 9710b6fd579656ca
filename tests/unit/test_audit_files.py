"""What is seen of modes, owners, directories, links, repositories and odd things in the place of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stage4 import words
from stage4.audit import collect_files
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import DirectoryFacts, Evidence
from stage4.audit.finding import Outcome
from stage4.audit.reading import is_there
from stage4.errors import ExitCode
from support import audits
from support.audit_examples import file
from support.audit_rooms import Room, copied
from support.audits import NOW, POLICY, demo_installation

RULES = {control.id: control for control in CONTROLS}
KEY = "secrets/mtls/core-oem-server-key.pem"
CERTIFICATE = "secrets/mtls/core-oem-server.pem"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("files") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def room(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Room:
    return copied(made[0], tmp_path / "demo", made[1])


@pytest.fixture
def outside() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, "-C", str(directory), *words], check=True, capture_output=True)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o666, 0o602, 0o777])
def test_a_secret_that_others_may_touch_fails(room: Room, mode: int) -> None:
    (room.root / KEY).chmod(mode)

    assert ("FS-01", KEY, "audit.mode_open") in room.wrong("FS")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_of_its_account_alone_passes(room: Room, mode: int) -> None:
    (room.root / KEY).chmod(mode)

    assert not room.wrong("FS")


@pytest.mark.parametrize(
    "relative",
    [
        "secrets/detector.token",
        "secrets/stage4.env",
        "secrets/decision_log/old.key",
        "secrets/decision_log/checkpoint-x.json",
    ],
)
def test_every_sort_of_secret_file_is_looked_at(room: Room, relative: str) -> None:
    path = room.root / relative
    path.touch()
    path.chmod(0o644)

    assert ("FS-01", relative, "audit.mode_open") in room.wrong("FS")


def test_secret_files_that_the_settings_name_are_looked_at(room: Room) -> None:
    room.edit("- directory: var/checkpoints-outside", "- {url: 'http://127.0.0.1:1', token_file: place.token}")
    room.edit("hmac_key_env: LIVE_DECISION_LOG_HMAC", "hmac_key_path: router.key")
    room.edit("# - {id: ops-trading-slack", "- {id: ops-trading-slack")
    for name in ("place.token", "router.key", "secrets/slack_webhook"):
        (room.root / name).write_text("x")
        (room.root / name).chmod(0o644)

    subjects = {subject for control, subject, _ in room.wrong("FS") if control == "FS-01"}

    assert {"place.token", "router.key", "secrets/slack_webhook"} <= subjects


@pytest.mark.parametrize("relative", ["config/core.yaml", "ops/operators.yaml", "playbooks/stage4_support.yaml"])
def test_what_says_who_may_do_what_is_not_for_others_to_change(room: Room, relative: str) -> None:
    (room.root / relative).chmod(0o666)
    (room.root / relative).parent.chmod(0o777)

    directory = str(Path(relative).parent)
    assert {("FS-02", relative, "audit.writable"), ("FS-02", directory, "audit.directory_open")} <= room.wrong("FS")


@pytest.mark.parametrize("relative", ["var/runtime/overrides", "var/runtime"])
def test_where_stops_lie_nobody_else_may_write(room: Room, relative: str) -> None:
    (room.root / relative).chmod(0o1777)

    assert room.wrong("FS") == {("FS-02", relative, "audit.directory_open")}


def test_a_directory_or_a_pipe_in_the_place_of_a_secret_fails_and_nobody_waits(room: Room) -> None:
    for number, make in enumerate((Path.mkdir, os.mkfifo)):
        path = room.root / ("secrets/detector.token", "secrets/alertmanager.token")[number]
        path.unlink()
        make(path)

    wrong = room.wrong("FS", "RBAC")

    for name in ("detector", "alertmanager"):
        assert ("FS-01", f"secrets/{name}.token", "files.unreadable") in wrong
        assert any(control == "RBAC-03" and subject == f"operations/{name}" for control, subject, _ in wrong)


def test_a_registry_without_end_is_not_read_to_its_end(room: Room) -> None:
    for name in ("tls", "key"):
        with (room.root / f"var/security/{name}_rotation.json").open("wb") as out:
            out.truncate(1 << 42)

    answer = room.audit("--check-paths")

    assert answer.code == ExitCode.CANNOT_TELL
    assert {f[2] for f in answer.results("fail", "unknown") if f[0] == "ROT-01"} == {"files.too_large"}


def test_a_link_that_goes_in_a_circle_is_no_pass(room: Room) -> None:
    path = room.root / "secrets/detector.token"
    path.unlink()
    path.symlink_to(path)

    findings = {f.control: f.outcome for f in room.findings() if "detector" in f.subject}

    assert findings["FS-01"] is findings["RBAC-03"] is Outcome.UNKNOWN


def test_a_secret_behind_a_directory_that_nobody_may_enter_is_unknown(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may enter everything, so the answer of the system is made."""
    real = Path.stat

    def denied(path: Path, **options: bool) -> os.stat_result:
        if "mtls" in path.parts:
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", denied)

    findings = {(f.control, f.subject): f.outcome for f in room.findings() if f.control.startswith("FS")}

    assert findings["FS-01", KEY] is Outcome.UNKNOWN
    assert findings["FS-02", "secrets/mtls"] is Outcome.UNKNOWN
    assert is_there(room.root / KEY)


def test_a_missing_secret_is_named_by_the_control_of_what_is_in_it(room: Room) -> None:
    (room.root / KEY).unlink()
    (room.root / "secrets/detector.token").unlink()

    answer = room.audit("--check-paths")

    named = {(f["check"], f["subject"]) for f in answer.document["issues"] if f["code"] == "files.missing"}
    assert named == {("X509-01", KEY), ("RBAC-03", "operations/detector")}
    assert {("FS-01", KEY, "files.missing"), ("FS-05", KEY, "files.missing")} <= answer.results("fail")


@pytest.mark.parametrize(
    ("facts", "outcome", "code"),
    [
        (DirectoryFacts("secrets", 0o700, owner=1000), Outcome.PASS, "audit.directory_closed"),
        (DirectoryFacts("secrets", 0o700, owner=0), Outcome.PASS, "audit.directory_closed"),
        (DirectoryFacts("secrets", 0o700, owner=1001), Outcome.FAIL, "audit.directory_foreign"),
        (DirectoryFacts("secrets", 0o777, owner=1000), Outcome.FAIL, "audit.directory_open"),
        (DirectoryFacts("secrets", 0o1777, owner=1000), Outcome.FAIL, "audit.directory_open"),
        (DirectoryFacts("secrets", 0o770, owner=1000, shared_group=True), Outcome.WARN, "audit.directory_group"),
        (DirectoryFacts("secrets", 0o770, owner=1000), Outcome.PASS, "audit.directory_closed"),
        (DirectoryFacts("/tmp", 0o1777, above=True, owner=0), Outcome.PASS, "audit.directory_closed"),
        (DirectoryFacts("/srv", 0o777, above=True, owner=0), Outcome.FAIL, "audit.directory_open"),
        (DirectoryFacts("/srv", 0o755, above=True, owner=1001), Outcome.FAIL, "audit.directory_foreign"),
        (DirectoryFacts("/srv", 0o755, above=True, owner=65534), Outcome.PASS, "audit.directory_closed"),
        (DirectoryFacts("secrets", 0o755, owner=65534), Outcome.FAIL, "audit.directory_foreign"),
    ],
)
def test_a_directory_is_judged_by_who_may_rename_what_is_in_it(
    facts: DirectoryFacts, outcome: Outcome, code: str
) -> None:
    findings = RULES["FS-02"].judge(audits.files(directories=(facts,)), POLICY, NOW)

    assert [(finding.outcome, finding.code) for finding in findings] == [(outcome, code)]


@pytest.mark.parametrize(
    ("evidence", "control", "command"),
    [
        (file(path="secrets/my key", mode=0o644), "FS-01", "chmod 600 'secrets/my key'"),
        (file(path="secrets/key", owner=1001), "FS-01", "chown --reference=. secrets/key"),
        (file(path="ops/x.yaml", secret=False, mode=0o666), "FS-02", "chmod go-w ops/x.yaml"),
        (audits.files(directories=(DirectoryFacts("ops", 0o777),)), "FS-02", "chmod o-w ops"),
        (audits.files(directories=(DirectoryFacts("ops", 0o755, owner=1001),)), "FS-02", "chown --reference=. ops"),
        (audits.files(directories=(DirectoryFacts("/srv", 0o755, True, 1001),)), "FS-02", "chown root /srv"),
        (audits.files(tracked=("secrets/-k",)), "FS-04", "git rm --cached -- secrets/-k"),
        (audits.files(world_writable_home=True), "FS-04", "move the whole installation"),
    ],
)
def test_the_next_step_is_a_command_for_that_very_file(evidence: Evidence, control: str, command: str) -> None:
    findings = [f for f in RULES[control].judge(evidence, POLICY, NOW) if f.outcome is Outcome.FAIL]

    assert any(command in str(words.hint(f.code, "en", **f.params)) for f in findings)


def test_of_the_directories_above_the_worst_is_told() -> None:
    above = (
        DirectoryFacts("/", 0o755, above=True),
        DirectoryFacts("/srv", 0o775, above=True, shared_group=True),
        DirectoryFacts("/srv/x", 0o777, above=True),
    )

    findings = RULES["FS-02"].judge(audits.files(directories=above), POLICY, NOW)

    assert [(f.subject, f.params["path"]) for f in findings] == [("above", "/srv/x")]


def test_the_way_that_a_link_leads_is_judged_too(room: Room, outside: Path) -> None:
    outside.chmod(0o777)
    shutil.move(room.root / "secrets/mtls", outside / "mtls")
    (room.root / "secrets/mtls").symlink_to(outside / "mtls")

    wrong = room.wrong("FS")

    assert ("FS-02", "above", "audit.directory_open") in wrong
    assert ("FS-02", KEY, "audit.link_outside") in wrong


def test_a_link_within_the_installation_is_nobodys_business(room: Room) -> None:
    shutil.move(room.root / "secrets/mtls", room.root / "secrets/mtls-2026")
    (room.root / "secrets/mtls").symlink_to("mtls-2026")

    assert not room.wrong("FS")


def test_a_second_name_of_a_secret_is_a_warning(room: Room) -> None:
    (room.root / "ops/copy.pem").hardlink_to(room.root / KEY)

    assert room.wrong("FS") == {("FS-02", KEY, "audit.hard_links")}


def test_a_secret_below_a_temporary_directory_fails_where_the_installation_is_elsewhere() -> None:
    key, certificate = audits.FILES.facts
    evidence = audits.files(facts=(replace(key, temporary=True), certificate))

    findings = RULES["FS-04"].judge(evidence, POLICY, NOW)

    assert (key.path, "audit.temporary_secret") in {(f.subject, f.code) for f in findings}


def test_a_file_that_a_group_may_write_is_judged_by_who_is_in_it() -> None:
    key, certificate = audits.FILES.facts
    own = audits.files(facts=(key, replace(certificate, mode=0o664)))
    shared = audits.files(facts=(key, replace(certificate, mode=0o664, shared_group=True)))

    assert {f.outcome for f in RULES["FS-02"].judge(own, POLICY, NOW)} == {Outcome.PASS}
    assert Outcome.FAIL in {f.outcome for f in RULES["FS-02"].judge(shared, POLICY, NOW)}


def test_a_group_of_one_is_no_reason_to_worry() -> None:
    assert not collect_files._has_other_members(0, os.getuid())
    assert collect_files._has_other_members(54321, 1000)
    assert not collect_files._has_other_members(54321, 54321)


def test_a_secret_in_a_repository_of_its_own_below_the_root_is_found(room: Room) -> None:
    git(room.root / "secrets", "init", "-q")
    git(room.root / "secrets", "add", "-f", "mtls")

    tracked = {subject for control, subject, _ in room.wrong("FS") if control == "FS-04"}

    assert tracked == {KEY, "secrets/mtls/core-oem-client-key.pem"}


def test_a_secret_in_a_work_tree_and_in_a_submodule_is_found(room: Room, tmp_path: Path) -> None:
    git(room.root, "init", "-q")
    git(room.root, "add", "-f", KEY, "config")
    git(room.root, "commit", "-qm", "oops")
    tree = tmp_path / "tree"
    git(room.root, "worktree", "add", "-q", str(tree))
    (tree / KEY).chmod(0o600)
    assert ("FS-04", KEY, "audit.tracked") in Room(tree, room.environ).wrong("FS")

    home = tmp_path / "home"
    home.mkdir()
    git(home, "init", "-q")
    git(home, "submodule", "add", "-q", str(room.root), "desk")
    (home / "desk" / KEY).chmod(0o600)

    assert (home / "desk/.git").is_file()
    assert ("FS-04", KEY, "audit.tracked") in Room(home / "desk", room.environ).wrong("FS")


def test_a_secret_that_is_tracked_and_gone_is_still_published(room: Room) -> None:
    git(room.root, "init", "-q")
    git(room.root, "add", "-f", KEY)
    (room.root / KEY).unlink()

    assert ("FS-04", KEY, "audit.tracked") in room.wrong("FS")


def test_git_takes_the_name_of_a_file_as_it_is(room: Room) -> None:
    room.edit("token_file: secrets/detector.token", "token_file: ':(top)*'")
    (room.root / ":(top)*").write_text("x")
    (room.root / ":(top)*").chmod(0o600)
    git(room.root, "init", "-q")
    git(room.root, "add", "config")

    assert not {finding for finding in room.wrong("FS") if finding[0] == "FS-04"}


def test_a_broken_repository_leaves_the_question_open(room: Room) -> None:
    (room.root / ".git").write_text("gitdir: /nowhere\n", encoding="utf-8")

    assert ("FS-04", "git", "audit.git_unknown") in room.wrong("FS")


def test_without_any_secret_file_nothing_is_said_to_be_unpublished(room: Room) -> None:
    shutil.rmtree(room.root / "secrets")

    outcomes = {f.outcome for f in room.findings() if f.control == "FS-04"}

    assert outcomes == {Outcome.UNKNOWN}
