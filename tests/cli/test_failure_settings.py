"""Wrong settings, missing files, unreadable keys: the exit code and the words of every command, and never a traceback.

The tests may run as root, whom no file mode stops; a directory in a file's place cannot be read by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.installation import Installed, Outcome

SCRIPTS = {
    "audit_stage4_compliance.py": "stage4.audit/1",
    "audit_security_baseline.py": "stage4.security_baseline/1",
    "load_test_scheduler.py": "stage4.load_test/1",
    "verify_decision_log.py": "stage4.verify/1",
    "verify_decision_log.py summary --incident": "stage4.summary/1",
    "watch_metrics_stream.py": "stage4.watch/1",
}
COMMANDS = (("run",), ("serve",), ("config", "check"), ("incident", "list"), ("oncall", "who"))
# Whether a scheduler ran here before depends on the order of the tests.
NOBODY_ANSWERS = ((3, "stop.word_absent"), (3, "stop.word_silent"))
AUDITS = ("stage4.audit/1", "stage4.security_baseline/1")
BROKEN = {
    "no YAML": (b"runtime:\n", b"runtime: [\n", "line 6: not well-formed YAML"),
    "a wrong type": (b"cadence_seconds: 0.5", b"cadence_seconds: soon", "line 18: runtime.multi_strategy_schedulers."),
    "an unknown name": (b"risk_profile: balanced", b"risk_profile: balancd", "balancd"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with Installed.make(tmp_path_factory.mktemp("settings") / "desk") as made:
        yield made


@contextmanager
def damaged(path: Path, content: bytes | None = None) -> Iterator[None]:
    """The file missing, or with other content, and as it was afterwards."""
    sound, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    try:
        if content is not None:
            path.write_bytes(content)
        yield
    finally:
        path.write_bytes(sound)
        path.chmod(mode)


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    with damaged(path):
        path.mkdir()
        try:
            yield
        finally:
            path.rmdir()


@pytest.fixture(params=BROKEN)
def broken(installed: Installed, request: pytest.FixtureRequest) -> Iterator[str]:
    """Settings with one mistake; gives what every complaint about it has to name."""
    sound, wrong, named = BROKEN[request.param]
    core = installed.root / "config/core.yaml"
    with damaged(core, core.read_bytes().replace(sound, wrong, 1)):
        yield named


def complains(outcome: Outcome, code: int, named: str) -> None:
    assert outcome.code == code, outcome.err
    assert named in outcome.error
    assert outcome.err.count("error: ") == 1


def test_wrong_settings_are_exit_2_with_file_and_line_in_every_script(installed: Installed, broken: str) -> None:
    for script, schema in SCRIPTS.items():
        outcome = installed.shell(f"python scripts/{script}")
        if broken == "balancd" and schema in AUDITS:
            # Whether a schedule can start says nothing of certificates and tokens: the audit goes on and warns.
            assert outcome.code == 0
            assert schema != AUDITS[0] or f"'{broken}'" in outcome.err
            continue
        complains(outcome, 2, broken)
        document = outcome.document
        assert (document["schema"], document["exit_code"]) == (schema, 2)
        assert broken in document["error"]["message"]
        assert "config/core.yaml" in document["error"]["message"]
        if schema in AUDITS:
            assert (document["status"], document["verdict"]) == ("fail", "cannot tell")


def test_wrong_settings_are_exit_2_in_the_other_commands(installed: Installed, broken: str) -> None:
    for command in COMMANDS:
        outcome = installed.stage4(*command)
        complains(outcome, 2, broken)
        assert outcome.out == ""
    document = installed.stage4("--json", "config", "check").document
    assert (document["exit_code"], broken in document["error"]["message"]) == (2, True)


def test_wrong_settings_never_prevent_a_stop(installed: Installed, broken: str) -> None:
    outcome = installed.shell("python scripts/disable_multi_strategy.py --reason R --ticket T --wait 0s")
    try:
        assert (outcome.code, outcome.document["code"]) in NOBODY_ANSWERS
        (warning,) = outcome.document["warnings"]
        assert warning["code"] == "stop.settings_unreadable"
        assert broken in warning["message"]
        assert installed.stop_file.exists()
    finally:
        installed.stop_file.unlink()


def test_missing_settings_are_exit_2_with_a_way_out_and_never_prevent_a_stop(installed: Installed) -> None:
    with damaged(installed.root / "config/core.yaml"):
        for script in SCRIPTS:
            outcome = installed.shell(f"python scripts/{script}")
            complains(outcome, 2, "config/core.yaml is missing")
            assert "stage4 init" in outcome.hint
            assert outcome.document["error"]["code"] == "config.not_an_installation"
        for command in COMMANDS:
            complains(installed.stage4(*command), 2, "config/core.yaml is missing")
        try:
            for python in ("python", "env -u STAGE4_ROOT python"):
                stop = installed.shell(f"{python} scripts/disable_multi_strategy.py --reason R --wait 0s")
                assert (stop.code, stop.document["code"]) in NOBODY_ANSWERS
                assert installed.stop_file.exists()
                installed.stop_file.unlink()
        finally:
            installed.stop_file.unlink(missing_ok=True)


def test_outside_of_an_installation_a_stop_says_that_nothing_was_stopped(installed: Installed, tmp_path: Path) -> None:
    outcome = installed.stage4("--root", str(tmp_path), "disable", "--reason", "R")
    assert outcome.code == 2
    assert "stage4 init" in outcome.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("serve",), "ops/oncall_rotation.yaml"),
        (("oncall", "who"), "ops/oncall_rotation.yaml"),
        (("serve",), "playbooks/stage4_support.yaml"),
        (("serve",), "secrets/decision_log/keyring.json"),
        (("run",), "secrets/decision_log/keyring.json"),
        (("run",), "secrets/mtls/core-oem-server-key.pem"),
        (("watch", "--duration", "1s"), "secrets/mtls/core-oem-client-key.pem"),
    ],
)
def test_a_missing_or_unreadable_file_is_exit_3_and_named(
    installed: Installed, command: tuple[str, ...], path: str
) -> None:
    with damaged(installed.root / path):
        missing = installed.stage4(*command)
        assert missing.code == 3, missing.err
        assert path in missing.error
    with unreadable(installed.root / path):
        unread = installed.stage4(*command)
        assert unread.code == 3, unread.err
        assert path in unread.error
        assert unread.hint


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("run",), "secrets/mtls/core-oem-server-key.pem"),
        (("watch", "--duration", "1s"), "secrets/mtls/core-oem-client-key.pem"),
        (("serve",), "secrets/decision_log/keyring.json"),
        (("serve",), "ops/oncall_rotation.yaml"),
    ],
)
def test_a_file_of_garbage_is_named_and_ends_the_command(
    installed: Installed, command: tuple[str, ...], path: str
) -> None:
    with damaged(installed.root / path, b"\xff\x00 [garbage"):
        outcome = installed.stage4(*command)
        assert outcome.code in (2, 3)
        assert path in outcome.error


def test_an_unreadable_key_is_a_finding_of_the_audit(installed: Installed) -> None:
    with unreadable(installed.root / "secrets/mtls/core-oem-server-key.pem"):
        outcome = installed.shell("python scripts/audit_stage4_compliance.py --mtls-bundle-name core-oem")
    assert (outcome.code, outcome.document["status"]) == (1, "fail")
    assert "core-oem-server-key.pem" in json.dumps(outcome.document["issues"])
    assert "Traceback" not in outcome.err


def test_without_its_keyring_the_log_is_judged_by_its_chain_alone(installed: Installed) -> None:
    appended = installed.shell("python scripts/verify_decision_log.py summary --incident INC-20261123-0001")
    assert appended.code == 0
    with damaged(installed.root / "secrets/decision_log/keyring.json"):
        verified = installed.shell("python scripts/verify_decision_log.py")
        assert verified.code == 3, "the signatures cannot be judged"
        assert verified.document["findings"][0]["class"] == "unverifiable"
        refused = installed.shell("python scripts/verify_decision_log.py summary --incident INC-20261123-0001")
        assert refused.code == 3
        assert "keyring.json" in refused.error
    assert installed.shell("python scripts/verify_decision_log.py").code == 0


def test_a_log_that_is_not_there_cannot_be_judged(installed: Installed) -> None:
    outcome = installed.shell("python scripts/verify_decision_log.py audit/decision_logs/nothing.jsonl")
    assert outcome.code == 3
    assert "nothing.jsonl" in outcome.err
    assert outcome.document["schema"] == "stage4.verify/1"


def test_a_lost_latch_keeps_the_scheduler_stopped_and_alarms(installed: Installed) -> None:
    with damaged(installed.root / "var/runtime/gate.json"):
        running = installed.run()
        word = installed.word()
        assert word["state"] == "disabled"
        assert word["alarms"]
        assert running.end() == 0
