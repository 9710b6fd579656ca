"""`stage4 incident …`: what people do with an incident, through the service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stage4 import words
from stage4.cli import _answers, _run
from stage4.cli.root import Session
from stage4.clock import parse_instant

BASE = "/v1/incidents"
_by = click.option("--by", required=True, metavar="PERSON", help="Who acts: an id of ops/operators.yaml.")
_id = click.argument("incident_id", metavar="INC")


@click.group()
def incident() -> None:
    """Incidents: open, acknowledge, answer steps, escalate, stop, resolve, sign, close.

    \b
    stage4 incident list
    stage4 incident ack INC-20261123-0001 --by l1-anna
    stage4 incident answer INC-20261123-0001 L1.3 --by l1-anna --text "panels are yellow, no trend"
    """


def _act(session: Session, incident_id: str, verb: str, /, **body: Any) -> dict[str, Any]:
    from stage4.app.client import ServiceClient

    return ServiceClient(session.installation).post(f"{BASE}/{incident_id}/{verb}", body)


def _told(session: Session, facts: Mapping[str, Any]) -> int:
    session.say(
        "command.told",
        id=facts["id"],
        state=session.text(f"console.state_{facts['state']}"),
        tier=session.text(f"oncall.rung_{facts['tier']}"),
        owner=facts["owner"] or "–",
    )
    session.emit(facts)
    return 0


@incident.command("list")
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.pass_obj
def list_(session: Session, everything: bool) -> int:
    """Incidents, newest first."""
    from stage4.app.client import ServiceClient

    document = ServiceClient(session.installation).get(BASE)
    zone = session.installation.settings.operations.time_zone
    rows = [each for each in document["incidents"] if everything or each["state"] != "closed"]
    for each in rows:
        session.say(
            "command.row",
            id=each["id"],
            state=session.text(f"console.state_{each['state']}"),
            kind=each["kind"],
            title=each["title"],
            owner=each["owner"] or "–",
            onset=words.instant(parse_instant(each["onset"]), zone),
        )
    if not rows:
        session.say("command.none_open")
    session.emit({**document, "incidents": rows})
    return 0


@incident.command()
@_id
@click.pass_obj
def show(session: Session, incident_id: str) -> int:
    """Steps, deadlines and timeline of one incident."""
    view = _act(session, incident_id, "show")
    if not session.as_json:
        _show(session, view)
    session.emit(view)
    return 0


def _show(session: Session, view: Mapping[str, Any]) -> None:
    from stage4.incidents.wording import outcome_text

    lang, zone = session.language, session.installation.settings.operations.time_zone
    facts = view["incident"]
    _told(session, facts)
    for countdown in view["countdowns"]:
        due = words.instant(parse_instant(countdown["due_at"]), zone)
        session.say("command.countdown", what=session.text(f"escalation.timer_{countdown['kind']}"), due=due)
    for row in view["steps"]:
        record = row["record"]
        state = session.text(f"document.state_{record['state']}")
        session.say("command.step", id=row["step"]["id"], state=state, title=row["step"]["title"][lang])
        if record["outcome"]:
            _run.out("        " + outcome_text(record["outcome"], record["params"], lang))
        if row["asks"]:
            session.say("command.asks", question=row["step"]["question"].get(lang, ""))


@incident.command("open")
@_by
@click.option("--kind", required=True, type=click.Choice(["pnl", "risk", "latency", "no_signals"]))
@click.option("--title", required=True, help="One sentence: what is wrong.")
@click.option("--ticket", default="", help="The outside system's id.")
@click.option("--since", "reported_at", default="", help="When it was noticed, for example 2026-11-23T03:10:00Z.")
@click.pass_obj
def open_(session: Session, by: str, kind: str, title: str, ticket: str, reported_at: str) -> int:
    """Open an incident by hand."""
    from stage4.app.client import ServiceClient

    body = {"by": by, "kind": kind, "title": title, "ticket": ticket, "reported_at": reported_at}
    return _told(session, ServiceClient(session.installation).post(BASE, body))


@incident.command()
@_id
@_by
@click.pass_obj
def ack(session: Session, incident_id: str, by: str) -> int:
    """Take the incident (L1.1). The five-minute clock goes on."""
    return _told(session, _act(session, incident_id, "ack", by=by))


@incident.command()
@_id
@_by
@click.option("--text", required=True)
@click.pass_obj
def note(session: Session, incident_id: str, by: str, text: str) -> int:
    """Add a note to the timeline and the decision log."""
    return _told(session, _act(session, incident_id, "note", by=by, text=text))


@incident.command()
@_id
@click.argument("step")
@_by
@click.pass_obj
def run(session: Session, incident_id: str, step: str, by: str) -> int:
    """Run a machine's step again."""
    document = _act(session, incident_id, "run", step=step, by=by)
    session.say("command.step_started" if document["started"] else "incident.step_under_way", step=step)
    session.emit(document)
    return 0


@incident.command()
@_id
@click.argument("step")
@_by
@click.option("--text", default="", help="The answer in words.")
@click.option("--choice", default="", help="The chosen answer, where the step offers some.")
@click.pass_obj
def answer(session: Session, incident_id: str, step: str, by: str, text: str, choice: str) -> int:
    """Answer a step that waits for a person."""
    return _told(session, _act(session, incident_id, "answer", step=step, by=by, text=text, choice=choice))


@incident.command()
@_id
@_by
@click.option("--to", type=click.Choice(["l2", "incident_manager"]), default="l2", show_default=True)
@click.option("--reason", default="")
@click.pass_obj
def escalate(session: Session, incident_id: str, by: str, to: str, reason: str) -> int:
    """Call the next tier now (L1.5)."""
    return _told(session, _act(session, incident_id, "escalate", by=by, to=to, reason=reason))


@incident.command()
@_id
@_by
@click.pass_obj
def confirm(session: Session, incident_id: str, by: str) -> int:
    """Confirm the escalation: the called person's own act, which ends the calling."""
    return _told(session, _act(session, incident_id, "confirm", by=by))


@incident.command()
@_id
@_by
@click.option("--reason", required=True)
@click.pass_obj
def stop(session: Session, incident_id: str, by: str, reason: str) -> int:
    """Stop the scheduler in the name of the incident (L2.5)."""
    return _told(session, _act(session, incident_id, "stop", by=by, reason=reason))


@incident.command("rollback-complete")
@_id
@_by
@click.pass_obj
def rollback_complete(session: Session, incident_id: str, by: str) -> int:
    """Record the return to service, once the scheduler says `enabled` again."""
    return _told(session, _act(session, incident_id, "rollback-complete", by=by))


@incident.command()
@_id
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_by
@click.pass_obj
def attach(session: Session, incident_id: str, path: Path, by: str) -> int:
    """Keep a copy of a file as evidence; a report of an audit counts as an audit."""
    return _told(session, _act(session, incident_id, "attach", by=by, path=str(path.resolve())))


@incident.command()
@_id
@_by
@click.pass_obj
def resolve(session: Session, incident_id: str, by: str) -> int:
    """The problem is over; evidence and signatures remain."""
    return _told(session, _act(session, incident_id, "resolve", by=by))


@incident.command()
@_id
@_by
@click.pass_obj
def reopen(session: Session, incident_id: str, by: str) -> int:
    """Back to work; a closed incident never re-opens."""
    return _told(session, _act(session, incident_id, "reopen", by=by))


@incident.command("not-applicable")
@_id
@_by
@click.option("--reason", required=True)
@click.pass_obj
def not_applicable(session: Session, incident_id: str, by: str, reason: str) -> int:
    """Say why the L2 items do not apply to an incident that was never escalated."""
    return _told(session, _act(session, incident_id, "not-applicable", by=by, reason=reason))


@incident.command()
@_id
@_by
@click.option("--role", required=True, type=click.Choice(["l1", "l2", "incident_manager"]))
@click.option("--key", type=click.Path(path_type=Path), help="Your own SSH key on this machine: signs at once.")
@click.option("--statement", type=click.Path(path_type=Path), help="Write the statement here, to sign it elsewhere.")
@click.option("--signature", type=click.Path(path_type=Path), help="The SSHSIG made elsewhere over that statement.")
@click.pass_obj
def sign(
    session: Session,
    incident_id: str,
    by: str,
    role: str,
    key: Path | None,
    statement: Path | None,
    signature: Path | None,
) -> int:
    """Sign your list, or everything as the Incident Manager.

    \b
    With a key on this machine:   stage4 incident sign INC --by l1-anna --role l1 --key ~/.ssh/id_ed25519
    With a key elsewhere:         … --statement s.json;  ssh-keygen -Y sign -n stage4-signoff -f KEY s.json
                                  … --signature s.json.sig
    """
    from stage4 import files
    from stage4.errors import UsageError
    from stage4.security import sshsig

    if sum(option is not None for option in (key, statement, signature)) != 1:
        raise UsageError("command.sign_how")
    if signature is not None:
        armored = files.read_limited(signature, 65536).decode("ascii", "replace")
    else:
        _answers.require_free(statement, _answers.STATEMENT)
        to_sign = _act(session, incident_id, "statement", by=by, role=role)["statement"].encode("utf-8")
        for doubt in json.loads(to_sign).get("log_doubts", ()):
            _run.say("warning: " + session.text(doubt["code"], place=doubt["place"], logs=doubt["logs"]))
        if statement is not None:
            files.atomic_write(statement, to_sign)
            session.say("command.statement_written", path=statement)
            session.emit({"schema": "stage4.to_sign/1", "path": str(statement)})
            return 0
        assert key is not None
        armored = sshsig.sign(key, to_sign, sshsig.SIGN_OFF)
    sign_off = _act(session, incident_id, "sign", by=by, role=role, signature=armored)
    session.say("command.signed", person=sign_off["person"], role=role, key=sign_off["key"])
    session.emit(sign_off)
    return 0


@incident.command()
@_id
@click.option("--to", "directory", type=click.Path(path_type=Path), help="Default: var/evidence/INC.")
@click.pass_obj
def evidence(session: Session, incident_id: str, directory: Path | None) -> int:
    """Lay the evidence out as a folder, to be checked by `sha256sum -c` and `ssh-keygen -Y verify`."""
    from stage4.app.evidence import lay_out

    path = (directory or session.installation.path("var/evidence") / incident_id).resolve()
    document = lay_out(session.installation, incident_id, path)
    session.say("command.evidence_written", path=document["path"], n=document["n"])
    session.emit(document)
    return 0


@incident.command()
@_id
@_by
@click.pass_obj
def close(session: Session, incident_id: str, by: str) -> int:
    """Close for good; refused with a list of what is missing."""
    return _told(session, _act(session, incident_id, "close", by=by))
