"""
A key of the log is replaced, or revoked after it got out: as entries of the log, and in the key ring.

    rotate   1  the next key is listed in the ring, active         (ring: both keys active, the old one starts new logs)
             2  `key_rotation` is appended under the old key       (log: the next key is in force)
             3  the next key starts new logs, the old one retires  (ring, in one step)

A crash before 2 leaves a prepared key, which the next rotation takes; between 2 and 3 writers already use the next key,
and the next call finds the log ahead of the ring and only does 3.

    revoke   1  a key in force is rotated away from first, to a fresh key: whoever has the secret signs nothing more
             2  a checkpoint vouches for what the key signed until now, unless the caller wants none
             3  the ring says revoked                              (nothing it signed counts while the log is silent)
             4  `key_revocation` is appended under the key in force

The ring comes before the entry, so that a crash in between fails closed: everything the key signed is refused until
the next call appends the entry, which says that what a checkpoint covers before it still counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from stage4.clock import Clock
from stage4.decisionlog import traces
from stage4.decisionlog.entry import KEY_REVOCATION, KEY_ROTATION, LOG_CATEGORY, Draft
from stage4.decisionlog.reading import entries, newest
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Conflict, Refused, Unavailable, UsageError
from stage4.security.keyring import Key, KeyRing, KeyState
from stage4.security.keyring_changes import KeyRingChange, changing, free_id

_NO_SIGNATURE = frozenset(
    ("keyring.secret_missing", "keyring.secret_malformed", "keyring.secret_differs", "log.key_not_usable")
)
_NOT_ACTIVE = {KeyState.RETIRED: "keyring.not_active_retired", KeyState.REVOKED: "keyring.not_active_revoked"}


@dataclass(frozen=True, slots=True)
class Standing:
    """The key in force and its log; `log_id` is None where there is no log, and the ring's active key is next.

    `stuck` is why no entry can be signed with that key, not the one that hands over either; None where one can.
    """

    key: Key
    log_id: str | None
    stuck: Refused | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """From which key to which. `fresh`: the next one is a new key. `resumed`: only the ring is behind.

    `seq` is the number of the entry, None where none was appended or is needed.
    """

    previous: str
    next: str
    algorithm: str
    fresh: bool = False
    resumed: bool = False
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """The revoked key, the rotation that came first if one was needed, the entry's number (None: there is no log).

    `vouched`: a checkpoint comes before the entry. `already`: the ring and the log had said so before.
    """

    key_id: str
    rotation: Rotation | None
    seq: int | None
    vouched: bool = False
    already: bool = False


def standing(log: DecisionLog, ring: KeyRing) -> Standing:
    """Which key is in force. Where it can sign nothing, the last line is taken at its word.

    Raises Refused `keyring.cannot_hand_over` where the ring does not list it, Unavailable where the log cannot be read
    or vanished.
    """
    try:
        spot = log.in_force()
    except Unavailable as error:
        if error.code not in _NO_SIGNATURE:
            raise
        return _stuck(log, ring, str(error.params["key_id"]))
    if spot is not None:
        return Standing(spot.key, spot.head.log_id)
    trace = traces.find(log.path, ring.path)
    if trace is not None:
        raise Unavailable("log.vanished", path=log.path, trace=trace)
    return Standing(ring.active_key(), None)


def _stuck(log: DecisionLog, ring: KeyRing, key_id: str) -> Standing:
    stuck = Refused("keyring.cannot_hand_over", key_id=key_id, path=log.path)
    last = newest(log.path, 1)
    if not last:
        raise stuck
    said = last[0].metadata.get("next_key_id") if last[0].kind == KEY_ROTATION else last[0].key_id
    key = ring.key(str(said))
    if key is None:
        raise stuck
    return Standing(key, last[0].log_id, stuck)


def plan_rotation(
    ring: KeyRing, now: Standing, new_id: str, *, to: str | None = None, algorithm: str | None = None
) -> Rotation:
    """What `rotate` will do; `new_id` names a fresh key.

    Without `to` the next key is one that was prepared, the oldest first, of `algorithm` where that is given; else a
    fresh one. Raises UsageError `keyring.unknown_key`, Refused where that key cannot follow or none can.
    """
    _require_hand_over(now)
    key, behind = now.key, _is_behind(ring, now)
    if to is not None:
        chosen = listed(ring, to)
        if key.id == chosen.id == ring.active:
            raise Refused("keyring.already_in_force", key_id=to)
        if behind and chosen.id == ring.active:
            raise Refused(_NOT_ACTIVE[KeyState.RETIRED], key_id=to)
        if key.id != chosen.id:
            _require_fit(chosen, now.log_id)
    if behind and to in (None, key.id):
        return Rotation(ring.active, key.id, key.algorithm, resumed=True)
    if to is None:
        to = next((each.id for each in _prepared(ring, now) if algorithm in (None, each.algorithm)), None)
    if to is not None:
        return Rotation(key.id, to, ring.keys[to].algorithm)
    return _fresh_rotation(now, new_id, algorithm)


def plan_revocation(
    ring: KeyRing, now: Standing, key_id: str, new_id: str, logged: int | None, *, checkpoint: bool
) -> Revocation:
    """What `revoke` will do; `new_id` names a fresh key, `logged` is the entry that revoked the key before.

    `checkpoint`: the caller wants one to vouch for the log as it stands. Raises UsageError `keyring.unknown_key`,
    Refused where no entry can be signed.
    """
    key, is_log = listed(ring, key_id), now.log_id is not None
    revoked = key.state is KeyState.REVOKED
    if revoked and (logged is not None or not is_log):
        return Revocation(key_id, None, logged, already=True)
    _require_hand_over(now)
    if revoked:
        # Only the entry is missing: a checkpoint would vouch for what may have been signed since.
        return Revocation(key_id, None, None)
    rotation = _fresh_rotation(now, new_id) if key_id == now.key.id else None
    return Revocation(key_id, rotation, None, vouched=checkpoint and is_log)


def logged_revocation(log: DecisionLog, now: Standing, key: Key) -> int | None:
    """The number of the entry that revoked `key`; only a key that the ring calls revoked is looked for."""
    if now.log_id is None or key.state is not KeyState.REVOKED:
        return None
    for entry in entries(log.path, category=LOG_CATEGORY):
        said = entry.metadata
        if entry.kind == KEY_REVOCATION and (said.get("revoked_key_id"), said.get("fingerprint")) == (
            key.id,
            key.fingerprint,
        ):
            return entry.seq
    return None


def rotate(
    log: DecisionLog, ring: KeyRing, clock: Clock, reason: str, *, to: str | None = None, algorithm: str | None = None
) -> Rotation:
    """Let the next key take over in `log` and in the ring on the disk, or finish a rotation that was interrupted.

    Raises Conflict `keyring.busy`, and what `standing`, `plan_rotation` and appending raise.
    """
    with changing(ring.path, ring.environ) as change:
        now = standing(log, change.ring)
        plan = plan_rotation(change.ring, now, free_id(change.ring, clock.now()), to=to, algorithm=algorithm)
        _catch_up(change, now, clock, reason)
        return plan if plan.resumed else _carry_out(plan, log, change, now, clock, reason)


def revoke(
    log: DecisionLog,
    ring: KeyRing,
    clock: Clock,
    key_id: str,
    reason: str,
    *,
    checkpoint: Callable[[KeyRing], object] | None = None,
) -> Revocation:
    """Let nothing count any more that `key_id` signs or could have signed.

    `checkpoint` vouches for the log as it stands before the revocation; without it everything that no earlier
    checkpoint covers is refused from now on, the entry that hands over included. Raises UsageError
    `keyring.unknown_key`, Conflict `keyring.busy`, and what `standing` and appending raise.
    """
    with changing(ring.path, ring.environ) as change:
        key, now = listed(change.ring, key_id), standing(log, change.ring)
        logged = logged_revocation(log, now, key)
        new_id = free_id(change.ring, clock.now())
        plan = plan_revocation(change.ring, now, key_id, new_id, logged, checkpoint=checkpoint is not None)
        if plan.already:
            return plan
        if key.state is not KeyState.REVOKED:
            _catch_up(change, now, clock, reason)
            if plan.rotation is not None:
                plan = replace(plan, rotation=_carry_out(plan.rotation, log, change, now, clock, reason))
            if plan.vouched and checkpoint is not None:
                checkpoint(change.ring)
            change.revoke(key_id, clock.now(), reason, active=change.ring.active)
        if now.log_id is None:
            return plan
        with log.held() as held:
            facts = {"revoked_key_id": key_id, "fingerprint": key.fingerprint, "reason": reason}
            receipt = held.append(Draft(KEY_REVOCATION, LOG_CATEGORY, "log", "revoked", metadata=facts))
        return replace(plan, seq=receipt.seq)


def listed(ring: KeyRing, key_id: str) -> Key:
    """The key of that id; raises UsageError `keyring.unknown_key`."""
    key = ring.key(key_id)
    if key is None:
        raise UsageError("keyring.unknown_key", key_id=key_id, path=ring.path, known=", ".join(sorted(ring.keys)))
    return key


def _fresh_rotation(now: Standing, new_id: str, algorithm: str | None = None) -> Rotation:
    """To a new key: one that was prepared may have got out together with the one in force."""
    return Rotation(now.key.id, new_id, algorithm or now.key.algorithm, fresh=True)


def _is_behind(ring: KeyRing, now: Standing) -> bool:
    """Whether a rotation was interrupted after its entry: the ring still starts new logs with the key before."""
    return now.key.state is KeyState.ACTIVE and ring.active != now.key.id


def _catch_up(change: KeyRingChange, now: Standing, clock: Clock, reason: str) -> None:
    if _is_behind(change.ring, now):
        change.take_over(now.key.id, change.ring.active, clock.now(), reason)


def _carry_out(
    plan: Rotation, log: DecisionLog, change: KeyRingChange, now: Standing, clock: Clock, reason: str
) -> Rotation:
    if plan.fresh:
        change.add(plan.next, clock.now(), algorithm=plan.algorithm)
    seq = None if now.log_id is None else _hand_over(log, now, change.ring.keys[plan.next], reason)
    change.take_over(plan.next, plan.previous, clock.now(), reason)
    return replace(plan, seq=seq)


def _hand_over(log: DecisionLog, now: Standing, following: Key, reason: str) -> int:
    with log.held() as held:
        if held.key.id != now.key.id:
            raise Conflict("keyring.log_moved_on", path=log.path, key_id=held.key.id)
        facts = {"next_key_id": following.id, "next_fingerprint": following.fingerprint, "reason": reason}
        return held.append(Draft(KEY_ROTATION, LOG_CATEGORY, "log", "rotated", metadata=facts)).seq


def _require_hand_over(now: Standing) -> None:
    if now.stuck is not None:
        raise now.stuck


def _require_fit(key: Key, log_id: str | None) -> None:
    if key.state is not KeyState.ACTIVE:
        raise Refused(_NOT_ACTIVE[key.state], key_id=key.id)
    if log_id is not None and not key.may_sign(log_id):
        raise Refused("keyring.not_for_log", key_id=key.id, log_id=log_id)
    # Raises what keeps the secret from being read: a log handed over to it would be stuck.
    key.secret_for("rotation", log_id or "")


def _prepared(ring: KeyRing, now: Standing) -> list[Key]:
    """The keys that may follow: the one that starts new logs where this log is behind, then the oldest first."""
    fit = (
        key
        for key in ring.keys.values()
        if key.state is KeyState.ACTIVE and key.available and key.id != now.key.id
        if now.log_id is None or key.may_sign(now.log_id)
    )
    return sorted(fit, key=lambda key: (key.id != ring.active, key.created, key.id))
