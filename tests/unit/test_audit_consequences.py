"""What only follows from another finding is not read out, but it is not forgotten either."""

from __future__ import annotations

from dataclasses import replace

from stage4 import words
from stage4.audit import consequences
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Problem
from stage4.audit.finding import Finding, Outcome
from stage4.audit.report import judge, lines
from support import audits
from support.audits import GOOD, NOW, POLICY, TOKENS

GONE = Problem("files.missing", {"path": "x", "reason": "-"})


def finding(control: str, outcome: Outcome, code: str) -> Finding:
    return Finding(control, "s", outcome, code, {})


def test_every_code_and_every_cause_is_real() -> None:
    ids = {control.id for control in CONTROLS}

    for code, causes in consequences._FOLLOWS.items():
        assert words.has(code)
        assert set(causes) <= ids
    assert all(set(causes) <= ids for causes in consequences._WITHOUT.values())


def test_a_consequence_without_its_cause_is_read_out() -> None:
    lonely = finding("X509-03", Outcome.UNKNOWN, "audit.pair_unreadable")
    passed = finding("X509-01", Outcome.PASS, "audit.parses")
    failed = finding("X509-01", Outcome.FAIL, "files.missing")

    assert consequences.causes([lonely, passed]) == (lonely, passed)
    assert consequences.causes([lonely, failed]) == (failed,)


def test_a_missing_file_is_named_by_the_control_of_what_should_be_in_it() -> None:
    def gone(control: str, path: str) -> Finding:
        return Finding(control, path, Outcome.FAIL, "files.missing", {"path": path})

    of_files, of_content, other = gone("FS-01", "k"), gone("X509-01", "k"), gone("FS-05", "other")

    assert consequences.causes([of_files, of_content, other]) == (of_content, other)
    waived = Finding("X509-01", "k", Outcome.SKIPPED, "files.missing", {"path": "k"})
    assert consequences.causes([of_files, waived]) == (of_files, waived)


def test_one_consequence_is_no_cause_of_another() -> None:
    first = finding("ROT-02", Outcome.UNKNOWN, "audit.registry_unread")
    second = finding("ROT-03", Outcome.UNKNOWN, "audit.rotation_undated")

    assert consequences.causes([first, second]) == (first, second)


def test_a_report_counts_what_it_does_not_read_out() -> None:
    evidence = replace(
        audits.tokens(replace(TOKENS[0], problem=GONE, secret=None), *TOKENS[1:]), bundle=replace(GOOD.bundle, keys=())
    )

    report = judge(CONTROLS, evidence, POLICY, NOW)

    blocked = [f for f in report.findings if f.code == "audit.scope_blocked"]
    assert [f.subject for f in blocked] == ["metrics_service/metrics.read"]
    assert not [f for f in report.to_name if f in blocked]
    said = "\n".join(lines(report, "en"))
    assert "RBAC-03" in said
    assert "RBAC-06" not in said
    assert report.counts[Outcome.FAIL] >= 2
