"""What the two audit commands share: their flags, one run from evidence to document, and what is kept of it."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _audit_probe, _run
from stage4.clock import Clock, format_instant, parse_instant
from stage4.errors import ExitCode, Stage4Error
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.audit.auditing import Audit


@dataclass(slots=True)
class _Conversation:
    """Speaks on stderr and remembers it for the command log."""

    lang: Language
    said: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)
        _run.say(line)

    def say_error(self, error: Stage4Error) -> None:
        for line in _run.error_lines(error, self.lang):
            self.say(line)


@dataclass(frozen=True, slots=True)
class Command:
    """One of the two audit commands; `audit` is asked for after the arguments, so that `--help` stays quick."""

    program: str
    description: str
    schema: str
    audit: Callable[[], Audit]
    probes: bool = False


def run(command: Command, argv: Sequence[str] | None, clock: Clock) -> int:
    """Audit, keep, print; the exit code is the verdict, and 3 where an ok could not be kept as evidence."""
    given = list(sys.argv[1:] if argv is None else argv)
    started_at = clock.now()
    conversation = _Conversation(_run.language())
    root: Path | None = None
    output: Path | None = None
    try:
        arguments = _arguments(command, given)
        output = arguments.output_json
        if arguments.lang:
            conversation.lang = arguments.lang
        root = _root(arguments)
        document = _audited(command.audit(), arguments, root, clock, conversation)
    except Stage4Error as error:
        document = _run.error_document(command.schema, error) | {"status": "fail", "verdict": "cannot tell"}
        conversation.say_error(error)
    document |= {"started_at": format_instant(started_at), "stored": None}
    if root is not None:
        try:
            called = [command.program, *given]
            _keep(command.audit(), document, root, clock, started_at, called, conversation)
        except Stage4Error as error:
            _not_kept(document, error, conversation)
    if output is not None:
        try:
            _run.save(document, output, 0o600)
        except Stage4Error as error:
            _not_kept(document, error, conversation)
    _run.emit(document)
    return int(str(document["exit_code"]))


def _not_kept(document: dict[str, object], error: Stage4Error, conversation: _Conversation) -> None:
    """An audit that nobody can look up later has not done its work, so it cannot end with 0."""
    document["not_stored"] = _run.error_document("", error)["error"]
    document["exit_code"] = document["exit_code"] or int(ExitCode.CANNOT_TELL)
    conversation.say_error(error)


def _keep(
    audit: Audit,
    document: dict[str, object],
    root: Path,
    clock: Clock,
    started_at: datetime,
    argv: Sequence[str],
    conversation: _Conversation,
) -> None:
    from stage4 import files
    from stage4.audit import store

    directory = store.open_run(root, started_at)
    document["stored"] = str(directory / audit.file_name)
    conversation.say(words.text("audit.stored", conversation.lang, path=directory / audit.file_name))
    command = store.Command(argv, int(str(document["exit_code"])), started_at, clock.now(), tuple(conversation.said))
    try:
        store.save(directory, audit.file_name, files.json_bytes(document), command)
    except Stage4Error:
        document["stored"] = None
        raise


def _root(arguments: argparse.Namespace) -> Path:
    """`--root`, else the installation that `--config` lies in, else the usual search."""
    from stage4.config import CORE, find_root

    if arguments.config is not None and arguments.root is None:
        home: Path = arguments.config.resolve().parent.parent
        if (home / CORE).is_file():
            return home
    return find_root(arguments.root, os.environ, Path.cwd())


def _audited(
    audit: Audit, arguments: argparse.Namespace, root: Path, clock: Clock, conversation: _Conversation
) -> dict[str, object]:
    from stage4 import config
    from stage4.audit import auditing
    from stage4.audit.policy import Policy
    from stage4.audit.report import lines

    installation = config.load(root, arguments.config)
    if not arguments.lang:
        conversation.lang = _run.language(configured=installation.settings.operations.language)
    policy = Policy.of(
        installation.settings,
        bundle=arguments.mtls_bundle_name,
        interval_days=arguments.rotation_interval_days,
        warn_days=arguments.rotation_warn_days,
        allow_missing_env=arguments.allow_missing_env,
        check_paths=arguments.check_paths,
    )
    report, document = auditing.audited(
        audit,
        installation,
        policy,
        config=arguments.config,
        environ=os.environ,
        clock=clock,
        at=arguments.at,
        fail_on_warn=arguments.fail_on == "warn",
        live=_audit_probe.probed(arguments, installation, clock),
    )
    for line in lines(report, conversation.lang):
        conversation.say(line)
    if audit is auditing.COMPLIANCE:
        document["comparison"] = _compared(root, document, conversation)
    return document


def _compared(root: Path, document: dict[str, object], conversation: _Conversation) -> dict[str, object] | None:
    from stage4.audit.auditing import since_newest

    found = since_newest(root, document)
    if found is None:
        return None
    path, changes = found
    conversation.say(
        words.text(
            "audit.since",
            conversation.lang,
            since=changes.since,
            new=len(changes.new) + len(changes.worsened),
            fixed=len(changes.fixed) + len(changes.improved),
            lost=len(changes.no_longer_evaluated),
        )
    )
    return {"with": str(path.relative_to(root)), **changes.document()}


def _arguments(command: Command, argv: Sequence[str]) -> argparse.Namespace:
    from stage4.audit.policy import DEFAULT_BUNDLE
    from stage4.cli._arguments import Parser

    parser = Parser(prog=command.program, description=command.description)
    parser.add_argument("--mtls-bundle-name", default=DEFAULT_BUNDLE, metavar="NAME", help="the bundle (core-oem)")
    parser.add_argument("--allow-missing-env", action="store_true", help="an unset variable is a warning, not a fail")
    parser.add_argument("--rotation-warn-days", type=_days, metavar="N", help="warn this long before a rotation is due")
    parser.add_argument("--rotation-interval-days", type=_days, metavar="N", help="how often keys are to be replaced")
    parser.add_argument("--check-paths", action="store_true", help="every path in the settings has to exist")
    parser.add_argument("--at", type=_instant, metavar="TIME", help="judge as of this instant (RFC 3339)")
    parser.add_argument("--fail-on", choices=("fail", "warn"), default="fail", help="what makes the exit code 1")
    parser.add_argument("--output-json", type=Path, metavar="FILE", help="write the document here too")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the settings (default: config/core.yaml)")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    parser.add_argument("--lang", choices=words.languages, help="language of what is said on stderr")
    parser.add_argument("--print", action="store_true", help="print the document on stdout, which is always done")
    if command.probes:
        _audit_probe.add_options(parser)
    else:
        parser.set_defaults(probe=None)
    return parser.parse_args(argv)


def _days(text: str) -> float:
    days = float(text)
    if not (math.isfinite(days) and 0 < days <= 36_500):
        raise ValueError(text)
    return days


_days.__name__ = "days"


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except Stage4Error as error:
        raise argparse.ArgumentTypeError(words.text(error.code, "en", **error.params)) from error
