"""
How long people wait for a command, beside an interpreter that does nothing.

    python bench/bench_commands.py [--times 15]

`summary` is measured twice: until it says on stderr that its entry is on the disk, and until the process has ended.
Bytecode is compiled before anything is timed, as it is after the first call of an installation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.entry import Draft
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import create_keyring

HERE = Path(__file__).parents[1]
INCIDENT = "INC-20261123-0001"
ENTRIES = 2000
Timed = Callable[[Sequence[str], dict[str, str], Path], float]


def installation(folder: Path) -> None:
    """Settings, key ring and a log of some length; no service, as a summary must work without one."""
    (folder / "config").mkdir()
    (folder / "config" / "core.yaml").write_bytes((HERE / "config" / "core.yaml").read_bytes())
    path = folder / "audit" / "decision_logs" / "runtime.jsonl"
    path.parent.mkdir(parents=True)
    clock = SystemClock()
    ring = create_keyring(folder / "secrets" / "decision_log" / "keyring.json", clock.now())
    log = DecisionLog(path, ring, clock, origin="bench")
    draft = Draft("note_added", "stage4_incident", "L1", "noted", metadata={"incident_id": INCIDENT, "note": "a" * 200})
    log.append_many([draft] * ENTRIES)


def to_the_end(argv: Sequence[str], environ: dict[str, str], folder: Path) -> float:
    """Seconds until the process has ended."""
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit {done.returncode}")
    return took


def to_the_acknowledgement(argv: Sequence[str], environ: dict[str, str], folder: Path) -> float:
    """Seconds until the command says that its entry is in the log."""
    began = time.perf_counter()
    with subprocess.Popen(argv, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as command:
        assert command.stderr is not None
        took = 0.0
        for line in command.stderr:
            if line.startswith(b"entry "):
                took = time.perf_counter() - began
        if command.wait() or not took:
            raise SystemExit(f"{' '.join(argv)}: exit {command.returncode}, no acknowledgement")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15, help="how often each command is called")
    times = parser.parse_args().times
    scripts, stage4 = str(HERE / "scripts"), [sys.executable, "-m", "stage4"]
    summary = [sys.executable, f"{scripts}/verify_decision_log.py", "summary", "--incident", INCIDENT]
    append = ["log", "append", "--kind", "a", "--category", "b", "--stage", "c", "--status", "d"]
    measured: list[tuple[str, Sequence[str], Timed]] = [
        ("python -c pass (the floor)", [sys.executable, "-c", "pass"], to_the_end),
        ("summary, until acknowledged", summary, to_the_acknowledgement),
        ("summary, until ended", summary, to_the_end),
        ("stage4 --version", [*stage4, "--version"], to_the_end),
        ("stage4 log show", [*stage4, "log", "show"], to_the_end),
        ("stage4 log append", [*stage4, *append], to_the_end),
        ("stage4 log verify", [*stage4, "log", "verify"], to_the_end),
        (
            "disable_multi_strategy.py --help",
            [sys.executable, f"{scripts}/disable_multi_strategy.py", "--help"],
            to_the_end,
        ),
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("STAGE4_", "PYTHON"))}
    environ["STAGE4_LANG"] = "en"
    print(f"{'command':<34} {'best ms':>8} {'median':>8} {'x floor':>8}   ({times} calls, a log of {ENTRIES} entries)")
    floor = 0.0
    with tempfile.TemporaryDirectory() as folder:
        installation(Path(folder))
        for name, argv, timed in measured:
            timed(argv, environ, Path(folder))
            taken = sorted(timed(argv, environ, Path(folder)) * 1000 for _ in range(times))
            floor = floor or taken[0]
            print(f"{name:<34} {taken[0]:>8.1f} {statistics.median(taken):>8.1f} {taken[0] / floor:>8.1f}")


if __name__ == "__main__":
    main()
