"""One certificate judged from every side: its chain, its lints and its revocation; what the audit asks of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from cryptography import x509

from stage4.errors import UsageError
from stage4.security import certificate_lints as lints
from stage4.security import revocation
from stage4.security.certificate_chain import ChainReason, ChainVerdict, Purpose, verify_chain
from stage4.security.certificate_facts import CertificateFacts, facts_of, names_host
from stage4.security.certificate_lints import Level, Lint
from stage4.security.revocation import RevocationList, RevocationState, RevocationVerdict

Verdict = Literal["ok", "warn", "fail"]
# No certificate has it (RFC 2606), so a server's that has no name of its own is asked for under this one.
_NO_NAME: Final = "name.invalid"


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    The three answers; `authorities` are the facts of the CAs in the path, the anchor last.

    `named` is False for a server that nobody asked for by name: whether the name is right was not judged.
    """

    chain: ChainVerdict
    revocation: RevocationVerdict
    leaf: CertificateFacts | None
    authorities: tuple[CertificateFacts, ...]
    lints: tuple[tuple[str, Lint], ...]  # (subject of the certificate, lint), the leaf's first
    named: bool = True

    @property
    def verdict(self) -> Verdict:
        """`ok` only where everything was looked at and nothing is to be put right."""
        return "fail" if self.failed else "warn" if self.warned else "ok"

    @property
    def refusals(self) -> tuple[Lint, ...]:
        """The lints that fail."""
        return tuple(lint for _, lint in self.lints if lint.level is Level.FAIL)

    @property
    def failed(self) -> bool:
        """Whether the chain, the revocation or a lint refuses it."""
        answered = self.revocation.ok or self.revocation.state is RevocationState.UNCHECKED
        return not self.chain.ok or not answered or bool(self.refusals)

    @property
    def warned(self) -> bool:
        """Whether something is to be put right, or was not looked at: revocations, the name of a server."""
        return bool(self.lints) or not self.named or self.revocation.state is RevocationState.UNCHECKED


def judge(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    lists: Sequence[RevocationList],
    *,
    purpose: Purpose,
    host: str | None,
    now: datetime,
    together: Sequence[x509.Certificate] = (),
) -> Judgement:
    """
    Everything about `leaf` as a peer that trusts `anchors` sees it at `now`.

    `host` is a DNS name or an IP address that the SAN has to name, UsageError `security.bad_host` when it is neither. A
    server without one is judged under a name that it has itself, and the judgement is not `named`.

    `together` are the certificates that stand after the leaf in its own file. A chain that is refused has no path, so
    its revocation is not judged (`UNCHECKED`) and lints are those of the leaf and of `intermediates`.
    """
    named = purpose == "client" or host is not None
    others = [*together, *intermediates]
    if named:
        chain = verify_chain(leaf, others, anchors, purpose=purpose, host=host, now=now)
    else:
        chain = _under_its_own_name(leaf, others, anchors, now)
    if chain.ok and purpose == "client" and host is not None and not names_host(facts_of(leaf).sans, host):
        chain = ChainVerdict(ChainReason.WRONG_HOST, host)
    answer = RevocationVerdict(RevocationState.UNCHECKED)
    if chain.ok:
        answer = revocation.judge_path(chain.path, lists, intermediates=others, anchors=anchors, now=now)
    try:
        facts = facts_of(leaf)
        above = [facts_of(each) for each in (chain.path[1:] or others)]
        trusted = [facts_of(anchor) for anchor in anchors]
        beside = [facts_of(each) for each in together]
    except ValueError:
        # The chain is MALFORMED and says why.
        return Judgement(chain, answer, None, (), (), named)
    believed = {each.fingerprint for each in trusted}
    found = [(facts.subject, lint) for lint in lints.of_leaf(facts, now)]
    found += [(facts.subject, lint) for lint in lints.of_issuer(facts, above or trusted)]
    found += [(facts.subject, lint) for lint in lints.of_file([facts, *beside], trusted)]
    for each in above:
        anchor = each.fingerprint in believed
        found += [(each.subject, lint) for lint in lints.of_authority(each, now, anchor=anchor)]
        found += [(each.subject, lint) for lint in (lints.of_anchor(each, trusted) if anchor else ())]
    found += [
        (name, lint) for name, lint in lints.same_serials([(each.subject, each) for each in (facts, *above)]).items()
    ]
    return Judgement(chain, answer, facts, tuple(above), tuple(found), named)


def _under_its_own_name(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime
) -> ChainVerdict:
    """The chain of a server under the first name that it has and that somebody could ask for."""
    try:
        sans = facts_of(leaf).sans
    except ValueError:
        sans = ()  # the chain is malformed and says why
    names = [san.partition(":")[2].replace("*", "any", 1) for san in sans if san.startswith(("DNS:", "IP:"))]
    for name in names:
        try:
            return verify_chain(leaf, others, anchors, purpose="server", host=name, now=now)
        except UsageError:
            continue  # a name that is none
    return verify_chain(leaf, others, anchors, purpose="server", host=_NO_NAME, now=now)


def lints_of_file(
    certificates: Sequence[CertificateFacts], now: datetime
) -> Iterator[tuple[CertificateFacts, tuple[Lint, ...]]]:
    """What can be said of the certificates of a file without any peer: each with its lints, in their order."""
    for index, facts in enumerate(certificates):
        if facts.is_ca:
            yield facts, lints.of_authority(facts, now, anchor=facts.self_signed)
        else:
            company = lints.of_file(certificates, ()) if index == 0 else ()
            yield facts, (*lints.of_leaf(facts, now), *company)
