"""`stage4 log append`: an entry that a person or a script makes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from stage4 import words
from stage4.cli import _log_members, _run
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant
from stage4.errors import ExitCode, Refused

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Draft

SCHEMA = "stage4.append/1"
# What the environment writes about the scheduler, beside the events of incidents.
_SCHEDULER = "scheduler_"
# By these an engine finds its own entries, and takes back those that its database does not know.
_ENGINE_MEMBERS = frozenset({"decision_id", "engine", "incident_id"})


@click.command()
@click.option("--kind", required=True, help="What happened, such as manual_note.")
@click.option("--category", required=True, help="What it belongs to, such as stage4_incident.")
@click.option("--stage", required=True, help="Where in the process, such as L1.4.")
@click.option("--status", required=True, help="How it stands, such as recorded.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="A fact; VALUE may be JSON. Repeatable.")
@click.option("--artefact", multiple=True, metavar="NAME=VALUE", help="A named result. Repeatable.")
@click.option("--artefact-from-file", multiple=True, metavar="NAME=PATH", help="The SHA-256 of a file. Repeatable.")
@click.option("--tag", multiple=True, help="A word to find it by. Repeatable.")
@click.option("--incident", metavar="ID", help="The incident it belongs to.")
@click.option("--dry-run", is_flag=True, help="Print the entry, append nothing.")
@click.pass_obj
def append(
    session: Session,
    kind: str,
    category: str,
    stage: str,
    status: str,
    metadata: tuple[str, ...],
    artefact: tuple[str, ...],
    artefact_from_file: tuple[str, ...],
    tag: tuple[str, ...],
    incident: str | None,
    dry_run: bool,
) -> int:
    """Append one signed entry to the configured log; returns once it is on the disk."""
    from stage4.decisionlog.entry import Draft

    _require_free(kind, category)
    facts = _log_members.metadata(metadata)
    if taken := _ENGINE_MEMBERS & facts.keys():
        raise Refused("logview.member_reserved", names=", ".join(sorted(taken)))
    if incident is not None:
        from stage4.ids import parse_incident_id

        parse_incident_id(incident)
        facts["incident_id"] = incident.strip()
    draft = Draft(
        kind,
        category,
        stage,
        status,
        artefacts=_log_members.artefacts(artefact, artefact_from_file),
        runtime_flags={"log.append": True},
        metadata=facts,
        tags=tag,
    )
    return _appended(session, draft, dry_run)


def _appended(session: Session, draft: Draft, dry_run: bool) -> int:
    from stage4.decisionlog.open import open_log

    installation = session.installation
    path = installation.decision_log_path
    log = open_log(installation, SystemClock(), os.environ)
    document: dict[str, object] = {"schema": SCHEMA, "log": str(path)}
    if dry_run:
        raw = log.rehearse(draft)
        session.say("log.would_append", path=path)
        place: dict[str, object] = {}
    else:
        receipt = log.append(draft)
        raw = receipt.raw
        at = format_instant(receipt.timestamp)
        session.say("logview.appended", seq=receipt.seq, line=receipt.line, path=path, at=at)
        place = {"seq": receipt.seq, "line": receipt.line, "offset": receipt.offset, "digest": receipt.digest}
    if dry_run and not session.as_json:
        _run.out_bytes(raw + b"\n")
    session.emit(document | {"dry_run": dry_run, **place, "entry": json.loads(raw)})
    return ExitCode.DONE


def _require_free(kind: str, category: str) -> None:
    """Raise Refused where only a program may write such an entry: a person's would be taken for that program's word."""
    from stage4.decisionlog import entry

    of_the_log = {
        entry.GENESIS,
        entry.RECOVERY,
        entry.KEY_ROTATION,
        entry.KEY_REVOCATION,
        entry.CHECKPOINT,
        entry.SEGMENT,
        entry.FLUSH_FAILED,
        entry.VOID,
        entry.INCIDENT_SUMMARY,
        entry.ROTATION,
    }
    name = kind.strip()
    of_a_program = name in of_the_log or name.startswith(_SCHEDULER) or words.has(f"event.{name}")
    if of_a_program or category.strip() == entry.LOG_CATEGORY:
        raise Refused("logview.kind_refused", kind=kind, category=category)
