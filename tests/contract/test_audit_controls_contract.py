"""What every control of the audit promises."""

from __future__ import annotations

import re

import pytest

from stage4 import words
from stage4.audit.controls import BASELINE, CONTROLS
from stage4.audit.finding import Control, Outcome
from stage4.audit.report import message, remedy
from support.audit_examples import ASKED, EXAMPLES
from support.audits import EMPTY, GOOD, NOW, POLICY

every_control = pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)


def test_ids_are_unique_and_of_one_form() -> None:
    ids = [control.id for control in CONTROLS]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Z0-9]+-\d\d", name) for name in ids)
    assert set(BASELINE) <= set(CONTROLS)


@every_control
def test_a_control_has_a_title_and_a_remedy_in_both_languages(control: Control) -> None:
    for lang in words.languages:
        assert words.text(control.code, lang)
        assert words.hint(control.code, lang)


@every_control
def test_a_control_says_why_it_asks_and_what_it_applies_to_in_both_languages(control: Control) -> None:
    for lang in words.languages:
        assert words.text(control.rationale_code, lang)
        assert words.text(control.group_code, lang)


def test_what_can_never_be_waived_is_fixed() -> None:
    never = {control.id for control in CONTROLS if not control.waivable}

    bundle, live = {"X509-03", "X509-04", "X509-05", "X509-07", "X509-11"}, {"LIVE-02", "LIVE-03", "LIVE-04"}
    assert never == bundle | live | {"FS-04", "DLOG-03", "AUD-01", "AUD-02"}


@every_control
def test_a_healthy_installation_is_accepted(control: Control) -> None:
    outcomes = {finding.outcome for finding in control.judge(GOOD, ASKED, NOW)}

    assert outcomes <= {Outcome.PASS, Outcome.SKIPPED}
    assert Outcome.PASS in outcomes or control.id == "RBAC-05"


@every_control
def test_no_evidence_is_never_a_pass(control: Control) -> None:
    findings = control.judge(EMPTY, ASKED, NOW)

    assert findings
    assert all(finding.outcome is not Outcome.PASS for finding in findings)


@every_control
def test_the_same_evidence_gives_the_same_findings(control: Control) -> None:
    assert control.judge(GOOD, POLICY, NOW) == control.judge(GOOD, POLICY, NOW)


@every_control
def test_there_is_an_example_that_it_does_not_accept(control: Control) -> None:
    assert [example for example in EXAMPLES if example.control == control.id]


@every_control
def test_every_finding_can_be_said_in_both_languages(control: Control) -> None:
    evidence = [GOOD, EMPTY, *(example.evidence for example in EXAMPLES)]
    for finding in (f for e in evidence for policy in (POLICY, ASKED) for f in control.judge(e, policy, NOW)):
        for lang in words.languages:
            assert message(finding, lang)
            needed = finding.outcome not in (Outcome.PASS, Outcome.SKIPPED)
            assert bool(remedy(finding, lang)) is needed
