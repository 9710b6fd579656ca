"""`stage4 log key list|new|rotate|revoke`: the keys that sign the decision log. No secret is ever printed."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stage4.cli import _run
from stage4.cli.root import Session
from stage4.clock import Clock, SystemClock, format_instant
from stage4.errors import Stage4Error, UsageError

if TYPE_CHECKING:
    from stage4.decisionlog.checkpoints.places import Place
    from stage4.decisionlog.key_changes import Revocation, Rotation, Standing
    from stage4.decisionlog.writer import DecisionLog
    from stage4.security.keyring import Key, KeyRing

LIST_SCHEMA = "stage4.log_keys/1"
CHANGE_SCHEMA = "stage4.log_key/1"
_LONGEST_REASON = 500

algorithm_option = click.option(
    "--algorithm",
    type=click.Choice(["HMAC-SHA256", "HMAC-SHA384"]),
    help="How a new key signs (default: as the one in force).",
)
log_option = click.option(
    "--log", "path", type=click.Path(path_type=Path), help="The log (default: the configured one)."
)
reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the log for good.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


@click.group()
def key() -> None:
    """The keys of the decision log: list them, prepare one, go on to the next, revoke one."""


@key.command("list")
@log_option
@click.pass_obj
def list_(session: Session, path: Path | None) -> int:
    """Every key of the ring: state, age, fingerprint, whether its secret is there, and which one is in force."""
    from stage4.decisionlog.key_changes import standing

    log, ring = _opened(session, path)
    now: Standing | None = None
    problem: Stage4Error | None = None
    try:
        now = standing(log, ring)
    except Stage4Error as error:
        problem = error
    in_force = None if now is None else now.key.id
    if now is not None:
        problem = now.stuck
    keys = [_facts(key, in_force) for key in ring.keys.values()]
    if not session.as_json:
        _print_table(session, ring, keys)
    if problem is not None and problem.code == "keyring.cannot_hand_over":
        session.say(problem.code, **problem.params)
    elif problem is not None:
        reason = session.text(problem.code, **problem.params)
        session.say("keyring.in_force_unknown", log=log.path, reason=reason)
    elif now is not None and now.log_id is None:
        session.say("keyring.no_log", log=log.path, key_id=now.key.id)
    session.emit(
        {
            "schema": LIST_SCHEMA,
            "keyring": str(ring.path),
            "log": str(log.path),
            "log_id": None if now is None else now.log_id,
            "in_force": in_force,
            "problem": None if problem is None else problem.code,
            "active": ring.active,
            "keys": keys,
        }
    )
    return 0


@key.command()
@click.argument("key_id", metavar="ID", required=False)
@algorithm_option
@click.option("--log-id", "log_ids", multiple=True, metavar="LOG_ID", help="The only log it may sign; repeatable.")
@dry_run_option
@click.pass_obj
def new(session: Session, key_id: str | None, algorithm: str | None, log_ids: tuple[str, ...], dry_run: bool) -> int:
    """Prepare a key (default ID: ops-YYYY-MM); `rotate` puts it into force."""
    from stage4.decisionlog.open import load_keyring
    from stage4.security.keyring_changes import changing, free_id, require_new

    ring, now = load_keyring(session.installation, os.environ), SystemClock().now()
    chosen = algorithm or ring.active_key().algorithm
    if dry_run:
        planned = key_id or free_id(ring, now)
        require_new(ring, planned, chosen)
        session.say("keyring.would_add", key_id=planned, algorithm=chosen)
        facts: dict[str, Any] = {"id": planned, "algorithm": chosen}
    else:
        with changing(ring.path, os.environ) as change:
            added = change.add(
                key_id or free_id(change.ring, now),
                now,
                algorithm=chosen,
                logs=frozenset(log_ids) if log_ids else None,
            )
        secret = _secret_file(ring, added.id)
        session.say("keyring.added", key_id=added.id, algorithm=chosen, fingerprint=added.fingerprint, secret=secret)
        facts = _facts(added, None) | {"secret_file": secret}
    session.emit(_document(session, "new", dry_run) | {"key": facts})
    return 0


@key.command()
@click.option("--to", metavar="ID", help="The key that takes over (default: a prepared one, else a new one).")
@algorithm_option
@reason_option
@log_option
@dry_run_option
@click.pass_obj
def rotate(
    session: Session, to: str | None, algorithm: str | None, reason: str, path: Path | None, dry_run: bool
) -> int:
    """Let the next key sign the log from here on; running services follow by themselves."""
    from stage4.decisionlog import key_changes
    from stage4.security.keyring_changes import free_id

    if to is not None and algorithm is not None:
        raise UsageError("keyring.to_or_algorithm")
    log, ring = _opened(session, path)
    clock, reason = SystemClock(), _checked(reason)
    if dry_run:
        now = key_changes.standing(log, ring)
        plan = key_changes.plan_rotation(ring, now, free_id(ring, clock.now()), to=to, algorithm=algorithm)
    else:
        plan = key_changes.rotate(log, ring, clock, reason, to=to, algorithm=algorithm)
    _say_rotation(session, ring, plan, dry_run)
    document = {"log": str(log.path), "rotation": _rotation(ring, plan, dry_run)}
    session.emit(_document(session, "rotate", dry_run) | document)
    return 0


@key.command()
@click.argument("key_id", metavar="ID")
@reason_option
@click.option("--no-checkpoint", is_flag=True, help="Let nothing count that no earlier checkpoint covers.")
@log_option
@dry_run_option
@click.pass_obj
def revoke(session: Session, key_id: str, reason: str, no_checkpoint: bool, path: Path | None, dry_run: bool) -> int:
    """Declare that the secret of key ID got out. A key in force is replaced by a new one first.

    What it signed counts only as far as a checkpoint covers it. Unless --no-checkpoint is given, one is made first,
    which vouches for the log as it stands: verify the log against the checkpoints off this machine before.
    """
    from stage4.decisionlog import key_changes

    log, ring = _opened(session, path)
    clock, reason = SystemClock(), _checked(reason)
    if dry_run:
        done = _planned_revocation(log, ring, clock, key_id, checkpoint=not no_checkpoint)
    else:
        vouch = None if no_checkpoint else partial(_vouch, session, log)
        done = key_changes.revoke(log, ring, clock, key_id, reason, checkpoint=vouch)
    if done.rotation is not None:
        _say_rotation(session, ring, done.rotation, dry_run)
    if done.already:
        session.say("keyring.revoked_already", key_id=key_id)
    elif dry_run:
        _say_would_revoke(session, log, done, no_checkpoint)
    elif done.seq is None:
        session.say("keyring.revoked_ring", key_id=key_id)
    else:
        if done.vouched or no_checkpoint:
            session.say("keyring.vouched_now" if done.vouched else "keyring.not_vouched", key_id=key_id)
        session.say("keyring.revoked", key_id=key_id, seq=done.seq)
    rotation = None if done.rotation is None else _rotation(ring, done.rotation, dry_run)
    revocation = asdict(done) | {"rotation": rotation}
    document = {"log": str(log.path), "checkpoint": done.vouched, "revocation": revocation}
    session.emit(_document(session, "revoke", dry_run) | document)
    return 0


def _planned_revocation(log: DecisionLog, ring: KeyRing, clock: Clock, key_id: str, *, checkpoint: bool) -> Revocation:
    """What revoking would do; raises what keeps it from being done."""
    from stage4.decisionlog import key_changes
    from stage4.decisionlog.checkpoints import notary
    from stage4.security.keyring_changes import free_id

    now, key = key_changes.standing(log, ring), key_changes.listed(ring, key_id)
    logged = key_changes.logged_revocation(log, now, key)
    new_id = free_id(ring, clock.now())
    plan = key_changes.plan_revocation(ring, now, key_id, new_id, logged, checkpoint=checkpoint)
    if plan.vouched:
        notary.standing(log.path, ring, clock)
    return plan


def _say_would_revoke(session: Session, log: DecisionLog, plan: Revocation, no_checkpoint: bool) -> None:
    if plan.vouched:
        session.say("keyring.would_vouch", key_id=plan.key_id)
        for place in _places(session, log):
            session.say("checkpoint.would_push", place=place.name)
    elif no_checkpoint:
        session.say("keyring.would_not_vouch", key_id=plan.key_id)
    session.say("keyring.would_revoke", key_id=plan.key_id)


def _opened(session: Session, path: Path | None) -> tuple[DecisionLog, KeyRing]:
    from stage4.decisionlog.open import load_keyring, open_log

    ring = load_keyring(session.installation, os.environ)
    return open_log(session.installation, SystemClock(), os.environ, path=path), ring


def _vouch(session: Session, log: DecisionLog, ring: KeyRing) -> None:
    """Make a checkpoint; a place outside that does not take it is said, and stops nothing."""
    from stage4.decisionlog.checkpoints import delivery

    done = delivery.deliver(log, ring, SystemClock(), _places(session, log))
    for answer in done.answers:
        if answer.error is not None:
            _run.say_error(answer.error, session.language)


def _places(session: Session, log: DecisionLog) -> tuple[Place, ...]:
    """The places of the settings, which are for the configured log alone."""
    from stage4.decisionlog.checkpoints import places

    if log.path != session.installation.decision_log_path:
        return ()
    return places.configured(session.installation, os.environ)


def _checked(reason: str) -> str:
    """The reason as it will stand in ring and log, which take no control characters and no half a surrogate pair."""
    reason = reason.strip()
    if not reason or not reason.isprintable() or len(reason) > _LONGEST_REASON:
        raise UsageError("keyring.bad_reason", longest=_LONGEST_REASON)
    return reason


def _say_rotation(session: Session, ring: KeyRing, rotation: Rotation, dry_run: bool) -> None:
    facts = asdict(rotation)
    if dry_run:
        session.say("keyring.would_rotate", **facts)
    elif rotation.resumed:
        session.say("keyring.rotation_finished", **facts)
    elif rotation.seq is None:
        session.say("keyring.rotated_ring", **facts)
    else:
        session.say("keyring.rotated", **facts)
    if rotation.fresh and not dry_run:
        session.say("keyring.keep_secret", key_id=rotation.next, secret=_secret_file(ring, rotation.next))


def _rotation(ring: KeyRing, rotation: Rotation, dry_run: bool) -> dict[str, Any]:
    made = rotation.fresh and not dry_run
    return asdict(rotation) | {"secret_file": _secret_file(ring, rotation.next) if made else None}


def _secret_file(ring: KeyRing, key_id: str) -> str:
    """Where the secret of a key lies that was made here."""
    return str(ring.path.with_name(f"{key_id}.key"))


def _facts(key: Key, in_force: str | None) -> dict[str, Any]:
    return {
        "id": key.id,
        "algorithm": key.algorithm,
        "state": key.state.value,
        "created": format_instant(key.created),
        "retired": None if key.retired is None else format_instant(key.retired),
        "revoked": None if key.revoked is None else format_instant(key.revoked),
        "reason": key.reason,
        "fingerprint": key.fingerprint,
        "secret_available": key.available,
        "in_force": key.id == in_force,
        "logs": None if key.logs is None else sorted(key.logs),
    }


def _document(session: Session, change: str, dry_run: bool) -> dict[str, Any]:
    return {
        "schema": CHANGE_SCHEMA,
        "change": change,
        "dry_run": dry_run,
    }


_COLUMNS = ("id", "algorithm", "state", "created", "fingerprint", "secret", "logs")


def _print_table(session: Session, ring: KeyRing, keys: list[dict[str, Any]]) -> None:
    rows = [[session.text(f"keyring.column_{name}") for name in _COLUMNS]]
    for facts in keys:
        state = session.text(f"keyring.state_{facts['state']}")
        rows.append(
            [
                facts["id"],
                facts["algorithm"],
                session.text("keyring.in_force", state=state) if facts["in_force"] else state,
                facts["created"],
                facts["fingerprint"],
                session.text("keyring.secret_there" if facts["secret_available"] else "keyring.secret_absent"),
                session.text("keyring.any_log") if facts["logs"] is None else " ".join(facts["logs"]),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        _run.out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
