"""What opens the gate, and the many things that do not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from stage4 import words
from stage4.runtime.gate import FILELESS
from stage4.runtime.latch import GATE_FILE
from stage4.runtime.stop import ALL, Scope, ScopeKind, request_stop, scope_of
from support.gates import INSTALLATION, Site, ask, make_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def test_an_empty_directory_opens_the_gate(site: Site) -> None:
    verdict = ask(site.gate())
    assert (verdict.open, verdict.reason_code) == (True, "gate.open")


def test_a_stop_closes_the_gate_at_the_next_question(site: Site) -> None:
    gate = site.gate()
    assert ask(gate).open
    receipt = request_stop(site.root, reason="INC-20261123-0001", clock=site.clock)
    verdict = ask(gate)
    assert (verdict.open, verdict.reason_code) == (False, "gate.stopped")
    assert verdict.stop is not None
    assert verdict.stop.digest == receipt.facts.digest
    assert not gate.alarms


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def _good_file_of(installation: str, scope: object = None, **changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        document = {
            "schema": "stage4.scheduler.override",
            "schema_version": "1.0",
            "id": "x",
            "installation_id": installation,
            "timestamp": "2026-11-23T09:00:00Z",
            "action": "disable_multi_strategy",
            "component": "multi_strategy",
            "scope": scope or {"kind": "all"},
            "reason": "r",
            **changes,
        }
        path.write_text(json.dumps(document))

    return write


WRONG_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.touch(), "gate.stop_empty"),
    "garbage": (lambda path: path.write_bytes(b"\xff\x00garbage"), "gate.stop_malformed"),
    "half-written": (lambda path: path.write_text('{"schema": "stage4.scheduler.ov'), "gate.stop_malformed"),
    "deeply nested": (lambda path: path.write_text("[" * 30_000), "gate.stop_malformed"),
    "too large": (lambda path: path.write_bytes(b" " * 100_000), "gate.stop_malformed"),
    "wrong schema": (_good_file_of(INSTALLATION, schema="stage6.scheduler.override"), "gate.stop_malformed"),
    "wrong action": (_good_file_of(INSTALLATION, action="enable"), "gate.stop_malformed"),
    "foreign": (_good_file_of("inst-2"), "gate.stop_foreign"),
    "renamed": (_good_file_of(INSTALLATION, {"kind": "tag", "name": "t9"}), "gate.stop_renamed"),
    "dangling link": (_link_to_nowhere, "gate.stop_unreadable"),
    "a directory": (lambda path: path.mkdir(), "gate.stop_unreadable"),
    "a pipe": (lambda path: os.mkfifo(path), "gate.stop_unreadable"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_wrong_override_file_stops_loudly(site: Site, kind: str) -> None:
    make, fault = WRONG_FILES[kind]
    gate = site.gate()
    make(site.wide_file)
    verdict = ask(gate)
    assert (verdict.open, verdict.reason_code) == (False, fault)
    assert gate.alarms == (fault,)


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_wrong_override_file_stops_from_the_start(site: Site, kind: str) -> None:
    make, fault = WRONG_FILES[kind]
    make(site.wide_file)
    assert ask(site.gate()).reason_code == fault


def test_a_file_removed_by_hand_does_not_re_enable(site: Site) -> None:
    gate = site.gate()
    request_stop(site.root, reason="r", clock=site.clock)
    assert not ask(gate).open
    site.wide_file.unlink()
    gate.refresh()
    assert ask(gate).reason_code == "gate.stop_vanished"
    assert gate.alarms == ("gate.stop_vanished",)
    assert ask(site.gate()).reason_code == "gate.stop_vanished", "nor does a restart"


def test_a_stop_that_no_scheduler_saw_survives_the_removal_of_its_file(site: Site) -> None:
    assert request_stop(site.root, reason="r", clock=site.clock).latched
    site.wide_file.unlink()
    assert ask(site.gate()).reason_code == "gate.stop_vanished"


def test_a_running_gate_hears_of_a_stop_whose_file_came_and_went_unseen(site: Site) -> None:
    gate = site.gate()
    request_stop(site.root, reason="r", clock=site.clock)
    site.wide_file.unlink()
    gate.refresh()
    assert not ask(gate).open


def test_an_expiry_never_re_enables(site: Site) -> None:
    gate = site.gate()
    request_stop(site.root, reason="r", expires_at=site.clock.now() + timedelta(minutes=1), clock=site.clock)
    site.clock.sleep(3600)
    gate.refresh()
    assert not ask(gate).open
    assert not ask(site.gate()).open


def test_without_its_memory_the_gate_stays_closed(site: Site) -> None:
    (site.root / GATE_FILE).unlink()
    assert ask(site.gate()).reason_code == "gate.latch_missing"
    assert ask(site.gate()).reason_code == "gate.latch_missing", "and remembers it"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"schema": "stage4.gate/2"}'])
def test_a_damaged_memory_stops_all_and_is_set_aside(site: Site, content: bytes) -> None:
    (site.root / GATE_FILE).write_bytes(content)
    assert ask(site.gate()).reason_code == "gate.latch_damaged"
    assert (site.root / GATE_FILE).with_suffix(".damaged").read_bytes() == content


def test_a_foreign_memory_stops_all(site: Site) -> None:
    memory = site.root / GATE_FILE
    memory.write_text(memory.read_text().replace(INSTALLATION, "inst-2"))
    assert ask(site.gate()).reason_code == "gate.latch_foreign"


def test_a_missing_directory_stops_all_and_its_return_does_not_re_enable(site: Site) -> None:
    gate = site.gate()
    site.overrides.rmdir()
    assert ask(gate).reason_code == "gate.directory_missing"
    site.overrides.mkdir()
    gate.refresh()
    assert not ask(gate).open
    assert ask(site.gate()).reason_code == "gate.directory_missing"


def test_a_replaced_directory_stops_all(site: Site) -> None:
    gate = site.gate()
    site.overrides.rename(site.overrides.with_name("elsewhere"))
    site.overrides.mkdir()
    assert ask(gate).reason_code == "gate.directory_replaced"


def test_a_stop_inside_a_directory_that_was_moved_away_still_counts(site: Site) -> None:
    gate = site.gate()
    request_stop(site.root, reason="r", clock=site.clock)
    site.overrides.rename(site.overrides.with_name("elsewhere"))
    shutil.copytree(site.overrides.with_name("elsewhere"), site.overrides)
    site.wide_file.unlink()
    assert not ask(gate).open


def test_a_linked_directory_stops_all(site: Site) -> None:
    site.overrides.rename(site.root / "real")
    site.overrides.symlink_to(site.root / "real")
    assert ask(site.gate()).reason_code == "gate.directory_missing"


def test_what_may_have_been_missed_closes_the_gate_until_it_has_looked(site: Site) -> None:
    gate = site.gate()
    gate.distrust()
    assert ask(gate).reason_code == "gate.unseen"
    gate.refresh()
    assert ask(gate).open
    assert gate.stops == {}, "nothing is remembered of it"


def test_the_moment_of_closing_is_kept_as_long_as_the_stop_is_in_force(site: Site) -> None:
    gate = site.gate()
    request_stop(site.root, reason="r", clock=site.clock)
    assert not ask(gate).open
    closed = dict(gate.closed_at)
    assert closed == {ALL.file_name: site.clock.now()}
    site.clock.sleep(5)
    gate.refresh()
    assert gate.closed_at == closed


def test_an_ended_gate_lets_nothing_through_and_remembers_nothing(site: Site) -> None:
    gate = site.gate()
    gate.close()
    assert ask(gate).reason_code == "gate.ended"
    assert ask(site.gate()).open


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        (Scope(ScopeKind.SCHEDULE, "s1"), ("s1", "a1", ())),
        (Scope(ScopeKind.STRATEGY, "a1"), ("s1", "a1", ())),
        (Scope(ScopeKind.TAG, "t/ą 1"), ("s1", "a1", ("t0", "t/ą 1"))),
    ],
)
def test_a_partial_stop_holds_its_part_and_nothing_else(
    site: Site, scope: Scope, stopped: tuple[str, str, tuple[str, ...]]
) -> None:
    gate = site.gate()
    request_stop(site.root, scope=scope, reason="r", clock=site.clock)
    assert ask(gate, *stopped).reason_code == "gate.stopped"
    assert ask(gate, "s2", "a2", ("t2",)).open
    gate.refresh()
    assert ask(gate, "s2", "a2", ("t2",)).open
    assert not ask(gate, *stopped).open


def test_a_partial_stop_never_blocks_a_wider_one(site: Site) -> None:
    gate = site.gate()
    request_stop(site.root, scope=Scope(ScopeKind.SCHEDULE, "s1"), reason="r", clock=site.clock)
    assert not request_stop(site.root, reason="r", clock=site.clock).already
    assert not ask(gate, "s2", "a2", ()).open


def test_a_name_that_no_file_can_carry_is_still_held_by_wider_stops(site: Site) -> None:
    gate = site.gate()
    assert ask(gate, "s" * 300, "a1").open
    request_stop(site.root, reason="r", clock=site.clock)
    assert not ask(gate, "s" * 300, "a1").open


def test_a_file_of_an_unknown_name_alarms(site: Site) -> None:
    (site.overrides / "multi_strategy_disable.schedul.s1.json").touch()
    gate = site.gate()
    assert gate.alarms == ("gate.name_unrecognised",)


def test_a_memory_that_cannot_be_written_alarms_and_is_written_later(site: Site) -> None:
    gate = site.gate()
    memory = site.root / GATE_FILE
    lock = memory.with_suffix(".lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    site.wide_file.touch()
    assert not ask(gate).open
    assert "gate.latch_unwritten" in gate.alarms
    lock.rmdir()
    gate.refresh()
    assert gate.alarms == ("gate.stop_empty",)


@pytest.mark.parametrize("scope", [ALL, *(Scope(kind, "a.b/c") for kind in ScopeKind if kind is not ScopeKind.ALL)])
def test_a_file_name_means_the_scope_that_wrote_it(scope: Scope) -> None:
    assert scope_of(scope.file_name) == scope


def test_every_fault_has_words() -> None:
    for code in {*FILELESS, *(fault for _, fault in WRONG_FILES.values())}:
        assert words.text(code, "pl")
        assert words.text(code, "en")
