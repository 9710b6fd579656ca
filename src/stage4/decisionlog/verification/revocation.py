"""
What the entries of a revoked key are worth.

A secret that got out signs for whoever has it, and may sign the past as well as the future. So the key's entries
count only as far as a checkpoint, made before the entry that revoked the key, vouches for them. Whatever is missing
counts against them: without a `key_revocation` entry nothing says what came before, and nothing is accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stage4.decisionlog.entry import Entry
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.key_uses import KeyUse
from stage4.decisionlog.verification.verdict import Fault
from stage4.security.keyring import KeyRing, KeyState


@dataclass(frozen=True, slots=True)
class Revocation:
    """A `key_revocation` entry: its number, the key that signed it, the id and fingerprint of the key it revokes.

    `vouched` is how many entries a checkpoint made before it vouches for.
    """

    seq: int
    signer: str
    revoked: str
    fingerprint: str
    vouched: int

    @classmethod
    def of(cls, entry: Entry, vouched: int) -> Revocation:
        """What an authentic entry says; one that says nothing revokes nothing."""
        said = entry.metadata
        return cls(entry.seq, entry.key_id, str(said.get("revoked_key_id")), str(said.get("fingerprint")), vouched)


def judge(
    uses: Iterable[KeyUse], revocations: Iterable[Revocation], keyring: KeyRing | None
) -> Iterator[tuple[KeyUse, Blame]]:
    """Every use of a key that the ring calls revoked which is not accepted, and why."""
    keys = {} if keyring is None else keyring.keys
    fingerprints = {key.id: key.fingerprint for key in keys.values() if key.state is KeyState.REVOKED}
    in_force = _in_force(revocations, fingerprints)
    for use in uses:
        if use.key_id not in fingerprints:
            continue
        revocation = in_force.get(use.key_id)
        if revocation is None:
            yield use, Blame(Fault.KEY_MISUSE, "completeness.revoked_unlogged", {"key_id": use.key_id})
        elif use.last_seq >= revocation.vouched:
            late = use.first_seq > revocation.seq
            code = "completeness.revoked_before" if late else "completeness.revoked_uncovered"
            yield use, Blame(Fault.KEY_MISUSE, code, {"key_id": use.key_id, "revoked_seq": revocation.seq})


def _in_force(revocations: Iterable[Revocation], fingerprints: Mapping[str, str]) -> dict[str, Revocation]:
    """The earliest revocation of each revoked key that counts.

    It must mean the same secret, and be signed by another key that is good itself, or was when a checkpoint saw it.
    """
    fitting = [
        each
        for each in revocations
        if each.signer != each.revoked and fingerprints.get(each.revoked) == each.fingerprint
    ]
    found: dict[str, Revocation] = {}
    # Each round can only add what the round before it made good, so there are no more rounds than revoked keys.
    for _ in fingerprints:
        good = dict(found)
        for each in fitting:
            signer = good.get(each.signer)
            if each.signer in fingerprints and (signer is None or each.seq >= signer.vouched):
                continue
            if each.revoked not in found or each.seq < found[each.revoked].seq:
                found[each.revoked] = each
        if found == good:
            break
    return found
