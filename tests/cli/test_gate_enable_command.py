"""`stage4 enable`: a refusal by the scheduler is told as one, not as a silence."""

from __future__ import annotations

import threading
from pathlib import Path

from stage4.app.installing import create
from stage4.cli import main
from stage4.clock import SystemClock
from stage4.errors import ExitCode
from stage4.runtime.gate import Gate
from stage4.runtime.stop import request_stop
from stage4.security.people import People


def test_an_order_without_an_incident_manager_is_refused_with_exit_4(tmp_path: Path) -> None:
    clock, root = SystemClock(), tmp_path / "desk"
    create(root, clock)
    request_stop(root, reason="drill", clock=clock)
    done = threading.Event()

    def schedule() -> None:
        gate = Gate(root, "desk", clock)
        while not done.is_set() and not gate.apply_orders(People.load(root / "ops/operators.yaml")):
            done.wait(0.02)
        gate.close()

    scheduler = threading.Thread(target=schedule)
    scheduler.start()
    try:
        keys = [f"{person}={root / 'secrets/people' / person}" for person in ("l2-marek", "l2-ewa")]
        signers = [part for key in keys for part in ("--signer", key)]
        code = main(["--root", str(root), "enable", *signers, "--wait", "2s"])
    finally:
        done.set()
        scheduler.join()
    assert code == ExitCode.REFUSED
    assert (root / "var/runtime/overrides/multi_strategy_disable.json").exists()


def test_the_same_person_twice_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    clock, root = SystemClock(), tmp_path / "desk"
    create(root, clock)
    request_stop(root, reason="drill", clock=clock)
    signer = f"im-zofia={root / 'secrets/people/im-zofia'}"
    code = main(["--root", str(root), "enable", "--signer", signer, "--signer", signer])
    assert code == ExitCode.REFUSED
    assert [path.name for path in (root / "var/runtime/overrides").iterdir()] == ["multi_strategy_disable.json"]
