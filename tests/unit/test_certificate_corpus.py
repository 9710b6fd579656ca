"""Two published collections of right and wrong certificates, judged by the code of the audit."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from stage4.security import certificate_lints
from stage4.security.certificate_chain import ChainReason
from stage4.security.certificate_lints import Level
from stage4.security.revocation import RevocationState

REPOSITORY = Path(__file__).resolve().parents[2]
# Tests of each section of PKITS 1.0.1; in 4.8 one test asks again for the certificate of 4.1.1.
TESTS = {
    "4.1": 6,
    "4.2": 8,
    "4.3": 11,
    "4.4": 21,
    "4.5": 8,
    "4.6": 17,
    "4.7": 5,
    "4.8": 19,
    "4.9": 8,
    "4.10": 14,
    "4.11": 11,
    "4.12": 10,
    "4.13": 38,
    "4.14": 35,
    "4.15": 10,
    "4.16": 2,
}


@cache
def corpus() -> ModuleType:
    name = "certificate_corpus"
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_vectors_are_those_of_the_library() -> None:
    assert version("cryptography-vectors") == version("cryptography")


def test_every_section_of_pkits_is_judged_as_a_whole() -> None:
    assert {section: len(judged) for section, judged in corpus().pkits().items()} == TESTS


@pytest.mark.parametrize("section", TESTS)
def test_no_invalid_certificate_of_pkits_is_accepted(section: str) -> None:
    answers = {judged.name: judged.answer for judged in corpus().pkits()[section] if judged.valid is False}

    assert "accepted" not in answers.values(), answers


@pytest.mark.parametrize(
    ("test", "answer"),
    [
        ("InvalidCASignatureTest2", "bad_signature"),
        ("InvalidEESignatureTest3", "bad_signature"),
        ("InvalidCAnotBeforeDateTest1", "issuer_expired"),
        ("InvalidEEnotBeforeDateTest2", "not_yet_valid"),
        ("InvalidEEnotAfterDateTest6", "expired"),
        ("InvalidNameChainingTest1", "unknown_issuer"),
        ("InvalidMissingCRLTest1", "revocation_no_list"),
        ("InvalidRevokedCATest2", "revocation_revoked"),
        ("InvalidRevokedEETest3", "revocation_revoked"),
        ("InvalidBadCRLSignatureTest4", "revocation_untrusted"),
        ("InvalidUnknownCRLExtensionTest9", "revocation_revoked"),
        ("InvalidOldCRLnextUpdateTest11", "revocation_stale"),
        ("InvalidSeparateCertificateandCRLKeysTest21", "revocation_untrusted"),
        ("InvalidBasicSelfIssuedNewWithOldTest5", "revocation_revoked"),
        ("InvalidMissingbasicConstraintsTest1", "issuer_not_ca"),
        ("InvalidcAFalseTest2", "issuer_not_ca"),
        ("InvalidpathLenConstraintTest5", "path_too_long"),
        ("InvalidkeyUsageCriticalkeyCertSignFalseTest1", "issuer_not_ca"),
        ("InvalidkeyUsageCriticalcRLSignFalseTest4", "revocation_untrusted"),
        ("InvalidDNSnameConstraintsTest31", "name_constraints"),
        ("InvalidDNnameConstraintsTest2", "name_constraints"),
        ("InvalidonlyContainsCACertsTest12", "revocation_unsupported"),
        ("InvaliddeltaCRLIndicatorNoBaseTest1", "revocation_unsupported"),
        ("InvalidUnknownCriticalCertificateExtensionTest2", "unknown_extension"),
    ],
)
def test_a_certificate_of_pkits_is_refused_for_its_own_fault(test: str, answer: str) -> None:
    everything = {judged.name: judged.answer for section in corpus().pkits().values() for judged in section}

    assert everything[f"{test}EE"] == answer


def test_of_the_sections_that_mtls_uses_most_valid_certificates_are_accepted() -> None:
    accepted = {
        section: sum(judged.valid is True and judged.answer == "accepted" for judged in corpus().pkits()[section])
        for section in ("4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.16")
    }

    assert accepted == {"4.1": 1, "4.2": 2, "4.3": 4, "4.4": 6, "4.5": 4, "4.6": 3, "4.7": 1, "4.16": 1}


def test_what_is_accepted_has_a_path_to_the_anchor_and_fresh_lists() -> None:
    for judged in (each for section in corpus().pkits().values() for each in section if each.answer == "accepted"):
        assert judged.judgement is not None
        assert judged.judgement.chain.reason is ChainReason.VALID
        assert judged.judgement.revocation.state is RevocationState.GOOD
        failing = {lint.code for _, lint in judged.judgement.lints if lint.level is Level.FAIL}
        assert failing == {"cert.any_purpose"}


def test_no_file_of_pyca_crashes_and_none_is_accepted_in_silence() -> None:
    judged = corpus().pyca()

    assert len(judged) > 100
    assert [each.name for each in judged if each.judgement is not None and not each.judgement.failed] == []
    assert [each.name for each in judged if each.answer == "accepted"] == []


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("badasn1time.pem", "certificate_malformed"),
        ("custom/two_basic_constraints.pem", "certificate_malformed"),
        ("custom/invalid_version.pem", "certificate_malformed"),
        ("custom/malformed-san.pem", "certificate_malformed"),
        ("san_x400address.der", "certificate_malformed"),
        ("cryptography.io.with_garbage.pem", "key_in_certificate_file"),
        ("custom/pc_require.pem", "unknown_extension"),
        ("custom/dsa_selfsigned_ca.pem", "weak_key"),
        ("verisign_md2_root.pem", "weak_key"),
        ("cryptography.io.chain.pem", "both_purposes"),
    ],
)
def test_a_file_of_pyca_is_refused_for_its_own_fault(name: str, answer: str) -> None:
    assert {judged.name: judged.answer for judged in corpus().pyca()}[name] == answer


def test_the_page_lists_every_lint() -> None:
    spoken = set(re.findall(r"\"(?:cert|security)\.([a-z_]+)\"", inspect.getsource(certificate_lints)))

    assert spoken
    assert spoken == set(re.findall(r"^\| `([a-z_]+)` \| `(?:fail|warn)`", corpus().page("en"), re.MULTILINE))


def test_the_page_of_the_documentation_is_in_step() -> None:
    stale = [path for path, content in corpus().documents().items() if (REPOSITORY / path).read_bytes() != content]

    assert stale == [], "make docs"
