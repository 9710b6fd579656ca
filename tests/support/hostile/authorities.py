"""The CA and the CAs between it and the leaves, wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtensionOID

from support.certificates import CLIENT, NOW, Made, key_pem
from support.hostile import der
from support.hostile.cases import Case, case
from support.hostile.ground import Ground
from support.hostile.pki import DAY, DEMO, SECOND, authority, leaf, listed, name, rsa_key

MIDDLE = name("Desk issuing CA")
BOTH_CHAINS = ("X509-04 fail", "X509-05 fail")


def rooted(ground: Ground, ca: Made, *, lists: bool = True) -> None:
    """The whole bundle under another CA."""
    ground.trust(ca)
    for side in ("server", "client"):
        ground.install(side, leaf(side, ca))
    if lists:
        ground.list(listed(ca))


def _ca(**changes: Any) -> Callable[[Ground], None]:
    return lambda ground: rooted(ground, authority(**changes))


def _rewritten(edit: Callable[[der.Fields], object]) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        ground.trust(der.changed(ground.pki.ca, ground.pki.ca, edit))

    return spoil


def _constraints(*permitted: x509.GeneralName, critical: bool = True) -> tuple[tuple[x509.NameConstraints, bool], ...]:
    return ((x509.NameConstraints(list(permitted), None), critical),)


ANCHORS: tuple[Case, ...] = (
    case(
        "ca-expired",
        "the CA ended yesterday",
        _ca(ends=NOW - DAY),
        "X509-07 fail cert.expired",
        "X509-04 fail security.chain_issuer_expired",
        "X509-05 fail security.chain_issuer_expired",
        "TLS-02 fail audit.believes_expired",
    ),
    case(
        "ca-begins-tomorrow",
        "the CA begins tomorrow",
        _ca(begins=NOW + DAY),
        "X509-07 fail cert.not_yet_valid",
        "X509-04 fail security.chain_issuer_expired",
    ),
    case(
        "ca-reversed",
        "the CA ends before it begins",
        _rewritten(der.validity(NOW + DAY, NOW - DAY)),
        "X509-07 fail cert.validity_reversed",
        *BOTH_CHAINS,
    ),
    case("ca-ends-in-a-day", "the CA ends in a day", _ca(ends=NOW + DAY), "X509-08 fail audit.expires_now"),
    case("ca-ends-in-a-week", "the CA ends in a week", _ca(ends=NOW + 7 * DAY), "X509-08 warn audit.expires_soon"),
    case(
        "ca-is-leaf",
        "the CA says that it is none",
        _ca(ca=False),
        "X509-12 fail cert.ca_is_no_ca",
        "TLS-02 fail audit.believes_leaf",
        *BOTH_CHAINS,
    ),
    case(
        "ca-no-constraints",
        "the CA has no basic constraints",
        _rewritten(der.without(ExtensionOID.BASIC_CONSTRAINTS)),
        "X509-12 fail cert.ca_is_no_ca",
        "TLS-02 fail audit.believes_leaf",
        *BOTH_CHAINS,
    ),
    case(
        "ca-version-1",
        "the CA is X.509 version 1",
        _rewritten(der.version_1),
        "X509-12 fail cert.ca_is_no_ca",
        *BOTH_CHAINS,
    ),
    case(
        "ca-constraints-loose",
        "the CA's basic constraints are not critical",
        _ca(constraints_critical=False),
        "X509-12 warn cert.ca_constraints_loose",
    ),
    case(
        "ca-may-not-sign",
        "the CA may not sign certificates",
        _ca(usages=("crl_sign",)),
        "X509-12 fail cert.ca_may_not_sign",
        *BOTH_CHAINS,
    ),
    case("ca-no-key-usage", "the CA has no key usage", _ca(usages=()), "X509-12 warn cert.no_key_usage"),
    case("ca-no-ski", "the CA has no key identifiers", _ca(identifiers=False), "X509-13 warn cert.no_key_identifiers"),
    case(
        "ca-serial-zero",
        "the CA has the serial number 0",
        _rewritten(der.serial(0)),
        "X509-13 warn cert.serial_not_positive",
    ),
    case(
        "ca-unknown-critical",
        "the CA has a critical extension nobody knows",
        _ca(
            extensions=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"), b"\x05\x00"), True),)
        ),
        "X509-13 fail cert.unknown_critical",
    ),
    case(
        "ca-rsa-1024",
        "the CA has RSA of 1024 bits",
        lambda g: rooted(g, authority(key=rsa_key(1024))),
        "X509-10 fail cert.weak_key",
        "X509-04 fail security.chain_weak_key",
    ),
    case(
        "ca-rsa-exponent-3",
        "the CA has RSA with the exponent 3",
        lambda g: rooted(g, authority(key=rsa_key(2048, 3))),
        "X509-10 fail cert.weak_exponent",
    ),
    case(
        "ca-secp256k1",
        "the CA has Bitcoin's curve",
        _ca(key=ec.generate_private_key(ec.SECP256K1())),
        "X509-10 fail cert.weak_key",
        *BOTH_CHAINS,
    ),
    case(
        "ca-ed25519",
        "the CA has a key that TLS stacks here do not verify with",
        _ca(key=ed25519.Ed25519PrivateKey.generate()),
        "X509-04 fail security.chain_unsupported_key",
    ),
    case(
        "ca-clients-only",
        "the CA may vouch for clients only",
        _ca(eku=CLIENT),
        "X509-04 fail security.chain_wrong_purpose",
    ),
    case(
        "ca-replaced-by-namesake",
        "another CA of the same name stands in the CA's place",
        lambda ground: ground.trust(authority()),
        "X509-04 fail security.chain_unknown_issuer",
        "X509-05 fail security.chain_unknown_issuer",
    ),
    case(
        "ca-names-elsewhere",
        "the CA may name hosts of another domain only",
        _ca(extensions=_constraints(x509.DNSName("desk.example"))),
        "X509-04 fail security.chain_name_constraints",
    ),
    case(
        "ca-names-loose",
        "the CA's name constraints are not critical",
        lambda ground: rooted(
            ground, authority(extensions=((x509.NameConstraints(None, [x509.DNSName("elsewhere.example")]), False),))
        ),
        "X509-12 warn cert.name_constraints_loose",
    ),
    case(
        "ca-names-unevaluated",
        "the CA's name constraints are of a kind that nobody evaluates",
        _ca(extensions=_constraints(x509.UniformResourceIdentifier("desk.example"))),
        "X509-12 warn cert.name_constraints_unevaluated",
    ),
    case(
        "ca-demo",
        "the CA is the demonstration's",
        lambda ground: rooted(ground, authority(DEMO)),
        "X509-11 fail audit.demo_certificate",
    ),
    case(
        "ca-key-here",
        "the CA's private key lies beside the bundle",
        lambda ground: _hidden(ground, "notes", _key(ground.pki.ca)),
        "FS-03 warn audit.ca_key_here",
    ),
    case(
        "ca-key-near",
        "the CA's private key lies among the other secrets",
        lambda ground: _hidden(ground, "../ca.txt", _key(ground.pki.ca)),
        "FS-03 warn audit.ca_key_here",
    ),
    case(
        "ca-key-deep",
        "the CA's private key lies in a directory below the bundle",
        lambda ground: _hidden(ground, "private/ca-key.pem", _key(ground.pki.ca)),
        "FS-03 warn audit.ca_key_here",
    ),
    case(
        "ca-key-der",
        "the CA's private key lies beside the bundle in DER",
        lambda ground: _hidden(ground, "ca-key.der", _key(ground.pki.ca, serialization.Encoding.DER)),
        "FS-03 warn audit.ca_key_here",
    ),
    case(
        "ca-key-second",
        "the CA's private key stands behind another key",
        lambda ground: _hidden(ground, "old.pem", key_pem(ground.pki.client.key) + _key(ground.pki.ca)),
        "FS-03 warn audit.ca_key_here",
    ),
    case(
        "ca-key-among-many",
        "the CA's private key lies beside the bundle among hundreds of files",
        lambda ground: _among_many(ground),
        "FS-03 unknown exposure.authority_unlooked",
    ),
    case(
        "ca-key-behind-much",
        "a file beside the bundle is too large to be looked through",
        lambda ground: _hidden(ground, "backup.tar", bytes(1 << 20)),
        "FS-03 unknown exposure.authority_unlooked",
    ),
    case(
        "bundle-directory-elsewhere",
        "the settings name a bundle directory that is not there",
        lambda ground: ground.settings(lambda v: v["execution"]["mtls"].update(bundle_directory="secrets/nowhere")),
        "FS-03 unknown exposure.authority_unlooked",
    ),
    case(
        "key-copied-open",
        "an open copy of the server's key lies beside the bundle",
        lambda ground: _hidden(ground, "old-server-key.pem", ground.file("server-key").read_bytes(), 0o666),
        "FS-01 fail audit.mode_open",
    ),
    case(
        "ca-foreign-beside",
        "a second CA, which issued nothing here, stands beside the CA",
        lambda ground: ground.put("ca", ground.pki.ca, authority(name("Other CA"))),
        "TLS-02 fail exposure.authority_idle",
    ),
    case(
        "ca-namesake-beside",
        "a second CA of the same name stands beside the CA",
        lambda ground: ground.put("ca", ground.pki.ca, authority()),
        "TLS-02 fail exposure.authority_idle",
    ),
)


def _key(made: Made, encoding: serialization.Encoding = serialization.Encoding.PEM) -> bytes:
    none = serialization.NoEncryption()
    return made.key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, none)


def _hidden(ground: Ground, name: str, content: bytes, mode: int = 0o600) -> None:
    path = ground.root / "secrets/mtls" / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _among_many(ground: Ground) -> None:
    for number in range(300):
        _hidden(ground, f"note-{number}.txt", b"x")
    _hidden(ground, "zz.pem", _key(ground.pki.ca))


def _through(
    *,
    shown: bool = True,
    between: dict[str, Any] | None = None,
    ca: dict[str, Any] | None = None,
    revoked: bool = False,
) -> Callable[[Ground], None]:
    """The server comes from an issuing CA, `between`, below the root."""

    def spoil(ground: Ground) -> None:
        root = authority(**(ca or {})) if ca else ground.pki.ca
        if ca:
            rooted(ground, root)
        middle = authority(MIDDLE, root, **({"path_length": 0} | (between or {})))
        server = leaf("server", middle)
        ground.install("server", server, *([middle] if shown else []))
        ground.list(listed(root, *([middle] if revoked else [])), listed(middle))

    return spoil


def _many(ground: Ground) -> None:
    middles = [authority(MIDDLE, ground.pki.ca) for _ in range(13)]
    ground.install("server", leaf("server", middles[0]), *middles)


def _below_a_leaf(ground: Ground) -> None:
    """A server's certificate issued by another server's, as who stole a server's key would try."""
    other = leaf("server", ground.pki.ca, "other.example", subject=MIDDLE)
    ground.install("server", leaf("server", other), other)


def _too_deep(ground: Ground) -> None:
    upper = authority(name("Desk upper CA"), ground.pki.ca, path_length=0)
    middle = authority(MIDDLE, upper)
    ground.install("server", leaf("server", middle), middle, upper)


def _out_of_order(ground: Ground) -> None:
    upper = authority(name("Desk upper CA"), ground.pki.ca)
    middle = authority(MIDDLE, upper)
    ground.install("server", leaf("server", middle), upper, middle)
    ground.list(ground.pki.crl, listed(upper), listed(middle))


INTERMEDIATES: tuple[Case, ...] = (
    case(
        "chain-intermediate-missing",
        "the issuing CA is not in the server's file",
        _through(shown=False),
        "X509-04 fail security.chain_unknown_issuer",
    ),
    case(
        "chain-intermediate-expired",
        "the issuing CA has expired",
        _through(between={"ends": NOW - SECOND}),
        "X509-07 fail cert.expired",
        "X509-04 fail security.chain_issuer_expired",
    ),
    case(
        "chain-intermediate-revoked",
        "the issuing CA was revoked by the root",
        _through(revoked=True),
        "X509-14 fail security.revocation_revoked",
    ),
    case(
        "chain-intermediate-no-ca",
        "the issuing certificate is no CA",
        _below_a_leaf,
        "X509-04 fail security.chain_issuer_not_ca",
        "X509-01 fail cert.second_leaf",
    ),
    case(
        "chain-intermediate-may-not-sign",
        "the issuing CA may not sign certificates",
        _through(between={"usages": ("crl_sign",)}),
        "X509-12 fail cert.ca_may_not_sign",
        "X509-04 fail security.chain_issuer_not_ca",
    ),
    case(
        "chain-intermediate-weak",
        "the issuing CA has RSA of 1024 bits",
        lambda g: _through(between={"key": rsa_key(1024)})(g),
        "X509-10 fail cert.weak_key",
        "X509-04 fail security.chain_weak_key",
    ),
    case(
        "chain-too-deep-for-root",
        "the root allows no CA below it",
        _through(ca={"path_length": 0}),
        "X509-04 fail security.chain_path_too_long",
    ),
    case(
        "chain-too-deep",
        "an issuing CA has a CA below it although it may not",
        _too_deep,
        "X509-04 fail security.chain_path_too_long",
    ),
    case("chain-too-many", "thirteen issuing CAs in the server's file", _many, "X509-04 fail security.chain_too_many"),
    case(
        "chain-out-of-order",
        "the CAs in the server's file stand in the wrong order",
        _out_of_order,
        "X509-01 warn cert.out_of_order",
    ),
    case(
        "chain-anchor-in-file",
        "the root stands in the server's file",
        lambda g: g.put("server", g.pki.server, g.pki.ca),
        "X509-01 warn cert.anchor_in_file",
    ),
    case(
        "chain-twice",
        "the server stands twice in its file",
        lambda g: g.put("server", g.pki.server, g.pki.server),
        "X509-01 warn cert.stands_twice",
    ),
    case(
        "chain-two-leaves",
        "the client stands in the server's file too",
        lambda g: g.put("server", g.pki.server, g.pki.client),
        "X509-01 fail cert.second_leaf",
    ),
    case(
        "chain-leaf-last",
        "the server stands after its CA",
        lambda g: g.put("server", g.pki.ca, g.pki.server),
        "X509-03 fail audit.key_differs",
        "X509-06 fail cert.leaf_is_ca",
    ),
    case(
        "chain-unlisted-intermediate",
        "no revocation list of the root knows of the issuing CA",
        lambda g: (_through()(g), g.list(listed(authority(MIDDLE)))),
        "X509-14 fail security.revocation_no_list",
    ),
)


CASES = (*ANCHORS, *INTERMEDIATES)
