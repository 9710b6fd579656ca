"""Hostile certificates of servers and clients, each with the answer it has to get from chain and lints together."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4.security.certificate_chain import ChainReason, Purpose
from stage4.security.certificate_facts import facts_of
from stage4.security.certificate_judgement import Judgement, judge
from stage4.security.certificate_lints import LEAF_LIFETIME_DAYS, of_leaf, same_serials
from stage4.security.certificates import load_certificates
from stage4.security.known_keys import known_keys
from support.certificates import CLIENT, NOW, SERVER, Made, ec_key, make, rsa_key

DAY = timedelta(days=1)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
HERE = x509.DNSName("localhost")


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@pytest.fixture(scope="module")
def ca() -> Made:
    return make("ca", ca=True, ends=NOW + 365 * DAY)


def judged(
    leaf: Made,
    anchor: Made,
    *,
    purpose: Purpose = "server",
    host: str | None = "localhost",
    beside: tuple[Made, ...] = (),
) -> Judgement:
    return judge(
        leaf.certificate,
        [],
        [anchor.certificate],
        [],
        purpose=purpose,
        host=host if purpose == "server" else None,
        now=NOW,
        together=[made.certificate for made in beside],
    )


def answers(judgement: Judgement) -> tuple[ChainReason, set[str], set[str]]:
    """The chain's reason, the lints that fail, the lints that warn."""
    fails = {lint.name for _, lint in judgement.lints if lint.level == "fail"}
    warns = {lint.name for _, lint in judgement.lints if lint.level == "warn"}
    return judgement.chain.reason, fails, warns


def test_a_right_server_and_a_right_client_have_nothing_wrong(ca: Made) -> None:
    server = make("server", ca, eku=SERVER, sans=("localhost",))
    client = make("client", ca, eku=CLIENT, sans=("stage4-client",))

    assert answers(judged(server, ca)) == (ChainReason.VALID, set(), set())
    assert answers(judged(client, ca, purpose="client")) == (ChainReason.VALID, set(), set())


OK = ChainReason.VALID
LEAVES: tuple[tuple[str, dict[str, object], ChainReason, str], ...] = (
    ("expired a second ago", {"ends": NOW - timedelta(seconds=1)}, ChainReason.EXPIRED, "expired"),
    ("valid in a second", {"begins": NOW + timedelta(seconds=1)}, ChainReason.NOT_YET_VALID, "not_yet_valid"),
    ("a CA", {"ca": True}, ChainReason.LEAF_IS_CA, "leaf_is_ca"),
    ("no purpose named", {"eku": ()}, OK, "any_purpose"),
    ("any purpose", {"eku": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, ChainReason.WRONG_PURPOSE, "any_purpose"),
    ("server and client at once", {"eku": (*SERVER, *CLIENT)}, OK, "both_purposes"),
    ("signs certificates", {"usages": ("digital_signature", "key_cert_sign")}, ChainReason.KEY_USAGE,
     "leaf_signs_certificates"),
    ("signs lists", {"usages": ("digital_signature", "crl_sign")}, OK, "leaf_signs_lists"),
    ("signs no handshake", {"usages": ("key_encipherment",)}, ChainReason.KEY_USAGE, "no_digital_signature"),
    ("no key usage", {"usages": ()}, OK, "no_key_usage"),
    ("P-192", {"key": ec_key(ec.SECP192R1())}, ChainReason.WEAK_KEY, "weak_key"),
    ("RSA of 1024 bits", {"key": rsa_key(1024)}, ChainReason.WEAK_KEY, "weak_key"),
    ("P-521", {"key": ec_key(ec.SECP521R1())}, OK, "key_not_served"),
    ("Ed25519", {"key": ed25519.Ed25519PrivateKey.generate()}, OK, "key_not_served"),
    ("the exponent 3", {"key": rsa.generate_private_key(3, 2048)}, OK, "weak_exponent"),
    ("an extension nobody evaluates", {"extensions": [(UNKNOWN, True)]}, ChainReason.UNKNOWN_EXTENSION,
     "unknown_critical"),
    ("a critical policy", {"extensions": [(POLICY, True)]}, ChainReason.UNKNOWN_EXTENSION, "unknown_critical"),
    ("name constraints", {"extensions": [(x509.NameConstraints([HERE], None), False)]}, ChainReason.POLICY,
     "name_constraints_on_leaf"),
    ("no key identifiers", {"identifiers": False}, OK, "no_key_identifiers"),
    ("a SAN with a space", {"sans": ("localhost", "Dudzian OEM Trading Daemon")}, OK, "bad_san"),
    ("a host in the CN alone", {"subject": name("desk.example")}, OK, "common_name_alone"),
    ("a life of 400 days", {"begins": NOW - 200 * DAY, "ends": NOW + 200 * DAY}, OK, "long_life"),
    ("longer than its CA", {"ends": NOW + 366 * DAY}, OK, "outlives_issuer"),
    ("the name of its CA", {"subject": name("ca")}, OK, "self_issued"),
)  # fmt: skip


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(("wrong", "reason", "lint"), [row[1:] for row in LEAVES], ids=[row[0] for row in LEAVES])
def test_what_is_wrong_with_a_leaf_is_refused_or_warned_of(
    ca: Made, role: Purpose, wrong: dict[str, object], reason: ChainReason, lint: str
) -> None:
    right: dict[str, object] = {"eku": SERVER if role == "server" else CLIENT, "sans": ("localhost",)}
    found, fails, warns = answers(judged(make("leaf", ca, **{**right, **wrong}), ca, purpose=role))  # type: ignore[arg-type]

    assert found is reason
    assert lint in fails | warns


AUTHORITIES: tuple[tuple[str, dict[str, object], ChainReason, str | None], ...] = (
    ("no key usage", {"usages": ()}, OK, "no_key_usage"),
    ("constraints that are not critical", {"constraints_critical": False}, OK, "ca_constraints_loose"),
    ("signs lists only", {"usages": ("crl_sign",)}, ChainReason.ISSUER_NOT_CA, "ca_may_not_sign"),
    ("expired", {"ends": NOW - DAY}, ChainReason.ISSUER_EXPIRED, "expired"),
    ("RSA of 1024 bits", {"key": rsa_key(1024)}, ChainReason.WEAK_KEY, "weak_key"),
    ("another purpose", {"eku": (ExtendedKeyUsageOID.CODE_SIGNING,)}, ChainReason.WRONG_PURPOSE, None),
    ("an extension nobody evaluates", {"extensions": [(UNKNOWN, True)]}, ChainReason.UNKNOWN_EXTENSION,
     "unknown_critical"),
    ("names it may issue, not critical", {"extensions": [(x509.NameConstraints([HERE], None), False)]}, OK,
     "name_constraints_loose"),
    ("names it may issue", {"extensions": [(x509.NameConstraints([x509.DNSName("desk.example")], None), True)]},
     ChainReason.NAME_CONSTRAINTS, None),
    ("names it may not issue", {"extensions": [(x509.NameConstraints(None, [HERE]), True)]},
     ChainReason.NAME_CONSTRAINTS, None),
    ("constraints nobody evaluates",
     {"extensions": [(x509.NameConstraints([x509.RFC822Name("desk.example")], None), False)]}, OK,
     "name_constraints_unevaluated"),
)  # fmt: skip


@pytest.mark.parametrize("between", [False, True], ids=["anchor", "intermediate"])
@pytest.mark.parametrize(
    ("wrong", "reason", "lint"), [row[1:] for row in AUTHORITIES], ids=[row[0] for row in AUTHORITIES]
)
def test_what_is_wrong_with_an_authority_is_refused_or_warned_of(
    ca: Made, between: bool, wrong: dict[str, object], reason: ChainReason, lint: str | None
) -> None:
    authority = make("authority", ca if between else None, ca=True, **wrong)  # type: ignore[arg-type]
    leaf = make("leaf", authority, eku=SERVER, sans=("localhost",))
    if between:
        found, fails, warns = answers(judged(leaf, ca, beside=(authority,)))
    else:
        found, fails, warns = answers(judged(leaf, authority))

    assert found is reason
    # Of a refused chain only the certificates beside the leaf are looked at, for nothing says which anchor was meant.
    assert lint is None or lint in fails | warns or (not between and found is not OK)


def test_an_authority_with_an_ed25519_key_is_refused() -> None:
    ca = make("ca", ca=True, key=ed25519.Ed25519PrivateKey.generate())

    assert judged(make("leaf", ca, eku=SERVER, sans=("localhost",)), ca).chain.reason is ChainReason.UNSUPPORTED_KEY


def test_a_client_has_to_carry_the_name_that_is_asked_for(ca: Made) -> None:
    client = make("client", ca, eku=CLIENT, sans=("stage4-client",))
    reasons = [
        judge(client.certificate, [], [ca.certificate], [], purpose="client", host=host, now=NOW).chain.reason
        for host in ("stage4-client", "another-client", None)
    ]

    assert reasons == [ChainReason.VALID, ChainReason.WRONG_HOST, ChainReason.VALID]


def test_a_leaf_that_signed_itself_is_named_as_such(ca: Made) -> None:
    found, fails, _ = answers(judged(make("alone", eku=SERVER, sans=("localhost",)), ca))

    assert found is ChainReason.UNKNOWN_ISSUER
    assert "self_signed" in fails


def test_the_company_of_a_leaf_in_its_file_is_looked_at(ca: Made) -> None:
    middle = make("middle", ca, ca=True)
    other = make("other", ca, ca=True)
    leaf = make("leaf", middle, eku=SERVER, sans=("localhost",))
    second = make("second", middle, eku=CLIENT)

    def company(*beside: Made) -> set[str]:
        _, fails, warns = answers(judged(leaf, ca, beside=beside))
        return fails | warns

    assert company(middle) == set()
    assert company(middle, ca) == {"anchor_in_file"}
    assert company(other, middle) == {"out_of_order"}
    assert company(middle, leaf) == {"stands_twice"}
    assert "second_leaf" in company(middle, second)


def test_one_serial_number_of_one_issuer_for_two_is_found(ca: Made) -> None:
    first, second = (facts_of(make(who, ca, serial=7).certificate) for who in ("server", "client"))

    assert set(same_serials([("server", first), ("client", second)])) == {"client"}
    assert not same_serials([("server", first), ("metrics_service", first)])
    elsewhere = facts_of(make("client", make("another", ca=True), serial=7).certificate)
    assert not same_serials([("server", first), ("client", elsewhere)])


def test_an_anchor_that_another_authority_issued_is_warned_of_unless_that_one_is_trusted_too(ca: Made) -> None:
    middle = make("middle", ca, ca=True)
    leaf = make("leaf", middle, eku=SERVER, sans=("localhost",))
    alone = judged(leaf, middle)
    both = [middle.certificate, ca.certificate]
    together = judge(leaf.certificate, [], both, [], purpose="server", host="localhost", now=NOW)

    assert [(subject, lint.code) for subject, lint in alone.lints] == [("CN=middle", "cert.anchor_not_root")]
    assert (alone.failed, alone.chain.reason) == (False, ChainReason.VALID)
    assert (together.failed, together.lints) == (False, ())


def test_a_crowd_of_intermediates_is_refused_before_it_takes_for_ever(ca: Made) -> None:
    key = ec_key()
    crowd = tuple(
        make("crowd", Made(make("crowd", ca=True, key=key).certificate, key), ca=True, key=key) for _ in range(13)
    )
    leaf = make("leaf", crowd[0], eku=SERVER, sans=("localhost",))

    assert judged(leaf, ca, beside=crowd).chain.reason is ChainReason.TOO_MANY


def test_single_labels_underscores_and_wildcards_are_names_of_hosts(ca: Made) -> None:
    def lints(*sans: str) -> set[str]:
        return {lint.name for lint in of_leaf(facts_of(make("x", ca, eku=SERVER, sans=sans).certificate), NOW)}

    assert not lints("localhost", "metrics_service", "*.desk.example", "a-b.example.", "x" * 63)
    for bad in ("-a.example", "a..b", "*", "a.*.example", "x" * 64, "a b"):
        assert lints(bad) == {"bad_san"}, bad


def test_what_a_terminal_would_obey_is_escaped(ca: Made) -> None:
    leaf = make("leaf", ca, subject=name("ok\x1b[2J\nFAIL \u202edrow"))

    assert facts_of(leaf.certificate).subject == "CN=ok\\x1b[2J\\nFAIL \\u202edrow"


def test_serial_numbers_have_to_be_positive_and_of_twenty_octets(tmp_path: Path) -> None:
    """The library does not make such certificates, openssl does."""

    def made(*options: str) -> set[str]:
        key, certificate = tmp_path / "key", tmp_path / "certificate"
        fixed = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x")
        subprocess.run(
            ["openssl", "req", *fixed, "-keyout", str(key), "-out", str(certificate), *options],
            check=True,
            capture_output=True,
        )
        return {lint.name for lint in of_leaf(facts_of(load_certificates(certificate)[0]), NOW)}

    assert "serial_not_positive" in made("-set_serial", "0")
    assert "serial_not_positive" in made("-set_serial", "-5")
    assert "serial_long" in made("-set_serial", "0x80" + "00" * 19)
    assert not made("-set_serial", "0x7f" + "ff" * 19) & {"serial_long", "serial_not_positive"}


def test_an_rsa_key_of_no_whole_octets_is_odd(ca: Made) -> None:
    right = facts_of(make("leaf", ca, eku=SERVER, sans=("localhost",)).certificate)
    odd = replace(right, key_kind="rsa", key_bits=2049, key_curve=None, rsa_exponent=65537)

    assert [(lint.level, lint.code) for lint in of_leaf(odd, NOW)] == [("warn", "cert.odd_key_size")]


def test_a_leaf_may_live_a_year_and_a_month(ca: Made) -> None:
    leaf = make("leaf", ca, eku=SERVER, sans=("localhost",), begins=NOW, ends=NOW + 398 * DAY)

    assert LEAF_LIFETIME_DAYS == 398
    assert of_leaf(facts_of(leaf.certificate), NOW) == ()


def test_the_key_of_somebodys_tests_is_known(ca: Made) -> None:
    pem = (Path(cryptography_vectors.__file__).parent / "asymmetric/PKCS8/ec_private_key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    found, fails, _ = answers(judged(make("leaf", ca, key=key, eku=SERVER, sans=("localhost",)), ca))

    assert found is OK
    assert "known_key" in fails


PASSWORDS = (None, b"password", b"123456", b"foobar", b"baz", b"a123456")
LOADERS: tuple[Callable[..., object], ...] = (
    serialization.load_pem_private_key,
    serialization.load_der_private_key,
    serialization.load_ssh_private_key,
)


def test_the_list_of_known_keys_is_what_the_published_keys_give() -> None:
    """Derived again for every row whose key is at hand; the others name a repository."""
    root = Path(cryptography_vectors.__file__).parent
    rows = {digest: source.partition(" ") for digest, source in known_keys().items()}
    assert {package for package, _, _ in rows.values()} == {"cryptography_vectors", "badssl.com", "grpc"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in rows)
    derived: set[str] = set()
    for path in {path for package, _, path in rows.values() if package == "cryptography_vectors"}:
        derived |= digests((root / path).read_bytes())

    assert {digest for digest, (package, _, _) in rows.items() if package == "cryptography_vectors"} <= derived


def digests(content: bytes) -> set[str]:
    form = rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"
    found = set()
    for block in re.findall(form, content, re.DOTALL) or [content]:
        for password in PASSWORDS:
            for load in LOADERS:
                try:
                    key = load(block, password)
                except (ValueError, TypeError, UnsupportedAlgorithm):
                    continue
                public = key.public_key().public_bytes(  # type: ignore[attr-defined]
                    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                )
                found.add(hashlib.sha256(public).hexdigest())
    return found
