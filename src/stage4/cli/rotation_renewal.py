"""`stage4 rotation mark|rotate`: a rotation that was done by hand is recorded, a bundle renewed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stage4.cli._rotation import bundle_option, shown
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_instant
from stage4.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from stage4.app.rotating import Followup
    from stage4.security.rotating import Bundle, Plan, Renewal

MARK_SCHEMA = "stage4.rotation_mark/1"
ROTATE_SCHEMA = "stage4.rotation/1"
_LONGEST_REASON = 500

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


@click.command()
@click.argument("key", metavar="KEY")
@click.argument("purpose", metavar="PURPOSE")
@click.option("--at", metavar="TIME", help="When it was rotated (RFC 3339; default: now).")
@click.option("--reason", required=True, metavar="TEXT", help="Why and how; it stands in the log for good.")
@dry_run_option
@click.pass_obj
def mark(session: Session, key: str, purpose: str, at: str | None, reason: str, dry_run: bool) -> int:
    """Record a rotation that was done by hand, in the registry and in the decision log."""
    from stage4.app import rotating

    reason = reason.strip()
    if not reason or not reason.isprintable() or len(reason) > _LONGEST_REASON:
        raise UsageError("keyring.bad_reason", longest=_LONGEST_REASON)
    done = rotating.mark(
        session.installation,
        key,
        purpose,
        reason,
        SystemClock(),
        os.environ,
        at=parse_instant(at) if at else None,
        dry_run=dry_run,
    )
    said = {"row": f"{done.key}::{done.purpose}", "at": format_instant(done.at), "path": shown(session, done.registry)}
    if done.seq is None:
        session.say("rotation.would_mark", **said)
    else:
        session.say("rotation.marked", **said, seq=done.seq)
    session.emit(
        {
            "schema": MARK_SCHEMA,
            "exit_code": 0,
            "root": str(session.installation.root),
            "dry_run": dry_run,
            "key": done.key,
            "purpose": done.purpose,
            "rotated_at": format_instant(done.at),
            "previously": None if done.previous is None else format_instant(done.previous),
            "registry": shown(session, done.registry),
            "seq": done.seq,
        }
    )
    return ExitCode.DONE


@click.command()
@bundle_option
@dry_run_option
@click.pass_obj
def rotate(session: Session, bundle: str, dry_run: bool) -> int:
    """Replace a bundle of the project's own PKI: a whole new CA, server and client; exit 1 when the old one came back.

    A rotation that was interrupted is finished, or taken back, by the next call.
    """
    from stage4.app import rotating

    installation = session.installation
    meant, asked = rotating.plan(installation, bundle)
    if dry_run:
        _say_plan(session, meant, asked)
        left = list(rotating.followups(installation, meant, None))
        document: dict[str, Any] = {
            "outcome": "planned",
            "unfinished": None if asked.unfinished is None else asked.unfinished.phase.value,
            "files": {role: shown(session, path) for role, path in meant.paths.items()},
            "old_fingerprints": dict(asked.fingerprints),
        }
        code = ExitCode.DONE
    else:
        done, seq = rotating.renew(installation, bundle, SystemClock(), os.environ)
        _say_done(session, done, seq)
        back = done.outcome.value == "rolled_back"
        left = [] if back else list(rotating.followups(installation, meant, done.new["server"]))
        code = ExitCode.NO if back else ExitCode.DONE
        document = {
            "outcome": done.outcome.value,
            "rotation_id": done.rotation_id,
            "rotated_at": format_instant(done.at),
            "backup": shown(session, done.backup),
            "old_fingerprints": dict(done.old),
            "new_fingerprints": dict(done.new),
            "seq": seq,
        }
    if code is ExitCode.DONE:
        _say_consequences(session, meant, left)
    session.emit(
        {
            "schema": ROTATE_SCHEMA,
            "exit_code": int(code),
            "root": str(installation.root),
            "bundle": bundle,
            "dry_run": dry_run,
            **document,
            "followups": [{"code": each.code, "params": _followup(session, each)} for each in left],
        }
    )
    return code


def _say_plan(session: Session, meant: Bundle, asked: Plan) -> None:
    from stage4.security.rotating import ORDER
    from stage4.security.rotation_journal import Phase, backups_directory

    if asked.unfinished is not None and asked.unfinished.phase is not Phase.PREPARING:
        session.say("rotation.would_finish", bundle=meant.name, backup=asked.unfinished.backup)
        return
    session.say("rotation.would_rotate", bundle=meant.name)
    session.say("rotation.step_backup", step=1, path=shown(session, backups_directory(meant.root)))
    session.say("rotation.step_make", step=2, names=", ".join(str(name.value) for name in asked.server_names))
    for number, role in enumerate(ORDER, start=3):
        session.say("rotation.step_install", step=number, path=shown(session, meant.paths[role]))
    session.say("rotation.step_registry", step=len(ORDER) + 3, path=shown(session, meant.registry))
    session.say("rotation.step_log", step=len(ORDER) + 4)


def _say_done(session: Session, done: Renewal, seq: int) -> None:
    session.say(
        f"rotation.outcome_{done.outcome.value}", bundle=done.bundle, seq=seq, backup=shown(session, done.backup)
    )
    if done.outcome.value != "rolled_back":
        for role, fingerprint in done.new.items():
            session.say("rotation.fingerprints", role=role, old=done.old[role], new=fingerprint)


def _say_consequences(session: Session, meant: Bundle, left: Sequence[Followup]) -> None:
    session.say("rotation.reloads")
    session.say("rotation.new_authority", ca=shown(session, meant.paths["ca"]))
    for each in left:
        session.say(each.code, **_followup(session, each))


def _followup(session: Session, each: Followup) -> dict[str, str]:
    return {
        name: shown(session, value) if isinstance(value, Path) else str(value) for name, value in each.params.items()
    }
