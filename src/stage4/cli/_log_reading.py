"""What the commands that read the log share: which entries are asked for, where from, and how they are printed."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stage4.cli import _run
from stage4.cli._arguments import instant, zone_of
from stage4.cli.root import Session
from stage4.clock import Clock, SystemClock
from stage4.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.decisionlog.entry import Entry
    from stage4.decisionlog.filter import Filter

SCHEMA = "stage4.log/1"
_FILTERS = (
    click.option("--category", help="Only entries of this category, such as stage4_incident."),
    click.option("--kind", help="Only entries of this kind, such as incident_opened."),
    click.option("--incident", help="Only entries of this incident."),
    click.option("--stage", help="Only entries of this stage, such as L1.4."),
    click.option("--status", help="Only entries with this status."),
    click.option(
        "--since", metavar="TIME", help="From then on: 2026-11-23, 2026-11-23T10:00, with an offset, or 2h ago."
    ),
    click.option("--until", metavar="TIME", help="Before then; as --since."),
)
_SOURCE = (
    click.option("--log", "path", type=click.Path(path_type=Path), help="Another log than the configured one."),
    click.option("--utc/--local", default=False, help="Times in UTC, or (default) in the installation's time zone."),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One call of a reading command: the log, the entries asked for, and the zone of the times that people read."""

    session: Session
    path: Path
    root: Path | None
    zone: tzinfo
    wanted: Filter

    def document(self, entries: Iterable[Entry]) -> dict[str, object]:
        """The document of a command that read `entries`."""
        return {"schema": SCHEMA, "log": str(self.path), "entries": [facts_of(each) for each in entries]}

    def say_unverified(self) -> None:
        """That showing is not verifying: once, before anything is shown."""
        _run.say(self.session.text("logview.unverified"))


def facts_of(entry: Entry) -> dict[str, object]:
    """The members of an entry and where it stands, exactly as they are; `line` is null where it was not counted."""
    return asdict(entry) | {"line": entry.line or None}


class Printer:
    """Prints entries as lines, with a heading where the day changes, by `print_line`; raises what that raises."""

    def __init__(
        self, reading: Reading, *, full: bool = False, print_line: Callable[[str], None] = _run.stream
    ) -> None:
        from stage4.decisionlog.presentation import Look

        colour, width = _terminal()
        self._look = Look(width, colour, reading.zone)
        self._full = full
        self._print = print_line
        self._day = ""

    def show(self, entry: Entry) -> None:
        """One entry."""
        from stage4.decisionlog import presentation

        day = presentation.day(entry, self._look)
        if self._look.width and day and day != self._day:
            self._day = day
            self._print(presentation.heading(day, self._look))
        self._print(presentation.line(entry, self._look))
        if self._full:
            self._print("\n".join(presentation.details(entry, self._look)))


def reads(*, filters: bool = True) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Gives a command the shared options, and hands it the `Reading` they make in their place."""

    def decorated(command: Callable[..., int]) -> Callable[..., int]:
        def called(session: Session, path: Path | None, utc: bool, **rest: Any) -> int:
            names = ("category", "kind", "stage", "status", "incident", "since", "until")
            asked = {name: rest.pop(name) for name in names if name in rest}
            return command(_reading(session, path, utc, asked, SystemClock()), **rest)

        result: Callable[..., int] = click.pass_obj(functools.update_wrapper(called, command))
        for option in reversed((*(_FILTERS if filters else ()), *_SOURCE)):
            result = option(result)
        return result

    return decorated


def _reading(session: Session, path: Path | None, utc: bool, asked: Mapping[str, str | None], clock: Clock) -> Reading:
    installation = _installation(session, path)
    root = None if installation is None else installation.root
    zone = UTC if utc or installation is None else zone_of(installation.settings.operations.time_zone)
    if path is None:
        assert installation is not None, "without a path the installation is required"
        path = begun(installation)
    elif installation is not None and not path.exists():
        from stage4.decisionlog import traces

        raise traces.absent(path, installation.keyring_path)
    from stage4.decisionlog.filter import Filter

    wanted = Filter.of(
        asked,
        instant("--since", asked.get("since"), zone, clock),
        instant("--until", asked.get("until"), zone, clock),
    )
    return Reading(session, path, root, zone, wanted)


def _installation(session: Session, path: Path | None) -> Installation | None:
    """The installation; a log that is named needs none, but is read with its keys and times where one is found."""
    from stage4.config import find_root

    if path is not None and session.root is None:
        try:
            find_root(None, os.environ, Path.cwd())
        except UsageError:
            return None
    return session.installation


def begun(installation: Installation) -> Path:
    """The configured log; raises Unavailable where there is none yet, or none any more."""
    from stage4.decisionlog import traces

    path = installation.decision_log_path
    if not path.exists():
        trace = traces.find(path, installation.keyring_path)
        if trace is not None:
            raise Unavailable("log.vanished", path=path, trace=trace)
        raise Unavailable("log.not_begun", path=path)
    return path


def _terminal() -> tuple[bool, int | None]:
    """Whether to colour, and how many columns there are: none to speak of where stdout is no terminal."""
    if not sys.stdout.isatty():
        return False, None
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    columns = os.environ.get("COLUMNS", "")
    try:
        width = int(columns) if columns.isdecimal() else os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        width = 0
    return colour, width or 80
