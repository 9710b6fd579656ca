"""SIGKILL between any two writing steps of stopping, latching and enabling."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.clock import SystemClock
from stage4.runtime import enable
from stage4.runtime.stop import request_stop
from support.gates import EWA_AND_JAN, Site, ask, make_site, people, signers

STEPS = frozenset({"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod"})
MOST_STEPS = 200


def killed_before_step(step: int, deed: Callable[[], object]) -> bool:
    """Run `deed` in a child that dies by SIGKILL before its `step`-th step on files; False when it lived to the end."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, _arguments: object) -> None:
            nonlocal left
            if event in STEPS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            deed()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def every_crash(tmp_path: Path, arrange: Callable[[Site], object], deed: Callable[[Site], object]):  # type: ignore[no-untyped-def]
    """A site after each possible crash of `deed`, and last one where it was not killed."""
    for step in range(MOST_STEPS):
        site = make_site(tmp_path / str(step), SystemClock())
        arrange(site)
        killed = killed_before_step(step, lambda here=site: deed(here))
        yield site
        if not killed:
            assert step > 3, "the deed has steps to be killed at"
            return
    pytest.fail(f"more than {MOST_STEPS} steps")


def _stop(site: Site) -> None:
    request_stop(site.root, reason="r", clock=site.clock)


def test_a_stop_that_was_killed_stands_whole_or_not_at_all_and_can_be_repeated(tmp_path: Path) -> None:
    for site in every_crash(tmp_path, lambda _: None, _stop):
        stands = site.wide_file.exists()
        verdict = ask(site.gate())
        assert verdict.open is not stands
        assert verdict.reason_code in ("gate.open", "gate.stopped")
        assert request_stop(site.root, reason="r", clock=site.clock).already is stands
        assert not ask(site.gate()).open


def test_a_gate_killed_while_it_remembers_a_stop_is_closed_after_the_restart(tmp_path: Path) -> None:
    for site in every_crash(tmp_path, lambda site: site.wide_file.touch(), lambda site: site.gate()):
        assert ask(site.gate()).reason_code == "gate.stop_empty"
        site.wide_file.unlink()
        assert not ask(site.gate()).open


def test_a_gate_killed_while_it_carries_out_an_order_finishes_it_once(tmp_path: Path) -> None:
    def arrange(site: Site) -> None:
        _stop(site)
        site.gate().close()
        enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)

    for site in every_crash(tmp_path, arrange, lambda site: site.gate().apply_orders(people())):
        gate = site.gate()
        if ask(gate).open:
            assert not site.wide_file.exists()
        outcomes = gate.apply_orders(people())
        assert all(result.outcome == "accepted" for result in outcomes)
        assert ask(gate).open
        assert not enable.pending_orders(site.root)
        _stop(site)
        assert not ask(gate).open, "a new stop after the crash counts"


def test_a_stop_made_while_an_order_was_being_carried_out_survives_the_crash(tmp_path: Path) -> None:
    def arrange(site: Site) -> None:
        _stop(site)
        site.gate().close()
        enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)

    for site in every_crash(tmp_path, arrange, lambda site: site.gate().apply_orders(people())):
        request_stop(site.root, reason="another", clock=site.clock)
        gate = site.gate()
        gate.apply_orders(people())
        assert not ask(gate).open, "whoever stops after the order wants it stopped"


def test_eight_stops_at_once_make_one_file_and_seven_say_already(tmp_path: Path) -> None:
    site = make_site(tmp_path, SystemClock())
    start_read, start_write = os.pipe()
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            os.read(start_read, 1)
            os._exit(10 + request_stop(site.root, reason="r", clock=site.clock).already)
        children.append(child)
    os.write(start_write, b"x" * 8)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(start_read)
    os.close(start_write)
    assert sorted(codes) == [10] + [11] * 7
    assert [file.name for file in site.overrides.iterdir()] == [site.wide_file.name]
    assert ask(site.gate()).reason_code == "gate.stopped"
