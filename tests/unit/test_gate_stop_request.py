"""What is asked of the kill switch, before and after the file stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stage4.errors import ExitCode, UsageError
from stage4.runtime import stop_report
from stage4.runtime.stop import ALL, OVERRIDES, StopFacts, StopReceipt, Word
from stage4.runtime.stop_request import LONGEST_TEXT, StopRequest, log_draft, shortened, stoppable_root

ASKED = StopRequest(ALL, "spread collapsed", "INC-20261123-0001", "l2-marek", "multi_strategy")


def receipt(root: Path, fault: str | None = None, *, latched: bool = True) -> StopReceipt:
    path = root / OVERRIDES / ALL.file_name
    return StopReceipt(path, StopFacts(path.name, ALL, "ab" * 32, fault), already=False, latched=latched)


def test_a_request_that_fits_is_carried_as_it_is() -> None:
    assert shortened(ASKED) == (ASKED, [])


def test_what_is_too_long_is_cut_and_said() -> None:
    request, remarks = shortened(replace(ASKED, reason="x" * (LONGEST_TEXT + 1)))
    assert request.reason == "x" * LONGEST_TEXT
    assert [(each.code, each.params["option"]) for each in remarks] == [("stop.text_cut", "--reason")]


def test_a_missing_reason_is_said() -> None:
    assert [each.code for each in shortened(replace(ASKED, reason=""))[1]] == ["stop.reason_missing"]


@pytest.mark.parametrize(
    ("ticket", "reason", "category"),
    [
        ("INC-20261123-0001", "x", "stage4_incident"),
        (None, "INC-20261123-0001", "stage4_incident"),
        ("JIRA-7", "x", "runtime_control"),
        ("INC-20261399-0001", "x", "runtime_control"),
    ],
)
def test_the_entry_belongs_to_the_incident_that_is_named(
    tmp_path: Path, ticket: str | None, reason: str, category: str
) -> None:
    draft = log_draft(replace(ASKED, ticket=ticket, reason=reason), receipt(tmp_path), tmp_path)
    assert draft.category == category
    assert draft.artefacts["override"] == "var/runtime/overrides/multi_strategy_disable.json"


def test_an_installation_without_settings_is_known_by_its_overrides(tmp_path: Path) -> None:
    below = tmp_path / "ops"
    below.mkdir()
    with pytest.raises(UsageError):
        stoppable_root(None, {}, below)
    (tmp_path / OVERRIDES).mkdir(parents=True)
    assert stoppable_root(None, {}, below) == tmp_path.resolve()
    with pytest.raises(UsageError):
        stoppable_root(below, {}, tmp_path)


def test_only_the_schedulers_own_word_is_a_success(tmp_path: Path) -> None:
    assert stop_report.exit_code(Word("disabled", None, 1.0)) is ExitCode.DONE
    for answer in ("stopping", "enabled", "silent", "absent"):
        assert stop_report.exit_code(Word(answer, None, 1.0)) is ExitCode.CANNOT_TELL
    assert stop_report.exit_code(None) is ExitCode.INTERRUPTED
    assert stop_report.message(tmp_path, receipt(tmp_path), None)[0] == "stop.word_interrupted"


def test_a_stop_that_is_not_whole_or_not_remembered_is_said(tmp_path: Path) -> None:
    odd = receipt(tmp_path, "gate.stop_empty", latched=False)
    assert [each.code for each in stop_report.remarks(odd, None)] == ["gate.stop_empty", "stop.not_latched"]
    assert list(stop_report.remarks(receipt(tmp_path), None)) == []
