"""What the two audit commands share: their flags, and one run from evidence to document."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stage4 import words
from stage4.cli import _audit_keeping as keeping
from stage4.cli import _audit_probe, _audit_scopes, _run
from stage4.cli._audit_keeping import Conversation, Formatted, Outcome
from stage4.clock import Clock, parse_instant
from stage4.errors import Stage4Error, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.audit.auditing import Audit
    from stage4.audit.comparison import Summary
    from stage4.audit.kept_reports import KeptReports
    from stage4.audit.policy import Policy


@dataclass(frozen=True, slots=True)
class Command:
    """One of the two audit commands; `audit` is asked for after the arguments, so that `--help` stays quick."""

    program: str
    description: str
    schema: str
    audit: Callable[[], Audit]
    compares: bool = False  # its reports with one another
    probes: bool = False


@dataclass(slots=True)
class _Call:
    """One call of an audit command, as far as it is understood."""

    command: Command
    given: list[str]
    clock: Clock
    started_at: datetime
    conversation: Conversation
    root: Path | None = None
    output: Path | None = None
    formats: list[Formatted] = field(default_factory=list)

    def answer(self) -> int:
        conversation = self.conversation
        try:
            arguments = _arguments(self.command, self.given)
            self.output = arguments.output_json
            if arguments.lang:
                conversation.lang = arguments.lang
            if arguments.explain is not None or arguments.verify_report is not None:
                return _answered(arguments)
            self.formats = [keeping.formatted(text) for text in arguments.format]
            self.root = _root(arguments)
            outcome = _audited(self.command.audit(), arguments, self.root, self.clock, conversation)
        except Stage4Error as error:
            outcome = Outcome(_run.error_document(self.command.schema, error) | _NO_RESULT)
            conversation.say_error(error)
        self._keep(outcome)
        _run.emit(outcome.document)
        return int(str(outcome.document["exit_code"]))

    def bugged(self, document: dict[str, object]) -> None:
        """Make the document of a bug that of an audit: it fails, and is kept where there is an installation."""
        document |= _NO_RESULT
        outcome = Outcome(document)
        self._keep(outcome)

    def _keep(self, outcome: Outcome) -> None:
        keeping.started(outcome, self.started_at)
        theirs = (self.output, self.formats, self.conversation)
        if self.root is None:
            keeping.write_files(outcome, *theirs)
            return
        called = [self.command.program, *self.given]
        keeping.keep(self.command.audit(), outcome, self.root, self.clock, self.started_at, called, *theirs)


_NO_RESULT: Final = {"status": "fail", "verdict": "cannot tell"}


def run(command: Command, argv: Sequence[str] | None, clock: Clock) -> int:
    """
    Audit, keep, print; the exit code is the verdict, and 3 where an ok could not be kept as evidence.

    A bug is exit 70 and a fail.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    call = _Call(command, given, clock, clock.now(), Conversation(_run.language()))
    return _run.guarded(command.schema, call.answer, bugged=call.bugged)


def _answered(arguments: argparse.Namespace) -> int:
    """A question that needs no audit."""
    from stage4.cli import _audit_questions as questions

    if arguments.explain is not None:
        return questions.explain(arguments.explain, arguments.lang or _language(arguments))
    return questions.verify_report(arguments.verify_report, lambda: _root(arguments), arguments.lang)


def _language(arguments: argparse.Namespace) -> Language:
    """As of the installation, where there is one; a question about a control needs none."""
    from stage4 import config

    try:
        return _run.language(configured=config.load(_root(arguments), None).settings.operations.language)
    except Stage4Error:
        return _run.language()


_LATEST = "latest"


def _root(arguments: argparse.Namespace) -> Path:
    """`--root`, else the installation that `--config` lies in, else the usual search."""
    from stage4.config import CORE, find_root

    if arguments.config is not None and arguments.root is None:
        home: Path = arguments.config.resolve().parent.parent
        if (home / CORE).is_file():
            return home
    return find_root(arguments.root, os.environ, Path.cwd())


def _audited(
    audit: Audit, arguments: argparse.Namespace, root: Path, clock: Clock, conversation: Conversation
) -> Outcome:
    from stage4 import config
    from stage4.audit import auditing, evidence_codec
    from stage4.audit.kept_reports import KeptReports
    from stage4.audit.policy import Policy
    from stage4.audit.report import lines

    scopes = _audit_scopes.required(arguments)
    installation = config.load(root, arguments.config, lenient=True)
    if not arguments.lang:
        conversation.lang = _run.language(configured=installation.settings.operations.language)
    policy = Policy.of(
        installation.settings,
        bundle=arguments.mtls_bundle_name,
        interval_days=arguments.rotation_interval_days,
        warn_days=arguments.rotation_warn_days,
        allow_missing_env=arguments.allow_missing_env,
        check_paths=arguments.check_paths,
        required_scopes=scopes,
    )
    strict = arguments.fail_on == "warn"
    kept = KeptReports.of(installation, os.environ, clock.now())
    if arguments.evidence is not None:
        if arguments.probe is not None:
            reason = "--probe looks at a service, --evidence at a file"
            raise UsageError("arguments.malformed", program=audit.schema, reason=reason)
        stored = evidence_codec.load(arguments.evidence)
        if audit.compared and arguments.compare is not None:
            stored = stored.compared_with(_earlier(audit, arguments, kept, policy))
        run = auditing.replayed(audit, stored, policy, at=arguments.at, fail_on_warn=strict)
    else:
        run = auditing.audited(
            audit,
            installation,
            policy,
            config=arguments.config,
            environ=os.environ,
            clock=clock,
            at=arguments.at,
            earlier=_earlier(audit, arguments, kept, policy),
            kept=kept,
            fail_on_warn=strict,
            live=_audit_probe.probed(arguments, installation, clock),
        )
    for line in lines(run.report, conversation.lang):
        conversation.say(line)
    return Outcome(run.document, run, installation)


def _earlier(audit: Audit, arguments: argparse.Namespace, kept: KeptReports, policy: Policy) -> Summary | None:
    """The report to compare with: the one that was named, else the newest that was kept before this run."""
    from stage4.audit import auditing

    if not audit.compared:
        return None
    if arguments.compare is None or arguments.compare == _LATEST:
        return auditing.newest_report(kept, policy, what_if=arguments.at is not None)
    return auditing.named_report(Path(arguments.compare), audit.schema, kept)


def _arguments(command: Command, argv: Sequence[str]) -> argparse.Namespace:
    from stage4.audit.policy import DEFAULT_BUNDLE
    from stage4.cli._arguments import Parser

    parser = Parser(prog=command.program, description=command.description)
    parser.add_argument("--mtls-bundle-name", default=DEFAULT_BUNDLE, metavar="NAME", help="the bundle (core-oem)")
    parser.add_argument("--allow-missing-env", action="store_true", help="an unset variable is a warning, not a fail")
    parser.add_argument(
        *("--rotation-warn-days", "--warn-expiring-days"),
        type=_days,
        metavar="N",
        help="warn this long before a rotation is due or a certificate expires",
    )
    parser.add_argument("--rotation-interval-days", type=_days, metavar="N", help="how often keys are to be replaced")
    parser.add_argument("--check-paths", action="store_true", help="every path in the settings has to exist")
    _audit_scopes.add_options(parser)
    parser.add_argument("--at", type=_instant, metavar="TIME", help="judge as of this instant (RFC 3339)")
    parser.add_argument("--fail-on", choices=("fail", "warn"), default="fail", help="what makes the exit code 1")
    parser.add_argument("--output-json", "--json-output", type=Path, metavar="FILE", help="write the document here too")
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help="write the report as sarif, junit or markdown too, to FILE or beside the kept document; may be repeated",
    )
    if command.compares:
        parser.add_argument(
            "--compare", metavar="latest|FILE", help="say what changed since this report (default: the newest kept)"
        )
    parser.add_argument("--evidence", type=Path, metavar="FILE", help="judge this evidence.json instead of collecting")
    parser.add_argument("--explain", metavar="CONTROL", help="say what a control asks and why, and audit nothing")
    parser.add_argument(
        "--verify-report", type=Path, metavar="FILE", help="say whether this report is as it was signed: exit 0, 1 or 3"
    )
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
