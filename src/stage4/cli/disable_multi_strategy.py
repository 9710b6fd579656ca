"""
Stop the multi-strategy scheduler, or a part of it, and wait for its own word.

The stop comes first: nothing before it needs settings, keys, database or network, and nothing after it can take it
back. What is odd about the call (an unknown ticket, no reason, an unusable duration) is a warning. Prints one
document `stage4.disable/1`; exit 0 when the scheduler said `disabled`, 3 when nobody did (the file stands). With
`--kill-after` a scheduler that has not said so by then is ended by SIGKILL: exit 0 once it has ended.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _run
from stage4.clock import Clock, SystemClock, parse_duration
from stage4.errors import ExitCode, Stage4Error, Unavailable, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.decisionlog.entry import Draft
    from stage4.runtime.kill import Kill
    from stage4.runtime.stop import Scope, Word
    from stage4.runtime.stop_request import Remark, StopRequest

SCHEMA = "stage4.disable/1"
DEFAULT_WAIT = "5s"


@dataclass(slots=True)
class _Warnings:
    """Remarks, for the document in English and for people in their language, once the language is known."""

    said: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def add(self, code: str, **params: object) -> None:
        self.said.append((code, params))

    def extend(self, remarks: Iterable[Remark]) -> None:
        self.said += ((remark.code, remark.params) for remark in remarks)

    def document(self) -> list[dict[str, object]]:
        return [
            {"code": code, "message": words.text(code, "en", **params), "params": params}
            for code, params in self._in("en")
        ]

    def speak(self, lang: Language) -> None:
        for code, params in self._in(lang):
            _say_with_hint(code, lang, params, before="warning: ")

    def _in(self, lang: Language) -> Iterator[tuple[str, dict[str, object]]]:
        """Each warning with its parameters; an error among them in its own words."""
        for code, params in self.said:
            yield (
                code,
                {
                    name: words.text(value.code, lang, **value.params) if isinstance(value, Stage4Error) else value
                    for name, value in params.items()
                },
            )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    return _run.guarded(SCHEMA, lambda: _disable(_arguments(argv), SystemClock()))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    from stage4.cli._arguments import Parser

    parser = Parser(prog="disable_multi_strategy.py", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--reason", default="", help="why: an incident id, a code or free text")
    parser.add_argument("--ticket", help="incident id, or the ticket id of an outside system")
    parser.add_argument("--requested-by", help="who asks (default: the account that runs the command)")
    parser.add_argument("--component", default="multi_strategy", help="recorded in the override file")
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--strategy", metavar="NAME", help="stop one strategy only")
    scope.add_argument("--schedule", metavar="NAME", help="stop one schedule only")
    scope.add_argument("--tag", metavar="NAME", help="stop the schedules with one tag only")
    parser.add_argument("--duration-minutes", metavar="N", help="expected end, for people: never re-enables by itself")
    parser.add_argument("--wait", default=DEFAULT_WAIT, metavar="DURATION", help="how long to wait for its word (5s)")
    parser.add_argument(
        "--kill-after",
        metavar="DURATION",
        help="last resort: SIGKILL for the scheduler's process when it has not confirmed by then; in place of --wait",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, stop nothing")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    arguments = parser.parse_args(argv)
    for name, value in vars(arguments).items():
        if isinstance(value, str):
            # Bytes of the command line that are no UTF-8 must not keep a stop from being written.
            setattr(arguments, name, value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return arguments


def _disable(arguments: argparse.Namespace, clock: Clock) -> int:
    from stage4.runtime import stop_report
    from stage4.runtime.stop_request import StopRequest, await_word, log_draft, shortened, stoppable_root

    root = stoppable_root(arguments.root, os.environ, Path.cwd())
    warnings = _Warnings()
    asked = StopRequest(
        scope=_scope(arguments),
        reason=arguments.reason,
        ticket=arguments.ticket,
        requested_by=arguments.requested_by or f"account:{os.getuid()}",
        component=arguments.component,
        expires_at=_expiry(arguments.duration_minutes, clock.now(), warnings),
    )
    kill_after = _kill_after(arguments.kill_after, warnings)
    wait = _wait(arguments.wait, warnings) if kill_after is None else kill_after
    if arguments.dry_run:
        return _rehearse(root, asked)
    request, odd = shortened(asked)
    warnings.extend(odd)

    since_ns = clock.boottime_ns()
    try:
        receipt = request.place(root, clock)
    except Unavailable as error:
        if kill_after is None:
            raise
        return _kill_without_file(root, request, error, clock, warnings)
    installation, lang = _settings(root, warnings)
    if receipt.placed:
        _run.say(words.text("stop.file_stands", lang, path=receipt.path))
    recorded = _record(installation, log_draft(request, receipt, root), clock, warnings)
    if kill_after is not None:
        # Counted from the file, whatever time the log took.
        wait = max(timedelta(0), kill_after - timedelta(microseconds=(clock.boottime_ns() - since_ns) / 1000))
    receipt, word = await_word(root, request, receipt, wait=wait, since_ns=since_ns, clock=clock)
    kill = None
    if kill_after is not None and word is not None and word.answer != "disabled":
        kill = _kill(root, clock, warnings)
    if word is not None:
        _record_end(installation, request, receipt.facts.digest, word, kill, recorded, clock, warnings)
    warnings.extend(stop_report.remarks(receipt, request.expires_at))
    if installation is not None:
        _look_up(installation, request, warnings)

    code, params = stop_report.message(root, receipt, word, kill)
    warnings.speak(lang)
    _say_with_hint(code, lang, params)
    exit_code = stop_report.exit_code(word, kill)
    _run.emit(
        {
            "schema": SCHEMA,
            "root": str(root),
            "exit_code": int(exit_code),
            "message": words.text(code, "en", **params),
            "code": code,
            "already": receipt.already,
            "dry_run": False,
            "override": stop_report.override(root, receipt),
            "requested": stop_report.requested(request),
            "scheduler": stop_report.scheduler(word, receipt.facts.file_name),
            "kill": stop_report.kill(kill),
            "decision_log": recorded,
            "warnings": warnings.document(),
        }
    )
    return exit_code


def _kill(root: Path, clock: Clock, warnings: _Warnings) -> Kill:
    """End the scheduler's process; what it may have left at a venue is a warning."""
    from stage4.runtime.kill import kill_scheduler

    kill = kill_scheduler(root, clock)
    if kill.outcome == "killed":
        warnings.add("kill.orders_left", n=kill.working_orders)
    return kill


def _kill_without_file(
    root: Path, request: StopRequest, error: Stage4Error, clock: Clock, warnings: _Warnings
) -> ExitCode:
    """No file can be made, so nobody will ever confirm: the signal is all that is left, and it holds for this run."""
    from stage4.runtime import stop_report

    kill = _kill(root, clock, warnings)
    installation, lang = _settings(root, warnings)
    recorded: dict[str, object] = {"logged": False}
    _record_end(installation, request, None, None, kill, recorded, clock, warnings)
    code, params = stop_report.message_of_kill(kill, stop_stands=False)
    _run.say_error(error, lang)
    warnings.speak(lang)
    _say_with_hint(code, lang, params)
    _run.emit(
        {
            "schema": SCHEMA,
            "root": str(root),
            "exit_code": int(ExitCode.CANNOT_TELL),
            "message": words.text(code, "en", **params),
            "code": code,
            "already": False,
            "dry_run": False,
            "error": {"code": error.code, "message": words.text(error.code, "en", **error.params)},
            "requested": stop_report.requested(request),
            "kill": stop_report.kill(kill),
            "decision_log": recorded,
            "warnings": warnings.document(),
        }
    )
    return ExitCode.CANNOT_TELL


def _say_with_hint(code: str, lang: Language, params: dict[str, object], before: str = "") -> None:
    _run.say(f"{before}{words.text(code, lang, **params)}")
    if hint := words.hint(code, lang, **params):
        _run.say(f"hint: {hint}")


def _scope(arguments: argparse.Namespace) -> Scope:
    from stage4.runtime.stop import ALL, Scope, ScopeKind

    for kind in (ScopeKind.STRATEGY, ScopeKind.SCHEDULE, ScopeKind.TAG):
        name = getattr(arguments, kind.value)
        if name is not None:
            return Scope(kind, name)
    return ALL


def _expiry(minutes: str | None, now: datetime, warnings: _Warnings) -> datetime | None:
    if minutes is None:
        return None
    try:
        return now + parse_duration(f"{minutes}m")
    except UsageError:
        warnings.add("stop.duration_unusable", value=minutes)
        return None


def _wait(text: str, warnings: _Warnings) -> timedelta:
    if text.strip() in ("0", "0s"):
        return timedelta(0)
    try:
        return parse_duration(text)
    except UsageError:
        warnings.add("stop.wait_unusable", value=text)
        return parse_duration(DEFAULT_WAIT)


def _kill_after(text: str | None, warnings: _Warnings) -> timedelta | None:
    if text is None or text.strip() in ("0", "0s"):
        return None if text is None else timedelta(0)
    try:
        return parse_duration(text)
    except UsageError:
        warnings.add("kill.after_unusable", value=text)
        return None


def _rehearse(root: Path, request: StopRequest) -> int:
    from stage4.runtime import stop_report
    from stage4.runtime.stop import OVERRIDES

    path = root / OVERRIDES / request.scope.file_name
    _run.say(words.text("stop.word_dry_run", _run.language()))
    _run.emit(
        {
            "schema": SCHEMA,
            "root": str(root),
            "exit_code": int(ExitCode.DONE),
            "message": words.text("stop.word_dry_run", "en"),
            "code": "stop.word_dry_run",
            "already": os.path.lexists(path),
            "dry_run": True,
            "override": {"path": str(path.relative_to(root)), "scope": stop_report.scope(request.scope)},
            "requested": stop_report.requested(request),
        }
    )
    return ExitCode.DONE


def _settings(root: Path, warnings: _Warnings) -> tuple[Installation | None, Language]:
    from stage4.config import load

    try:
        installation = load(root)
    except Stage4Error as error:
        warnings.add("stop.settings_unreadable", reason=error)
        return None, _run.language()
    return installation, _run.language(configured=installation.settings.operations.language)


def _record(installation: Installation | None, draft: Draft, clock: Clock, warnings: _Warnings) -> dict[str, object]:
    """Append to the decision log; what prevents it is a warning, the stop is made."""
    if installation is None:
        return {"logged": False}
    from stage4.decisionlog.open import open_log

    try:
        entry = open_log(installation, clock, os.environ).append(draft)
    except Stage4Error as error:
        warnings.add("stop.unlogged", reason=error)
        return {"logged": False, "code": error.code}
    return {"logged": True, "seq": entry.seq, "digest": entry.digest}


def _record_end(
    installation: Installation | None,
    request: StopRequest,
    digest: str | None,
    word: Word | None,
    kill: Kill | None,
    recorded: dict[str, object],
    clock: Clock,
    warnings: _Warnings,
) -> None:
    """Append how a stop ended that no scheduler confirmed; what a scheduler says of it, it writes itself."""
    from stage4.runtime.stop_request import end_draft

    if (word is not None and word.answer == "disabled") or recorded.get("code"):
        return  # a log that was busy or broken a moment ago is not waited for again
    written = _record(installation, end_draft(request, digest, word, kill), clock, warnings)
    recorded["end"] = written


def _look_up(installation: Installation, request: StopRequest, warnings: _Warnings) -> None:
    """Say what the installation does not know of the call."""
    from stage4.ids import is_incident_id
    from stage4.runtime.stop_request import unknown_scope

    warnings.extend(unknown_scope(installation.settings, request.scope))
    for value, code in {request.ticket: "stop.ticket_unknown", request.reason: "stop.reason_unknown"}.items():
        if value is None or not is_incident_id(value):
            continue
        from stage4.incidents import lookup

        try:
            if lookup.find(installation, value) is None:
                warnings.add(code, value=value)
        except Stage4Error as error:
            warnings.add("stop.ticket_unverified", value=value, reason=error)
