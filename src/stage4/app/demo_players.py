"""
The people of the demonstration: L1, L2 and the Incident Manager play the whole playbook by themselves.

They use what real people use, the commands of the service and their own SSH keys, and accept nothing: a step that is
not accepted, a stop that is not confirmed, a closing that is refused or a log that does not verify ends it with 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from stage4.app.demo_stage import POLL_SECONDS, Stage
from stage4.app.evidence import lay_out
from stage4.errors import ExitCode, Refused, Unavailable
from stage4.incidents.wording import outcome_text
from stage4.runtime import enable, faults
from stage4.runtime.stop import ALL, wait_until_enabled
from stage4.security import sshsig
from stage4.security.demo_people import key_path
from stage4.words import Language

L1, L2, MANAGER = "l1-anna", "l2-marek", "im-zofia"
ENABLE_WAIT = timedelta(seconds=15)
# How much longer than planned a slow machine may take before the story counts as stuck.
PATIENCE = 4
LEAST_PATIENCE = timedelta(minutes=3)
DONE = ("accepted", "escalated", "skipped")
DIAGNOSIS = "*: ostrzeżenie znane, termin 7 dni; właściciel: l2-marek"

View = Mapping[str, Any]


class Stuck(Refused):
    """The story did not come to its end: an acceptance failed."""

    exit_code = ExitCode.NO


def play_all(stage: Stage, incident_id: str, span: timedelta) -> int:
    """Play the incident to its closing; 0, or 1 when any acceptance fails."""
    deadline = stage.clock.monotonic_ns() + int(max(span * PATIENCE, LEAST_PATIENCE).total_seconds() * 1e9)
    players = _Players(stage, incident_id, deadline)
    try:
        players.first_line()
        players.second_line()
        players.roll_back()
        players.close()
    except Refused as refusal:
        # What is refused here is an acceptance that failed, and the answer to that is no.
        raise Stuck(refusal.code, **refusal.params) from refusal
    return players.prove()


class _Players:
    def __init__(self, stage: Stage, incident_id: str, deadline_ns: int) -> None:
        self._stage = stage
        self._id = incident_id
        self._deadline_ns = deadline_ns

    def first_line(self) -> None:
        """L1: acknowledge, describe the panels, and let the five minutes run out."""
        self._act("ack", by=L1)
        self._until("L1.1", lambda view: _state(view, "L1.1") in DONE)
        self._until("L1.2", lambda view: _state(view, "L1.2") in DONE)
        self._until("L1.3", lambda view: _asks(view, "L1.3") or _state(view, "L1.3") in DONE)
        if _asks(self._look(), "L1.3"):
            self._act("answer", by=L1, step="L1.3", text="Panele w porządku, rośnie tylko czas pętli harmonogramu.")
        self._until("L1.4", lambda view: _state(view, "L1.4") in DONE)
        self._stage.tell("waiting_for_escalation")
        self._until("L1.5", lambda view: any(call["tier"] == "l2" for call in view["incident"]["calls"]))

    def second_line(self) -> None:
        """L2 confirms (see `_confirmed_calls`), the machine's steps run, a warning of the audit gets its diagnosis."""
        for step in ("L2.1", "L2.2", "L2.3", "L2.4"):
            # L2.2 may be not accepted here: then the decision to stop the scheduler is what the playbook asks for.
            ended = (*DONE, "not_accepted") if step == "L2.2" else DONE
            self._until(step, _ended(step, ended), diagnose=step)

    def roll_back(self) -> None:
        """Stop, wait for the scheduler's own word, mend, and enable again with two people's signatures."""
        self._act("answer", by=L2, step="L2.5", choice="disable", text=f"Opóźnienia pętli, {self._id}")
        self._until("L2.5", lambda view: (view["incident"]["stop"] or {}).get("confirmed_at") is not None)
        self._stage.tell("disabled")
        faults.clear(self._stage.installation)
        self._stage.tell("mended")
        self._enable()
        self._act("rollback-complete", by=L2)
        self._stage.tell("enabled")
        self._until("L2.2", lambda view: _state(view, "L2.2") in DONE)

    def close(self) -> None:
        """Resolve, sign the lists, sign over them, close."""
        self._until(None, lambda view: view["incident"]["alert_state"] != "firing")
        self._act("resolve", by=L2)
        for person, role in ((L1, "l1"), (L2, "l2"), (MANAGER, "incident_manager")):
            statement = self._act("statement", by=person, role=role)["statement"].encode("utf-8")
            armored = sshsig.sign(key_path(self._stage.installation.root, person), statement, sshsig.SIGN_OFF)
            self._act("sign", by=person, role=role, signature=armored)
        self._act("close", by=MANAGER)
        self._look()

    def prove(self) -> int:
        """Verify the log with the playbook's own command and lay the evidence out; the exit code of the story."""
        installation = self._stage.installation
        argv = [sys.executable, "scripts/verify_decision_log.py", str(installation.decision_log_path)]
        ended = subprocess.run(
            argv, cwd=installation.root, env=dict(self._stage.environ), capture_output=True, check=False
        )
        if ended.returncode != 0:
            self._stage.tell("log_broken", code=ended.returncode)
            return int(ExitCode.NO)
        verified = json.loads(ended.stdout)
        self._stage.tell("log_verified", n=int(verified["entries"]))
        folder = lay_out(installation, self._id, installation.path("var/evidence") / self._id)["path"]
        self._stage.tell("closed", id=self._id, folder=folder)
        return int(ExitCode.DONE)

    def _enable(self) -> None:
        stage = self._stage
        root, clock = stage.installation.root, stage.clock
        statement = enable.prepare(root, ALL.file_name, clock=clock)
        signatures = [
            (person, sshsig.sign(key_path(root, person), statement.message, sshsig.ENABLE)) for person in (L2, MANAGER)
        ]
        since = clock.boottime_ns()
        enable.submit(root, statement, signatures)
        word = wait_until_enabled(
            root, ALL.file_name, statement.stop_digest, timeout=ENABLE_WAIT, since_ns=since, clock=clock
        )
        if word.answer != "enabled":
            raise Stuck("demo.not_enabled", answer=word.answer)

    def _act(self, verb: str, /, **body: object) -> dict[str, Any]:
        return self._stage.act(self._id, verb, **body)

    def _look(self) -> View:
        self._stage.check()
        return self._stage.view(self._id)

    def _confirmed_calls(self, view: View) -> bool:
        """Whether somebody had to confirm a call: who is called answers, also again after a lapse."""
        pending = {call["tier"] for call in view["incident"]["calls"] if not call["confirmed_at"]}
        for tier, person in (("l2", L2), ("incident_manager", MANAGER)):
            if tier in pending:
                self._act("confirm", by=person)
        return bool(pending)

    def _until(self, step: str | None, reached: Callable[[View], bool], *, diagnose: str | None = None) -> None:
        """Wait for the incident to get there; a step that was not accepted is run once more, as people would."""
        repeated = False
        while True:
            view = self._look()
            if self._stage.clock.monotonic_ns() > self._deadline_ns:
                raise Stuck("demo.stuck", step=step or "–", state=_state(view, step) if step else "–")
            if self._confirmed_calls(view):
                continue
            if reached(view):
                return
            if diagnose and _asks(view, diagnose):
                self._act("answer", by=L2, step=diagnose, text=DIAGNOSIS)
            elif step and _state(view, step) == "not_accepted":
                if repeated:
                    raise Stuck("demo.not_accepted", step=step, outcome=_outcome(view, step, self._stage.lang))
                repeated = True
                self._act("run", by=L2, step=step)
            self._stage.clock.sleep(POLL_SECONDS)


def _ended(step: str, states: tuple[str, ...]) -> Callable[[View], bool]:
    return lambda view: _state(view, step) in states


def _row(view: View, step: str) -> View:
    found: View | None = next((row for row in view["steps"] if row["step"]["id"] == step), None)
    if found is None:
        raise Unavailable("demo.no_step", step=step)
    return found


def _state(view: View, step: str) -> str:
    return str(_row(view, step)["record"]["state"])


def _outcome(view: View, step: str, lang: Language) -> str:
    record = _row(view, step)["record"]
    return outcome_text(str(record["outcome"]), record["params"], lang)


def _asks(view: View, step: str) -> bool:
    return bool(_row(view, step)["asks"])
