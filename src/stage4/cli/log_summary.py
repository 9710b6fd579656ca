"""
`verify_decision_log.py summary --incident [ID]`: append the signed entry of an incident and print it.

Without an id it takes the only open incident. The incident's state and steps are read from the database; where an
id is given and the database does not answer, the entry is appended all the same and says what it lacks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _answers, _log_members, _run
from stage4.clock import SystemClock, format_instant
from stage4.errors import ExitCode

if TYPE_CHECKING:
    from argparse import Namespace

    from stage4.incidents.summary import Subject

SCHEMA = "stage4.summary/1"


def run(argv: Sequence[str]) -> int:
    """Append and print; the exit code of the command."""
    arguments = _arguments(argv)
    from stage4.config import find_root, load
    from stage4.decisionlog.open import open_log
    from stage4.incidents.summary import subject_of, summary_draft

    clock = SystemClock()
    installation = load(find_root(arguments.root, os.environ, Path.cwd()))
    lang = _run.language(configured=installation.settings.operations.language)
    subject = subject_of(installation, arguments.incident)
    ticket = subject.ticket(arguments.ticket)
    draft = summary_draft(
        subject,
        ticket=ticket,
        stage=arguments.stage,
        status=arguments.status,
        artefacts=_log_members.artefacts(arguments.artefact, arguments.artefact_from_file),
        metadata=_log_members.metadata(arguments.metadata),
        tags=arguments.tag,
    )
    path = arguments.append or installation.decision_log_path
    _answers.require_free(arguments.output, SCHEMA, path)
    log = open_log(installation, clock, os.environ, path=path)
    document: dict[str, object] = {"schema": SCHEMA, "root": str(installation.root), "log": str(path)}
    warnings = [] if subject.summary is not None else [_warning(subject, lang)]
    if arguments.dry_run:
        raw = log.rehearse(draft)
        _run.say(words.text("log.would_append", lang, path=path))
        document |= {"dry_run": True, "entry": json.loads(raw)}
    else:
        receipt = log.append(draft)
        _run.say(
            words.text(
                "log.appended",
                lang,
                seq=receipt.seq,
                line=receipt.line,
                path=path,
                incident=subject.id,
                ticket=ticket,
                at=format_instant(receipt.timestamp),
            )
        )
        place = {"seq": receipt.seq, "line": receipt.line, "offset": receipt.offset, "digest": receipt.digest}
        document |= {"dry_run": False, **place, "entry": json.loads(receipt.raw)}
    document |= {"exit_code": int(ExitCode.DONE), "warnings": warnings}
    if arguments.output is not None:
        _run.save(document, arguments.output)
    _run.emit(document)
    return ExitCode.DONE


def _arguments(argv: Sequence[str]) -> Namespace:
    from stage4.cli._arguments import Parser

    parser = Parser(prog="verify_decision_log.py summary", description="Append the signed summary of an incident.")
    parser.add_argument(
        "--incident", nargs="?", const="", required=True, metavar="ID", help="the incident (default: the only open one)"
    )
    parser.add_argument("--ticket", default="", help="ticket of the outside system (default: the incident's)")
    parser.add_argument("--stage", default="L1.4", help="where in the process (default: L1.4)")
    parser.add_argument("--status", default="", help="default: the state of the incident")
    parser.add_argument("--artefact", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--artefact-from-file", action="append", default=[], metavar="NAME=PATH", help="its SHA-256")
    parser.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE", help="VALUE may be JSON")
    parser.add_argument("--tag", action="append", default=[])
    parser.add_argument("--append", type=Path, metavar="PATH", help="append to this log instead of the configured one")
    parser.add_argument("--dry-run", action="store_true", help="print the entry, append nothing")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    parser.add_argument("--output", type=Path, help="write the document to this file too")
    return parser.parse_args(argv)


def _warning(subject: Subject, lang: words.Language) -> dict[str, object]:
    params = {"incident": subject.id, "reason": subject.reason}
    _run.say(f"warning: {words.text('log.not_looked_up', lang, **params)}")
    return {"code": "log.not_looked_up", "message": words.text("log.not_looked_up", "en", **params), "params": params}
