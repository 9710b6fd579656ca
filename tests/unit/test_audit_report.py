"""From findings to a verdict, a document, an exit code, and the changes between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.audit.comparison import KINDS, MOST_SHOWN, Summary, changes, compare
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Evidence, Pair, SettingNotice
from stage4.audit.finding import Control, Outcome
from stage4.audit.formats import FORMATS
from stage4.audit.report import Report, judge, message, since
from stage4.audit.report_document import Origin, document
from stage4.audit.spoken import lines
from stage4.errors import ExitCode, UsageError
from support import audits
from support.audits import EMPTY, GOOD, NOW, POLICY

LOOSE = replace(GOOD, notices=(SettingNotice("runtime.odd", 3),))
BROKEN = audits.bundle(pairs=(Pair("server", False), Pair("client", True)))
UNREAD = audits.bundle(pairs=(Pair("server", None), Pair("client", True)))


def report_of(evidence: Evidence, controls: tuple[Control, ...] = CONTROLS) -> Report:
    return judge(controls, evidence, POLICY, NOW)


def written(evidence: Evidence, controls: tuple[Control, ...] = CONTROLS) -> dict[str, object]:
    return document(
        report_of(evidence, controls),
        evidence,
        POLICY,
        Origin(Path("/srv/stage4"), Path("/srv/stage4/config/core.yaml"), "desk-1"),
        schema="stage4.audit/1",
        now=NOW,
    )


@pytest.mark.parametrize(
    ("evidence", "status", "verdict", "exit_code"),
    [
        (GOOD, "ok", "ok", ExitCode.DONE),
        (LOOSE, "warn", "warn", ExitCode.DONE),
        (BROKEN, "fail", "fail", ExitCode.NO),
        (UNREAD, "fail", "cannot tell", ExitCode.CANNOT_TELL),
    ],
)
def test_the_worst_finding_decides(evidence: Evidence, status: str, verdict: str, exit_code: ExitCode) -> None:
    report = report_of(evidence)

    assert (report.status, report.verdict, report.exit_code()) == (status, verdict, exit_code)


def test_warnings_refuse_only_where_that_is_asked_for() -> None:
    assert report_of(LOOSE).exit_code(fail_on_warn=True) is ExitCode.NO
    assert report_of(GOOD).exit_code(fail_on_warn=True) is ExitCode.DONE


@pytest.mark.parametrize("controls", [(), tuple(control for control in CONTROLS if control.id == "X509-03")])
def test_an_audit_that_judged_nothing_cannot_tell(controls: tuple[Control, ...]) -> None:
    report = report_of(EMPTY, controls)

    assert report.verdict == "cannot tell"
    assert report.exit_code() is ExitCode.CANNOT_TELL


def test_what_could_not_be_evaluated_is_an_issue_shown_as_cannot_tell() -> None:
    issues = written(UNREAD)["issues"]

    assert isinstance(issues, list)
    assert [(issue["check"], issue["outcome"]) for issue in issues] == [
        ("X509-03", "cannot tell"),
        ("AUD-01", "cannot tell"),
    ]


def test_people_read_the_verdict_first_and_then_the_next_steps() -> None:
    again = {"again": ["python", "scripts/audit.py", "--probe", "a b:1"]}

    said = list(lines(report_of(BROKEN), written(BROKEN) | again, "pl"))

    assert said[0].startswith("audyt: BŁĄD")
    assert said[1].startswith("1. Zacznij od X509-03 server: ")
    assert said[2].startswith("2. Wezwij od razu L2 i Incident Managera")
    assert said[3] == "3. Potem sprawdź ponownie: python scripts/audit.py --probe 'a b:1'"
    assert said[4].startswith("od 2026-11-22 10:42:00 +01:00 (09:42:00Z): nowe błędy ")
    assert said[5].startswith("BŁĄD X509-03 server: ")
    assert said[6].startswith("  -> ")


def test_what_fails_is_read_before_what_warns_however_grave_and_the_gravest_of_them_first() -> None:
    warned = replace(audits.certificate("server", aki=None).bundle, pairs=BROKEN.bundle.pairs)
    evidence = replace(GOOD, bundle=warned, log=replace(GOOD.log, present=False, verdict=None))

    said = [line.split()[:2] for line in lines(report_of(evidence), written(evidence), "en")]

    found = [words for words in said if words[0] in ("FAIL", "warn")]
    assert found == [["FAIL", "X509-03"], ["warn", "DLOG-03"], ["warn", "X509-13"]]


def test_numbers_are_written_as_the_reader_writes_them() -> None:
    soon = audits.certificate("client", not_after=NOW + timedelta(days=5, hours=6))
    (finding,) = [f for f in report_of(soon).findings if f.code == "audit.expires_soon"]

    assert "dni: 5,2 (" in message(finding, "pl")
    assert "in 5.2 days" in message(finding, "en")
    whole = replace(finding, params={**finding.params, "days": 10.0})
    assert "in 10 days" in message(whole, "en")


def test_the_earlier_report_is_named_by_its_start_whatever_instant_it_judged() -> None:
    kept = {"results": [], "checked_at": "2027-06-01T00:00:00Z", "started_at": "2026-11-26T19:11:24.682549Z"}

    assert since(compare(kept, kept), "en").startswith("since 2026-11-26 20:11:24 +01:00 (19:11:24Z): ")
    older = {"results": [], "checked_at": "nobody knows"}
    assert since(compare(older, older), "en").startswith("since nobody knows: ")


def test_a_new_fault_is_new_and_its_repair_is_a_fix() -> None:
    worse, better = compare(written(GOOD), written(BROKEN)), compare(written(BROKEN), written(GOOD))

    assert [(c.control, c.subject, c.before, c.after) for c in worse.new] == [("X509-03", "server", "pass", "fail")]
    assert [(c.control, c.before, c.after) for c in better.fixed] == [("X509-03", "fail", "pass")]
    assert not worse.fixed
    assert not better.new


def test_a_fault_that_stays_is_unchanged_and_unknown_is_as_bad_as_fail() -> None:
    comparison = compare(written(BROKEN), written(UNREAD))

    assert ("X509-03", "server") in [(c.control, c.subject) for c in comparison.unchanged]
    assert not comparison.fixed


def test_a_control_that_looks_away_makes_nothing_better() -> None:
    fewer = tuple(control for control in CONTROLS if control.id != "X509-03")

    comparison = compare(written(BROKEN), written(BROKEN, fewer))

    assert {c.control for c in comparison.no_longer_evaluated} == {"X509-03"}
    assert comparison.catalogue_changed
    assert not comparison.fixed


def test_a_fault_whose_subject_is_gone_is_fixed_where_the_control_still_looks() -> None:
    comparison = compare(written(LOOSE), written(GOOD))

    assert [(c.control, c.subject) for c in comparison.fixed] == [("AUD-03", "runtime.odd")]


def test_the_worse_of_two_results_of_one_subject_is_compared_whatever_their_order() -> None:
    def report(*outcomes: str) -> dict[str, object]:
        return {"results": [{"control": "FS-02", "subject": "ca.pem", "outcome": each} for each in outcomes]}

    for both in (("fail", "pass"), ("pass", "fail")):
        assert [c.after for c in compare(report("pass"), report(*both)).new] == ["fail"]
        assert [c.before for c in compare(report(*both), report("pass")).fixed] == ["fail"]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("fail", "waived", "improved"),
        ("waived", "fail", "worsened"),
        ("waived", "pass", "fixed"),
        ("pass", "waived", "new"),
        ("waived", "waived", "unchanged"),
        ("waived", "skipped", "no_longer_evaluated"),
    ],
)
def test_what_is_waived_is_neither_well_nor_a_warning(before: str, after: str, kind: str) -> None:
    def report(outcome: str) -> dict[str, object]:
        return {"results": [{"control": "FS-02", "subject": "ca.pem", "outcome": outcome}]}

    changed = compare(report(before), report(after)).document()

    assert [name for name in KINDS if changed[name]] == [kind]


def test_what_is_waived_is_no_new_warning() -> None:
    def report(*outcomes: str) -> dict[str, object]:
        results = [{"control": "FS-02", "subject": str(n), "outcome": each} for n, each in enumerate(outcomes)]
        return {"results": results}

    changed = compare(report("pass", "pass", "pass", "waived"), report("waived", "waived", "warn", "fail"))

    assert changed.counts == {"fails": 1, "warns": 1, "waived": 2, "fixed": 0, "lost": 0}
    assert since(changed, "en").endswith(": 1 new fails, 0 fixed, 0 not evaluated, 1 new warnings, 2 newly waived")
    assert since(changed, "pl").endswith("nowe ostrzeżenia 1, nowe odstępstwa 2")


def test_a_change_of_settings_and_of_demands_is_shown() -> None:
    earlier = {"results": [], "config_sha256": "1", "policy": {"check_paths": True, "bundle": "core-oem"}}
    fresh = {"results": [], "config_sha256": "2", "policy": {"check_paths": False, "bundle": "core-oem", "new": 1}}

    comparison = compare(earlier, fresh)

    assert (comparison.config_changed, comparison.policy_changed) == (True, ("check_paths",))


def odd(**members: str) -> dict[str, object]:
    return {"results": [{"control": "FS-01", "subject": "s", "outcome": "fail"} | members]}


@pytest.mark.parametrize(
    "other",
    [
        *({}, {"results": 5}, {"schema": "stage4.audit/1", "error": {}}, {"results": [{}]}),
        *(odd(control="X\x1b]0;t\x07`<script>"), odd(control="FS-01\n"), odd(control=""), odd(outcome="well")),
    ],
)
def test_what_is_no_report_is_not_compared(other: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="not_a_report"):
        compare(other, written(GOOD))


def told(outcome: str, **members: object) -> dict[str, object]:
    result = {"control": "LIVE-02", "subject": "no certificate", "outcome": outcome}
    return {"results": [result, {"control": "LIVE-01", "subject": "service", "outcome": "pass"}], **members}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"policy": {"bundle": "core-oem"}}, {"policy": {"bundle": "other"}}),
        ({"probe": {"target": "127.0.0.1:1"}}, {"probe": {"target": "127.0.0.1:2"}}),
    ],
    ids=["bundle", "probe"],
)
@pytest.mark.parametrize("better", ["pass", "warn"])
def test_what_is_better_elsewhere_was_not_looked_at_again(
    before: dict[str, object], after: dict[str, object], better: str
) -> None:
    comparison = compare(told("fail", **before), told(better, **after))

    assert [c.subject for c in comparison.no_longer_evaluated] == ["no certificate"]
    assert not comparison.fixed
    assert not comparison.improved
    assert comparison.policy_changed
    assert [c.subject for c in compare(told("fail", **before), told("pass", **before)).fixed] == ["no certificate"]
    assert [c.subject for c in compare(told("pass", **before), told("fail", **after)).new] == ["no certificate"]


@pytest.mark.parametrize("strange", [{"foreign": True}, {"forged": True}])
def test_nothing_is_better_than_in_a_report_of_others(strange: dict[str, bool]) -> None:
    earlier, fresh = (Summary.of(told(outcome)) for outcome in ("fail", "pass"))

    comparison = changes(replace(earlier, **strange), fresh)

    assert not comparison.fixed
    assert len(comparison.no_longer_evaluated) == 1


@pytest.mark.parametrize(
    ("control", "kind"),
    [
        *(("X509-03", "no_longer_evaluated"), ("TLS-01", "no_longer_evaluated"), ("ROT-03", "no_longer_evaluated")),
        *(("DLOG-03", "no_longer_evaluated"), ("LIVE-02", "no_longer_evaluated")),
        *(("FS-01", "fixed"), ("RBAC-01", "fixed"), ("AUD-01", "fixed")),
    ],
)
def test_only_what_can_be_taken_away_is_fixed_by_being_gone(control: str, kind: str) -> None:
    def report(*subjects: str) -> dict[str, object]:
        return {"results": [{"control": control, "subject": each, "outcome": "fail"} for each in subjects]}

    found = compare(report("one", "other"), report("one")).document()

    assert [name for name in KINDS if found[name]] == sorted({kind, "unchanged"}, key=KINDS.index)


def test_other_demands_are_a_warning() -> None:
    weaker = replace(POLICY, rotation_interval_days=36_500.0)
    earlier = replace(GOOD, earlier_report=Summary.of(written(GOOD)))

    found = {f.subject: f for f in judge(CONTROLS, earlier, weaker, NOW).findings if f.control == "AUD-02"}

    assert (found["demands"].outcome, found["demands"].params["names"]) == (Outcome.WARN, "rotation_interval_days")
    asked = judge(CONTROLS, earlier, replace(POLICY, check_paths=True), NOW)
    assert "demands" not in {f.subject for f in asked.findings if f.control == "AUD-02"}


HOSTILE = "s\x1b[2J\n# well\u202e`<script>alert(1)</script>"


def test_what_an_earlier_report_says_reaches_people_on_one_line_and_without_control_characters() -> None:
    before = written(GOOD)
    results = [{"control": "FS-01", "subject": HOSTILE, "outcome": "fail", "message": HOSTILE}]
    earlier = Summary.of({**before, "results": results, "checked_at": HOSTILE})
    judged = judge(CONTROLS, replace(GOOD, earlier_report=earlier), POLICY, NOW)
    assert judged.comparison is not None
    assert judged.comparison.fixed

    said, markdown = (
        list(lines(judged, before, "en")),
        FORMATS["markdown"].render(judged, before, "en").decode().splitlines(),
    )

    assert all(line.isprintable() for line in (*said, *markdown))
    assert not [line for line in (*said, *markdown) if line.startswith("# well")]
    assert not [line for line in markdown if "`<script>" in line]


def test_an_odd_subject_is_the_same_one_in_the_next_report() -> None:
    odd_one = replace(GOOD, notices=(SettingNotice("runtime.\x1bodd", 3),))

    assert [c.control for c in compare(written(odd_one), written(odd_one)).unchanged] == ["AUD-03"]
    again = judge(CONTROLS, replace(odd_one, earlier_report=Summary.of(written(odd_one))), POLICY, NOW)
    assert again.comparison is not None
    assert [c.control for c in again.comparison.unchanged] == ["AUD-03"]
    assert all(line.isprintable() for line in lines(again, written(odd_one), "en"))


def test_of_many_changes_the_gravest_are_shown_and_all_are_counted() -> None:
    def report(outcomes: Mapping[int, str]) -> dict[str, object]:
        return {"results": [{"control": "FS-01", "subject": f"s{n}", "outcome": o} for n, o in outcomes.items()]}

    many = dict.fromkeys(range(MOST_SHOWN + 3), "warn") | {MOST_SHOWN + 3: "fail"}
    found = compare(report(dict.fromkeys(many, "pass")), report(many))

    document = found.document()

    assert document["not_shown"] == {"new": 4}
    assert document["counts"] == {"fails": 1, "warns": MOST_SHOWN + 3, "fixed": 0, "lost": 0, "waived": 0}
    shown = document["new"]
    assert isinstance(shown, list)
    assert (len(shown), shown[0]["after"]) == (MOST_SHOWN, "fail")

    judged = replace(judge(CONTROLS, GOOD, POLICY, NOW), comparison=found)
    markdown = FORMATS["markdown"].render(judged, written(GOOD), "en").decode()
    assert markdown.count("`FS-01` `s") == MOST_SHOWN
    assert "and more: 4" in markdown
