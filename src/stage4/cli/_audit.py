"""What the two audit commands share: one run from the call to the document."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stage4.cli import _audit_arguments, _audit_probe, _audit_scopes, _run
from stage4.cli import _audit_keeping as keeping
from stage4.cli._audit_keeping import Conversation, Formatted, Outcome
from stage4.clock import Clock
from stage4.errors import Stage4Error, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.audit.auditing import Audit, Run
    from stage4.audit.comparison import Summary
    from stage4.audit.evidence_codec import StoredEvidence
    from stage4.audit.evidence_live import Live
    from stage4.audit.kept_reports import KeptReports
    from stage4.audit.policy import Policy
    from stage4.config import Installation


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
    """One call of an audit command, as far as it is understood.

    `root` is the installation that keeps what comes of it, None while only the caller can be at fault.
    """

    command: Command
    given: list[str]
    clock: Clock
    started_at: datetime
    conversation: Conversation
    root: Path | None = None
    output: Path | None = None
    formats: list[Formatted] = field(default_factory=list)

    def answer(self) -> int:
        """Audit, keep, print; the exit code is the verdict, and 3 where an ok could not be kept as evidence."""
        arguments: argparse.Namespace | None = None
        try:
            arguments = _audit_arguments.parse(self.command, self.given)
            if arguments.lang:
                self.conversation.lang = arguments.lang
            if arguments.explain is not None or arguments.verify_report is not None:
                return _answered(arguments)
            outcome = self._audited(arguments)
        except Stage4Error as error:
            outcome = _failed(self.command, arguments, error, self.root, self.conversation)
        self._keep(outcome)
        _run.emit(outcome.document)
        return int(str(outcome.document["exit_code"]))

    def bugged(self, document: dict[str, object]) -> None:
        """Make the document of a bug that of an audit: it fails, and is kept where there is an installation."""
        document |= _NO_RESULT
        self._keep(Outcome(document))

    def _audited(self, arguments: argparse.Namespace) -> Outcome:
        command, conversation = self.command, self.conversation
        asked = [keeping.formatted(text) for text in arguments.format]
        keeping.require_free(command.schema, arguments.output_json, asked)
        self.output, self.formats = arguments.output_json, asked
        scopes, stored = _audit_scopes.required(arguments), _stored(arguments)
        root = _root(arguments)
        # A file of settings that was named and is not there is a wrong call.
        self.root = root if arguments.config is None or arguments.config.exists() else None
        installation = _installation(arguments, root, conversation)
        policy = _policy(arguments, installation, scopes)
        kept = _kept(installation, self.clock)
        self.root = None
        earlier = _earlier(command, arguments, kept, policy)
        target = _audit_probe.target(arguments, installation)
        self.root = root
        if stored is not None:
            run = _replayed(command, arguments, policy, stored, earlier)
        else:
            live = _audit_probe.probed(arguments, target, installation, self.clock)
            run = _collected(command, arguments, policy, installation, self.clock, earlier, kept, live)
        return _told(command, arguments, Outcome(run.document, run, installation), root, conversation)

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
    One call of an audit command; its exit code. A bug is exit 70 and a fail.

    Whoever calls wrongly has audited nothing: that is printed and not kept, because what is kept calls people.
    Settings that cannot be read are a fault of the installation, so they are kept.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    call = _Call(command, given, clock, clock.now(), Conversation(_run.language()))
    return _run.guarded(command.schema, call.answer, bugged=call.bugged)


def _kept(installation: Installation, clock: Clock) -> KeptReports:
    from stage4.audit.kept_reports import KeptReports

    return KeptReports.of(installation, os.environ, clock.now())


def _told(
    command: Command, arguments: argparse.Namespace, outcome: Outcome, root: Path, conversation: Conversation
) -> Outcome:
    """The outcome with the command that asks the same again, said on stderr."""
    from stage4.audit import spoken

    assert outcome.run is not None
    outcome.document["again"] = _audit_arguments.again(command, arguments, root, outcome.document)
    for line in spoken.lines(outcome.run.report, outcome.document, conversation.lang):
        conversation.say(line)
    return outcome


def _failed(
    command: Command,
    arguments: argparse.Namespace | None,
    error: Stage4Error,
    root: Path | None,
    conversation: Conversation,
) -> Outcome:
    """A call that came to no result; `root` is the installation whose fault that is, None for a wrong call."""
    document = _run.error_document(command.schema, error) | _NO_RESULT
    conversation.say_error(error)
    if arguments is not None:
        document["what_if"] = arguments.at is not None or arguments.evidence is not None
    if arguments is not None and root is not None:
        from stage4.audit import spoken

        document["again"] = _audit_arguments.again(command, arguments, root, document)
        for line in spoken.no_result(document, conversation.lang, wrong_call=False):
            conversation.say(line)
    return Outcome(document)


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


def _installation(arguments: argparse.Namespace, root: Path, conversation: Conversation) -> Installation:
    from stage4 import config

    installation = config.load(root, arguments.config, lenient=True)
    if not arguments.lang:
        conversation.lang = _run.language(configured=installation.settings.operations.language)
    return installation


def _stored(arguments: argparse.Namespace) -> StoredEvidence | None:
    """The evidence that is to be judged again; raises UsageError `probe.with_evidence`, and what `load` raises."""
    if arguments.evidence is None:
        return None
    if arguments.probe is not None:
        raise UsageError("probe.with_evidence")
    from stage4.audit import evidence_codec

    return evidence_codec.load(arguments.evidence)


def _policy(arguments: argparse.Namespace, installation: Installation, scopes: Mapping[str, tuple[str, ...]]) -> Policy:
    from stage4.audit.policy import Policy

    return Policy.of(
        installation.settings,
        bundle=arguments.mtls_bundle_name,
        interval_days=arguments.rotation_interval_days,
        warn_days=arguments.rotation_warn_days,
        allow_missing_env=arguments.allow_missing_env,
        check_paths=arguments.check_paths,
        required_scopes=scopes,
    )


def _replayed(
    command: Command, arguments: argparse.Namespace, policy: Policy, stored: StoredEvidence, earlier: Summary | None
) -> Run:
    """Stored evidence is judged beside the report that it was judged beside, unless another one was named."""
    from stage4.audit import auditing

    if command.compares and arguments.compare is not None:
        stored = stored.compared_with(earlier)
    return auditing.replayed(command.audit(), stored, policy, at=arguments.at, fail_on_warn=arguments.fail_on == "warn")


def _collected(
    command: Command,
    arguments: argparse.Namespace,
    policy: Policy,
    installation: Installation,
    clock: Clock,
    earlier: Summary | None,
    kept: KeptReports,
    live: Live | None,
) -> Run:
    from stage4.audit import auditing

    return auditing.audited(
        command.audit(),
        installation,
        policy,
        config=arguments.config,
        environ=os.environ,
        clock=clock,
        at=arguments.at,
        earlier=earlier,
        kept=kept,
        fail_on_warn=arguments.fail_on == "warn",
        live=live,
    )


def _earlier(command: Command, arguments: argparse.Namespace, kept: KeptReports, policy: Policy) -> Summary | None:
    """The report to compare with: the one that was named, else the newest that was kept before this run."""
    from stage4.audit import auditing

    if not command.compares:
        return None
    if arguments.compare is None or arguments.compare == _LATEST:
        return auditing.newest_report(kept, policy, what_if=arguments.at is not None)
    return auditing.named_report(Path(arguments.compare), command.schema, kept)
