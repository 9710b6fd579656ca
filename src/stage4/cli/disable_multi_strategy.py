"""
Stop the multi-strategy scheduler, or a part of it, and wait for its own word.

The stop comes first: nothing before it needs settings, keys, database or network, and nothing after it can take it
back. What is odd about the call (an unknown ticket, no reason, an unusable duration) is a warning. Prints one
document `stage4.disable/1`; exit 0 when the scheduler said `disabled`, 3 when nobody did (the file stands).
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
from stage4.errors import ExitCode, Stage4Error, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.runtime.stop import Scope, StopReceipt
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
    from stage4.runtime.stop_request import StopRequest, await_word, shortened, stoppable_root

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
    wait = _wait(arguments.wait, warnings)
    if arguments.dry_run:
        return _rehearse(root, asked)
    request, odd = shortened(asked)
    warnings.extend(odd)

    since_ns = clock.boottime_ns()
    receipt = request.place(root, clock)
    installation, lang = _settings(root, warnings)
    _run.say(words.text("stop.file_stands", lang, path=receipt.path))
    recorded = _record(installation, request, receipt, clock, warnings)
    receipt, word = await_word(root, request, receipt, wait=wait, since_ns=since_ns, clock=clock)
    warnings.extend(stop_report.remarks(receipt, request.expires_at))
    if installation is not None:
        _look_up(installation, request, warnings)

    code, params = stop_report.message(root, receipt, word)
    warnings.speak(lang)
    _say_with_hint(code, lang, params)
    exit_code = stop_report.exit_code(word)
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
            "scheduler": stop_report.scheduler(word),
            "decision_log": recorded,
            "warnings": warnings.document(),
        }
    )
    return exit_code


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


def _record(
    installation: Installation | None, request: StopRequest, receipt: StopReceipt, clock: Clock, warnings: _Warnings
) -> dict[str, object]:
    """Append the request to the decision log; what prevents it is a warning, the stop is made."""
    if installation is None:
        return {"logged": False}
    from stage4.decisionlog.open import open_log
    from stage4.runtime.stop_request import log_draft

    try:
        entry = open_log(installation, clock, os.environ).append(log_draft(request, receipt, installation.root))
    except Stage4Error as error:
        warnings.add("stop.unlogged", reason=error)
        return {"logged": False, "code": error.code}
    return {"logged": True, "seq": entry.seq, "digest": entry.digest}


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
