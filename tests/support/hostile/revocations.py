"""The revocation list, wrong in one way, or naming whom it should not have to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support.certificates import NOW, crl_pem, revocation_list
from support.hostile.authorities import rooted
from support.hostile.cases import Case, case
from support.hostile.ground import CRL, Ground
from support.hostile.pki import ISSUED, LEAVES_END, SECOND, authority, listed, name


def _revoked(*sides: str, reason: x509.ReasonFlags = x509.ReasonFlags.key_compromise) -> Callable[[Ground], None]:
    return lambda ground: ground.list(listed(ground.pki.ca, *map(ground.pki.of, sides), reason=reason))


def _list(**changes: Any) -> Callable[[Ground], None]:
    return lambda ground: ground.list(listed(ground.pki.ca, **changes))


def _point(**limits: Any) -> Callable[[Ground], None]:
    right = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return _list(extensions=((x509.IssuingDistributionPoint(**(right | limits)), True),))


def _over(algorithm: hashes.HashAlgorithm) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        builder = x509.CertificateRevocationListBuilder().issuer_name(ground.pki.ca.certificate.subject)
        builder = builder.last_update(ISSUED).next_update(LEAVES_END)
        ground.list(crl_pem(builder.sign(ground.pki.ca.key, algorithm)))  # type: ignore[arg-type]

    return spoil


def _broken_list(ground: Ground) -> None:
    content = bytearray(revocation_list(ground.pki.ca).public_bytes(serialization.Encoding.DER))
    content[-1] ^= 1
    ground.list(bytes(content))


def _named(ground: Ground, *paths: str) -> None:
    ground.settings(lambda values: values["execution"]["mtls"].update(crls=list(paths)))


UNTRUSTED, UNSUPPORTED = "X509-14 fail security.revocation_untrusted", "X509-14 fail security.revocation_unsupported"
CASES: tuple[Case, ...] = (
    case(
        "crl-server-revoked", "the server was revoked", _revoked("server"), "X509-14 fail security.revocation_revoked"
    ),
    case(
        "crl-client-revoked", "the client was revoked", _revoked("client"), "X509-14 fail security.revocation_revoked"
    ),
    case(
        "crl-on-hold",
        "the client is on hold",
        _revoked("client", reason=x509.ReasonFlags.certificate_hold),
        "X509-14 fail security.revocation_revoked",
    ),
    case(
        "crl-revoked-and-stale",
        "a stale list names the server",
        lambda g: g.list(listed(g.pki.ca, g.pki.server, begins=ISSUED, ends=NOW - SECOND)),
        "X509-14 fail security.revocation_revoked",
    ),
    case(
        "crl-revoked-in-one-of-two",
        "the older of two lists names the client",
        lambda g: g.list(g.pki.crl, listed(g.pki.ca, g.pki.client, begins=ISSUED)),
        "X509-14 fail security.revocation_revoked",
    ),
    case(
        "crl-torn",
        "of two lists the one that names the server breaks off",
        lambda g: g.list(g.pki.crl, listed(g.pki.ca, g.pki.server).replace(b"END X509 CRL-----", b"END X509 CRL----")),
        "X509-14 fail security.list_stray",
    ),
    case(
        "crl-headless",
        "of two lists the one that names the server has lost its first line",
        lambda g: g.list(g.pki.crl, listed(g.pki.ca, g.pki.server).partition(b"\n")[2]),
        "X509-14 fail security.list_stray",
    ),
    case(
        "crl-stale",
        "the list was to be renewed a second ago",
        _list(ends=NOW - SECOND),
        "X509-14 fail security.revocation_stale",
    ),
    case(
        "crl-not-yet",
        "the list begins in a minute",
        _list(begins=NOW + timedelta(minutes=1)),
        "X509-14 fail security.revocation_not_yet",
    ),
    case(
        "crl-foreign",
        "the list is of another CA",
        lambda g: g.list(listed(authority(name("Other CA")))),
        "X509-14 fail security.revocation_no_list",
    ),
    case(
        "crl-of-namesake",
        "the list is of another CA of the same name",
        lambda g: g.list(listed(authority())),
        UNTRUSTED,
    ),
    case("crl-altered", "a bit of the list's signature is another", _broken_list, UNTRUSTED),
    case(
        "crl-signed-by-server",
        "the list is signed by the server",
        lambda g: g.list(listed(g.pki.ca, signer=g.pki.server)),
        UNTRUSTED,
    ),
    case(
        "crl-ca-may-not-sign-lists",
        "the CA may not sign lists",
        lambda g: rooted(g, authority(usages=("key_cert_sign",))),
        UNTRUSTED,
    ),
    case("crl-sha224", "the list is signed over SHA-224", _over(hashes.SHA224()), UNTRUSTED),
    case(
        "crl-delta",
        "a delta list without its base",
        _list(extensions=((x509.DeltaCRLIndicator(1), True),)),
        UNSUPPORTED,
    ),
    case("crl-cas-only", "a list of CAs only", _point(only_contains_ca_certs=True), UNSUPPORTED),
    case(
        "crl-attributes-only",
        "a list of attribute certificates only",
        _point(only_contains_attribute_certs=True),
        UNSUPPORTED,
    ),
    case(
        "crl-some-reasons",
        "a list of some reasons only",
        _point(only_some_reasons=frozenset({x509.ReasonFlags.superseded})),
        UNSUPPORTED,
    ),
    case("crl-indirect", "a list of other CAs' certificates too", _point(indirect_crl=True), UNSUPPORTED),
    case(
        "crl-unknown-critical",
        "a list with a critical extension nobody knows",
        _list(
            extensions=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.9"), b"\x05\x00"), True),)
        ),
        UNSUPPORTED,
    ),
    case("crl-missing", "the list is not there", lambda g: (g.root / CRL).unlink(), "X509-14 fail files.missing"),
    case("crl-empty", "the list is empty", lambda g: g.list(), "X509-14 fail security.list_missing"),
    case(
        "crl-garbage",
        "the list is garbage",
        lambda g: g.list(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
        "X509-14 fail security.list_malformed",
    ),
    case(
        "crl-truncated",
        "the list is cut off",
        lambda g: g.list(g.pki.crl[:200]),
        "X509-14 fail security.list_missing",
    ),
    case(
        "crl-is-certificate",
        "a certificate stands in the list's place",
        lambda g: g.put("ca", g.pki.ca) or (g.root / CRL).write_bytes(g.file("ca").read_bytes()),
        "X509-14 fail security.list_missing",
    ),
    case(
        "crl-huge",
        "the list is larger than any list",
        lambda g: g.list(g.pki.crl, b"\n" * (4 << 20)),
        "X509-14 unknown files.too_large",
    ),
    case(
        "crl-directory",
        "the list is a directory",
        lambda g: _named(g, "secrets/mtls"),
        "X509-14 unknown files.unreadable",
    ),
    case("crl-none", "no list is configured", lambda g: _named(g), "X509-14 warn audit.no_revocation"),
    case(
        "crl-one-of-two-missing",
        "one of two lists is not there",
        lambda g: _named(g, CRL, "secrets/mtls/other.crl"),
        "X509-14 fail files.missing",
    ),
)
