"""Waivers: what the file may say, which findings they accept, and what is said of those that accept nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from stage4.audit.controls import BASELINE, CONTROLS
from stage4.audit.evidence import DirectoryFacts, Evidence, FileFacts, Pair, Problem, Revocation
from stage4.audit.finding import Finding, Outcome
from stage4.audit.report import Report, judge
from stage4.audit.spoken import lines
from stage4.audit.waivers import MOST, Waiver, waivers_of
from stage4.config import parse_yaml
from stage4.errors import ExitCode, UsageError
from support import audits
from support.audits import BUNDLE, GOOD, NOW, POLICY, waiver

NO_AKI = audits.certificate("server", aki=None)
ENTRY = {
    "control": "X509-13",
    "subject": "'ser*'",
    "owner": "l2-marek",
    "approver": "po-jan",
    "ticket": "OPS-1812",
    "justification": "the exchange's CA writes none",
    "granted": "2026-11-23",
    "expires": "2026-12-31",
}


def parsed(*entries: dict[str, str]) -> tuple[Waiver, ...]:
    text = "waivers:\n" + "".join(
        "  - " + "\n    ".join(f"{name}: {value}" for name, value in entry.items()) + "\n" for entry in entries
    )
    return waivers_of(parse_yaml(text.encode(), Path("ops/waivers.yaml")))


def judged(evidence: Evidence, *waivers: Waiver) -> Report:
    return judge(CONTROLS, replace(evidence, waivers=waivers), POLICY, NOW)


def said(report: Report, control: str) -> list[tuple[str, str, str]]:
    return [(f.subject, str(f.outcome), f.code) for f in report.findings if f.control == control]


def own(report: Report) -> Finding:
    """What AUD-01 says of the only waiver."""
    return next(f for f in report.findings if f.control == "AUD-01" and f.subject.startswith(("X509", "ROT", "NONE")))


def test_a_waiver_is_read_with_its_line_and_dates() -> None:
    (first, second) = parsed(ENTRY, {**ENTRY, "control": "ROT-03", "granted": "'2026-11-24'"})

    assert (first.control, first.subject, first.line) == ("X509-13", "ser*", 2)
    assert (first.granted, first.expires) == (date(2026, 11, 23), date(2026, 12, 31))
    assert (second.granted, second.line) == (date(2026, 11, 24), 10)


def test_ninety_days_are_allowed_and_not_one_more() -> None:
    assert parsed({**ENTRY, "granted": "2026-11-23", "expires": "2027-02-21"})
    with pytest.raises(UsageError, match="waiver_malformed"):
        parsed({**ENTRY, "granted": "2026-11-23", "expires": "2027-02-22"})


@pytest.mark.parametrize("missing", sorted(ENTRY))
def test_every_field_is_required(missing: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed({name: value for name, value in ENTRY.items() if name != missing})

    assert caught.value.params["field"] == missing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "''"),
        ("owner", "[l2-marek]"),
        ("justification", "no"),
        ("justification", '"\\u202E"'),
        ("expires", "never"),
        ("expires", "2026-11-22"),
        ("expires", "2026-12-31T10:00:00Z"),
        ("granted", "5"),
        ("control", "everything"),
        ("unheard", "of"),
    ],
)
def test_a_malformed_field_is_named_with_its_line(field: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(ENTRY, {**ENTRY, field: value})

    assert caught.value.code == "audit_report.waiver_malformed"
    assert caught.value.params["field"] == field
    assert int(str(caught.value.params["line"])) >= 10


@pytest.mark.parametrize("text", ["", "[]", "waivers: 5", "waivers: {}", "waver: []", "waivers: [5]"])
def test_what_is_no_list_of_waivers_is_malformed(text: str) -> None:
    with pytest.raises(UsageError, match="waiver_malformed"):
        waivers_of(parse_yaml(text.encode(), Path("ops/waivers.yaml")))


def test_more_waivers_than_anybody_answers_for_are_none() -> None:
    assert len(parsed(*[ENTRY] * MOST)) == MOST

    with pytest.raises(UsageError, match="waivers_too_many") as refused:
        parsed(*[ENTRY] * (MOST + 1))

    # Each entry has a line for each of its fields, below the first line of the file.
    assert (refused.value.params["line"], refused.value.params["count"]) == (2 + MOST * len(ENTRY), MOST + 1)


def test_a_file_without_waivers_is_well_formed() -> None:
    assert waivers_of(parse_yaml(b"waivers: []", Path("w"))) == waivers_of(parse_yaml(b"waivers:", Path("w"))) == ()


def test_a_warning_that_is_waived_is_counted_shown_and_decides_nothing() -> None:
    report = judged(NO_AKI, waiver("X509-13", "ser*"))

    assert report.status == "ok"
    assert report.counts[Outcome.WAIVED] == 1
    assert ("server", "waived", "cert.no_key_identifiers") in said(report, "X509-13")
    shown = "\n".join(lines(report, {"schema": "stage4.audit/1"}, "en"))
    assert all(word in shown for word in ("waived: 1", "l2-marek", "po-jan", "OPS-1812", "December", "2026-12-23"))


def test_a_fail_that_is_waived_is_a_warning_of_the_audit() -> None:
    foreign = audits.files(facts=(FileFacts("k.pem", secret=True, mode=0o600, owner=7),))

    assert judged(foreign).status == "fail"
    report = judged(foreign, waiver("FS-01", "k.pem"))

    assert report.status == report.verdict == "warn"
    assert report.exit_code() is ExitCode.DONE
    assert report.exit_code(fail_on_warn=True) is ExitCode.NO
    assert {f.before for f in report.findings if f.outcome is Outcome.WAIVED} == {Outcome.FAIL}


def test_a_waiver_accepts_only_its_control_and_subjects() -> None:
    assert judged(NO_AKI, waiver("X509-13", "client")).counts[Outcome.WAIVED] == 0
    assert judged(NO_AKI, waiver("X509-12", "*")).counts[Outcome.WAIVED] == 0


def test_what_cannot_be_told_is_never_waived() -> None:
    locked = Problem("files.unreadable", {"path": "k.pem", "reason": "denied"}, undecided=True)
    unread = audits.files(facts=(FileFacts("k.pem", secret=True, problem=locked),))

    report = judged(unread, waiver("FS-01", "k.pem"))

    assert report.verdict == "cannot tell"
    assert report.counts[Outcome.WAIVED] == 0


def test_a_revoked_certificate_is_beyond_any_waiver() -> None:
    gone = Revocation("revoked", "CN=server", "CN=ca", revoked_at=NOW - timedelta(days=1), reason="key_compromise")
    chains = (replace(BUNDLE.chains[0], revocation=gone), BUNDLE.chains[1])

    report = judged(audits.bundle(chains=chains), waiver("X509-14", "server"))

    assert ("server", "fail", "security.revocation_revoked") in said(report, "X509-14")
    assert ("X509-14 server", "fail", "waiver.finding_refused") in said(report, "AUD-01")
    assert report.waivers[0].state == "refused"


@pytest.mark.parametrize("path", [".", "ops"])
def test_nobody_accepts_that_others_may_write_waivers(path: str) -> None:
    opened = audits.files(directories=(DirectoryFacts(path, 0o777),))

    report = judged(opened, waiver("FS-02", f"{path}*"))

    assert (path, "fail", "audit.directory_open") in said(report, "FS-02")
    assert report.counts[Outcome.WAIVED] == 0


@pytest.mark.parametrize("subject", ["*", "**", "?*", "[!x]*"])
@pytest.mark.parametrize("control", ["FS-01", "TLS-01"])
def test_a_waiver_of_a_grave_control_names_what_it_accepts(control: str, subject: str) -> None:
    opened = audits.files(facts=(FileFacts("k.pem", secret=True, mode=0o666, owner=1000),))

    report = judged(opened, waiver(control, subject))

    assert ("k.pem", "fail", "audit.mode_open") in said(report, "FS-01")
    assert (f"{control} {subject}", "fail", "waiver.too_broad") in said(report, "AUD-01")
    assert report.waivers[0].state == "refused"


@pytest.mark.parametrize(
    "control",
    [
        "X509-03",
        "X509-04",
        "X509-05",
        "X509-07",
        "X509-11",
        "FS-04",
        "DLOG-03",
        "LIVE-02",
        "LIVE-03",
        "LIVE-04",
        "AUD-01",
    ],
)
def test_a_control_that_cannot_be_waived_goes_on_and_the_waiver_fails(control: str) -> None:
    broken = audits.bundle(pairs=(Pair("server", False), Pair("client", True)))

    report = judged(broken, waiver(control, "*"))

    assert ("server", "fail", "audit.key_differs") in said(report, "X509-03")
    assert (f"{control} *", "fail", "audit_report.waiver_refused") in said(report, "AUD-01")
    assert report.waivers[0].state == "refused"


@pytest.mark.parametrize("days", [0, 30])
def test_a_waiver_holds_to_the_end_of_its_last_day(days: int) -> None:
    last = waiver(granted=NOW.date() - timedelta(days=days), expires=NOW.date())

    assert judged(NO_AKI, last).status == "ok"
    assert judge(CONTROLS, replace(NO_AKI, waivers=(last,)), POLICY, NOW + timedelta(hours=14)).status == "ok"


def test_an_expired_waiver_accepts_nothing_and_fails() -> None:
    report = judged(NO_AKI, waiver(expires=NOW.date() - timedelta(days=1)))

    assert ("server", "warn", "cert.no_key_identifiers") in said(report, "X509-13")
    assert (own(report).outcome, own(report).code) == (Outcome.FAIL, "audit_report.waiver_expired")
    assert report.waivers[0].state == "expired"


def test_a_waiver_of_tomorrow_accepts_nothing_yet() -> None:
    report = judged(NO_AKI, waiver(granted=NOW.date() + timedelta(days=1)))

    assert report.status == "warn"
    assert report.waivers[0].state == "not_yet"


def test_a_waiver_that_matches_nothing_warns() -> None:
    report = judged(GOOD, waiver())

    assert report.status == "warn"
    assert (own(report).outcome, own(report).code) == (Outcome.WARN, "audit_report.waiver_unmatched")


def test_a_waiver_of_a_control_that_does_not_exist_fails() -> None:
    report = judged(GOOD, waiver("NONE-99"))

    assert (own(report).outcome, own(report).code) == (Outcome.FAIL, "audit_report.waiver_control_unknown")


def test_an_audit_that_does_not_judge_the_control_says_nothing_of_its_waiver() -> None:
    report = judge(BASELINE, replace(NO_AKI, waivers=(waiver("X509-13"),)), POLICY, NOW)

    assert report.status == "ok"


def test_the_first_waiver_that_covers_a_finding_counts() -> None:
    report = judged(NO_AKI, waiver("X509-13", "server", owner="first"), waiver("X509-13", "*", owner="second"))

    assert [use.subjects for use in report.waivers] == [("server",), ()]
    assert report.waivers[1].state == "unmatched"
