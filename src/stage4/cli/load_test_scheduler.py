"""
Drive a private copy of the scheduler with the real strategies, and judge latency and jitter.

Harmless to the running scheduler. Prints one document `stage4.load_test/1`, and writes it to `--output` too; exit 0
within the limits, 1 beyond a critical one, 3 when a schedule finished nothing that could be judged.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from stage4 import words
from stage4.cli import _answers, _run
from stage4.clock import SystemClock, format_duration, parse_duration
from stage4.errors import ExitCode, Stage4Error, UsageError

SCHEMA = "stage4.load_test/1"
MOST_ITERATIONS = 1_000_000
MOST_SCHEDULES = 10_000
EXIT_CODES = {
    "pass": ExitCode.DONE,
    "warn": ExitCode.DONE,
    "fail": ExitCode.NO,
    "cannot_tell": ExitCode.CANNOT_TELL,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    return _run.guarded(SCHEMA, lambda: _load_test(_arguments(argv)))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    from stage4.cli._arguments import Parser

    parser = Parser(prog="load_test_scheduler.py", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--iterations", type=int, default=30, help="counted slots of each schedule (30)")
    parser.add_argument("--schedules", type=int, default=3, help="how many schedules (3)")
    parser.add_argument("--cadence", default="100ms", metavar="DURATION", help="time between two slots (100ms)")
    parser.add_argument("--seed", type=int, help="seed of the synthetic market (default: drawn, and reported)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the document here too")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    return parser.parse_args(argv)


def _load_test(arguments: argparse.Namespace) -> int:
    from stage4.config import find_root, load
    from stage4.ids import random_seed
    from stage4.runtime.loadtest import LoadPlan, run_load_test
    from stage4.runtime.loadtest_report import document

    _require("--iterations", arguments.iterations, MOST_ITERATIONS)
    _require("--schedules", arguments.schedules, MOST_SCHEDULES)
    _answers.require_free(arguments.output, SCHEMA)
    cadence = parse_duration(arguments.cadence)
    installation = load(find_root(arguments.root, os.environ, Path.cwd()))
    settings = installation.settings
    lang = _run.language(configured=settings.operations.language)
    plan = LoadPlan(
        iterations=arguments.iterations,
        schedules=arguments.schedules,
        cadence_seconds=cadence.total_seconds(),
        seed=random_seed() if arguments.seed is None else arguments.seed,
    )
    _run.say(
        words.text(
            "loadtest.begins",
            lang,
            schedules=plan.schedules,
            iterations=plan.iterations,
            cadence=format_duration(cadence),
            seconds=round(plan.seconds),
        )
    )
    _run.terminate_as_interrupt()
    result = run_load_test(plan, settings, SystemClock())
    report = document(result, settings.operations.thresholds, settings.runtime.resource_limits, _fingerprint())
    verdict = cast("Mapping[str, str]", report["sla"])["verdict"]
    code, facts = f"loadtest.verdict_{verdict}", {"latency": report["max_latency_ms"], "jitter": report["jitter_ms"]}
    exit_code = EXIT_CODES[verdict]
    _run.say(words.text(code, lang, **facts))
    if hint := words.hint(code, lang, **facts):
        _run.say(f"hint: {hint}")
    report = {
        **report,
        "root": str(installation.root),
        "exit_code": int(exit_code),
        "code": code,
        "message": words.text(code, "en", **facts),
    }
    if arguments.output is not None:
        try:
            _run.save(report, arguments.output)
        except Stage4Error as error:
            # What was measured is not lost with the file: it still stands on stdout.
            _run.say_error(error, lang)
            exit_code = ExitCode(error.exit_code)
            report = {**report, "exit_code": int(exit_code), "output_error": {"code": error.code}}
    _run.emit(report)
    return exit_code


def _require(option: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError("loadtest.bad_count", option=option, value=value, most=most)


def _fingerprint() -> dict[str, object]:
    """The machine and the program that the numbers belong to."""
    import platform

    import psutil

    from stage4 import __version__

    return {
        "stage4": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": psutil.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
    }
