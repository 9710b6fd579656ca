"""Who is on a list is out, and a list that proves nothing lets nobody in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from stage4.errors import Unavailable, UsageError
from stage4.security.certificate_chain import verify_chain
from stage4.security.revocation import RevocationList, RevocationState, RevocationVerdict, judge_path, load_lists
from support.certificates import CLIENT, NOW, SERVER, Made, crl_pem, make, revocation_list, rsa_key

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def ca() -> Made:
    return make("ca", ca=True, ends=NOW + timedelta(days=365))


@pytest.fixture(scope="module")
def leaf(ca: Made) -> Made:
    return make("leaf", ca, eku=CLIENT, sans=("client",))


def said(
    leaf: Made, anchor: Made, *crls: x509.CertificateRevocationList, above: tuple[Made, ...] = ()
) -> RevocationVerdict:
    intermediates = [made.certificate for made in above]
    anchors = [anchor.certificate]
    chain = verify_chain(leaf.certificate, intermediates, anchors, purpose="client", host=None, now=NOW)
    assert chain.ok, chain
    lists = [RevocationList(crl) for crl in crls]
    return judge_path(chain.path, lists, intermediates=intermediates, anchors=anchors, now=NOW)


def test_a_fresh_list_of_the_issuer_that_does_not_name_the_leaf_is_good(ca: Made, leaf: Made) -> None:
    verdict = said(leaf, ca, revocation_list(ca, make("other", ca)))

    assert (verdict.state, verdict.next_update) == (RevocationState.GOOD, NOW + timedelta(days=7))
    assert said(leaf, ca).state is RevocationState.UNCHECKED


def test_a_named_certificate_is_revoked_with_instant_and_reason(ca: Made, leaf: Made) -> None:
    verdict = said(leaf, ca, revocation_list(ca, leaf))

    assert (verdict.state, verdict.reason) == (RevocationState.REVOKED, "keyCompromise")
    assert (verdict.subject, verdict.issuer, verdict.revoked_at) == ("CN=leaf", "CN=ca", NOW - HOUR)


@pytest.mark.parametrize(
    ("wrong", "state"),
    [
        ({"ends": NOW - timedelta(seconds=1)}, RevocationState.STALE),
        ({"begins": NOW + timedelta(seconds=1)}, RevocationState.NOT_YET),
        ({"begins": NOW, "ends": NOW + HOUR}, RevocationState.GOOD),
        ({"ends": NOW}, RevocationState.GOOD),
        ({"extensions": [(x509.DeltaCRLIndicator(1), True)]}, RevocationState.UNSUPPORTED),
        (
            {"extensions": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), True)]},
            RevocationState.UNSUPPORTED,
        ),
        (
            {"extensions": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), False)]},
            RevocationState.GOOD,
        ),
        (
            {
                "extensions": [
                    (x509.IssuingDistributionPoint(None, None, False, True, None, False, False), True),
                ]
            },
            RevocationState.UNSUPPORTED,
        ),
        (
            {
                "extensions": [
                    (x509.IssuingDistributionPoint(None, None, True, False, None, False, False), True),
                ]
            },
            RevocationState.GOOD,
        ),
    ],
)
def test_a_list_proves_something_only_while_it_is_fresh_and_whole(
    ca: Made, leaf: Made, wrong: dict[str, object], state: RevocationState
) -> None:
    assert said(leaf, ca, revocation_list(ca, **wrong)).state is state  # type: ignore[arg-type]


def test_who_is_on_a_list_that_is_old_or_partial_is_revoked_all_the_same(ca: Made, leaf: Made) -> None:
    old = revocation_list(ca, leaf, ends=NOW - HOUR)
    delta = revocation_list(ca, leaf, extensions=[(x509.DeltaCRLIndicator(1), True)])

    assert said(leaf, ca, old).state is RevocationState.REVOKED
    assert said(leaf, ca, revocation_list(ca), delta).state is RevocationState.REVOKED


REVOKED_FOR_GOOD = (x509.CRLReason(x509.ReasonFlags.key_compromise), False)
NO_LONGER_HELD = (x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)


def issued_by(name: x509.Name, *, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    return x509.CertificateIssuer([x509.DirectoryName(name)]), critical


def with_entries(
    issuer: Made, leaf: Made, *entries: tuple[tuple[x509.ExtensionType, bool], ...]
) -> x509.CertificateRevocationList:
    """A list with an entry of the leaf's serial number for each tuple of extensions."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(NOW - HOUR).next_update(NOW + HOUR)
    for extensions in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(leaf.certificate.serial_number).revocation_date(NOW)
        for extension, critical in extensions:
            entry = entry.add_extension(extension, critical)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256())


def test_of_several_entries_for_one_certificate_the_strictest_counts(ca: Made, leaf: Made) -> None:
    assert said(leaf, ca, with_entries(ca, leaf, (NO_LONGER_HELD,))).state is RevocationState.GOOD
    for entries in (((NO_LONGER_HELD,), (REVOKED_FOR_GOOD,)), ((REVOKED_FOR_GOOD,), (NO_LONGER_HELD,))):
        verdict = said(leaf, ca, with_entries(ca, leaf, *entries))
        assert (verdict.state, verdict.reason) == (RevocationState.REVOKED, "keyCompromise")


def test_an_entry_that_names_its_issuer_revokes_where_it_is_the_issuer_of_the_list(ca: Made, leaf: Made) -> None:
    own, other = ca.certificate.subject, make("other", ca=True).certificate.subject

    for critical in (False, True):
        assert said(leaf, ca, with_entries(ca, leaf, (issued_by(own, critical=critical),))).state is (
            RevocationState.REVOKED
        )
        assert said(leaf, ca, with_entries(ca, leaf, (issued_by(other, critical=critical),))).state is (
            RevocationState.UNSUPPORTED
        )


def test_a_list_with_entries_of_another_issuer_proves_nothing_good(ca: Made, leaf: Made) -> None:
    elsewhere = make("elsewhere", ca)
    foreign = with_entries(ca, elsewhere, (issued_by(elsewhere.certificate.subject),))

    assert said(leaf, ca, foreign).state is RevocationState.UNSUPPORTED
    assert said(leaf, ca, with_entries(ca, elsewhere, (issued_by(ca.certificate.subject),))).state is (
        RevocationState.GOOD
    )


def test_a_list_of_a_namesake_says_nothing(ca: Made, leaf: Made) -> None:
    impostor = make("ca", ca=True)

    assert said(leaf, ca, revocation_list(impostor)).state is RevocationState.UNTRUSTED
    assert said(leaf, ca, revocation_list(impostor, leaf)).state is RevocationState.UNTRUSTED
    assert said(leaf, ca, revocation_list(impostor), revocation_list(ca)).state is RevocationState.GOOD
    assert said(leaf, ca, revocation_list(make("elsewhere", ca=True))).state is RevocationState.NO_LIST


def test_a_ca_that_may_not_sign_lists_signs_none() -> None:
    ca = make("ca", ca=True, usages=("key_cert_sign",))
    leaf = make("leaf", ca, eku=CLIENT)

    assert said(leaf, ca, revocation_list(ca)).state is RevocationState.UNTRUSTED


def test_a_list_over_sha224_is_not_trusted(ca: Made, leaf: Made) -> None:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    weak = builder.last_update(NOW - HOUR).next_update(NOW + HOUR).sign(ca.key, hashes.SHA224())

    assert said(leaf, ca, weak).state is RevocationState.UNTRUSTED


def test_a_signer_of_lists_has_to_come_from_the_anchor_and_not_be_revoked(ca: Made, leaf: Made) -> None:
    signer = make("ca", ca, usages=("crl_sign",))
    stranger = make("ca", make("ca", ca=True), usages=("crl_sign",))
    by_signer = revocation_list(ca, signer=signer)

    assert said(leaf, ca, by_signer, above=(signer,)).state is RevocationState.GOOD
    assert said(leaf, ca, by_signer).state is RevocationState.UNTRUSTED
    assert said(leaf, ca, revocation_list(ca, signer=stranger), above=(stranger,)).state is RevocationState.UNTRUSTED
    named = revocation_list(ca, signer, ends=NOW - HOUR)
    assert said(leaf, ca, by_signer, named, above=(signer,)).state is not RevocationState.GOOD


def test_every_ca_below_the_anchor_needs_its_own_answer(ca: Made) -> None:
    middle = make("middle", ca, ca=True)
    leaf = make("leaf", middle, eku=CLIENT)
    of_root, of_middle = revocation_list(ca), revocation_list(middle)

    assert said(leaf, ca, of_root, of_middle, above=(middle,)).state is RevocationState.GOOD
    assert said(leaf, ca, of_middle, above=(middle,)).state is RevocationState.NO_LIST
    verdict = said(leaf, ca, revocation_list(ca, middle), of_middle, above=(middle,))
    assert (verdict.state, verdict.subject) == (RevocationState.REVOKED, "CN=middle")


def test_an_rsa_authority_signs_lists_too() -> None:
    ca = make("ca", ca=True, key=rsa_key(2048))
    leaf = make("leaf", ca, eku=CLIENT)

    assert said(leaf, ca, revocation_list(ca)).state is RevocationState.GOOD


def test_lists_are_read_from_pem_and_der(ca: Made, tmp_path: Path) -> None:
    crl, path = revocation_list(ca, make("x", ca, eku=SERVER)), tmp_path / "list"
    path.write_bytes(crl.public_bytes(serialization.Encoding.DER))
    assert [(each.name, each.entries) for each in load_lists(path)] == [("CN=ca", 1)]
    path.write_bytes(b"\r\n" + crl_pem(crl) + b"\r\n" + crl_pem(crl))
    assert len(load_lists(path)) == 2


@pytest.mark.parametrize(
    ("right", "torn"),
    [
        (b"-----END X509 CRL-----", b"-----END X509 CRL----"),
        (b"X509 CRL", b"x509 CRL"),
        (b"X509 CRL", b"CRL"),
        (b"X509 CRL", b"CERTIFICATE"),
        (b"-----BEGIN X509 CRL-----", b"some words"),
    ],
)
def test_a_list_that_is_torn_or_has_another_label_is_not_passed_over(
    ca: Made, leaf: Made, tmp_path: Path, right: bytes, torn: bytes
) -> None:
    good, path = crl_pem(revocation_list(ca)), tmp_path / "list"
    newer = crl_pem(revocation_list(ca, leaf)).replace(right, torn)
    for content in (good + newer, newer + good):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"security\.list_stray"):
            load_lists(path)


def test_what_is_no_list_is_said_to_be_none(ca: Made, tmp_path: Path) -> None:
    path = tmp_path / "list"
    crl = crl_pem(revocation_list(ca))
    cases = {
        b"": "security.list_missing",
        b"list": "security.list_missing",
        crl[:-30]: "security.list_missing",
        crl.replace(b"MI", b"M!", 1): "security.list_malformed",
        b"\x30\x82\x00\x01": "security.list_malformed",
    }
    for content, code in cases.items():
        path.write_bytes(content)
        with pytest.raises(UsageError) as caught:
            load_lists(path)
        assert caught.value.code == code, content[:20]
    with pytest.raises(Unavailable, match=r"files\.missing"):
        load_lists(tmp_path / "absent")
