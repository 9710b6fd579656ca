"""A scheduler that hangs: its watchdog stops and ends it, a person does so with one option, and it starts stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.installation import Installed


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Installed]:
    with Installed.make(tmp_path / "desk") as installed:
        installed.change(
            lambda settings: settings["operations"].update(
                watchdog={"look_every": "100ms", "stop_after": "2s", "kill_after": "2s"}
            )
        )
        yield installed


def test_the_watchdog_stops_a_hung_scheduler_and_ends_it_and_the_next_start_is_stopped(desk: Installed) -> None:
    running = desk.run()
    watchdog = desk.start("watchdog", "--json", "watchdog")
    desk.until(lambda: (desk.root / "var/runtime/watchdog.json").exists() or None, "the watchdog's word", watchdog)
    again = desk.stage4("watchdog")
    assert (again.code, str(watchdog.pid) in again.error) == (4, True)
    children = psutil.Process(running.pid).children(recursive=True)

    running.process.send_signal(signal.SIGSTOP)
    desk.until(lambda: desk.stop_file.exists() or None, "the stop", watchdog)
    shown = desk.stage4("--json", "override", "show").document
    assert shown["stops"][0]["in_force"]["requested_by"] == "watchdog"
    assert shown["watchdog"]["pid"] == watchdog.pid
    desk.until(lambda: running.process.poll(), "the end of the hung scheduler", watchdog)
    assert running.process.returncode == -signal.SIGKILL
    desk.until(lambda: desk.entries(kind="scheduler_killed") or None, "the entry", watchdog)
    assert desk.entries(kind="scheduler_stop_requested")[0]["metadata"]["requested_by"] == "watchdog"
    desk.until(lambda: not any(map(psutil.Process.is_running, children)) or None, "the end of its children")

    after = desk.run()
    assert (desk.word()["state"], desk.word()["signals_submitted"]) == ("disabled", 0)
    assert desk.enable("l2-marek", "im-zofia").code == 0
    assert after.process.poll() is None
    assert watchdog.end() == 0
    document = json.loads(watchdog.said[watchdog.said.index('{\n  "schema"') :].rpartition("}\n")[0] + "}")
    assert [deed["deed"] for deed in document["deeds"]] == ["stop", "kill"]
    assert document["unlogged"] == 0


def test_a_person_ends_a_hung_scheduler_with_one_option(desk: Installed) -> None:
    running = desk.run()
    running.process.send_signal(signal.SIGSTOP)
    outcome = desk.shell("python scripts/disable_multi_strategy.py --reason drill --kill-after 500ms")
    assert (outcome.code, outcome.document["code"]) == (0, "kill.killed"), outcome.err
    assert running.process.wait(10) == -signal.SIGKILL
    assert desk.stop_file.exists()
    assert desk.entries(kind="scheduler_killed")[0]["artefacts"]["pid"] == running.pid


def test_what_the_scheduler_says_of_a_stop_is_in_the_log(desk: Installed) -> None:
    desk.run()
    assert desk.stage4("disable", "--reason", "drill", "--requested-by", "l2-marek").code == 0
    kinds = ("scheduler_stop_requested", "scheduler_stop_acknowledged", "scheduler_stop_verified")
    desk.until(lambda: all(desk.entries(kind=kind) for kind in kinds) or None, "the entries")
    requested, acknowledged, verified = (desk.entries(kind=kind)[0] for kind in kinds)
    assert requested["metadata"]["requested_by"] == "l2-marek"
    assert requested["timestamp"] <= acknowledged["timestamp"] <= verified["timestamp"]
    digest = requested["artefacts"]["override_sha256"]
    assert {acknowledged["artefacts"]["stop_digest"], verified["artefacts"]["stop_digest"]} == {digest}
    assert desk.stage4("log", "verify").code == 0
