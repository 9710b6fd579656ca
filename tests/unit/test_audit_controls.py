"""Each control against evidence that is wrong in one way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Revocation
from stage4.audit.finding import Outcome
from support import audits
from support.audit_example import Example
from support.audit_examples import DISABLED, EXAMPLES
from support.audits import GOOD, NOW, POLICY, TOKENS, token

UNCHECKED = Revocation("unchecked")
RULES = {control.id: control for control in CONTROLS}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.control} {example.name}")
def test_what_is_wrong_is_found_and_named(example: Example) -> None:
    findings = RULES[example.control].judge(example.evidence, example.policy, NOW)

    said = [(finding.outcome, finding.code) for finding in findings if finding.outcome is not Outcome.PASS]
    assert (example.outcome, example.code) in said


def test_a_token_hash_of_the_right_form_is_accepted() -> None:
    hashed = token("operations", "hashed", "alerts.write", reference="hash:sha256", secret=None, hash_tag="h")

    findings = RULES["RBAC-05"].judge(audits.tokens(hashed), POLICY, NOW)

    assert [finding.outcome for finding in findings] == [Outcome.PASS]


def test_two_entries_over_one_variable_of_one_service_are_one_token() -> None:
    shared = replace(TOKENS[0], token_id="again")

    findings = RULES["RBAC-08"].judge(audits.tokens(*TOKENS, shared), POLICY, NOW)

    assert {finding.outcome for finding in findings} == {Outcome.PASS}


def test_a_disabled_service_is_skipped_and_says_so() -> None:
    evidence = replace(GOOD, services=(DISABLED, *GOOD.services[1:]))

    for name in ("TLS-01", "TLS-02", "TLS-03"):
        assert [finding.outcome for finding in RULES[name].judge(evidence, POLICY, NOW)] == [Outcome.SKIPPED]


def test_the_demo_authority_is_no_question_outside_production() -> None:
    certificates = tuple(replace(file, demo=True) for file in GOOD.bundle.certificates)
    evidence = replace(audits.bundle(certificates=certificates), installation="demo")

    findings = RULES["X509-11"].judge(evidence, POLICY, NOW)

    assert {(finding.outcome, finding.code) for finding in findings} == {(Outcome.PASS, "audit.key_not_known")}


def test_a_rehearsal_needs_no_revocation_list_and_says_so() -> None:
    chains = tuple(replace(chain, revocation=UNCHECKED) for chain in GOOD.bundle.chains)
    evidence = replace(audits.bundle(chains=chains, revocation_files=()), installation="drill")

    findings = RULES["X509-14"].judge(evidence, POLICY, NOW)

    assert {(finding.outcome, finding.code) for finding in findings} == {(Outcome.SKIPPED, "audit.rehearsal")}


def test_without_a_list_it_says_for_how_many_days_a_stolen_key_works() -> None:
    chains = tuple(replace(chain, revocation=UNCHECKED) for chain in GOOD.bundle.chains)

    findings = RULES["X509-14"].judge(audits.bundle(chains=chains, revocation_files=()), POLICY, NOW)

    assert [(f.outcome, f.params["days"]) for f in findings] == [(Outcome.WARN, 110), (Outcome.WARN, 110)]


def test_under_several_hosts_a_certificate_is_revoked_or_not_once() -> None:
    server, client = GOOD.bundle.chains
    elsewhere = replace(server, host="elsewhere", reason="wrong_host", revocation=None)

    findings = RULES["X509-14"].judge(audits.bundle(chains=(server, elsewhere, client)), POLICY, NOW)

    assert [(f.subject, f.outcome) for f in findings if f.subject == "server"] == [("server", Outcome.PASS)]


def test_of_several_faults_each_is_told_and_the_gravest_first() -> None:
    evidence = audits.certificate("server", sans=(), serial=0, aki=None)

    findings = [f for f in RULES["X509-13"].judge(evidence, POLICY, NOW) if f.outcome is not Outcome.PASS]

    assert [(f.subject, f.outcome, f.code) for f in findings] == [
        ("server", Outcome.FAIL, "cert.serial_not_positive"),
        ("server/no_key_identifiers", Outcome.WARN, "cert.no_key_identifiers"),
        ("server/no_san", Outcome.WARN, "cert.no_san"),
    ]


def test_an_anchor_may_sign_itself_with_an_old_hash_because_nobody_verifies_that() -> None:
    evidence = audits.certificate("ca", signature_hash="sha1")

    assert all(finding.outcome is Outcome.PASS for finding in RULES["X509-09"].judge(evidence, POLICY, NOW))


def test_a_certificate_is_valid_at_both_of_its_ends() -> None:
    certificate = GOOD.bundle.certificates[1].certificates[0]

    for instant in (certificate.not_before, certificate.not_after):
        findings = RULES["X509-07"].judge(GOOD, POLICY, instant)
        assert all(finding.outcome is Outcome.PASS for finding in findings)
