"""What only follows from another finding is not read out, but it is not forgotten either."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from stage4 import words
from stage4.audit import consequences
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Chain, Problem
from stage4.audit.finding import Finding, Outcome
from stage4.audit.report import Report, judge
from stage4.audit.spoken import lines
from stage4.security.certificate_chain import ChainReason
from support import audits, live
from support.audits import GOOD, NOW, POLICY, ROTATED, TOKENS

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
    document = {"schema": "stage4.audit/1"}
    said = "\n".join(lines(report, document, "en"))
    assert "RBAC-03" in said
    assert said.endswith("1 more only follows from these: RBAC-06.")
    assert said.count("RBAC-06") == 1
    assert report.counts[Outcome.FAIL] >= 2


def named(report: Report) -> list[tuple[str, str]]:
    return [(f.control, str(f.outcome)) for f in report.by_weight if f.outcome in consequences._NAMED]


@pytest.mark.parametrize("outcome", ["refused", "timeout", "other bytes", "eof"])
def test_a_target_without_a_service_is_named_once(outcome: str) -> None:
    report = judge(CONTROLS, replace(GOOD, live=live.without_control(outcome)), POLICY, NOW)

    assert named(report) == [("LIVE-01", "unknown"), ("AUD-01", "unknown")]
    assert {f.control for f in report.following} == {f"LIVE-0{n}" for n in range(2, 7)}


def test_a_good_token_that_is_refused_is_named_once() -> None:
    report = judge(CONTROLS, replace(GOOD, live=live.seen(calls={"token": "UNAUTHENTICATED"})), POLICY, NOW)

    assert named(report) == [("LIVE-01", "unknown"), ("AUD-01", "unknown")]


def test_a_stranger_who_got_in_is_read_out_even_without_the_control() -> None:
    seen = live.without_control(outcomes={("no_certificate", "TLSv1.2"): "settings"})

    assert ("LIVE-02", "fail") in named(judge(CONTROLS, replace(GOOD, live=seen), POLICY, NOW))


def test_an_expired_bundle_is_named_by_its_certificates_only() -> None:
    ended = ROTATED + timedelta(days=1)
    files = (audits.certificate_file("server", not_after=ended), audits.certificate_file("client", not_after=ended))
    chains = (
        Chain("server", "server", "localhost", ChainReason.EXPIRED.value),
        Chain("client", "client", None, ChainReason.ISSUER_EXPIRED.value),
    )
    evidence = audits.bundle(certificates=(GOOD.bundle.certificates[0], *files), chains=chains)

    report = judge(CONTROLS, evidence, POLICY, NOW)

    assert [each for each in named(report) if each[0] != "X509-13"] == [("X509-07", "fail")] * 2
    assert {f.code for f in report.findings if f.control == "X509-08"} == {"audit.expires_later", "audit.ended"}
