"""
Stop the multi-strategy scheduler, or a part of it, and wait for its own word.

The stop comes first: nothing before it needs settings, keys, database or network, and nothing after it can take it
back. What is odd about the call (an unknown ticket, no reason, an unusable duration) is a warning. Prints one
document `stage4.disable/1`; exit 0 when the scheduler said `disabled`, 3 when nobody did (the file stands).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _run
from stage4.clock import Clock, SystemClock, format_instant, parse_duration
from stage4.errors import ExitCode, Stage4Error, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.runtime.stop import Scope, StopDocument, StopReceipt, Word

SCHEMA = "stage4.disable/1"
DEFAULT_WAIT = "5s"
LONGEST_TEXT = 2000
"""Characters of a reason or ticket that an override file and a log entry keep."""


@dataclass(slots=True)
class _Remarks:
    """Warnings, for the document in English and for people in their language, once the language is known."""

    said: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def add(self, code: str, **params: object) -> None:
        self.said.append((code, params))

    def document(self) -> list[dict[str, object]]:
        return [
            {"code": code, "message": words.text(code, "en", **params), "params": params}
            for code, params in self._in("en")
        ]

    def speak(self, lang: Language) -> None:
        for code, params in self._in(lang):
            _run.say(f"warning: {words.text(code, lang, **params)}")
            if hint := words.hint(code, lang, **params):
                _run.say(f"hint: {hint}")

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
    from stage4.runtime.stop import request_stop

    root = _root(arguments.root)
    scope, remarks, now = _scope(arguments), _Remarks(), clock.now()
    expires_at = _expiry(arguments.duration_minutes, now, remarks)
    wait = _wait(arguments.wait, remarks)
    if arguments.dry_run:
        return _rehearse(root, scope, arguments)

    if not arguments.reason:
        remarks.add("stop.reason_missing")
    for name in ("reason", "ticket", "requested_by", "component"):
        if len(value := getattr(arguments, name) or "") > LONGEST_TEXT:
            remarks.add("stop.text_cut", option=f"--{name.replace('_', '-')}", n=LONGEST_TEXT)
            setattr(arguments, name, value[:LONGEST_TEXT])
    requested_by = arguments.requested_by or f"account:{os.getuid()}"

    def stop() -> StopReceipt:
        return request_stop(
            root,
            scope=scope,
            reason=arguments.reason,
            ticket=arguments.ticket,
            requested_by=requested_by,
            component=arguments.component,
            expires_at=expires_at,
            clock=clock,
        )

    since_ns = clock.boottime_ns()
    receipt = stop()
    installation, lang = _settings(root, remarks)
    _run.say(words.text("stop.file_stands", lang, path=receipt.path))
    recorded = _record(installation, receipt, arguments, clock, remarks)
    receipt, word = _await_word(root, receipt, stop, wait, since_ns, clock)
    _remark_on(receipt, expires_at, remarks)
    _look_up(installation, scope, arguments, remarks)

    code, params = _message(root, receipt, word)
    remarks.speak(lang)
    _run.say(words.text(code, lang, **params))
    if hint := words.hint(code, lang, **params):
        _run.say(f"hint: {hint}")
    exit_code = _exit_code(word)
    _run.emit(
        {
            "schema": SCHEMA,
            "root": str(root),
            "exit_code": int(exit_code),
            "message": words.text(code, "en", **params),
            "code": code,
            "already": receipt.already,
            "dry_run": False,
            "override": _override(root, receipt),
            "requested": {
                "reason": arguments.reason,
                "ticket": arguments.ticket,
                "requested_by": requested_by,
                "component": arguments.component,
                "expires_at": None if expires_at is None else format_instant(expires_at),
            },
            "scheduler": _scheduler(word),
            "decision_log": recorded,
            "warnings": remarks.document(),
        }
    )
    return exit_code


def _root(named: Path | None) -> Path:
    """The installation; one that has lost its settings is known by its overrides, since its scheduler may still run."""
    from stage4.config import find_root
    from stage4.runtime.stop import OVERRIDES

    try:
        return find_root(named, os.environ, Path.cwd())
    except UsageError:
        told = named or (Path(os.environ["STAGE4_ROOT"]) if os.environ.get("STAGE4_ROOT") else None)
        here = Path.cwd()
        for candidate in (told,) if told is not None else (here, *here.parents):
            if (candidate / OVERRIDES).is_dir():
                return candidate.resolve()
        raise


def _scope(arguments: argparse.Namespace) -> Scope:
    from stage4.runtime.stop import ALL, Scope, ScopeKind

    for kind in (ScopeKind.STRATEGY, ScopeKind.SCHEDULE, ScopeKind.TAG):
        name = getattr(arguments, kind.value)
        if name is not None:
            return Scope(kind, name)
    return ALL


def _expiry(minutes: str | None, now: datetime, remarks: _Remarks) -> datetime | None:
    if minutes is None:
        return None
    try:
        return now + parse_duration(f"{minutes}m")
    except UsageError:
        remarks.add("stop.duration_unusable", value=minutes)
        return None


def _wait(text: str, remarks: _Remarks) -> timedelta:
    if text.strip() in ("0", "0s"):
        return timedelta(0)
    try:
        return parse_duration(text)
    except UsageError:
        remarks.add("stop.wait_unusable", value=text)
        return parse_duration(DEFAULT_WAIT)


def _rehearse(root: Path, scope: Scope, arguments: argparse.Namespace) -> int:
    path = root / "var/runtime/overrides" / scope.file_name
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
            "override": {"path": str(path.relative_to(root)), "scope": {"kind": scope.kind.value, "name": scope.name}},
            "requested": {"reason": arguments.reason, "ticket": arguments.ticket, "component": arguments.component},
        }
    )
    return ExitCode.DONE


def _settings(root: Path, remarks: _Remarks) -> tuple[Installation | None, Language]:
    from stage4.config import load

    try:
        installation = load(root)
    except Stage4Error as error:
        remarks.add("stop.settings_unreadable", reason=error)
        return None, _run.language()
    return installation, _run.language(configured=installation.settings.operations.language)


def _await_word(
    root: Path, receipt: StopReceipt, stop: Callable[[], StopReceipt], wait: timedelta, since_ns: int, clock: Clock
) -> tuple[StopReceipt, Word | None]:
    """The scheduler's word on the stop; None when the person at the keyboard would not wait for it."""
    from stage4.runtime.stop import wait_for_word

    try:
        word = wait_for_word(root, receipt.facts, timeout=wait, since_ns=since_ns, clock=clock)
        if word.answer == "enabled" and not os.path.lexists(receipt.path):
            # An enable order was carried out on the stop that stood: ours comes after it and stands for itself.
            receipt = stop()
            word = wait_for_word(root, receipt.facts, timeout=wait, since_ns=since_ns, clock=clock)
    except KeyboardInterrupt:
        return receipt, None
    return receipt, word


def _remark_on(receipt: StopReceipt, expires_at: datetime | None, remarks: _Remarks) -> None:
    if receipt.partial is not None:
        remarks.add("stop.written_partly", reason=receipt.partial)
    elif receipt.facts.fault is not None:
        remarks.add(receipt.facts.fault)
    if not receipt.latched:
        remarks.add("stop.not_latched")
    if expires_at is not None:
        remarks.add("stop.expiry_informs", at=format_instant(expires_at))


def _record(
    installation: Installation | None,
    receipt: StopReceipt,
    arguments: argparse.Namespace,
    clock: Clock,
    remarks: _Remarks,
) -> dict[str, object]:
    """Append the request to the decision log; what prevents it is a warning, the stop is made."""
    if installation is None:
        return {"logged": False}
    from stage4.decisionlog.entry import Draft
    from stage4.decisionlog.open import open_log

    incident = next((value for value in (arguments.ticket, arguments.reason) if _is_incident(value)), None)
    draft = Draft(
        kind="scheduler_stop_requested",
        category="stage4_incident" if incident else "runtime_control",
        stage="stop",
        status="requested",
        artefacts={
            "override": str(receipt.path.relative_to(installation.root)),
            "override_sha256": receipt.facts.digest,
        },
        runtime_flags={"already": receipt.already, "whole": receipt.facts.fault is None},
        metadata={
            "incident": incident,
            "ticket": arguments.ticket,
            "reason": arguments.reason,
            "requested_by": arguments.requested_by or f"account:{os.getuid()}",
            "component": arguments.component,
            "scope": {"kind": receipt.facts.scope.kind.value, "name": receipt.facts.scope.name},
        },
        tags=("kill_switch",),
    )
    try:
        entry = open_log(installation, clock, os.environ).append(draft)
    except Stage4Error as error:
        remarks.add("stop.unlogged", reason=error)
        return {"logged": False, "code": error.code}
    return {"logged": True, "seq": entry.seq, "digest": entry.digest}


def _is_incident(value: str | None) -> bool:
    from stage4.ids import parse_incident_id

    try:
        parse_incident_id(value or "")
    except UsageError:
        return False
    return True


def _look_up(installation: Installation | None, scope: Scope, arguments: argparse.Namespace, remarks: _Remarks) -> None:
    """Say what the installation does not know of the call."""
    if installation is None:
        return
    schedules = {
        name: schedule
        for scheduler in installation.settings.runtime.multi_strategy_schedulers.values()
        for name, schedule in scheduler.schedules.items()
    }
    covered = (scope.covers(name, schedule.strategy, schedule.tags) for name, schedule in schedules.items())
    if scope.name and not any(covered):
        remarks.add("stop.scope_unknown", kind=scope.kind.value, name=scope.name)
    named = {arguments.ticket: "stop.ticket_unknown", arguments.reason: "stop.reason_unknown"}
    for value, code in named.items():
        if not _is_incident(value):
            continue
        from stage4.incidents import lookup

        try:
            if lookup.find(installation, value) is None:
                remarks.add(code, value=value)
        except Stage4Error as error:
            remarks.add("stop.ticket_unverified", value=value, reason=error)


def _message(root: Path, receipt: StopReceipt, word: Word | None) -> tuple[str, dict[str, object]]:
    if word is None:
        return "stop.word_interrupted", {}
    if word.answer == "disabled":
        return ("stop.word_already" if receipt.already else "stop.word_disabled"), {}
    if word.state is None:
        return "stop.word_absent", {"root": str(root)}
    facts: dict[str, object] = {
        "pid": word.state.pid,
        "at": format_instant(word.state.at),
        "in_flight": word.state.in_flight,
        "root": str(root),
    }
    return f"stop.word_{word.answer}", facts


def _exit_code(word: Word | None) -> ExitCode:
    if word is None:
        return ExitCode.INTERRUPTED
    return ExitCode.DONE if word.answer == "disabled" else ExitCode.CANNOT_TELL


def _override(root: Path, receipt: StopReceipt) -> dict[str, object]:
    facts = receipt.facts
    return {
        "path": str(receipt.path.relative_to(root)),
        "sha256": facts.digest,
        "fault": facts.fault,
        "latched": receipt.latched,
        "scope": {"kind": facts.scope.kind.value, "name": facts.scope.name},
        "in_force": None if facts.document is None else _in_force(facts.document),
    }


def _in_force(document: StopDocument) -> dict[str, object]:
    """What the standing file says, which is another's words where the stop stood already."""
    return {
        "timestamp": format_instant(document.timestamp),
        "reason": document.reason,
        "ticket": document.ticket,
        "requested_by": document.requested_by,
        "expires_at": None if document.expires_at is None else format_instant(document.expires_at),
    }


def _scheduler(word: Word | None) -> dict[str, object]:
    if word is None:
        return {"answer": "interrupted"}
    answer: dict[str, object] = {"answer": word.answer, "waited_ms": word.waited_ms}
    if word.state is not None:
        answer |= {
            "state": word.state.state.value,
            "pid": word.state.pid,
            "at": format_instant(word.state.at),
            "override_digest": word.state.override_digest,
            "in_flight": word.state.in_flight,
            "working_orders": word.state.working_orders,
            "signals_after_stop": word.state.signals_after_stop,
        }
    return answer
