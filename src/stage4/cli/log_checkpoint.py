"""`stage4 log checkpoint`: make the next checkpoint of the log and leave it outside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from stage4.cli import _run
from stage4.cli._log_reading import begun
from stage4.cli.root import Session
from stage4.clock import SystemClock
from stage4.errors import ExitCode, Unavailable

if TYPE_CHECKING:
    from stage4.decisionlog.checkpoints.notary import Made, Standing
    from stage4.decisionlog.checkpoints.places import Place, Pushed


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be made and where it would be left; change nothing.")
@click.option("--pin", "show_pin", is_flag=True, help="Only print the two keys to keep outside.")
@click.pass_obj
def checkpoint(session: Session, dry_run: bool, show_pin: bool) -> int:
    """Make a checkpoint of the log and leave it at the places outside that the settings name."""
    from stage4.decisionlog.checkpoints import delivery, notary, places
    from stage4.decisionlog.open import load_keyring, open_log

    installation = session.installation
    path, clock, ring = begun(installation), SystemClock(), load_keyring(installation, os.environ)
    targets = places.configured(installation, os.environ)
    log = open_log(installation, clock, os.environ)
    if show_pin:
        head = log.head()
        return _show_pin(session, None if head is None else notary.pin_of(ring, head.log_id))
    if dry_run:
        return _rehearse(session, notary.standing(path, ring, clock), targets)
    done = delivery.deliver(log, ring, clock, targets)
    made, number, parcel = done.made, done.number, done.parcel
    root = parcel.checkpoint.tree_head
    _say_made(session, made, number, parcel.checkpoint.size, root)
    _say_pushed(session, done.answers)
    session.say("checkpoint.uncovered", next=parcel.checkpoint.size)
    if made is not None and made.number == 0:
        session.say("checkpoint.keep_pin")
        _print(session, parcel.pin)
    code = ExitCode.CANNOT_TELL if any(answer.error for answer in done.answers) else ExitCode.DONE
    session.emit(
        {
            "schema": "stage4.checkpoint/1",
            "log_id": parcel.log_id,
            "made": made is not None,
            "number": number,
            "size": parcel.checkpoint.size,
            "tree_head": root,
            "note": parcel.note.encode().decode(),
            "pin": parcel.pin.split(),
            "places": [_answer(answer) for answer in done.answers],
        }
    )
    return int(code)


def _show_pin(session: Session, pin: str | None) -> int:
    if pin is None:
        raise Unavailable("checkpoint.none_yet", path=session.installation.decision_log_path)
    _print(session, pin)
    session.emit({"schema": "stage4.checkpoint_pin/1", "pin": pin.split()})
    return 0


def _rehearse(session: Session, standing: Standing, targets: tuple[Place, ...]) -> int:
    if standing.new:
        session.say("checkpoint.would_make", number=standing.number, n=standing.new)
        for place in targets:
            session.say("checkpoint.would_push", place=place.name)
    else:
        session.say("checkpoint.nothing_new", number=standing.number - 1, size=standing.covered)
    session.emit(
        {
            "schema": "stage4.checkpoint/1",
            "dry_run": True,
            "log_id": standing.log_id,
            "number": standing.number,
            "covered": standing.covered,
            "new": standing.new,
            "places": [{"place": place.name} for place in targets],
        }
    )
    return 0


def _say_made(session: Session, made: Made | None, number: int, size: int, root: str) -> None:
    if made is None:
        session.say("checkpoint.nothing_new", number=number, size=size)
    elif made.resumed:
        session.say("checkpoint.finished", number=number, size=size, root=root)
    else:
        session.say("checkpoint.made", number=number, size=size, root=root)


def _say_pushed(session: Session, pushed: tuple[Pushed, ...]) -> None:
    if not pushed:
        session.say("checkpoint.no_places")
    for answer in pushed:
        if answer.error is None:
            session.say("checkpoint.pushed", place=answer.place)
        else:
            _run.say_error(answer.error, session.language)


def _answer(answer: Pushed) -> dict[str, object]:
    facts: dict[str, object] = {"place": answer.place, "taken": answer.error is None}
    if answer.error is not None:
        facts["error"] = _run.error_document("stage4.error/1", answer.error)["error"]
    return facts


def _print(session: Session, pin: str) -> None:
    if not session.as_json:
        _run.out_bytes(pin.encode())
