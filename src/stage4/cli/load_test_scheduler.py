"""
Drive a private copy of the scheduler with the real strategies, and judge latency and jitter.

Harmless to the running scheduler. In an incident, or with `--attach`, the running scheduler's last ten minutes are
judged too, and the worse verdict counts. Prints one document `stage4.load_test/1`, and writes it to `--output` too;
exit 0 within the limits, 1 beyond a critical one, 3 when something could not be judged.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stage4 import words
from stage4.cli import _answers, _load_test, _run
from stage4.cli._load_test import SCHEMA
from stage4.clock import SystemClock, format_duration
from stage4.errors import ExitCode, Stage4Error
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.runtime.loadtest_compare import Comparison
    from stage4.runtime.loadtest_report import Phase, Sentence
    from stage4.runtime.loadtest_running import Running
    from stage4.runtime.loadtest_sla import Verdict

EXIT_CODES = {
    "pass": ExitCode.DONE,
    "warn": ExitCode.DONE,
    "fail": ExitCode.NO,
    "cannot_tell": ExitCode.CANNOT_TELL,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    return _run.guarded(SCHEMA, lambda: _load_test_run(_arguments(argv)))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    from stage4.cli._arguments import Parser

    parser = Parser(prog="load_test_scheduler.py", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--iterations", type=int, default=30, help="counted slots of each schedule (30)")
    parser.add_argument("--schedules", type=int, default=3, help="how many schedules (3)")
    parser.add_argument("--cadence", metavar="DURATION", help="time between two slots (100ms)")
    parser.add_argument("--rate", type=float, metavar="N", help="fires per second of all schedules together")
    parser.add_argument("--peak", metavar="2x", help="a second run at that multiple of the rate; it counts too")
    parser.add_argument("--attach", action="store_true", help="judge the running scheduler's last ten minutes too")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier report; being worse is a no")
    parser.add_argument("--plot", metavar="FILE", help="draw the distributions: .svg, .png, or - for text on stderr")
    parser.add_argument("--seed", type=int, help="seed of the synthetic market (default: drawn, and reported)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the document here too")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    return parser.parse_args(argv)


def _load_test_run(arguments: argparse.Namespace) -> int:
    from stage4.config import find_root, load
    from stage4.ids import random_seed
    from stage4.runtime.loadtest_report import document, sentences, verdicts_of
    from stage4.runtime.loadtest_sla import worst

    chosen = _load_test.wanted(arguments)
    before = _load_test.baseline(arguments.compare)
    _answers.require_free(arguments.output, SCHEMA, arguments.compare)
    if arguments.plot not in (None, "-"):
        _answers.require_free(Path(arguments.plot), _answers.PICTURE, arguments.compare)
    installation = load(find_root(arguments.root, os.environ, Path.cwd()))
    operations = installation.settings.operations
    lang = _run.language(configured=operations.language)
    fingerprint = _load_test.fingerprint()
    seed = random_seed() if arguments.seed is None else arguments.seed
    phases = _drive(chosen, seed, installation, lang)
    running = _look(installation, lang) if arguments.attach or _load_test.incident_open(installation) else None
    report = document(
        phases, running, operations.thresholds, installation.settings.runtime.resource_limits, fingerprint
    )
    verdicts: dict[str, Verdict] = verdicts_of(phases, running, operations.thresholds)
    said = sentences(phases, running, operations.thresholds)
    if before is not None:
        from stage4.runtime.loadtest_compare import compare

        comparison = compare(before, report)
        verdicts["comparison"] = comparison.verdict
        report["comparison"] = {"baseline": str(arguments.compare), **comparison.document()}
        said.append(_compared(comparison, arguments.compare))
    verdict = worst(verdicts.values())
    cast("dict[str, object]", report["sla"]).update(verdict=verdict, parts=verdicts)
    return _tell(arguments, installation, lang, report, verdicts, said)


def _drive(chosen: _load_test.Wanted, seed: int, installation: Installation, lang: Language) -> list[Phase]:
    """Run what is wanted, and say so."""
    from stage4.runtime.loadtest import run_load_test
    from stage4.runtime.loadtest_report import Phase
    from stage4.runtime.loadtest_run import Progress

    _run.terminate_as_interrupt()
    done = []
    for name, plan in zip(("private", "peak"), _load_test.phases(chosen, seed), strict=False):
        facts = {
            "schedules": plan.schedules,
            "iterations": plan.iterations,
            "cadence": format_duration(timedelta(seconds=plan.cadence_seconds)),
            "seconds": math.ceil(plan.seconds),
            "peak": chosen.peak,
        }
        _run.say(
            words.text(
                "loadtest.begins" if name == "private" else "loadtest.begins_peak", lang, **_readable(facts, lang)
            )
        )
        progress = Progress()
        with _load_test.ProgressLine(progress, lang):
            done.append(Phase(name, run_load_test(plan, installation.settings, SystemClock(), progress=progress)))
    return done


def _look(installation: Installation, lang: Language) -> Running:
    """The running scheduler's last ten minutes; why they could not be had is said at once."""
    from stage4.runtime.loadtest_attach import look

    running, error = look(installation, SystemClock(), os.environ)
    if running.problem is not None:
        reason = _run.error_lines(error, lang)[0] if error is not None else words.text(running.problem, lang)
        _run.say(words.text("loadtest.running_unreached", lang, reason=reason.removeprefix("error: ")))
        if hint := words.hint(running.problem, lang, **(error.params if error is not None else {})):
            _run.say(f"hint: {hint}")
    return running


def _compared(comparison: Comparison, path: Path) -> Sentence:
    from stage4.runtime.loadtest_report import Sentence

    worse = [figure.figure for figure in comparison.figures if figure.change == "worse"]
    named = worse or [name for name, _, _ in comparison.differences]
    return Sentence(f"loadtest.compared_{comparison.verdict}", {"path": path, "figures": ", ".join(named) or "–"})


def _tell(
    arguments: argparse.Namespace,
    installation: Installation,
    lang: Language,
    report: dict[str, object],
    verdicts: Mapping[str, Verdict],
    said: Sequence[Sentence],
) -> int:
    """Say what it means, write what was asked for, print the document; the exit code."""
    from stage4.runtime.loadtest_report import verdict_code

    verdict = str(cast("Mapping[str, object]", report["sla"])["verdict"])
    code, exit_code = verdict_code(verdicts), EXIT_CODES[verdict]
    for sentence in said:
        _say(sentence.code, sentence.params, lang, sentence.phase)
    _say(code, _facts(report, verdicts, lang), lang)
    report |= {
        "root": str(installation.root),
        "exit_code": int(exit_code),
        "code": code,
        "message": words.text(code, "en", **_facts(report, verdicts, "en")),
        "statements": [
            {
                "phase": sentence.phase,
                "code": sentence.code,
                "message": words.text(sentence.code, "en", **_readable(sentence.params, "en")),
            }
            for sentence in said
        ],
    }
    for error in _unwritten(arguments, report, lang):
        # What was measured is not lost with a file: it still stands on stdout.
        _run.say_error(error, lang)
        exit_code = ExitCode(error.exit_code)
        report |= {"exit_code": int(exit_code), "output_error": {"code": error.code}}
    _run.emit(report)
    return exit_code


def _unwritten(arguments: argparse.Namespace, report: Mapping[str, object], lang: Language) -> Iterator[Stage4Error]:
    """Draw and save what was asked for; the errors of what could not be, each before the next is tried."""
    if arguments.plot is not None:
        try:
            _load_test.draw(arguments.plot, report, lang)
        except Stage4Error as error:
            yield error
    if arguments.output is not None:
        try:
            _run.save(report, arguments.output)
        except Stage4Error as error:
            yield error


def _facts(report: Mapping[str, object], verdicts: Mapping[str, str], lang: Language) -> dict[str, Any]:
    verdict = cast("Mapping[str, object]", report["sla"])["verdict"]
    parts = [words.text(f"loadtest.part_{part}", lang) for part, found in verdicts.items() if found == verdict]
    figures = {"latency": report["max_latency_ms"], "jitter": report["jitter_ms"]}
    return {"parts": ", ".join(parts), **_readable(figures, lang)}


def _say(code: str, params: Mapping[str, object], lang: Language, phase: str | None = None) -> None:
    shown = _readable(params, lang)
    where = f"{words.text(f'loadtest.part_{phase}', lang)}: " if phase else ""
    _run.say(where + words.text(code, lang, **shown))
    if hint := words.hint(code, lang, **shown):
        _run.say(f"hint: {hint}")


def _readable(params: Mapping[str, object], lang: Language) -> dict[str, Any]:
    """Numbers as people of that language write them; what was not measured is a dash."""
    shown: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            shown[name] = "–"
        elif isinstance(value, float):
            shown[name] = words.number(value, lang, 3).rstrip("0").rstrip(".,")
        else:
            shown[name] = value
    return shown
