"""The report in other formats: the committed files, and what their standards ask."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Evidence, Pair
from stage4.audit.finding import Outcome
from stage4.audit.formats import FORMATS
from stage4.audit.report import Report, judge
from stage4.words import Language
from support import audits
from support.audit_reports import GOLDEN, JUDGED, files, probed, report, written
from support.audits import GOOD, NOW, POLICY

ODD = audits.files(owner=7, facts=(replace(audits.FILES.facts[0], path="secrets/\x00\udc80`*|<b>.pem", owner=8),))
KINDS = {"pass", "open", "informational", "notApplicable", "review", "fail"}
LEVELS = {"none", "note", "warning", "error"}
STATES = {"new", "unchanged", "updated", "absent"}


def rendered(name: str, judged: Report, lang: Language = "en", **changes: object) -> bytes:
    return FORMATS[name].render(judged, written(judged) | changes, lang)


def judged(evidence: Evidence) -> Report:
    return judge(CONTROLS, evidence, POLICY, NOW)


@pytest.mark.parametrize("name", sorted(files()))
def test_the_committed_file_is_what_the_report_becomes(name: str) -> None:
    assert files()[name].decode() == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("lang", ["pl", "en"])
def test_people_read_the_verdict_in_line_one_and_the_next_steps_in_lines_two_to_four(lang: Language) -> None:
    lines = rendered("markdown", report(), lang).decode().split("\n")

    assert lines[0].startswith("# audyt: BŁĄD" if lang == "pl" else "# audit: FAIL")
    assert [line[:3] for line in lines[1:4]] == ["1. ", "2. ", "3. "]
    assert "X509-03" in lines[1]
    assert "--explain X509-03" in lines[2]
    assert "scripts/audit_stage4_compliance.py --mtls-bundle-name core-oem" in lines[3]
    assert lines[4] == ""


def test_a_report_without_a_fault_says_that_there_is_nothing_to_mend() -> None:
    lines = rendered("markdown", judged(GOOD), "pl").decode().split("\n")

    assert lines[0].startswith("# audyt: w porządku")
    assert lines[1] == "1. Nie ma czego naprawiać."
    assert "## Co nie jest w porządku" not in lines


def test_the_worst_outcome_comes_first_then_the_gravest_control_and_the_sum_of_it_behind_its_parts() -> None:
    found = [f for f in report().by_weight if f.outcome in (Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN)]

    assert [(f.control, str(f.outcome)) for f in found[:5]] == [
        ("X509-03", "fail"),
        ("AUD-01", "fail"),
        ("X509-03", "unknown"),
        ("AUD-01", "unknown"),
        ("ROT-03", "warn"),
    ]
    assert [f.control for f in found[-3:]] == ["AUD-02"] * 3


def test_the_report_of_a_probe_begins_with_the_cause_and_leads_to_the_same_target() -> None:
    judged, made = probed()

    lines = FORMATS["markdown"].render(judged, made, "en").decode().split("\n")

    assert lines[1].startswith("1. Begin with `X509-07` `client`: ")
    assert lines[3].endswith("--mtls-bundle-name core-oem --probe 127.0.0.1:8741`")
    assert [line.split("`")[1] for line in lines if line.startswith(("- **FAIL", "- **CANNOT"))] == [
        "X509-07",
        "LIVE-01",
        "AUD-01",
    ]


def test_the_command_of_a_baseline_is_its_own() -> None:
    lines = rendered("markdown", report(), schema="stage4.security_baseline/1", again=None).decode().split("\n")

    assert "scripts/audit_security_baseline.py --explain" in lines[2]
    assert "scripts/audit_security_baseline.py" in lines[3]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_file_name_that_is_no_text_breaks_no_format(name: str) -> None:
    content = rendered(name, judged(ODD)).decode()

    assert "<b>" not in content.replace("`", "") or name != "junit"
    if name == "junit":
        assert Xml.fromstring(content).get("failures") != "0"
    if name == "sarif":
        assert json.loads(content)["version"] == "2.1.0"


def sarif(evidence: Evidence | None = None) -> dict[str, Any]:
    """The only run of a log whose required members are all there (SARIF 2.1.0, 3.13, 3.14, 3.18, 3.19, 3.27)."""
    log = json.loads(rendered("sarif", report() if evidence is None else judged(evidence)))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "stage4"
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(ids)) == len(ids)
    for invocation in run["invocations"]:
        assert isinstance(invocation["executionSuccessful"], bool)
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["kind"] in KINDS
        assert result["level"] in LEVELS
        assert (result["level"] == "none") is (result["kind"] != "fail")
        if "ruleIndex" in result:
            assert ids[result["ruleIndex"]] == result["ruleId"]
        for suppression in result.get("suppressions", []):
            assert suppression["kind"] in ("inSource", "external")
            assert suppression["status"] in ("accepted", "underReview", "rejected")
    states = [result.get("baselineState") for result in run["results"]]
    assert set(states) <= STATES or set(states) == {None}
    return dict(run)


def test_sarif_has_all_that_the_standard_requires() -> None:
    run = sarif()

    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(JUDGED)
    assert {result["baselineState"] for result in run["results"]} == STATES


def test_sarif_without_an_earlier_report_has_no_baseline_state() -> None:
    run = sarif(replace(GOOD, earlier_report=None))

    assert {result.get("baselineState") for result in run["results"]} == {None}


def test_what_cannot_be_told_is_an_error_for_readers_of_sarif() -> None:
    run = sarif(audits.bundle(pairs=(Pair("server", None), Pair("client", True))))

    told = [r for r in run["results"] if r["properties"]["outcome"] == "unknown"]
    assert {(r["ruleId"], r["kind"], r["level"]) for r in told} == {
        ("X509-03", "fail", "error"),
        ("AUD-01", "fail", "error"),
    }


def test_junit_counts_what_it_holds() -> None:
    root = Xml.fromstring(rendered("junit", report()).decode())

    for suite in (root, *root):
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(name) == str(len(suite.findall(f".//{tag}")))


def test_a_warning_fails_in_junit_where_warnings_fail_the_audit() -> None:
    lenient = Xml.fromstring(rendered("junit", report()).decode())
    strict = Xml.fromstring(rendered("junit", report(), policy={"fail_on": "warn"}).decode())

    assert (lenient.get("failures"), strict.get("failures")) == ("2", "7")
