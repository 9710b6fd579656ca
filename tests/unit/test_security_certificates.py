"""The audit's eyes: what is wrong with a certificate is found, and found under its own name."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4 import words
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.security.certificate_chain import ChainReason, Purpose, verify_chain
from stage4.security.certificate_facts import facts_of, names_host
from stage4.security.certificates import (
    has_stray_text,
    key_matches,
    load_certificates,
    load_private_key,
    parse_certificates,
    parse_either,
    parse_private_key,
    pem_labels,
)
from support.certificates import CLIENT, NOW, SERVER, Made, ec_key, key_pem, make, pem, rsa_key

VECTORS = Path(__file__).parents[1] / "vectors" / "x509"


@pytest.fixture(scope="module")
def ca() -> Made:
    return make("ca", ca=True, ends=NOW + timedelta(days=365))


def server(issuer: Made, **wrong: object) -> Made:
    facts: dict[str, object] = {"eku": SERVER, "sans": ("localhost",), **wrong}
    return make("leaf", issuer, **facts)  # type: ignore[arg-type]


def judge(
    leaf: Made,
    *anchors: Made,
    purpose: Purpose = "server",
    host: str | None = "localhost",
    above: tuple[Made, ...] = (),
) -> ChainReason:
    return verify_chain(
        leaf.certificate,
        [made.certificate for made in above],
        [made.certificate for made in anchors],
        purpose=purpose,
        host=host,
        now=NOW,
    ).reason


def test_a_right_chain_is_valid_for_its_purpose(ca: Made) -> None:
    assert judge(server(ca), ca) is ChainReason.VALID
    assert judge(make("client", ca, eku=CLIENT, sans=("stage4-client",)), ca, purpose="client") is ChainReason.VALID


def test_a_chain_over_an_intermediate_is_valid_only_with_it(ca: Made) -> None:
    middle = make("middle", ca, ca=True)
    leaf = server(middle)
    assert judge(leaf, ca, above=(middle,)) is ChainReason.VALID
    assert judge(leaf, ca) is ChainReason.UNKNOWN_ISSUER


def test_missing_key_identifiers_and_a_client_without_san_are_accepted() -> None:
    ca = make("ca", ca=True, identifiers=False)
    assert judge(server(ca, identifiers=False), ca) is ChainReason.VALID
    client = make("client", ca, eku=CLIENT, identifiers=False)
    assert judge(client, ca, purpose="client") is ChainReason.VALID


def test_a_certificate_without_extended_key_usage_serves_both_purposes(ca: Made) -> None:
    assert judge(server(ca, eku=()), ca) is ChainReason.VALID
    assert judge(server(ca, eku=()), ca, purpose="client") is ChainReason.VALID


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"ends": NOW - timedelta(seconds=1)}, ChainReason.EXPIRED),
        ({"begins": NOW + timedelta(seconds=1)}, ChainReason.NOT_YET_VALID),
        ({"eku": CLIENT}, ChainReason.WRONG_PURPOSE),
        ({"eku": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, ChainReason.WRONG_PURPOSE),
        ({"sans": ("elsewhere.example",)}, ChainReason.WRONG_HOST),
        ({"sans": ()}, ChainReason.WRONG_HOST),
        ({"ca": True}, ChainReason.LEAF_IS_CA),
        ({"key": ec_key(ec.SECP192R1())}, ChainReason.WEAK_KEY),
    ],
)
def test_what_is_wrong_with_a_server_certificate_is_named(
    ca: Made, wrong: dict[str, object], reason: ChainReason
) -> None:
    assert judge(server(ca, **wrong), ca) is reason


def test_the_limits_of_the_validity_belong_to_it(ca: Made) -> None:
    assert judge(server(ca, begins=NOW, ends=NOW + timedelta(days=1)), ca) is ChainReason.VALID
    assert judge(server(ca, ends=NOW), ca) is ChainReason.VALID


def test_a_server_certificate_is_no_client(ca: Made) -> None:
    assert judge(server(ca), ca, purpose="client", host=None) is ChainReason.WRONG_PURPOSE


def test_an_rsa_key_of_1024_bits_is_weak_wherever_it_stands(ca: Made) -> None:
    weak = rsa_key(1024)
    assert judge(server(ca, key=weak), ca) is ChainReason.WEAK_KEY
    weak_ca = make("weak", ca=True, key=weak)
    assert judge(server(weak_ca), weak_ca) is ChainReason.WEAK_KEY


def test_a_signature_over_sha1_is_weak() -> None:
    [leaf] = load_certificates(VECTORS / "sha1-leaf.pem")
    anchors = load_certificates(VECTORS / "sha1-ca.pem")
    assert facts_of(leaf).signature_hash == "sha1"
    at = leaf.not_valid_before_utc + timedelta(hours=1)
    verdict = verify_chain(leaf, [], anchors, purpose="server", host="localhost", now=at)
    assert verdict.reason is ChainReason.WEAK_SIGNATURE


def test_a_foreign_ca_is_unknown_also_under_the_same_name(ca: Made) -> None:
    assert judge(server(make("other", ca=True)), ca) is ChainReason.UNKNOWN_ISSUER
    assert judge(server(make("ca", ca=True)), ca) is ChainReason.UNKNOWN_ISSUER


def test_a_namesake_without_key_identifiers_did_not_sign(ca: Made) -> None:
    impostor = make("ca", ca=True, identifiers=False)
    assert judge(server(impostor, identifiers=False), ca) is ChainReason.BAD_SIGNATURE


def test_an_expired_authority_is_named_as_such() -> None:
    old = make("ca", ca=True, ends=NOW - timedelta(hours=1))
    assert judge(server(old), old) is ChainReason.ISSUER_EXPIRED


def test_a_path_longer_than_the_ca_allows_is_refused() -> None:
    short = make("ca", ca=True, path_length=0)
    middle = make("middle", short, ca=True)
    assert judge(server(middle), short, above=(middle,)) is ChainReason.PATH_TOO_LONG


NOBODY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
CONSTRAINTS = (x509.PolicyConstraints(0, None), False)


def key_identifier(made: Made) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(made.key.public_key()).digest


@pytest.mark.parametrize(
    "aki",
    [
        x509.AuthorityKeyIdentifier(b"\x02" * 20, None, None),
        x509.AuthorityKeyIdentifier(b"", None, None),
        x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(NOBODY)], 4711),
    ],
)
def test_a_peer_follows_the_key_identifier_of_the_authority(ca: Made, aki: x509.AuthorityKeyIdentifier) -> None:
    middle = make("middle", ca, ca=True)
    astray = make("middle", ca, ca=True, aki=aki)
    assert judge(server(ca, aki=aki), ca) is ChainReason.WRONG_IDENTIFIERS
    assert judge(server(middle, aki=aki), ca, above=(middle,)) is ChainReason.WRONG_IDENTIFIERS
    assert judge(server(astray), ca, above=(astray,)) is ChainReason.WRONG_IDENTIFIERS
    root = make("ca", ca=True, aki=aki)
    assert judge(server(root), root) is ChainReason.WRONG_IDENTIFIERS


def test_the_issuer_and_serial_number_in_a_key_identifier_are_those_of_the_authority(ca: Made) -> None:
    middle = make("middle", ca, ca=True)
    issuer = [x509.DirectoryName(ca.certificate.subject)]
    for serial, issuers, reason in (
        (middle.certificate.serial_number, issuer, ChainReason.VALID),
        (middle.certificate.serial_number + 1, issuer, ChainReason.WRONG_IDENTIFIERS),
        (middle.certificate.serial_number, [x509.DirectoryName(NOBODY)], ChainReason.WRONG_IDENTIFIERS),
    ):
        aki = x509.AuthorityKeyIdentifier(key_identifier(middle), issuers, serial)
        assert judge(server(middle, aki=aki), ca, above=(middle,)) is reason


def test_critical_key_identifiers_are_refused_wherever_they_stand(ca: Made) -> None:
    for critical in ({"aki_critical": True}, {"ski_critical": True}):
        middle = make("middle", ca, ca=True, **critical)  # type: ignore[arg-type]
        root = make("ca", ca=True, **critical)  # type: ignore[arg-type]
        assert judge(server(ca, **critical), ca) is ChainReason.UNKNOWN_EXTENSION
        assert judge(server(middle), ca, above=(middle,)) is ChainReason.UNKNOWN_EXTENSION
        assert judge(server(root), root) is ChainReason.UNKNOWN_EXTENSION


@pytest.mark.parametrize("purposes", [(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), CLIENT, ()])
def test_an_authority_that_says_its_purposes_says_the_one_that_is_asked(ca: Made, purposes: tuple[Any, ...]) -> None:
    middle = make("middle", ca, ca=True, eku=purposes)
    root = make("ca", ca=True, eku=purposes)
    reason = ChainReason.WRONG_PURPOSE if purposes else ChainReason.VALID
    assert judge(server(middle), ca, above=(middle,)) is reason
    assert judge(server(root), root) is reason


def test_policy_constraints_are_refused_below_the_anchor(ca: Made) -> None:
    middle = make("middle", ca, ca=True, extensions=[CONSTRAINTS])
    root = make("ca", ca=True, extensions=[CONSTRAINTS])
    assert judge(server(middle), ca, above=(middle,)) is ChainReason.POLICY
    assert judge(server(ca, extensions=[CONSTRAINTS]), ca) is ChainReason.POLICY
    assert judge(server(root), root) is ChainReason.VALID


def test_of_namesakes_without_key_identifiers_a_peer_may_take_the_wrong_one(ca: Made) -> None:
    one, other = (make("ca", ca=True, identifiers=False) for _ in range(2))
    middle = make("middle", one, ca=True, identifiers=False)
    decoy = make("middle", ca, ca=True, identifiers=False)
    leaf = server(middle, identifiers=False)
    assert judge(server(one, identifiers=False), one, other) is ChainReason.AMBIGUOUS_ISSUER
    assert judge(leaf, one, above=(middle, decoy)) is ChainReason.VALID
    assert judge(leaf, one, above=(decoy, middle)) is ChainReason.AMBIGUOUS_ISSUER
    assert judge(leaf, other, one, above=(middle,)) is ChainReason.AMBIGUOUS_ISSUER


def test_an_old_and_a_new_root_stand_together_where_identifiers_tell_them_apart(ca: Made) -> None:
    renewed = make("ca", ca=True, key=ca.key, ends=NOW + timedelta(days=700))
    gone = make("ca", ca=True, key=ca.key, ends=NOW - timedelta(hours=1))
    other = make("ca", ca=True)
    for anchors in ((ca, other), (other, ca), (ca, renewed), (gone, ca), (ca, gone, other)):
        assert judge(server(ca), *anchors) is ChainReason.VALID


def test_a_certificate_that_looks_self_signed_ends_the_search_of_a_peer(ca: Made) -> None:
    middle = make("ca", ca, ca=True, identifiers=False)
    assert judge(server(middle), ca, above=(middle,)) is ChainReason.AMBIGUOUS_ISSUER
    astray = make("ca", ca=True, key=ca.key, aki=x509.AuthorityKeyIdentifier(b"\x02" * 20, None, None))
    assert judge(server(ca), ca, astray) is ChainReason.AMBIGUOUS_ISSUER
    told_apart = make("ca", ca, ca=True)
    assert judge(server(told_apart), ca, above=(told_apart,)) is ChainReason.VALID


@pytest.mark.parametrize(
    ("tree", "subject", "reason"),
    [
        (x509.DNSName("desk.example"), "a.desk.example", ChainReason.VALID),
        (x509.DNSName("desk.example"), "a.evil.example", ChainReason.NAME_CONSTRAINTS),
        (x509.DNSName("desk.example"), "core-oem client", ChainReason.VALID),
        (x509.DNSName("desk.example"), "client", ChainReason.VALID),
        (x509.DirectoryName(NOBODY), "client", ChainReason.NAME_CONSTRAINTS),
        (x509.RFC822Name("desk.example"), "client", ChainReason.VALID),
    ],
)
def test_name_constraints_are_about_the_subject_of_a_client_without_san(
    ca: Made, tree: x509.GeneralName, subject: str, reason: ChainReason
) -> None:
    for critical in (False, True):
        middle = make("middle", ca, ca=True, extensions=[(x509.NameConstraints([tree], None), critical)])
        client = make(subject, middle, eku=CLIENT)
        assert judge(client, ca, purpose="client", above=(middle,)) is reason


def test_a_constraint_on_addresses_is_about_an_address_in_the_subject(ca: Made) -> None:
    constraint = x509.NameConstraints([x509.RFC822Name("desk.example")], None)
    middle = make("middle", ca, ca=True, extensions=[(constraint, True)])
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "x@evil.example")])
    client = make("client", middle, eku=CLIENT, subject=subject)
    assert judge(client, ca, purpose="client", above=(middle,)) is ChainReason.NAME_CONSTRAINTS


def test_only_a_ca_is_an_anchor_even_if_it_is_the_leaf_itself(ca: Made) -> None:
    leaf = server(ca)
    assert judge(leaf, leaf) is ChainReason.ANCHOR_NOT_CA
    assert judge(leaf) is ChainReason.NO_ANCHOR


@pytest.mark.parametrize("host", [None, "", "not a host", "a..b"])
def test_a_server_is_not_judged_without_a_proper_host(ca: Made, host: str | None) -> None:
    with pytest.raises(UsageError, match=r"security\.bad_host"):
        judge(server(ca), ca, host=host)


def test_every_reason_has_a_text_in_both_languages() -> None:
    for reason in ChainReason:
        for lang in words.languages:
            assert words.text(f"security.chain_{reason}", lang)


def test_a_key_belongs_to_its_certificate_only(ca: Made) -> None:
    leaf, strong = server(ca), server(ca, key=rsa_key(2048))
    assert key_matches(leaf.certificate, leaf.key)
    assert key_matches(strong.certificate, strong.key)
    assert not key_matches(leaf.certificate, ca.key)
    assert not key_matches(leaf.certificate, strong.key)
    assert not key_matches(strong.certificate, rsa_key(2048))


def large_rsa_key(modulus: int, wrong: int = 0) -> bytes:
    """A key file of this modulus that was never a key; the other numbers have `wrong` bits, or about its size."""
    number = (1 << (wrong or modulus.bit_length() - 1)) + 1
    integers = b"".join(asn1(0x02, each.to_bytes(each.bit_length() // 8 + 1)) for each in (0, modulus, 65537))
    integers += asn1(0x02, number.to_bytes(number.bit_length() // 8 + 1)) * 6
    body = base64.encodebytes(asn1(0x30, integers))
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + body + b"-----END RSA PRIVATE KEY-----\n"


def asn1(tag: int, content: bytes) -> bytes:
    """Tag, length and content (X.690 8.1)."""
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x80 | len(size)]) + size
    return bytes([tag]) + length + content


def test_an_rsa_key_that_is_too_large_is_refused_before_anybody_reckons_with_it(ca: Made) -> None:
    modulus = (1 << 40_000) + 1
    public = rsa.RSAPublicNumbers(65537, modulus).public_key()
    with pytest.raises(UsageError, match=r"security\.key_too_large"):
        parse_private_key(large_rsa_key(modulus), "key")
    name = ca.certificate.subject
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public).serial_number(1)
    large = builder.not_valid_before(NOW).not_valid_after(NOW).sign(ca.key, hashes.SHA256())
    with pytest.raises(UsageError, match=r"security\.key_too_large"):
        parse_certificates(pem(large), "certificate")
    with pytest.raises(UsageError, match=r"security\.key_too_large"):
        parse_either(large.public_bytes(serialization.Encoding.DER), "certificate")


def test_a_key_of_another_certificate_or_of_endless_numbers_does_not_sign(ca: Made) -> None:
    strong = server(ca, key=rsa_key(2048))
    public = strong.certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    modulus = public.public_numbers().n
    # Each would be busy for minutes: a large modulus that is another one, and the right one with an endless exponent.
    other = parse_private_key(large_rsa_key((1 << 16_383) + 1), "key")
    endless = parse_private_key(large_rsa_key(modulus, wrong=200_000), "key")
    assert not key_matches(strong.certificate, other)
    assert not key_matches(strong.certificate, endless)


def test_an_rsa_key_one_of_whose_numbers_is_another_does_not_belong(ca: Made) -> None:
    strong = server(ca, key=rsa_key(2048))
    assert isinstance(strong.key, rsa.RSAPrivateKey)
    right = strong.key.private_numbers()
    names = ("p", "q", "d", "dmp1", "dmq1", "iqmp")
    values = {name: getattr(right, name) for name in names}
    for name in names:
        numbers = rsa.RSAPrivateNumbers(**{**values, name: values[name] + 2}, public_numbers=right.public_numbers)
        try:
            wrong = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        except ValueError:
            continue  # a number that the library itself refuses
        assert not key_matches(strong.certificate, wrong), name


def test_an_unusual_kind_of_key_belongs_to_nothing(ca: Made) -> None:
    assert not key_matches(server(ca).certificate, dsa.generate_private_key(1024))


def test_the_facts_of_a_certificate_are_read(ca: Made) -> None:
    leaf = server(ca)
    facts = facts_of(leaf.certificate)
    assert (facts.subject, facts.issuer) == ("CN=leaf", "CN=ca")
    assert facts.sans == ("DNS:localhost",)
    assert facts.eku == ("serverAuth",)
    assert not facts.is_ca
    assert facts.aki == facts_of(ca.certificate).ski
    assert (facts.key_kind, facts.key_bits, facts.key_curve) == ("ec", 256, "secp256r1")
    assert facts.signature_hash == "sha256"
    assert len(facts.fingerprint) == len(facts.spki_sha256) == 64


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file.pem"
    path.write_bytes(content)
    return path


def test_several_certificates_are_read_in_their_order(ca: Made, tmp_path: Path) -> None:
    leaf = server(ca)
    content = pem(leaf.certificate) + pem(ca.certificate)
    assert load_certificates(write(tmp_path, content)) == [leaf.certificate, ca.certificate]
    assert not has_stray_text(content)
    assert has_stray_text(b"subject=CN\n" + content)
    assert has_stray_text(content + b"-----BEGIN CERTIFICATE-----\n")


def test_a_file_that_holds_no_proper_certificate_is_refused_by_name(ca: Made, tmp_path: Path) -> None:
    whole = pem(ca.certificate)
    cases = {
        b"": "security.certificate_missing",
        b"cert": "security.certificate_missing",
        bytes(range(256)): "security.certificate_missing",
        key_pem(ca.key): "security.key_in_certificate_file",
        whole + key_pem(ca.key): "security.key_in_certificate_file",
        whole + b"-----BEGIN PRIVATE KEY-----": "security.key_in_certificate_file",
        b"-----BEGIN CERTIFICATE-----\n" * 9000: "security.certificate_missing",
        whole[:200] + whole[260:]: "security.certificate_malformed",
        whole.replace(b"MII", b"M!!"): "security.certificate_malformed",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "security.certificate_malformed",
    }
    for content, code in cases.items():
        with pytest.raises(UsageError) as caught:
            load_certificates(write(tmp_path, content))
        assert caught.value.code == code, content[:40]
        assert caught.value.params["path"] == tmp_path / "file.pem"


def test_an_absent_or_endless_file_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        load_certificates(tmp_path / "absent.pem")
    with pytest.raises(Unavailable, match=r"files\.too_large"):
        load_certificates(write(tmp_path, b"x" * (1 << 19)))


def test_a_private_key_is_read_or_refused_by_name(ca: Made, tmp_path: Path) -> None:
    key = load_private_key(write(tmp_path, key_pem(ca.key)))
    assert key_matches(ca.certificate, key)
    locked = ca.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    cases: dict[bytes, tuple[type[Stage4Error], str]] = {
        locked: (Unavailable, "security.key_encrypted"),
        b"key": (UsageError, "security.key_malformed"),
        pem(ca.certificate): (UsageError, "security.key_malformed"),
    }
    for content, (kind, code) in cases.items():
        with pytest.raises(kind) as caught:
            load_private_key(write(tmp_path, content))
        assert caught.value.code == code


def test_a_wildcard_stands_for_one_whole_label() -> None:
    sans = ("DNS:*.desk.example", "DNS:Metrics.Example", "IP:127.0.0.1", "IP:::1")
    assert names_host(sans, "a.desk.example")
    assert names_host(sans, "metrics.EXAMPLE")
    assert names_host(sans, "127.0.0.1")
    assert names_host(sans, "::1")
    assert not names_host(sans, "a.b.desk.example")
    assert not names_host(sans, "desk.example")
    assert not names_host(sans, "127.0.0.2")


def test_the_labels_of_a_file_are_listed(ca: Made) -> None:
    assert pem_labels(pem(ca.certificate) + key_pem(ca.key)) == ["CERTIFICATE", "PRIVATE KEY"]
    assert parse_certificates(pem(ca.certificate), "here") == [ca.certificate]
