"""
Which path a TLS peer takes to an anchor, and what it asks of it beyond RFC 5280 6.1.

OpenSSL and BoringSSL, which gRPC uses, do not search for a path that holds: at each step they take one issuer by names
and key identifiers (X509_check_issued), anchors first, and stay with it. A chain that holds over another path is
refused by them, so it has to hold over this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from stage4.security.certificate_facts import CertificateFacts, names_outside

# Two labels or more, as OpenSSL asks before it takes a common name for a host.
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)+", re.IGNORECASE)

_EMAIL: Final = NameOID.EMAIL_ADDRESS.dotted_string


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that may have issued another one."""

    certificate: x509.Certificate
    facts: CertificateFacts
    trusted: bool


def is_taken_for_issuer(authority: CertificateFacts, issued: CertificateFacts) -> bool:
    """
    Whether a peer believes without looking at the signature that `authority` issued `issued`.

    Names whatever their letter case and spaces; the authority key identifier, its issuer and serial number included,
    where both sides have them (RFC 5280 4.2.1.1); keyCertSign.
    """
    return authority.may("keyCertSign") and _fits(authority, issued)


def looks_self_signed(facts: CertificateFacts) -> bool:
    """Whether a peer ends its search here: names and key identifiers say so, and it does not look at the signature."""
    return _fits(facts, facts)


def _fits(authority: CertificateFacts, issued: CertificateFacts) -> bool:
    if _comparable(authority.subject) != _comparable(issued.issuer):
        return False
    if issued.aki is not None and authority.ski is not None and issued.aki != authority.ski:
        return False
    if issued.aki_serial is not None and issued.aki_serial != authority.serial:
        return False
    # Of several names peers look at the first.
    return all(_comparable(name) == _comparable(authority.issuer) for name in issued.aki_issuers[:1])


def paths_of_peers(
    leaf: CertificateFacts, authorities: Sequence[Authority], now: datetime
) -> Iterator[tuple[Authority, ...]]:
    """
    The paths above `leaf` that a peer may take, the anchor last; none where it may get stuck.

    Of other certificates it takes the first within its time, in the order of the file; of anchors any within its time,
    for a store has an order of its own.
    """
    path: list[Authority] = []
    facts = leaf
    while not looks_self_signed(facts):
        fits = [ca for ca in authorities if ca not in path and is_taken_for_issuer(ca.facts, facts)]
        pool = [ca for ca in fits if ca.trusted] or fits
        pool = [ca for ca in pool if ca.facts.not_before <= now <= ca.facts.not_after] or pool
        if not pool:
            return
        if pool[0].trusted:
            if all(_ends_a_path(ca.facts, authorities) for ca in pool):
                yield from ((*path, ca) for ca in pool)
            return
        path.append(pool[0])
        facts = pool[0].facts


def constrained_common_names(leaf: CertificateFacts, issuer: CertificateFacts) -> tuple[str, ...]:
    """The common names of `leaf` that name constraints of `issuer` do not allow; peers judge them without a DNS SAN."""
    if any(san.startswith("DNS:") for san in leaf.sans):
        return ()
    named = replace(leaf, sans=tuple(f"DNS:{name}" for name in leaf.common_names if _HOST.fullmatch(name)))
    return names_outside(named, issuer)


def constrained_subjects(below: Sequence[CertificateFacts], issuer: CertificateFacts) -> tuple[str, ...]:
    """The subjects `below` that constraints on directory names or addresses are about, which nobody here evaluates."""
    kinds = {name.partition(":")[0] for name in (*issuer.permitted_names, *issuer.excluded_names)}
    return tuple(
        facts.subject
        for facts in below
        if ("directory" in kinds and facts.subject) or ("email" in kinds and f"{_EMAIL}=" in facts.subject)
    )


def _ends_a_path(anchor: CertificateFacts, authorities: Sequence[Authority]) -> bool:
    """A root that says another key issued it is no root for OpenSSL, which looks for that key among the anchors."""
    if looks_self_signed(anchor) or not anchor.self_issued:
        return True
    return any(is_taken_for_issuer(ca.facts, anchor) for ca in authorities if ca.trusted)


def _comparable(name: str) -> str:
    return " ".join(name.casefold().split())
