"""`stage4 cert show|verify`: one certificate at the keyboard, judged as the audit judges those of a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from stage4.cli import _run
from stage4.cli._cert import (
    fact_lines,
    facts_document,
    judgement_document,
    lint_document,
    lint_line,
    next_steps,
    reasons,
)
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_instant
from stage4.errors import ExitCode, Stage4Error, Unavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from stage4.security.certificate_lints import Lint

_FILE = click.Path(path_type=Path)


@click.group()
def cert() -> None:
    """Certificates: what one says, and whether a peer would accept it; needs no installation."""


@cert.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option("--at", metavar="TIME", help="Judge as of this instant (RFC 3339); default: now.")
@click.pass_obj
def show(session: Session, paths: tuple[Path, ...], at: str | None) -> int:
    """Print what the certificates in PEM or DER files say, and what is wrong with them."""
    from stage4.security.certificate_facts import facts_of
    from stage4.security.certificate_judgement import lints_of_file

    session.speak_as_around()
    now = _instant(at)
    outcomes, documents = set(), []
    for path in paths:
        try:
            certificates, file_lints = _read(path)
        except Stage4Error as error:
            _run.say_error(error, session.language)
            outcomes.add(ExitCode.CANNOT_TELL if isinstance(error, Unavailable) else ExitCode.NO)
            documents.append({"path": str(path), "error": _run.error_document("stage4.cert/1", error)["error"]})
            continue
        rows = list(lints_of_file([facts_of(certificate) for certificate in certificates], now))
        if not session.as_json:
            for index, (facts, lints) in enumerate(rows):
                _run.out(str(path) if len(rows) == 1 else f"{path} #{index}")
                for line in fact_lines(facts, now, session.language):
                    _run.out(f"  {line}")
                for lint in lints if index else (*file_lints, *lints):
                    _run.out(f"  {lint_line(lint, session.language)}")
        shown = [facts_document(facts, lints) for facts, lints in rows]
        faults = [lint_document(lint) for lint in file_lints]
        documents.append({"path": str(path), "lints": faults, "certificates": shown})
    code = min((outcome for outcome in outcomes), default=ExitCode.DONE)
    session.emit({"schema": "stage4.cert/1", "exit_code": int(code), "at": format_instant(now), "files": documents})
    return code


@cert.command()
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--anchor", metavar="FILE", required=True, type=_FILE, help="The CA that the other side trusts.")
@click.option("--intermediates", metavar="FILE", type=_FILE, help="CAs between the two that do not stand in FILE.")
@click.option("--role", type=click.Choice(["server", "client"]), required=True, help="What it is used as.")
@click.option("--name", metavar="DNS:…|IP:…", help="The name under which it is reached or has to be known.")
@click.option("--crl", "lists", metavar="FILE", multiple=True, type=_FILE, help="A revocation list; may be repeated.")
@click.option("--at", metavar="TIME", help="Judge as of this instant (RFC 3339); default: now.")
@click.pass_obj
def verify(
    session: Session,
    path: Path,
    anchor: Path,
    intermediates: Path | None,
    role: Literal["server", "client"],
    name: str | None,
    lists: tuple[Path, ...],
    at: str | None,
) -> int:
    """Judge one certificate as the audit does: the verdict, the reasons, what to do next.

    Exit codes: 0 accepted (warnings may stand), 1 refused, 2 a wrong call or a wrong --anchor, 3 cannot tell.
    """
    from stage4.security.certificate_judgement import judge
    from stage4.security.revocation import load_lists

    session.speak_as_around()
    now = _instant(at)
    host = None if name is None else _host(name)
    anchors = _read(anchor)[0]
    above = _read(intermediates)[0] if intermediates else []
    revocation_lists = [each for one in lists for each in load_lists(one)]
    about: dict[str, object] = {"path": str(path), "role": role, "name": name, "at": format_instant(now)}
    try:
        (leaf, *together), file_lints = _read(path)
    except UsageError as error:
        # The call is right, and the answer is no: this is not a certificate that anybody could accept.
        _speak(session, [_line("fail", path, session), *_run.error_lines(error, session.language)])
        document = {**_run.error_document("stage4.cert_verify/1", error), "exit_code": int(ExitCode.NO)}
        session.emit({**document, "verdict": "fail", **about})
        return ExitCode.NO
    judgement = judge(
        leaf,
        above,
        anchors,
        revocation_lists,
        purpose=role,
        host=host,
        now=now,
        together=together,
    )
    found = [(str(path), lint) for lint in file_lints]
    judgement = replace(judgement, lints=(*found, *judgement.lints))
    code = ExitCode.NO if judgement.failed else ExitCode.DONE
    steps = next_steps(judgement, role, session.language)
    _speak(session, [_line(judgement.verdict, path, session), *reasons(judgement, session.language)])
    _speak(session, [f"-> {step}" for step in steps])
    session.emit(
        {
            "schema": "stage4.cert_verify/1",
            "exit_code": int(code),
            "verdict": judgement.verdict,
            **about,
            **judgement_document(judgement),
            "name_judged": judgement.named,
            "next": next_steps(judgement, role, "en"),
        }
    )
    return code


def _instant(at: str | None) -> datetime:
    return parse_instant(at) if at else SystemClock().now()


def _read(path: Path) -> tuple[list[x509.Certificate], tuple[Lint, ...]]:
    """The certificates of a file, and what is wrong with the file itself."""
    from stage4 import files
    from stage4.security.certificate_lints import of_content
    from stage4.security.certificates import PEM_LIMIT, parse_either

    content = files.read_limited(path, PEM_LIMIT)
    return parse_either(content, path), of_content(content, str(path))


def _host(name: str) -> str:
    """The host of `DNS:localhost` or `IP:127.0.0.1`."""
    kind, _, host = name.partition(":")
    if kind not in ("DNS", "IP") or not host:
        raise UsageError("cert.bad_name", name=name)
    return host


def _speak(session: Session, lines: Sequence[str]) -> None:
    for line in lines:
        (_run.say if session.as_json else _run.out)(line)


def _line(verdict: str, path: Path, session: Session) -> str:
    return session.text(f"cert.verdict_{verdict}", path=path)
