"""The gate against a model: whatever happens in which order, a stop of all holds until a valid order."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stage4.errors import Refused
from stage4.runtime import enable
from stage4.runtime.latch import GATE_FILE, UNPLACED, latch_stop
from stage4.runtime.stop import ALL, Scope, ScopeKind, request_stop
from support.gates import EWA_AND_JAN, ask, make_site, people, signers

SCHEDULES = ("s1", "s2")
BAD_PAIRS = (("im-ewa",), ("im-ewa", "im-ewa"), ("l2-jan", "l1-ola"), ("im-ewa", "nobody"))


def _signed(names: tuple[str, ...]) -> list:  # type: ignore[type-arg]
    return [("nobody", signers("l2-jan")[0][1]) if name == "nobody" else signers(name)[0] for name in names]


class GateMachine(RuleBasedStateMachine):
    """`stopped`: a stop of all was seen since the last valid order; `parts`: schedules stopped alone."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.site = make_site(self.root)
        self.gate = self.site.gate()
        self.stopped = False
        self.parts: set[str] = set()

    def teardown(self) -> None:
        self.gate.close()
        shutil.rmtree(self.root)

    def _make_file(self, content: bytes) -> None:
        with contextlib.suppress(FileExistsError), open(self.site.wide_file, "xb") as target:
            target.write(content)
        self.stopped = True

    @rule()
    def stop_all(self) -> None:
        request_stop(self.root, reason="r", clock=self.site.clock)
        self.stopped = True

    @rule(schedule=st.sampled_from(SCHEDULES))
    def stop_one(self, schedule: str) -> None:
        request_stop(self.root, scope=Scope(ScopeKind.SCHEDULE, schedule), reason="r", clock=self.site.clock)
        self.parts.add(schedule)

    @rule()
    def stop_without_a_file(self) -> None:
        latch_stop(self.root / GATE_FILE, ALL.file_name, "", UNPLACED, self.site.clock)
        self.gate.refresh()
        self.stopped = True

    @rule()
    def miss_something_and_look(self) -> None:
        self.gate.distrust()
        assert not ask(self.gate).open
        self.gate.refresh()

    @rule(content=st.sampled_from([b"", b"{", b"\xff", b"{}"]) | st.binary(max_size=8))
    def write_garbage(self, content: bytes) -> None:
        self._make_file(content)

    @rule()
    def remove_files_by_hand(self) -> None:
        for file in self.site.overrides.glob("multi_strategy_disable*"):
            file.unlink()

    @rule()
    def overwrite_by_hand(self) -> None:
        self.site.wide_file.write_bytes(b"something else")
        self.stopped = True

    @rule()
    def stop_and_remove_before_the_gate_looks(self) -> None:
        request_stop(self.root, reason="r", clock=self.site.clock)
        with contextlib.suppress(FileNotFoundError):
            self.site.wide_file.unlink()
        self.gate.refresh()
        self.stopped = True

    @rule()
    def lose_the_memory(self) -> None:
        # A part's file and the memory of it lost within one second are more than the gate can know.
        self.gate.refresh()
        (self.root / GATE_FILE).unlink(missing_ok=True)
        self.gate.refresh()
        self.stopped = True

    @rule()
    def replace_the_directory(self) -> None:
        shutil.rmtree(self.site.overrides)
        self.site.overrides.mkdir()
        self.gate.refresh()
        self.stopped = True

    @rule()
    def restart(self) -> None:
        self.gate.close()
        self.gate = self.site.gate()

    @rule()
    def refresh(self) -> None:
        self.gate.refresh()

    @rule(minutes=st.integers(1, 5000))
    def time_passes(self, minutes: int) -> None:
        self.site.clock.sleep(minutes * 60)

    @rule(names=st.sampled_from(BAD_PAIRS))
    def order_without_proof(self, names: tuple[str, ...]) -> None:
        with contextlib.suppress(Refused):
            enable.request_enable(self.root, signers=_signed(names), clock=self.site.clock)
        assert all(result.outcome != "accepted" for result in self.gate.apply_orders(people()))

    @precondition(lambda self: self.stopped)
    @rule()
    def enable_all(self) -> None:
        self.gate.refresh()
        enable.request_enable(self.root, signers=signers(*EWA_AND_JAN), clock=self.site.clock)
        outcomes = [result.outcome for result in self.gate.apply_orders(people())]
        assert "accepted" in outcomes
        self.stopped = False

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def enable_one(self, data: st.DataObject) -> None:
        schedule = data.draw(st.sampled_from(sorted(self.parts)))
        self.gate.refresh()
        name = Scope(ScopeKind.SCHEDULE, schedule).file_name
        enable.request_enable(self.root, signers=signers(*EWA_AND_JAN), file_name=name, clock=self.site.clock)
        assert "accepted" in [result.outcome for result in self.gate.apply_orders(people())]
        self.parts.discard(schedule)

    @invariant()
    def never_open_while_a_stop_holds(self) -> None:
        for schedule in SCHEDULES:
            verdict = ask(self.gate, schedule)
            if os.path.lexists(self.site.wide_file):
                assert not verdict.open
            assert verdict.open is not (self.stopped or schedule in self.parts), verdict.reason_code


TestGateStateMachine = GateMachine.TestCase
TestGateStateMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
