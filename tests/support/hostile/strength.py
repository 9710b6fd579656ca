"""The certificate of a server or a client: how strong it is, and how it is spelled."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519
from cryptography.x509.oid import ExtensionOID

from support.certificates import NOW, Made
from support.hostile import der
from support.hostile.cases import Case, case
from support.hostile.ground import Ground
from support.hostile.pki import (
    DAY,
    ISSUED,
    LEAVES_END,
    NAMES,
    OTHER,
    authority,
    leaf,
    name,
    rsa_key,
)
from support.hostile.sides import Make, Row, lasting, rewritten, right_and, right_but, sided


def _by_rsa(scheme: tuple[bytes, str, bytes]) -> Make:
    def made(side: str, ground: Ground) -> Made:
        ca = authority(key=rsa_key())
        ground.trust(ca)
        ground.list()
        return der.signed_weakly(leaf(side, ca), ca, scheme)

    return made


def _by_hash(algorithm: hashes.HashAlgorithm) -> Make:
    def made(side: str, ground: Ground) -> Made:
        right, builder = leaf(side, ground.pki.ca).certificate, x509.CertificateBuilder()
        builder = builder.subject_name(right.subject).issuer_name(right.issuer).serial_number(right.serial_number)
        builder = (
            builder.not_valid_before(ISSUED)
            .not_valid_after(LEAVES_END)
            .public_key(ground.pki.of(side).key.public_key())
        )
        for extension in right.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return Made(builder.sign(ground.pki.ca.key, algorithm), ground.pki.of(side).key)  # type: ignore[arg-type]

    return made


WEAK_KEY = ("X509-10 fail cert.weak_key", "CHAIN fail security.chain_weak_key")
WEAK_SIGNATURE = ("X509-09 fail cert.weak_signature", "CHAIN fail security.chain_weak_signature")
STRENGTH: tuple[Row, ...] = (
    ("rsa-1024", "RSA of 1024 bits", lambda s, g: leaf(s, g.pki.ca, key=rsa_key(1024)), WEAK_KEY),
    ("rsa-2047", "RSA of 2047 bits", lambda s, g: leaf(s, g.pki.ca, key=rsa_key(2047)), WEAK_KEY),
    (
        "rsa-2052",
        "RSA of 2052 bits",
        lambda s, g: leaf(s, g.pki.ca, key=rsa_key(2052)),
        ("X509-10 warn cert.odd_key_size",),
    ),
    (
        "rsa-exponent-3",
        "RSA with the exponent 3",
        lambda s, g: leaf(s, g.pki.ca, key=rsa_key(2048, 3)),
        ("X509-10 fail cert.weak_exponent",),
    ),
    ("dsa", "a DSA key", right_but(key=dsa.generate_private_key(1024)), WEAK_KEY),
    ("secp192r1", "a curve of 192 bits", right_but(key=ec.generate_private_key(ec.SECP192R1())), WEAK_KEY),
    ("secp224r1", "a curve of 224 bits", right_but(key=ec.generate_private_key(ec.SECP224R1())), WEAK_KEY),
    ("secp256k1", "Bitcoin's curve", right_but(key=ec.generate_private_key(ec.SECP256K1())), WEAK_KEY),
    ("brainpool", "a Brainpool curve", right_but(key=ec.generate_private_key(ec.BrainpoolP256R1())), WEAK_KEY),
    ("ed448", "an Ed448 key", right_but(key=ed448.Ed448PrivateKey.generate()), WEAK_KEY),
    (
        "ed25519",
        "an Ed25519 key, which gRPC does not show",
        right_but(key=ed25519.Ed25519PrivateKey.generate()),
        ("X509-10 fail cert.key_not_served",),
    ),
    (
        "secp521r1",
        "P-521, which gRPC does not show",
        right_but(key=ec.generate_private_key(ec.SECP521R1())),
        ("X509-10 fail cert.key_not_served",),
    ),
    ("md5", "signed over MD5", _by_rsa(der.MD5_RSA), WEAK_SIGNATURE),
    ("sha1", "signed over SHA-1", _by_rsa(der.SHA1_RSA), WEAK_SIGNATURE),
    ("sha224", "signed over SHA-224", _by_hash(hashes.SHA224()), WEAK_SIGNATURE),
    ("sha3", "signed over SHA3-256, which TLS does not know", _by_hash(hashes.SHA3_256()), WEAK_SIGNATURE),
)

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"), b"\x05\x00")
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.99999.8"), None)])
CONSTRAINTS = x509.NameConstraints([x509.DNSName("desk.example")], None)
MALFORMED = ("X509-01 fail security.certificate_malformed", "X509-02 fail audit.bundle_incomplete", "CHAIN unknown")
FORM: tuple[Row, ...] = (
    ("version-1", "X.509 version 1, without extensions", rewritten(der.version_1), ("X509-06 fail cert.any_purpose",)),
    (
        "unknown-critical",
        "a critical extension nobody knows",
        right_and((UNKNOWN, True)),
        ("X509-13 fail cert.unknown_critical", "CHAIN fail security.chain_unknown_extension"),
    ),
    (
        "policies-critical",
        "critical policies, which nobody evaluates",
        right_and((POLICIES, True)),
        ("X509-13 fail cert.unknown_critical",),
    ),
    (
        "constrains-names",
        "a leaf with name constraints",
        right_and((CONSTRAINTS, True)),
        ("X509-13 fail cert.name_constraints_on_leaf",),
    ),
    ("serial-zero", "the serial number 0", rewritten(der.serial(0)), ("X509-13 fail cert.serial_not_positive",)),
    (
        "serial-negative",
        "a negative serial number",
        rewritten(der.serial(-7)),
        ("X509-13 fail cert.serial_not_positive",),
    ),
    (
        "serial-long",
        "a serial number of 21 octets",
        rewritten(der.serial(1 << 160)),
        ("X509-13 fail cert.serial_long",),
    ),
    (
        "serial-shared",
        "the serial number of the other side",
        lambda side, ground: leaf(side, ground.pki.ca, serial=ground.pki.of(OTHER[side]).certificate.serial_number),
        ("X509-13 fail cert.serial_shared",),
    ),
    ("no-identifiers", "no key identifiers", right_but(identifiers=False), ("X509-13 warn cert.no_key_identifiers",)),
    (
        "no-aki",
        "no authority key identifier",
        rewritten(der.without(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)),
        ("X509-13 warn cert.no_key_identifiers",),
    ),
    (
        "no-ski",
        "no subject key identifier",
        rewritten(der.without(ExtensionOID.SUBJECT_KEY_IDENTIFIER)),
        ("X509-13 warn cert.no_key_identifiers",),
    ),
    (
        "long-life",
        "lives for two years",
        lasting(ISSUED, NOW + 720 * DAY),
        ("X509-13 warn cert.long_life", "X509-08 warn cert.outlives_issuer"),
    ),
    (
        "nameless",
        "an empty subject and an alternative name that is not critical",
        right_but(subject=x509.Name([])),
        ("X509-13 fail cert.san_not_critical",),
    ),
    (
        "name-with-space",
        "a DNS name with a space in it",
        lambda s, g: leaf(s, g.pki.ca, *NAMES[s], "desk host.example"),
        ("X509-13 warn cert.bad_san",),
    ),
    (
        "host-in-common-name",
        "a host that only the common name names",
        right_but(subject=name("trade.desk.example")),
        ("X509-13 warn cert.common_name_alone",),
    ),
)


def _spelled(side: str, what: str, edit: Callable[[der.Fields], object], name: str) -> Case:
    def spoil(ground: Ground) -> None:
        ground.put(side, der.spelled(ground.pki.of(side), ground.pki.ca, edit))

    chain = {"server": "X509-04", "client": "X509-05"}[side]
    return case(f"form-{side}-{name}", f"{side}: {what}", spoil, *(each.replace("CHAIN", chain) for each in MALFORMED))


CASES = (
    *sided("strength", STRENGTH),
    *sided("form", FORM),
    *(
        _spelled(side, what, edit, row)
        for side in ("server", "client")
        for row, what, edit in (
            ("usage-twice", "the key usage stands twice", der.twice(ExtensionOID.KEY_USAGE)),
            ("constraints-twice", "the basic constraints stand twice", der.twice(ExtensionOID.BASIC_CONSTRAINTS)),
            (
                "time-garbage",
                "a time of no calendar",
                lambda fields: fields.update(validity=der.tlv(0x30, der.tlv(0x17, b"261399999999Z") * 2)),
            ),
        )
    ),
)
