"""One certificate judged from every side: its chain, its lints and its revocation; what the audit asks of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from stage4.security import certificate_lints as lints
from stage4.security import revocation
from stage4.security.certificate_chain import ChainReason, ChainVerdict, Purpose, verify_chain
from stage4.security.certificate_facts import CertificateFacts, facts_of, names_host
from stage4.security.certificate_lints import Level, Lint
from stage4.security.revocation import RevocationList, RevocationState, RevocationVerdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """The three answers; `authorities` are the facts of the CAs in the path, the anchor last."""

    chain: ChainVerdict
    revocation: RevocationVerdict
    leaf: CertificateFacts | None
    authorities: tuple[CertificateFacts, ...]
    lints: tuple[tuple[str, Lint], ...]  # (subject of the certificate, lint), the leaf's first

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
        """Whether something is to be put right, the missing look at revocations included."""
        return bool(self.lints) or self.revocation.state is RevocationState.UNCHECKED


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

    `host` is needed for a server, as `verify_chain` takes it; where it is given for a client, its SAN has to name it.

    `together` are the certificates that stand after the leaf in its own file. A chain that is refused has no path, so
    its revocation is not judged (`UNCHECKED`) and lints are those of the leaf and of `intermediates`.
    """
    chain = verify_chain(leaf, [*together, *intermediates], anchors, purpose=purpose, host=host, now=now)
    if chain.ok and purpose == "client" and host is not None and not names_host(facts_of(leaf).sans, host):
        chain = ChainVerdict(ChainReason.WRONG_HOST, host)
    answer = RevocationVerdict(RevocationState.UNCHECKED)
    if chain.ok:
        others = [*together, *intermediates]
        answer = revocation.judge_path(chain.path, lists, intermediates=others, anchors=anchors, now=now)
    try:
        facts = facts_of(leaf)
        above = [facts_of(each) for each in (chain.path[1:] or (*together, *intermediates))]
        trusted = [facts_of(anchor) for anchor in anchors]
        beside = [facts_of(each) for each in together]
    except ValueError:
        # The chain is MALFORMED and says why.
        return Judgement(chain, answer, None, (), ())
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
    return Judgement(chain, answer, facts, tuple(above), tuple(found))
