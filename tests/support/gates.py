"""A small installation around the gate, and people who can sign for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from stage4.clock import Clock
from stage4.runtime.gate import Gate, GateVerdict
from stage4.runtime.latch import GATE_FILE, create_latch
from stage4.runtime.stop import ALL, OVERRIDES
from stage4.security import sshsig
from stage4.security.people import People, Person, Role
from stage4.testing.clock import ManualClock

INSTALLATION = "inst-1"
_ROLES = {
    "im-ewa": frozenset({Role.INCIDENT_MANAGER}),
    "l2-jan": frozenset({Role.L2}),
    "l1-ola": frozenset({Role.L1}),
}


@cache
def key_of(person: str) -> tuple[bytes, str]:
    """(OpenSSH private key, public line); the same for a whole test run."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, sshsig.normalized(public)


def people() -> People:
    return People({id_: Person(id_, id_, roles, (key_of(id_)[1],)) for id_, roles in _ROLES.items()})


def signer(person: str, key: str | None = None) -> tuple[str, Callable[[bytes], str]]:
    """`person` with the key of `key` (their own by default)."""
    private, _ = key_of(key or person)
    return person, lambda message: sshsig.sign(private, message, sshsig.ENABLE)


EWA_AND_JAN = ("im-ewa", "l2-jan")


def signers(*names: str) -> Sequence[tuple[str, Callable[[bytes], str]]]:
    return [signer(name) for name in names]


@dataclass
class Site:
    """An installation's root with a clock; `gate()` opens a gate as a scheduler's start does."""

    root: Path
    clock: Clock

    @property
    def overrides(self) -> Path:
        return self.root / OVERRIDES

    @property
    def wide_file(self) -> Path:
        return self.overrides / ALL.file_name

    def gate(self) -> Gate:
        return Gate(self.root, INSTALLATION, self.clock)


def make_site(root: Path, clock: Clock | None = None) -> Site:
    chosen = clock or ManualClock()
    (root / OVERRIDES).mkdir(parents=True)
    create_latch(root / GATE_FILE, INSTALLATION, chosen.now())
    return Site(root, chosen)


def ask(gate: Gate, schedule: str = "s1", strategy: str = "a1", tags: Sequence[str] = ("t1",)) -> GateVerdict:
    return gate.permits(schedule=schedule, strategy=strategy, tags=tags)
