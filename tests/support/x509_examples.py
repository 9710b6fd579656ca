"""For each control of the bundle evidence that it does not accept, with the outcome and the words it has to answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from stage4.audit.evidence import Chain, Evidence, KeyFile, Pair, Problem, RevocationFile
from stage4.audit.finding import Outcome
from stage4.security.certificate_facts import CertificateFacts
from support import audits
from support.audit_example import Example
from support.audits import BUNDLE, NOW, ROTATED, certificate_file, facts

FAIL, WARN, UNKNOWN = Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN
LOCKED = Problem("files.unreadable", {"path": "x", "reason": "denied"}, undecided=True)
DAY = timedelta(days=1)
SOON = NOW + 5 * DAY


def beside(role: str, *others: CertificateFacts) -> Evidence:
    """Healthy but for the certificates that stand after the first one of `role` in its file."""
    files = (replace(f, certificates=(*f.certificates, *others)) if f.role == role else f for f in BUNDLE.certificates)
    return audits.bundle(certificates=tuple(files))


def revocation(state: str, *files: RevocationFile, **changes: object) -> Evidence:
    """Healthy but for what the revocation lists say of the server."""
    verdict = replace(audits.NOT_REVOKED, state=state, **changes)  # type: ignore[arg-type]
    chain = replace(BUNDLE.chains[0], revocation=verdict)
    return audits.bundle(chains=(chain, *BUNDLE.chains[1:]), revocation_files=files)


X509_EXAMPLES = (
    Example(
        "X509-01",
        "a file is unreadable",
        audits.bundle(keys=(KeyFile("server_key", "k", LOCKED),)),
        UNKNOWN,
        "files.unreadable",
    ),
    Example(
        "X509-01",
        "a file has more in it than PEM",
        audits.bundle(keys=(KeyFile("server_key", "k", stray_text=True),)),
        FAIL,
        "cert.stray_text",
    ),
    Example("X509-02", "a file is missing", audits.bundle(keys=BUNDLE.keys[:1]), FAIL, "audit.bundle_incomplete"),
    Example(
        "X509-02", "another bundle is meant", audits.bundle(foreign_names=("old-ca.pem",)), FAIL, "audit.bundle_foreign"
    ),
    Example("X509-03", "a key differs", audits.bundle(pairs=(Pair("server", False),)), FAIL, "audit.key_differs"),
    Example(
        "X509-03", "a key is unread", audits.bundle(pairs=(Pair("server", None),)), UNKNOWN, "audit.pair_unreadable"
    ),
    Example(
        "X509-04",
        "the server has another name",
        audits.bundle(chains=(Chain("server", "server", "localhost", "wrong_host"),)),
        FAIL,
        "security.chain_wrong_host",
    ),
    Example(
        "X509-04",
        "there is no chain to judge",
        audits.bundle(chains=(Chain("server", "server", "localhost", None),)),
        UNKNOWN,
        "audit.chain_unreadable",
    ),
    Example(
        "X509-05",
        "the client comes from elsewhere",
        audits.bundle(chains=(Chain("client", "client", None, "unknown_issuer"),)),
        FAIL,
        "security.chain_unknown_issuer",
    ),
    Example(
        "X509-06", "one key serves two", audits.certificate("client", spki_sha256="2" * 64), FAIL, "audit.key_shared"
    ),
    Example("X509-06", "the CA serves", audits.certificate("server", is_ca=True), FAIL, "cert.leaf_is_ca"),
    Example("X509-06", "any purpose", audits.certificate("server", eku=None), FAIL, "cert.any_purpose"),
    Example(
        "X509-06",
        "two purposes",
        audits.certificate("client", eku=("serverAuth", "clientAuth")),
        FAIL,
        "cert.both_purposes",
    ),
    Example("X509-07", "expired", audits.certificate("server", not_after=NOW - DAY), FAIL, "cert.expired"),
    Example("X509-07", "not begun", audits.certificate("ca", not_before=NOW + DAY), FAIL, "cert.not_yet_valid"),
    Example("X509-08", "ends in a day", audits.certificate("client", not_after=NOW + DAY), FAIL, "audit.expires_now"),
    Example("X509-08", "ends in five days", audits.certificate("client", not_after=SOON), WARN, "audit.expires_soon"),
    Example(
        "X509-08",
        "most of its life is over",
        audits.certificate("server", not_before=NOW - 90 * DAY, not_after=NOW + 30 * DAY),
        WARN,
        "audit.life_used",
    ),
    Example(
        "X509-08",
        "outlives its CA",
        audits.certificate("server", not_after=NOW + 500 * DAY),
        WARN,
        "cert.outlives_issuer",
    ),
    Example("X509-09", "SHA-1", audits.certificate("server", signature_hash="sha1"), FAIL, "cert.weak_signature"),
    Example(
        "X509-10",
        "RSA of 1024 bits",
        audits.certificate("client", key_kind="rsa", key_bits=1024, key_curve=None),
        FAIL,
        "cert.weak_key",
    ),
    Example(
        "X509-11",
        "the demo CA in production",
        audits.bundle(certificates=(replace(certificate_file("server"), demo=True),)),
        FAIL,
        "audit.demo_certificate",
    ),
    Example("X509-12", "no root", audits.certificate("ca", issuer="CN=root"), WARN, "cert.anchor_not_root"),
    Example("X509-12", "no CA", audits.certificate("ca", is_ca=False), FAIL, "cert.ca_is_no_ca"),
    Example("X509-12", "may not sign", audits.certificate("ca", key_usage=("cRLSign",)), FAIL, "cert.ca_may_not_sign"),
    Example(
        "X509-12",
        "says it loosely",
        audits.certificate("ca", constraints_critical=False),
        WARN,
        "cert.ca_constraints_loose",
    ),
    Example(
        "X509-12",
        "an intermediate that may not sign",
        beside("server", facts("ca", fingerprint="e" * 64, key_usage=())),
        FAIL,
        "cert.ca_may_not_sign",
    ),
    Example(
        "X509-12",
        "name constraints that do not bind",
        audits.certificate("ca", permitted_names=("DNS:desk.example",)),
        WARN,
        "cert.name_constraints_loose",
    ),
    Example("X509-13", "no key identifiers", audits.certificate("server", aki=None), WARN, "cert.no_key_identifiers"),
    Example("X509-13", "no name", audits.certificate("client", sans=()), WARN, "cert.no_san"),
    Example("X509-13", "a name with a space", audits.certificate("server", sans=("DNS:a b",)), WARN, "cert.bad_san"),
    Example(
        "X509-13",
        "a life of two years",
        audits.certificate("server", not_after=ROTATED + 730 * DAY),
        WARN,
        "cert.long_life",
    ),
    Example("X509-01", "a second leaf", beside("server", facts("client")), FAIL, "cert.second_leaf"),
    Example("X509-01", "the anchor in the file", beside("server", facts("ca")), WARN, "cert.anchor_in_file"),
    Example(
        "X509-06",
        "the leaf signs certificates",
        audits.certificate("server", key_usage=("digitalSignature", "keyCertSign")),
        FAIL,
        "cert.leaf_signs_certificates",
    ),
    Example(
        "X509-06",
        "the leaf signs no handshake",
        audits.certificate("client", key_usage=("keyEncipherment",)),
        FAIL,
        "cert.no_digital_signature",
    ),
    Example("X509-06", "signed by itself", audits.certificate("server", self_signed=True), FAIL, "cert.self_signed"),
    Example(
        "X509-07",
        "a validity that ends before it begins",
        audits.certificate("server", not_before=NOW, not_after=NOW - DAY),
        FAIL,
        "cert.validity_reversed",
    ),
    Example(
        "X509-09",
        "SHA-1 over an intermediate",
        beside("server", facts("ca", subject="CN=middle", signature_hash="sha1", self_signed=False)),
        FAIL,
        "cert.weak_signature",
    ),
    Example("X509-10", "an exponent of 3", audits.certificate("client", rsa_exponent=3), FAIL, "cert.weak_exponent"),
    Example(
        "X509-11",
        "a key of gRPC's tests",
        audits.certificate("server", spki_sha256="a1196859090ccf33cf5355055e04a0d6f3869eabbac7c4c417ee2b95cff013d4"),
        FAIL,
        "cert.known_key",
    ),
    Example(
        "X509-13",
        "an extension nobody evaluates",
        audits.certificate("server", unknown_critical=("1.2.3.4",)),
        FAIL,
        "cert.unknown_critical",
    ),
    Example("X509-13", "serial zero", audits.certificate("server", serial=0), FAIL, "cert.serial_not_positive"),
    Example(
        "X509-13", "a serial of 21 octets", audits.certificate("client", serial=1 << 160), FAIL, "cert.serial_long"
    ),
    Example("X509-13", "one serial for two", audits.certificate("client", serial=2), FAIL, "cert.serial_shared"),
    Example(
        "X509-13",
        "a life shorter than the rotation",
        audits.certificate("server", not_after=ROTATED + 60 * DAY),
        WARN,
        "audit.short_life",
    ),
    Example(
        "X509-14",
        "revoked",
        revocation("revoked", *BUNDLE.revocation_files, revoked_at=NOW, reason="keyCompromise"),
        FAIL,
        "security.revocation_revoked",
    ),
    Example(
        "X509-14",
        "a stale list",
        revocation("stale", *BUNDLE.revocation_files),
        FAIL,
        "security.revocation_stale",
    ),
    Example("X509-14", "no list at all", revocation("unchecked"), WARN, "audit.no_revocation"),
    Example(
        "X509-14",
        "the only list is locked away",
        revocation("unchecked", RevocationFile("crl", LOCKED)),
        UNKNOWN,
        "audit.no_list_readable",
    ),
)
