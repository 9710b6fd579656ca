"""The rules of LIVE over made-up evidence: a refusal is worth nothing without the control that got in."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator

import pytest

from stage4.audit.controls.live import CONTROLS
from stage4.audit.evidence import Evidence
from stage4.audit.evidence_live import Attempt, Call, Live
from stage4.audit.finding import Finding, Outcome
from support.audits import EMPTY, GOOD, NOW, POLICY
from support.live import CURRENT, LIVE, STRANGERS, seen, without_control

RULES = {control.id: control for control in CONTROLS}
OUTCOMES = (
    "settings",
    "eof",
    "reset",
    "alert:certificate_required",
    "timeout",
    "refused",
    "unreachable",
    "other bytes",
    "not tried",
    "not offered",
)
TURNED_AWAY = ("eof", "reset", "alert:certificate_required")
STATUSES = ("OK", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "not tried")


def probed(live: Live | None) -> Evidence:
    return dataclasses.replace(GOOD, live=live)


def found(live: Live | None, *controls: str) -> list[Finding]:
    return [f for name in controls or RULES for f in RULES[name].judge(probed(live), POLICY, NOW)]


def outcomes(findings: list[Finding]) -> list[str]:
    return [str(finding.outcome) for finding in findings]


def shut_ways() -> Iterator[Live]:
    """Every way in which the good certificate does not get in, or is not known to get in to the end."""
    bad = [outcome for outcome in OUTCOMES if outcome != "settings"]
    for first, second in itertools.product(bad, bad):
        yield without_control(outcomes={("certificate", "TLSv1.3"): first, ("certificate", "TLSv1.2"): second})
    for outcome in bad:
        yield seen({("certificate_again", "TLSv1.3"): outcome})
    yield dataclasses.replace(LIVE, attempts=tuple(a for a in LIVE.attempts if a.shown != "certificate_again"))
    yield dataclasses.replace(LIVE, attempts=())


@pytest.mark.parametrize("live", [pytest.param(live, id=str(n)) for n, live in enumerate(shut_ways())])
def test_without_the_positive_control_nothing_passes(live: Live) -> None:
    assert set(outcomes(found(live))) == {"unknown"}
    assert len(found(live)) == len(RULES)


@pytest.mark.parametrize("control", [True, False], ids=["control", "no control"])
@pytest.mark.parametrize("shown", STRANGERS)
@pytest.mark.parametrize("version", CURRENT)
def test_a_stranger_who_is_in_fails_whatever_the_control_says(shown: str, version: str, control: bool) -> None:
    greeted = {(shown, version): "settings"}
    live = seen(greeted) if control else without_control(outcomes=greeted)

    failed = [f for f in found(live) if f.outcome is Outcome.FAIL]

    assert [(f.control, f.subject) for f in failed] == [
        ("LIVE-02" if shown == "no_certificate" else "LIVE-03", f"{live.target} {shown} {version}")
    ]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("shown", STRANGERS)
@pytest.mark.parametrize("version", CURRENT)
def test_beside_the_control_only_a_refusal_passes(shown: str, version: str, outcome: str) -> None:
    live = seen({(shown, version): outcome})
    subject = f"{live.target} {shown} {version}"

    said = [f.outcome for f in found(live, "LIVE-02", "LIVE-03") if f.subject == subject]

    expected = Outcome.PASS if outcome in TURNED_AWAY else Outcome.UNKNOWN
    assert said == [Outcome.FAIL if outcome == "settings" else expected]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_old_versions_and_plain_text_are_held_to_the_same_rule(outcome: str) -> None:
    for key in (("certificate", "TLSv1"), ("certificate", "TLSv1.1"), ("nothing", "plaintext")):
        said = {f.subject: f.outcome for f in found(seen({key: outcome}), "LIVE-05")}[f"{LIVE.target} {key[1]}"]
        expected = Outcome.PASS if outcome in TURNED_AWAY else Outcome.UNKNOWN
        assert said is (Outcome.FAIL if outcome == "settings" else expected)


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ((Attempt("certificate", "TLSv1.3", "alert:protocol_version"),), "skipped"),
        ((Attempt("certificate", "TLSv1.3", "timeout"),), "unknown"),
        ((Attempt("certificate", "TLSv1.3", "eof", negotiated="TLSv1.3"),), "unknown"),
        ((Attempt("certificate", "TLSv1.3", "settings", negotiated="TLSv1.3"),), "pass"),
        ((), "unknown"),
    ],
    ids=["again", "timeout", "spoken", "it was chance", "not tried again"],
)
def test_a_version_over_which_nobody_gets_in_twice_is_no_question(again: tuple[Attempt, ...], expected: str) -> None:
    refused = {(shown, "TLSv1.3"): "eof" for shown in ("certificate", *STRANGERS)}
    live = seen(refused, negotiated=None)
    live = dataclasses.replace(live, attempts=(*live.attempts, *again))

    by_subject = {f.subject: str(f.outcome) for f in found(live, "LIVE-02", "LIVE-03")}

    assert by_subject == {
        f"{live.target} {shown} {version}": expected if version == "TLSv1.3" else "pass"
        for shown in STRANGERS
        for version in CURRENT
    }


def test_a_version_over_which_the_good_certificate_is_turned_away_after_the_handshake_stays_open() -> None:
    # Under TLS 1.3 the handshake was finished on our side: the version is spoken, so it was the certificate.
    live = seen({("certificate", "TLSv1.3"): "eof"})

    said = [f.outcome for f in found(live, "LIVE-02") if f.subject.endswith("TLSv1.3")]

    assert said == [Outcome.UNKNOWN]


@pytest.mark.parametrize(("token", "other"), list(itertools.product(STATUSES, STATUSES)))
def test_a_refused_token_counts_only_beside_one_that_works(token: str, other: str) -> None:
    live = seen(calls={"token": token, "no_token": other, "wrong_token": other, "token_without_scope": other})

    said = set(outcomes(found(live, "LIVE-04")))

    if other == "OK":
        assert said == {"fail"}
    elif token == "OK" and other in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        assert said == {"pass"}
    else:
        assert said == {"unknown"}


def test_a_service_that_knows_no_lesser_token_is_not_asked_for_one() -> None:
    live = dataclasses.replace(LIVE, calls=LIVE.calls[:3])

    assert [(f.outcome, f.code) for f in found(live, "LIVE-04")][-1] == (Outcome.SKIPPED, "probe.no_lesser_token")


def test_a_call_that_was_never_made_is_not_a_refusal() -> None:
    live = dataclasses.replace(LIVE, calls=(Call("token", "OK"),))

    assert outcomes(found(live, "LIVE-04")) == ["unknown", "unknown", "skipped"]


def test_one_process_of_several_that_shows_an_old_certificate_is_found() -> None:
    old = dataclasses.replace(LIVE.attempts[0].served, fingerprint="e" * 64)  # type: ignore[type-var]
    live = seen({("certificate", "TLSv1.2"): "settings"}, served=old)

    (finding,) = found(live, "LIVE-06")

    assert (finding.outcome, finding.code) == (Outcome.FAIL, "probe.leaf_stale")
    assert finding.params["served"] == "e" * 64
    assert finding.params["disk"] == "b" * 64


def test_a_stale_certificate_is_found_without_the_control() -> None:
    old = dataclasses.replace(LIVE.attempts[0].served, fingerprint="e" * 64)  # type: ignore[type-var]
    shut = without_control()
    live = dataclasses.replace(shut, attempts=(Attempt("no_certificate", "TLSv1.3", "eof", served=old),))

    assert outcomes(found(live, "LIVE-06")) == ["fail"]


def test_what_was_not_asked_for_is_skipped_and_says_so() -> None:
    assert {(f.outcome, f.code) for f in found(None)} == {(Outcome.SKIPPED, "probe.not_asked")}


def test_a_service_that_is_switched_off_is_probed_only_where_it_is_named() -> None:
    metrics = dataclasses.replace(GOOD.services[0], enabled=False)
    nothing = Live(LIVE.target, configured=True)

    for configured, expected in ((True, Outcome.SKIPPED), (False, Outcome.UNKNOWN)):
        live = dataclasses.replace(nothing, configured=configured)
        evidence = dataclasses.replace(EMPTY, services=(metrics,), live=live)
        for control in CONTROLS:
            assert {f.outcome for f in control.judge(evidence, POLICY, NOW)} == {expected}


def test_the_controls_about_strangers_admit_no_waiver() -> None:
    assert [control.id for control in CONTROLS if not control.waivable] == ["LIVE-02", "LIVE-03", "LIVE-04"]
    assert RULES["LIVE-02"].severity == "critical"


def test_the_document_holds_every_attempt_as_it_was() -> None:
    document = json.loads(json.dumps(LIVE.document()))

    assert document["target"] == "127.0.0.1:8741"
    assert len(document["attempts"]) == len(LIVE.attempts)
    assert document["attempts"][0] == {
        "shown": "certificate",
        "protocol": "TLSv1.3",
        "outcome": "settings",
        "milliseconds": 3.9,
        "negotiated": "TLSv1.3",
        "detail": "",
        "served": {
            "fingerprint": "b" * 64,
            "not_before": "2026-11-13T09:42:00Z",
            "not_after": "2027-03-13T09:42:00Z",
        },
    }
    assert document["calls"][0] == {"shown": "token", "status": "OK", "milliseconds": 12.0}
