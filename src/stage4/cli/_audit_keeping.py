"""What is kept of an audit: the signed document, its evidence, the command log, and other formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _answers, _run
from stage4.clock import Clock, format_instant
from stage4.errors import ExitCode, Stage4Error, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.audit.auditing import Audit, Run
    from stage4.config import Installation


@dataclass(slots=True)
class Conversation:
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
class Formatted:
    """A format that was asked for, and the file it goes to; None: beside the kept document."""

    name: str
    path: Path | None


def formatted(text: str) -> Formatted:
    """`NAME` or `NAME=FILE`; raises UsageError `audit_report.format_unknown`."""
    from stage4.audit.formats import FORMATS

    name, given, path = text.partition("=")
    if name not in FORMATS or (given and not path):
        raise UsageError("audit_report.format_unknown", name=text, known=", ".join(FORMATS))
    return Formatted(name, Path(path) if given else None)


def require_free(schema: str, output: Path | None, formats: Sequence[Formatted]) -> None:
    """Raise UsageError `cli.in_the_way` where one of the files of the caller is something else, or named twice."""
    _answers.require_free(output, schema)
    named = [output]
    for each in formats:
        _answers.require_free(each.path, each.name, *named)
        named.append(each.path)


@dataclass(slots=True)
class Outcome:
    """One call: the document to print and, where the audit came to a report, the run and the installation it was of."""

    document: dict[str, object]
    run: Run | None = None
    installation: Installation | None = None


def keep(
    audit: Audit,
    outcome: Outcome,
    root: Path,
    clock: Clock,
    started_at: datetime,
    argv: Sequence[str],
    output: Path | None,
    formats: Sequence[Formatted],
    conversation: Conversation,
) -> None:
    """
    Write the files of the caller, then keep the run below the installation.

    Where either fails the document says so and is no ok any more; what is kept is what is printed.
    """
    from stage4 import files
    from stage4.audit import evidence_codec, store

    document = outcome.document
    stem = audit.file_name.removesuffix(".json")
    try:
        directory = store.open_run(root, started_at)
        document["stored"] = str(directory / audit.file_name)
        beside = {}
        if outcome.run is not None:
            import hashlib

            evidence = evidence_codec.encoded(outcome.run.stored)
            beside[store.EVIDENCE] = evidence
            document["evidence"] = {"file": store.EVIDENCE, "sha256": hashlib.sha256(evidence).hexdigest()}
        sign(outcome, conversation)
        write_files(outcome, output, formats, conversation)
        named = [each.name for each in formats if each.path is None]
        beside |= _beside(outcome, stem, named, conversation.lang)
        conversation.say(words.text("audit.stored", conversation.lang, path=directory / audit.file_name))
        command = store.Command(
            argv, int(str(document["exit_code"])), started_at, clock.now(), tuple(conversation.said)
        )
        store.save(directory, audit.file_name, files.json_bytes(document), command, beside)
    except Stage4Error as error:
        document["stored"] = None
        not_kept(outcome, error, conversation)
        write_files(outcome, output, formats, conversation)


def not_kept(outcome: Outcome, error: Stage4Error, conversation: Conversation) -> None:
    """An audit that nobody can look up later has not done its work, so it cannot end with 0."""
    document = outcome.document
    document["not_stored"] = _run.error_document("", error)["error"]
    document["exit_code"] = document["exit_code"] or int(ExitCode.CANNOT_TELL)
    conversation.say_error(error)
    sign(outcome, conversation)


def sign(outcome: Outcome, conversation: Conversation) -> None:
    """Sign the document as it stands; why that cannot be done stands in it, and the verdict stays what it is."""
    if outcome.installation is None:
        return
    import os

    from stage4.audit import report_signature
    from stage4.security.keyring import KeyRing

    document, operations = outcome.document, outcome.installation.settings.operations
    document.pop("not_signed", None)
    try:
        ring = KeyRing.load(outcome.installation.path(operations.decision_log.keyring), os.environ)
        signature = report_signature.signature(document, ring, operations.installation_id)
    except Stage4Error as error:
        signature = None
        document["not_signed"] = _run.error_document("", error)["error"]
    document[report_signature.SIGNATURE] = signature


def _beside(outcome: Outcome, stem: str, names: Sequence[str], spoken: Language) -> dict[str, bytes]:
    """
    The report in Markdown and in the formats `names`, by file name; also that of an audit that came to no result.

    In the language of the installation, or in the `spoken` one where its settings could not be read.
    """
    from stage4.audit.formats import FORMATS, MARKDOWN

    report = outcome.run.report if outcome.run is not None else None
    lang = spoken if outcome.installation is None else outcome.installation.settings.operations.language
    wanted = {form.suffix: form.render for form in (MARKDOWN, *(FORMATS[name] for name in names))}
    return {stem + suffix: render(report, outcome.document, lang) for suffix, render in wanted.items()}


def write_files(
    outcome: Outcome, output: Path | None, formats: Sequence[Formatted], conversation: Conversation
) -> None:
    """Write what goes to files of the caller; what cannot be written is said in the document and in all the others."""
    from stage4 import files
    from stage4.audit.formats import FORMATS

    def rendered(name: str) -> bytes:
        report = outcome.run.report if outcome.run is not None else None
        return FORMATS[name].render(report, outcome.document, conversation.lang)

    def write(path: Path, content: Callable[[], bytes]) -> bool:
        try:
            files.atomic_write(path, content(), 0o600)
        except Stage4Error as error:
            not_kept(outcome, error, conversation)
            return False
        return True

    wanted: list[tuple[Path, Callable[[], bytes]]]
    wanted = [(each.path, partial(rendered, each.name)) for each in formats if each.path is not None]
    if output is not None:
        wanted.append((output, lambda: files.json_bytes(outcome.document)))
    written = [each for each in wanted if write(*each)]
    if len(written) < len(wanted):
        for each in written:
            write(*each)


def started(outcome: Outcome, at: datetime) -> None:
    """Name the start in the document; nothing of it is kept yet."""
    outcome.document |= {"started_at": format_instant(at), "stored": None}
