"""The order of one change: state and log together, or neither; what must not wait goes first and says so."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.decisionlog.entry import Draft, Receipt
from stage4.errors import Conflict, Refused, Unavailable, UsageError
from stage4.incidents import lookup
from stage4.incidents.effects import TimerKind
from stage4.incidents.incident import StepState
from stage4.incidents.pager import pause
from stage4.incidents.timers import Timer
from stage4.incidents.transaction import QUARANTINE_LIMIT
from stage4.testing.clock import ManualClock
from support.world import World


def test_when_the_log_is_full_nothing_happened_and_the_sender_tries_again(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.log.full = True
        with pytest.raises(Unavailable, match=r"log\.append_failed"):
            w.alert()
        assert w.engine.list() == []
        assert not w.inbox.received
        w.log.full = False
        assert w.alert() == "INC-20261123-0001"
        w.expect_notice("l1")


def test_an_act_that_cannot_be_logged_is_refused(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.alert()
        assert incident
        w.expect_notice("l1")
        w.log.full = True
        with pytest.raises(Unavailable):
            w.engine.acknowledge(incident, "l1-anna")
        assert w.incident(incident).owner is None
        assert w.step(incident, "L1.1").state is StepState.WAITING


def test_l2_is_called_in_time_although_the_log_is_full(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.log.full = True
        w.fast_forward(minutes=5)
        w.expect_notice("l2", "l2_called_lasts")
        assert [each.kind for each in w.engine.view(incident).timeline][-1] == "l2_called"
        assert w.engine.view(incident).unlogged == 1
        w.log.full = False
        w.fast_forward(seconds=1)
        assert w.engine.view(incident).unlogged == 0
        assert len(w.logged("l2_called")) == 1


def test_an_entry_whose_decision_never_came_into_force_is_voided_once(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        append = w.log.append_many

        def append_and_lose(drafts: tuple[Draft, ...]) -> tuple[Receipt, ...]:
            append(drafts)
            raise Unavailable("incident.storage_unavailable", reason="the process was killed before COMMIT")

        w.log.append_many = append_and_lose  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            w.alert()
        w.log.append_many = append  # type: ignore[method-assign]
        assert w.engine.list() == []
        w.restart()
        w.restart()
        [lost] = w.logged("incident_opened")
        [void] = w.logged("void")
        assert void.metadata["decision_id"] == lost.metadata["decision_id"]
        assert void.metadata["voided_seq"] == lost.seq


def test_an_entry_that_was_appended_before_a_crash_is_not_appended_again(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        w.log.full = True
        w.fast_forward(minutes=5)
        w.expect_notice("l2")
        with w.engine.core.view() as tx:
            [waiting] = tx.unlogged()
        w.log.full = False
        w.log.append(waiting.draft)
        w.restart()
        w.settle()
        assert len(w.logged("l2_called")) == 1
        assert w.engine.view(incident).unlogged == 0


def test_a_body_nobody_can_read_is_kept_and_the_quarantine_has_an_end(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        received = w.engine.receive_alertmanager(b"<xml/>")
        assert received.quarantined
        w.engine.tick()
        w.expect_notice("l1", "delivery_unread")
        w.engine.receive_signal(b"<xml/>")
        w.engine.tick()
        w.expect_nobody_called()
        with w.engine.core.store.write() as tx:
            for number in range(QUARANTINE_LIMIT + 5):
                tx.put_quarantine(w.clock.now(), "signal", "reason", b"%d" % number)
            assert tx.quarantined() == QUARANTINE_LIMIT


def test_two_who_change_the_same_revision_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        stale = w.incident(incident)
        w.engine.note(incident, "first", "l1-anna")
        with pytest.raises(Conflict), w.engine.core.store.write() as tx:
            tx.save(replace(stale, title="second"))


def test_a_notice_is_tried_again_with_a_growing_pause_and_never_dropped(tmp_path: Path) -> None:
    assert [pause(n) for n in (1, 2, 3, 20)] == [timedelta(seconds=s) for s in (1, 2, 4, 60)]
    with World(tmp_path) as w:
        w.inbox.fails = True
        incident = w.alert()
        assert incident
        w.fast_forward(seconds=30)
        w.inbox.fails = False
        w.fast_forward(seconds=60)
        notice = w.expect_notice("l1", "l1_called")
        assert notice.attempt > 1, "a repeat says that it is one"


def test_a_rejected_notice_is_seen_in_the_timeline(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.inbox.rejects = True
        incident = w.alert()
        assert incident
        rejected = [each for each in w.engine.view(incident).timeline if each.kind == "notice_rejected"]
        assert {each.params["target"] for each in rejected} == {"l1", "#ops-trading"}


def test_an_answer_that_comes_late_does_not_settle_a_newer_attempt(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.inbox.fails = True
        assert w.alert()
        w.clock.advance(minutes=2)
        now = w.clock.now()
        with w.engine.core.store.write() as tx:
            first = tx.claim_notices(now, now)[0]
        with w.engine.core.store.write() as tx:
            second = next(each for each in tx.claim_notices(now, now) if each.notice.key == first.notice.key)
            assert not tx.settle_notice(first, "delivered", "", now)
            assert tx.settle_notice(second, "delivered", "", now)
        w.inbox.received.clear()


def test_a_timer_counts_on_the_boot_clock_and_after_a_reboot_on_the_wall(tmp_path: Path) -> None:
    now = ManualClock().now()
    early, late = now - timedelta(hours=1), now + timedelta(hours=1)
    timer = Timer("INC", TimerKind.ESCALATE, now + timedelta(minutes=5), "boot-1", 300_000_000_000, 1)
    with World(tmp_path) as w, w.engine.core.store.write() as tx:
        tx.arm(timer)
        assert not tx.timers_wait(late, "boot-1", 299_999_999_999), "a wall clock set forward fires nothing early"
        assert tx.timers_wait(early, "boot-1", 300_000_000_000)
        assert not tx.timers_wait(now, "boot-2", 10**15)
        assert tx.timers_wait(late, "boot-2", 0)
        assert [each.kind for each in tx.claim_due(late, "boot-2", 0)] == [TimerKind.ESCALATE]
        assert not tx.timers_wait(late, "boot-2", 0), "it fires once"


def test_roles_are_held_and_strangers_are_refused(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        for act in (
            lambda: w.engine.acknowledge(incident, "po-iza"),
            lambda: w.engine.acknowledge(incident, "mallory"),
            lambda: w.engine.run_step(incident, "L2.2", "l1-anna"),
            lambda: w.engine.answer_step(incident, "L2.5", "l1-anna", choice="disable"),
            lambda: w.engine.not_applicable(incident, "over", "l2-marek"),
            lambda: w.engine.statement(incident, "incident_manager", "l1-anna"),
        ):
            with pytest.raises(Refused):
                act()
        for wrong in (
            lambda: w.engine.answer_step(incident, "L9.9", "l1-anna", text="x"),
            lambda: w.engine.answer_step(incident, "L2.5", "l2-marek", choice="maybe"),
            lambda: w.engine.open_manual(w.incident(incident).kind, " ", "l1-anna"),
        ):
            with pytest.raises(UsageError):
                wrong()
        with pytest.raises(Refused, match=r"incident\.unknown"):
            w.engine.view("INC-20261123-0999")


def test_what_a_crash_interrupted_runs_again_and_only_that(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        with w.engine.core.change() as unit:
            seen = unit.incident(incident)
            running = replace(seen.step("L1.3"), state=StepState.RUNNING)
            unit.apply((seen.with_step("L1.3", running), []))
        ran = len(w.commands.ran)
        w.restart()
        w.settle()
        assert w.step(incident, "L1.3").state is StepState.WAITING
        assert w.step(incident, "L1.3").attempt == 2
        assert len(w.commands.ran) == ran


def test_the_view_is_a_json_document_with_the_deadlines_as_instants(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        view = w.engine.view(incident)
        assert view.deadline == w.clock.now() + timedelta(minutes=5)
        document = json.loads(json.dumps(view.document()))
        assert document["schema"] == "stage4.incident/1"
        assert document["countdowns"][0] == {"kind": "escalate", "due_at": "2026-11-23T09:05:00Z"}
        asks = {each.step.id for each in view.steps if each.asks}
        assert asks == {"L1.3"}


def test_incidents_are_found_while_nobody_serves_them(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        from stage4.config.installation import Installation
        from stage4.config.settings import Settings

        there = Installation(tmp_path, Settings())
        nowhere = Installation(tmp_path / "empty", Settings())
        incident = w.opened()
        [found] = lookup.open_incidents(there)
        assert (found.id, found.ticket, found.kind, found.steps["L1.4"]) == (incident, incident, "latency", "accepted")
        assert lookup.find(there, "INC-20261123-0999") is None
        assert lookup.open_incidents(nowhere) == []
        with pytest.raises(Unavailable):
            lookup.find(nowhere, incident)


def test_an_attached_file_is_kept_by_digest_and_a_failed_audit_in_it_counts(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        incident = w.opened()
        plain = tmp_path / "thread.txt"
        plain.write_text("what the venue wrote")
        w.engine.attach(incident, plain, "l1-anna")
        [kept] = [each for each in w.engine.view(incident).artefacts if each.step == "attached"]
        assert w.engine.evidence.read(kept.sha256) == b"what the venue wrote"
        audit = tmp_path / "audit.json"
        audit.write_text(json.dumps({"schema": "stage4.audit/1", "status": "fail"}))
        w.engine.attach(incident, audit, "l1-anna")
        w.settle()
        w.expect_notice("l2", "l2_called_audit_fail")
        w.expect_notice("incident_manager")


def test_a_report_of_thousands_of_tokens_is_read_like_any_other(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.settle()
        report = tmp_path / "var/audit/acceptance/20261123T090100Z/stage4_support/compliance.json"
        report.parent.mkdir(parents=True)
        report.write_text(json.dumps({"schema": "stage4.audit/1", "status": "ok", "results": ["x" * 100] * 400_000}))
        assert report.stat().st_size > 39 << 20
        written = int((w.clock.now() + timedelta(minutes=1)).timestamp()) * 10**9
        os.utime(report, ns=(0, written))
        assert w.engine.audits.look() == 1
        assert w.engine.list() == []


def test_an_audit_that_anybody_ran_is_seen_by_its_report(tmp_path: Path) -> None:
    with World(tmp_path) as w:
        w.settle()
        report = tmp_path / "var/audit/acceptance/20261123T090100Z/stage4_support/compliance.json"
        report.parent.mkdir(parents=True)
        report.write_text(json.dumps({"schema": "stage4.audit/1", "status": "fail", "verdict": "cannot tell"}))
        os.utime(report, ns=(0, int((w.clock.now() + timedelta(minutes=1)).timestamp()) * 10**9))
        w.engine.audits.look()
        assert [each.source for each in w.engine.list()] == ["audit"]
        assert w.engine.audits.look() == 0
        w.restart()
        w.settle()
        assert len(w.engine.list()) == 1
        w.expect_notice("l1")
        w.expect_notice("l2")
        w.expect_notice("incident_manager")
