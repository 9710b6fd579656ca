"""Whatever becomes of the standard streams, a script ends with its verdict and never with a traceback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.installation import Installed, Outcome, clean_environ

BASELINE = "python scripts/audit_security_baseline.py"
VERIFY = "python scripts/verify_decision_log.py"
REHEARSED_STOP = "python scripts/disable_multi_strategy.py --reason drill --dry-run"
WRONG = "python scripts/verify_decision_log.py --no-such-option"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed.make(tmp_path_factory.mktemp("streams") / "house")


@pytest.mark.parametrize(("line", "code"), [(BASELINE, 0), (VERIFY, 3), (REHEARSED_STOP, 0), (WRONG, 2)])
def test_a_closed_stderr_leaves_stdout_to_the_document(house: Installed, line: str, code: int) -> None:
    outcome = house.shell(f"{line} 2>&-")
    assert outcome.code == code
    assert outcome.document["schema"]


@pytest.mark.parametrize(("line", "code"), [(BASELINE, 0), (VERIFY, 3), (REHEARSED_STOP, 0), (WRONG, 2)])
@pytest.mark.parametrize("redirection", [">&-", "2>&1 >&-", "<&- >&-"])
def test_a_closed_stdout_does_not_change_the_verdict(house: Installed, line: str, code: int, redirection: str) -> None:
    outcome = house.shell(f"{line} {redirection}")
    assert (outcome.code, "Traceback" in outcome.err + outcome.out) == (code, False)


@pytest.mark.parametrize(("line", "code"), [(BASELINE, 0), (VERIFY, 3), (WRONG, 2)])
def test_a_reader_who_went_away_does_not_change_the_verdict(house: Installed, line: str, code: int) -> None:
    outcome = house.shell(f"(sleep 0.2; {line}; echo code=$? >&2) | true")
    assert f"code={code}" in outcome.err
    assert "Traceback" not in outcome.err


def test_nobody_hearing_what_is_said_does_not_stop_the_stop(tmp_path: Path) -> None:
    house = Installed.make(tmp_path / "house")
    shown = house.shell(
        "(sleep 0.2; python scripts/disable_multi_strategy.py --reason r --wait 0 2>&1; echo $? > code) | true"
    )
    assert shown.code == 0
    assert (house.root / "code").read_text().strip() == "3"
    assert house.stop_file.exists()
    assert house.entries(kind="scheduler_stop_requested")


@pytest.mark.parametrize(("line", "code"), [(BASELINE, 3), (VERIFY, 3), (WRONG, 2)])
def test_a_full_disk_behind_stdout_is_told_on_stderr(house: Installed, line: str, code: int) -> None:
    outcome = house.shell(f"{line} > /dev/full")
    assert outcome.code == code
    assert outcome.error


@pytest.mark.parametrize(
    "line", [WRONG[:-6] + "\udcff", f"STAGE4_ROOT=/nowhere/\udcff {BASELINE}", BASELINE + " --at \udcff"]
)
def test_arguments_that_are_no_utf8_are_a_wrong_call(house: Installed, line: str) -> None:
    outcome = raw_shell(house.root, line)
    assert outcome.code == 2
    assert json.loads(outcome.out)["exit_code"] == 2
    assert outcome.error


def test_a_terminal_that_cannot_spell_the_words_gets_escapes(house: Installed) -> None:
    outcome = house.shell("STAGE4_LANG=pl PYTHONIOENCODING=ascii stage4 config check")
    assert (outcome.code, "Traceback" in outcome.err, "bug:" in outcome.err) == (0, False, False)


def raw_shell(root: Path, line: str) -> Outcome:
    """A command line whose bytes need not be UTF-8, and whose words come back byte for byte."""
    argv: list[str | bytes] = ["sh", "-c", b". ./env.sh && " + line.encode("utf-8", "surrogateescape")]
    ended = subprocess.run(argv, cwd=root, env=clean_environ(), capture_output=True, check=False, timeout=60)
    return Outcome(ended.returncode, ended.stdout.decode(), ended.stderr.decode("utf-8", "replace"))
