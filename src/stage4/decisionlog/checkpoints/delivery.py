"""A checkpoint is made, and the newest one is left at the places outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stage4.clock import Clock
from stage4.decisionlog.checkpoints import notary, places
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.checkpoints.notary import Made
from stage4.decisionlog.checkpoints.places import Memory, Parcel, Place, Pushed
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Unavailable
from stage4.security.keyring import KeyRing


@dataclass(frozen=True, slots=True)
class Delivered:
    """The newest checkpoint and what came of leaving it outside; `made` is None where it was there before."""

    made: Made | None
    number: int
    parcel: Parcel
    answers: tuple[Pushed, ...]


def deliver(log: DecisionLog, keyring: KeyRing, clock: Clock, targets: Sequence[Place]) -> Delivered:
    """Make the next checkpoint of `log`, or finish one, and leave the newest at `targets`.

    A place that fails stops nothing and is among the answers. Raises what `notary.make` raises, Unavailable
    `checkpoint.none_yet`.
    """
    made = notary.make(log, keyring, clock)
    head = log.head()
    newest = None if head is None else newest_parcel(keyring, head.log_id)
    if newest is None:
        raise Unavailable("checkpoint.none_yet", path=log.path)
    number, parcel = newest
    return Delivered(made, number, parcel, places.push(targets, parcel, Memory.beside(log.path)))


def newest_parcel(keyring: KeyRing, log_id: str) -> tuple[int, Parcel] | None:
    """The number of a log's newest checkpoint and what is pushed of it; None before the first one."""
    keys = KeyStore.beside(keyring.path, log_id).load()
    if keys is None or keys.note is None:
        return None
    return keys.number - 1, places.parcel_of(keys.note, keys.pin())
