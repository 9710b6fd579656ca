"""What the load test's command shares with nobody: its options, its progress, its baseline, its pictures."""

from __future__ import annotations

import argparse
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stage4 import words
from stage4.cli import _run
from stage4.clock import parse_duration
from stage4.errors import UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.runtime.loadtest_run import LoadPlan, Progress

SCHEMA = "stage4.load_test/1"
MOST_ITERATIONS = 1_000_000
MOST_SCHEDULES = 10_000
MOST_RATE = 20_000
MOST_PEAK = 100
BAR_EVERY, PLAIN_LINE_EVERY = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for, judged; spans in seconds."""

    iterations: int
    schedules: int
    cadence: float
    peak: float | None


def wanted(arguments: argparse.Namespace) -> Wanted:
    """The options as numbers; raises UsageError for what cannot be driven."""
    _require("--iterations", arguments.iterations, 1, MOST_ITERATIONS)
    _require("--schedules", arguments.schedules, 1, MOST_SCHEDULES)
    if arguments.rate is not None and arguments.cadence is not None:
        raise UsageError("loadtest.rate_and_cadence")
    if arguments.rate is not None:
        _require("--rate", arguments.rate, 0.01, MOST_RATE)
        cadence = arguments.schedules / arguments.rate
    else:
        cadence = parse_duration(arguments.cadence or "100ms").total_seconds()
    if arguments.plot not in (None, "-") and Path(arguments.plot).suffix not in (".svg", ".png"):
        raise UsageError("loadtest.bad_plot", value=arguments.plot)
    return Wanted(arguments.iterations, arguments.schedules, cadence, _peak(arguments.peak))


def _peak(text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)x?", text.strip())
    if found is None or not 1.0 < float(found[1]) <= MOST_PEAK:
        raise UsageError("loadtest.bad_peak", value=text)
    return float(found[1])


def _require(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError("loadtest.bad_count", option=option, value=str(value), least=least, most=most)


def baseline(path: Path | None) -> Mapping[str, Any] | None:
    """The earlier report; raises UsageError `loadtest.bad_baseline`, and what reading a file raises."""
    if path is None:
        return None
    from stage4 import files

    found = files.parse_json(files.read_limited(path), path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or "measured" not in found:
        raise UsageError("loadtest.bad_baseline", path=path)
    return found


def incident_open(installation: Installation) -> bool:
    """Whether the service holds an incident that is not over; one that does not answer knows of none."""
    from stage4.app.client import ServiceClient
    from stage4.errors import Stage4Error

    if not installation.path(installation.settings.operations.service.socket).exists():
        return False
    try:
        found = ServiceClient(installation).get("/v1/incidents").get("incidents")
    except Stage4Error:
        return False
    listed = found if isinstance(found, list) else []
    return any(isinstance(each, dict) and each.get("state") in ("triggered", "acknowledged") for each in listed)


def fingerprint() -> dict[str, object]:
    """The machine and the program that the numbers belong to."""
    import platform

    import psutil

    from stage4 import __version__

    return {
        "stage4": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": psutil.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
    }


def _processor() -> str:
    """Its name as the kernel tells it; empty where it does not."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", told, re.MULTILINE)
    return found[1].strip() if found else ""


def draw(target: str, report: Mapping[str, Any], lang: Language) -> None:
    """The picture of `report`: on stderr for `-`, else into the file; raises Unavailable `files.cannot_write`."""
    from stage4 import files
    from stage4.runtime import loadtest_picture

    if target == "-":
        for line in loadtest_picture.text(report, lang):
            _run.say(line)
        return
    picture = loadtest_picture.svg(report, lang)
    content = picture.encode()
    if target.endswith(".png"):
        from stage4.monitoring.panel_picture import drawn

        content = drawn(picture)
    files.atomic_write(Path(target), content)


class ProgressLine:
    """Says how far the run is: a line that renews itself on a terminal, a line every 30 s elsewhere.

    In a thread of its own, so that a terminal that takes nothing makes no schedule late.
    """

    def __init__(self, progress: Progress, lang: Language) -> None:
        self._progress = progress
        self._lang = lang
        self._terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)

    def __enter__(self) -> ProgressLine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(BAR_EVERY)
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        while not self._ended.wait(BAR_EVERY if self._terminal else PLAIN_LINE_EVERY):
            seen = self._progress
            line = words.text(
                "loadtest.progress",
                self._lang,
                done=seen.dispatched,
                expected=seen.expected,
                missed=seen.missed,
                worst=words.number(seen.worst_ns / 1e6, self._lang, 1),
            )
            if self._terminal:
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            else:
                _run.say(line)


def phases(chosen: Wanted, seed: int) -> list[LoadPlan]:
    """The plan, and that of the peak."""
    from stage4.runtime.loadtest_run import LoadPlan

    cadences = [chosen.cadence, *([chosen.cadence / chosen.peak] if chosen.peak else [])]
    return [LoadPlan(chosen.iterations, chosen.schedules, cadence, seed) for cadence in cadences]
