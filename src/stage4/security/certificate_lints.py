"""
What is wrong with a certificate although a chain over it may verify, each by its level, its text and its source.

Pure: facts in, lints out. A `fail` is something that a TLS peer refuses or that lets somebody do what they should not;
a `warn` is something to put right at the next rotation. The numbers behind a lint are sections of RFC 5280 unless
another source is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from stage4.clock import format_instant
from stage4.security.certificate_chain import may_have_issued
from stage4.security.certificate_facts import CertificateFacts, names_host
from stage4.security.certificate_peers import is_taken_for_issuer
from stage4.security.certificates import has_stray_text, is_der, pem_labels
from stage4.security.known_keys import known_key

LEAF_LIFETIME_DAYS: Final = 398.0
MINIMUM_EXPONENT: Final = 65537
MAXIMUM_SERIAL: Final = (1 << 159) - 1  # 20 octets with the sign bit, 4.1.2.2
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_DAY = timedelta(days=1)


class Level(StrEnum):
    """How grave a lint is."""

    FAIL = "fail"
    WARN = "warn"


class Topic(StrEnum):
    """What a lint is about; each control of the audit answers for one."""

    ROLE = "role"
    TIME = "time"
    HORIZON = "horizon"
    SIGNATURE = "signature"
    KEY = "key"
    KNOWN_KEY = "known_key"
    AUTHORITY = "authority"
    FORM = "form"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Lint:
    """One thing that is wrong; `code` is a text of the catalogue."""

    topic: Topic
    level: Level
    code: str
    params: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The code without its area."""
        return self.code.partition(".")[2]


def of_leaf(facts: CertificateFacts, now: datetime, *, lifetime_days: float = LEAF_LIFETIME_DAYS) -> tuple[Lint, ...]:
    """Everything about the certificate of a server or client, the gravest first."""
    everything = (_role(facts), _time(facts, now), _strength(facts), _served(facts), _form(facts))
    return _gravest_first([lint for lints in everything for lint in lints] + list(_leaf_form(facts, lifetime_days)))


def of_authority(facts: CertificateFacts, now: datetime, *, anchor: bool) -> tuple[Lint, ...]:
    """Everything about a CA's certificate; an `anchor` is believed for its key, so its own signature says nothing."""
    lints = (*_authority(facts), *_time(facts, now), *_strength(facts, anchor=anchor), *_form(facts, anchor=anchor))
    return _gravest_first(lints)


def of_anchor(anchor: CertificateFacts, anchors: Sequence[CertificateFacts]) -> tuple[Lint, ...]:
    """Whether OpenSSL ends a path at this anchor: unless told otherwise (-partial_chain) it wants a root above it."""
    if anchor.self_issued or any(is_taken_for_issuer(other, anchor) for other in anchors):
        return ()
    return (Lint(Topic.AUTHORITY, Level.WARN, "cert.anchor_not_root", {"issuer": anchor.issuer}),)


def of_file(leaf_file: Sequence[CertificateFacts], anchors: Sequence[CertificateFacts]) -> tuple[Lint, ...]:
    """What is wrong with the company a leaf keeps in its file: the leaf first, then the CAs up to the anchor."""
    return _gravest_first(tuple(_company(leaf_file, anchors)))


def of_content(content: bytes, path: object) -> tuple[Lint, ...]:
    """Whether a file of certificates is strict PEM with nothing else in it, as a service needs it (RFC 7468)."""
    if is_der(content):
        return (Lint(Topic.FILE, Level.FAIL, "security.certificate_der", {"path": path}),)
    if has_stray_text(content) or set(pem_labels(content)) != {"CERTIFICATE"}:
        return (Lint(Topic.FILE, Level.FAIL, "cert.stray_text", {"path": path}),)
    return ()


def of_issuer(leaf: CertificateFacts, authorities: Sequence[CertificateFacts]) -> tuple[Lint, ...]:
    """Whether the leaf outlives every CA that may have issued it: it ends when its issuer does (6.1.3 (a)(2))."""
    issuers = [facts for facts in authorities if may_have_issued(facts, leaf)]
    if not issuers or any(issuer.not_after >= leaf.not_after for issuer in issuers):
        return ()
    ends = format_instant(max(issuer.not_after for issuer in issuers))
    params = {"not_after": format_instant(leaf.not_after), "issuer_ends": ends}
    return (Lint(Topic.HORIZON, Level.WARN, "cert.outlives_issuer", params),)


def same_serials(certificates: Sequence[tuple[str, CertificateFacts]]) -> Mapping[str, Lint]:
    """By name, the certificates with the serial number of another one of their issuer (4.1.2.2): a CRL names both."""
    seen: dict[tuple[str, int], tuple[str, str]] = {}
    lints = {}
    for name, facts in certificates:
        other, fingerprint = seen.setdefault((facts.issuer, facts.serial), (name, facts.fingerprint))
        if fingerprint != facts.fingerprint:
            params = {"serial": f"{facts.serial:x}", "other": other}
            lints[name] = Lint(Topic.FORM, Level.FAIL, "cert.serial_shared", params)
    return lints


def _role(facts: CertificateFacts) -> Iterator[Lint]:
    """A leaf has one purpose and signs handshakes only: 4.2.1.3, 4.2.1.9, 4.2.1.12, RFC 8446 4.4.2.2, X509-SVID 4."""
    if facts.is_ca:
        yield Lint(Topic.ROLE, Level.FAIL, "cert.leaf_is_ca")
    if facts.self_signed:
        yield Lint(Topic.ROLE, Level.FAIL, "cert.self_signed")
    elif facts.self_issued:
        yield Lint(Topic.ROLE, Level.WARN, "cert.self_issued", {"subject": facts.subject})
    if facts.key_usage is None:
        yield Lint(Topic.ROLE, Level.WARN, "cert.no_key_usage")
    else:
        if "keyCertSign" in facts.key_usage:
            yield Lint(Topic.ROLE, Level.FAIL, "cert.leaf_signs_certificates")
        if "cRLSign" in facts.key_usage:
            yield Lint(Topic.ROLE, Level.WARN, "cert.leaf_signs_lists")
        if "digitalSignature" not in facts.key_usage:
            usages = ", ".join(facts.key_usage) or "-"
            yield Lint(Topic.ROLE, Level.FAIL, "cert.no_digital_signature", {"usages": usages})
    if facts.eku is None or "anyExtendedKeyUsage" in facts.eku:
        yield Lint(Topic.ROLE, Level.FAIL, "cert.any_purpose")
    elif {"serverAuth", "clientAuth"} <= set(facts.eku):
        yield Lint(Topic.ROLE, Level.FAIL, "cert.both_purposes")


def _time(facts: CertificateFacts, now: datetime) -> Iterator[Lint]:
    """Both ends belong to the validity: 4.1.2.5."""
    begins, ends = format_instant(facts.not_before), format_instant(facts.not_after)
    if facts.not_after < facts.not_before:
        yield Lint(Topic.TIME, Level.FAIL, "cert.validity_reversed", {"not_before": begins, "not_after": ends})
    elif now < facts.not_before:
        yield Lint(Topic.TIME, Level.FAIL, "cert.not_yet_valid", {"not_before": begins})
    elif now > facts.not_after:
        yield Lint(Topic.TIME, Level.FAIL, "cert.expired", {"not_after": ends})


def _strength(facts: CertificateFacts, *, anchor: bool = False) -> Iterator[Lint]:
    """Keys and signatures: NIST SP 800-57 and 800-131A, RFC 9155; the exponent: FIPS 186-5 A.1.1."""
    kind = f"{facts.key_kind} {facts.key_curve or facts.key_bits}"
    if facts.weak_key:
        yield Lint(Topic.KEY, Level.FAIL, "cert.weak_key", {"kind": kind})
    if facts.rsa_exponent is not None and facts.rsa_exponent < MINIMUM_EXPONENT:
        yield Lint(Topic.KEY, Level.FAIL, "cert.weak_exponent", {"exponent": facts.rsa_exponent})
    if facts.key_kind == "rsa" and facts.key_bits % 8:
        yield Lint(Topic.KEY, Level.WARN, "cert.odd_key_size", {"bits": facts.key_bits})
    if facts.weak_signature and not anchor:
        yield Lint(Topic.SIGNATURE, Level.FAIL, "cert.weak_signature", {"algorithm": facts.signature_hash})
    source = known_key(facts.spki_sha256)
    if source is not None:
        yield Lint(Topic.KNOWN_KEY, Level.FAIL, "cert.known_key", {"source": source})


def _served(facts: CertificateFacts) -> Iterator[Lint]:
    """gRPC offers ECDSA with P-256 and P-384 and RSA only, so a leaf with a key of another kind cannot be shown."""
    if facts.key_kind == "ed25519" or facts.key_curve == "secp521r1":
        yield Lint(Topic.KEY, Level.FAIL, "cert.key_not_served", {"kind": facts.key_curve or facts.key_kind})


def _authority(facts: CertificateFacts) -> Iterator[Lint]:
    """A CA says that it is one, critically, and may sign: 4.2.1.3, 4.2.1.9; name constraints: 4.2.1.10."""
    if not facts.is_ca:
        yield Lint(Topic.AUTHORITY, Level.FAIL, "cert.ca_is_no_ca", {"subject": facts.subject})
        return
    if not facts.may("keyCertSign"):
        yield Lint(Topic.AUTHORITY, Level.FAIL, "cert.ca_may_not_sign")
    if not facts.constraints_critical:
        yield Lint(Topic.AUTHORITY, Level.WARN, "cert.ca_constraints_loose")
    if facts.key_usage is None:
        yield Lint(Topic.AUTHORITY, Level.WARN, "cert.no_key_usage")
    elif not facts.key_usage_critical:
        yield Lint(Topic.AUTHORITY, Level.WARN, "cert.key_usage_loose")
    names = (*facts.permitted_names, *facts.excluded_names)
    if names and not facts.name_constraints_critical:
        yield Lint(Topic.AUTHORITY, Level.WARN, "cert.name_constraints_loose")
    others = [name for name in names if not name.startswith(("DNS:", "IP:"))]
    if others:
        yield Lint(Topic.AUTHORITY, Level.WARN, "cert.name_constraints_unevaluated", {"names": ", ".join(others)})


def _form(facts: CertificateFacts, *, anchor: bool = False) -> Iterator[Lint]:
    """Critical extensions 4.2; serial numbers 4.1.2.2; key identifiers 4.2.1.1 and 4.2.1.2; version 4.1.2.1."""
    if facts.unknown_critical:
        oids = ", ".join(facts.unknown_critical)
        yield Lint(Topic.FORM, Level.FAIL, "cert.unknown_critical", {"oids": oids})
    if facts.serial <= 0:
        # Nobody can ask for an anchor's revocation, and an anchor's certificate is not judged by its peers.
        level = Level.WARN if anchor else Level.FAIL
        yield Lint(Topic.FORM, level, "cert.serial_not_positive", {"serial": facts.serial})
    elif facts.serial > MAXIMUM_SERIAL:
        yield Lint(Topic.FORM, Level.FAIL, "cert.serial_long", {"octets": facts.serial.bit_length() // 8 + 1})
    if facts.version < 3:
        yield Lint(Topic.FORM, Level.WARN, "cert.old_version", {"version": facts.version})
    elif facts.ski is None or (facts.aki is None and not facts.self_signed):
        yield Lint(Topic.FORM, Level.WARN, "cert.no_key_identifiers")


def _leaf_form(facts: CertificateFacts, lifetime_days: float) -> Iterator[Lint]:
    """Names 4.2.1.6, RFC 6125 6.4.4, RFC 1034 3.5; name constraints are for CAs 4.2.1.10; lifetime: CA/B BR 6.3.2."""
    if not facts.sans:
        yield Lint(Topic.FORM, Level.WARN, "cert.no_san")
    bad = [san for san in facts.sans if san.startswith("DNS:") and not _is_dns_name(san.removeprefix("DNS:"))]
    if bad:
        yield Lint(Topic.FORM, Level.WARN, "cert.bad_san", {"sans": ", ".join(map(repr, bad))})
    missing = [name for name in facts.common_names if facts.sans and _is_host(name) and not _named(facts, name)]
    if missing:
        yield Lint(Topic.FORM, Level.WARN, "cert.common_name_alone", {"names": ", ".join(missing)})
    if not facts.subject and not facts.san_critical:
        yield Lint(Topic.FORM, Level.FAIL, "cert.san_not_critical")
    if facts.permitted_names or facts.excluded_names:
        yield Lint(Topic.FORM, Level.FAIL, "cert.name_constraints_on_leaf")
    days = (facts.not_after - facts.not_before) / _DAY
    if days > lifetime_days:
        params = {"days": round(days), "limit": round(lifetime_days)}
        yield Lint(Topic.FORM, Level.WARN, "cert.long_life", params)


def _is_dns_name(name: str) -> bool:
    """Labels of letters, digits and hyphens; one label is enough, a wildcard is the whole first of several."""
    labels = name.removesuffix(".").split(".")
    if labels[0] == "*" and len(labels) > 1:
        labels = labels[1:]
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _is_host(name: str) -> bool:
    # "core-oem server" or "Desk 2" name a thing, not a host.
    return "." in name and _is_dns_name(name)


def _named(facts: CertificateFacts, name: str) -> bool:
    return names_host(facts.sans, name) or f"DNS:{name.lower()}" in {san.lower() for san in facts.sans}


def _company(leaf_file: Sequence[CertificateFacts], anchors: Sequence[CertificateFacts]) -> Iterator[Lint]:
    """One leaf, then its CAs in order (RFC 8446 4.4.2); the peer has the anchor already."""
    trusted = {facts.fingerprint for facts in anchors}
    child, unused = leaf_file[0], []
    for facts in leaf_file[1:]:
        if facts.fingerprint == leaf_file[0].fingerprint:
            yield Lint(Topic.FILE, Level.WARN, "cert.stands_twice", {"subject": facts.subject})
        elif not facts.is_ca:
            yield Lint(Topic.FILE, Level.FAIL, "cert.second_leaf", {"subject": facts.subject})
        elif facts.fingerprint in trusted or facts.self_signed:
            yield Lint(Topic.FILE, Level.WARN, "cert.anchor_in_file", {"subject": facts.subject})
        elif may_have_issued(facts, child):
            child = facts
        else:
            unused.append(facts.subject)
    if unused:
        yield Lint(Topic.FILE, Level.WARN, "cert.out_of_order", {"subjects": "; ".join(unused)})


def _gravest_first(lints: Sequence[Lint]) -> tuple[Lint, ...]:
    return tuple(sorted(lints, key=lambda lint: lint.level is not Level.FAIL))
