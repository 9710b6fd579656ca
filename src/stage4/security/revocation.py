"""
Whether a certificate was revoked: reading revocation lists (CRLs), and judging a path by them (RFC 5280 5 and 6.3).

It fails closed: a list that is stale, signed by nobody the anchors vouch for, or says things nobody here evaluates
(delta lists, indirect lists, lists of some reasons only, unknown critical extensions) proves nothing good. Where a
list that is rightly signed names a certificate, the certificate is revoked, whatever else is wrong with the list.
OCSP is not asked: an audit works offline.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from stage4 import files
from stage4.errors import UsageError
from stage4.security.certificate_chain import descends
from stage4.security.certificate_facts import (
    ACCEPTED_HASHES,
    UNREADABLE,
    facts_of,
    is_of_whole_octets,
    visible,
    without_warnings,
)
from stage4.security.certificates import has_stray_text, is_der, pem_blocks, pem_labels

LIST_LIMIT: Final = 4 << 20
_EVALUATED: Final = frozenset(
    {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER, ExtensionOID.ISSUING_DISTRIBUTION_POINT}
)
_EVALUATED_IN_ENTRIES: Final = frozenset(
    {CRLEntryExtensionOID.CERTIFICATE_ISSUER, CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE}
)


class RevocationState(StrEnum):
    """What the lists say of a certificate; everything but `GOOD` and `UNCHECKED` is a refusal."""

    GOOD = "good"
    REVOKED = "revoked"
    NO_LIST = "no_list"  # lists are there, but none of its issuer
    UNTRUSTED = "untrusted"
    STALE = "stale"
    NOT_YET = "not_yet"
    UNSUPPORTED = "unsupported"
    UNCHECKED = "unchecked"  # no lists were given


# The nearer to a proof, the earlier: with several lists of one issuer the best answer counts, but REVOKED above all.
_ORDER: Final = (
    RevocationState.REVOKED,
    RevocationState.GOOD,
    RevocationState.STALE,
    RevocationState.NOT_YET,
    RevocationState.UNSUPPORTED,
    RevocationState.UNTRUSTED,
    RevocationState.NO_LIST,
)


@dataclass(frozen=True, slots=True)
class RevocationVerdict:
    """The answer for a path: the first certificate that is not good, or the leaf; instants are aware UTC."""

    state: RevocationState
    subject: str = ""
    issuer: str = ""
    revoked_at: datetime | None = None
    reason: str | None = None  # RFC 5280 5.3.1: "keyCompromise", "superseded", ...
    next_update: datetime | None = None  # of the list that answered

    @property
    def ok(self) -> bool:
        return self.state is RevocationState.GOOD


class RevocationList:
    """A parsed list; nothing of it is believed before `judge_path` has found who signed it."""

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        """Reads what every judgement needs; raises ValueError for what does not parse."""
        try:
            with without_warnings():
                self.issuer = crl.issuer
                self.last_update = crl.last_update_utc
                self.next_update = crl.next_update_utc
                self.entries = len(crl)
                self.extensions = tuple(crl.extensions)
        except UNREADABLE as error:
            raise ValueError(str(error)) from error
        self.crl = crl

    @property
    def name(self) -> str:
        """The issuer in words."""
        return visible(self.issuer.rfc4514_string())

    @cached_property
    def has_odd_entries(self) -> bool:
        """Whether an entry says something that nobody here evaluates."""
        with without_warnings():
            return any(_is_odd(entry, self.issuer) for entry in self.crl)

    def entries_of(self, serial: int) -> list[x509.RevokedCertificate]:
        """Every entry with this serial number: one may stand twice, and the library finds the first."""
        if self.crl.get_revoked_certificate_by_serial_number(serial) is None:
            return []
        with without_warnings():
            return [entry for entry in self.crl if entry.serial_number == serial]


def load_lists(path: Path) -> list[RevocationList]:
    """
    The lists of a PEM file, or the one of a DER file; at least one.

    What stands in a PEM file besides whole lists may be the newest one, torn or under another label, so it is refused.
    Raises Unavailable `files.*` when the file cannot be read, UsageError `security.list_malformed`,
    `security.list_stray` or `security.list_missing`.
    """
    return parse_lists(files.read_limited(path, LIST_LIMIT), path)


def parse_lists(content: bytes, subject: object) -> list[RevocationList]:
    """As `load_lists`, for bytes already read; `subject` names them in errors."""
    try:
        with without_warnings():
            if is_der(content):
                found = [x509.load_der_x509_crl(content)]
            else:
                found = [x509.load_pem_x509_crl(block) for block in pem_blocks(content, "X509 CRL")]
        lists = [RevocationList(crl) for crl in found]
    except UNREADABLE as error:
        raise UsageError("security.list_malformed", path=subject, reason=str(error)) from error
    if not lists:
        raise UsageError("security.list_missing", path=subject)
    if not is_der(content) and (has_stray_text(content) or set(pem_labels(content)) != {"X509 CRL"}):
        raise UsageError("security.list_stray", path=subject)
    return lists


def judge_path(
    path: Sequence[x509.Certificate],
    lists: Sequence[RevocationList],
    *,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> RevocationVerdict:
    """
    Whether a certificate of `path` (a verified chain, the leaf first and the anchor last) was revoked by `now`.

    1. Each certificate but the anchor has a list of its own issuer.
    2. The list is signed by that issuer, or by a namesake among `intermediates` that the anchors vouch for and that is
       not revoked itself; either key may sign lists (cRLSign).
    3. It covers the certificate and is fresh: thisUpdate <= now <= nextUpdate, and there is a nextUpdate.
    4. It does not name the certificate.
    """
    if not lists:
        return RevocationVerdict(RevocationState.UNCHECKED)
    verdicts = [
        _of_certificate(certificate, issuer, lists, (*intermediates, *anchors), anchors, now)
        for certificate, issuer in pairwise(path)
    ]
    refused = [verdict for verdict in verdicts if not verdict.ok]
    return min(refused or verdicts[:1], key=lambda verdict: _ORDER.index(verdict.state))


def _of_certificate(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[RevocationList],
    signers: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> RevocationVerdict:
    subject, name = (visible(each.rfc4514_string()) for each in (certificate.subject, certificate.issuer))
    # 1.
    own = [each for each in lists if each.issuer == certificate.issuer]
    if not own:
        return RevocationVerdict(RevocationState.NO_LIST, subject, name)
    answers = [_answer(each, certificate, issuer, lists, signers, anchors, now) for each in own]
    state, entry, answered = min(answers, key=lambda answer: _ORDER.index(answer[0]))
    return RevocationVerdict(
        state,
        subject,
        name,
        revoked_at=entry.revocation_date_utc if entry is not None else None,
        reason=_reason(entry) if entry is not None else None,
        next_update=answered.next_update,
    )


_Answer = tuple[RevocationState, x509.RevokedCertificate | None, RevocationList]


def _answer(
    each: RevocationList,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[RevocationList],
    signers: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> _Answer:
    # 2.
    if not _is_signed(each, issuer) and not any(
        signer.subject == each.issuer
        and _is_signed(each, signer)
        and descends(signer, signers, anchors, now)
        and not _is_named(signer, lists, signers)
        for signer in signers
    ):
        return RevocationState.UNTRUSTED, None, each
    # 4. comes first: who is named by a list that is old or odd is revoked all the same.
    named = each.entries_of(facts_of(certificate).serial)
    revoking = next((entry for entry in named if _revokes(entry, each.issuer)), None)
    if revoking is not None:
        return RevocationState.REVOKED, revoking, each
    # 3.
    if not _covers(each, certificate):
        return RevocationState.UNSUPPORTED, None, each
    if now < each.last_update:
        return RevocationState.NOT_YET, None, each
    if each.next_update is None or now > each.next_update:
        return RevocationState.STALE, None, each
    return RevocationState.GOOD, None, each


def _is_signed(each: RevocationList, signer: x509.Certificate) -> bool:
    try:
        facts = facts_of(signer)
        algorithm = each.crl.signature_hash_algorithm
        if not facts.may("cRLSign") or facts.weak_key:
            return False
        if algorithm is not None and algorithm.name not in ACCEPTED_HASHES:
            return False
        key = signer.public_key()
        # A kind of key that signs no lists raises TypeError.
        return is_of_whole_octets(each.crl) and each.crl.is_signature_valid(key)  # type: ignore[arg-type]
    except UNREADABLE:
        return False


def _is_named(signer: x509.Certificate, lists: Sequence[RevocationList], signers: Sequence[x509.Certificate]) -> bool:
    """Whether a list that the issuer of `signer` signed itself names it: who is revoked signs nothing any more."""
    return any(
        each.entries_of(facts_of(signer).serial) != []
        for each in lists
        if each.issuer == signer.issuer
        and any(issuer.subject == signer.issuer and _is_signed(each, issuer) for issuer in signers)
    )


def _covers(each: RevocationList, certificate: x509.Certificate) -> bool:
    """Whether silence of the list about `certificate` means that it is not revoked (5.2.4, 5.2.5, 5.3)."""
    for extension in each.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            return False
        if isinstance(value, x509.IssuingDistributionPoint) and not _point_covers(value, certificate):
            return False
        if extension.critical and extension.oid not in _EVALUATED:
            return False
    return not each.has_odd_entries


def _point_covers(point: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    is_ca = facts_of(certificate).is_ca
    partial = point.indirect_crl or point.only_some_reasons or point.only_contains_attribute_certs
    wrong_kind = point.only_contains_ca_certs if not is_ca else point.only_contains_user_certs
    if partial or wrong_kind or point.relative_name is not None:
        return False
    if point.full_name is None:
        return True
    with suppress(x509.ExtensionNotFound):
        named = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        return any(set(entry.full_name or ()) & set(point.full_name) for entry in named)
    return False


def _is_odd(entry: x509.RevokedCertificate, issuer: x509.Name) -> bool:
    """Whether an entry may change what the list means: it is of another issuer, or has what nobody reads or knows."""
    try:
        unknown = any(each.critical and each.oid not in _EVALUATED_IN_ENTRIES for each in entry.extensions)
    except UNREADABLE:
        return True
    return unknown or not _is_of(entry, issuer)


def _revokes(entry: x509.RevokedCertificate, issuer: x509.Name) -> bool:
    """Whether it says that this issuer's certificate is revoked: not that a hold ended, nor another's (5.3)."""
    try:
        return _reason(entry) != x509.ReasonFlags.remove_from_crl.value and _is_of(entry, issuer)
    except UNREADABLE:
        return True


def _is_of(entry: x509.RevokedCertificate, issuer: x509.Name) -> bool:
    """Whether it is about a certificate of `issuer`, as one is that does not say whose (5.3.3)."""
    try:
        named = entry.extensions.get_extension_for_class(x509.CertificateIssuer).value
    except x509.ExtensionNotFound:
        return True
    return issuer in named.get_values_for_type(x509.DirectoryName)


def _reason(entry: x509.RevokedCertificate) -> str | None:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None
