"""The incident service in trouble: strangers, nonsense, a full disk and SIGKILL; what it acknowledged is kept."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.installation import Installed, Running, collect, listening

WEBHOOK = "/api/v1/alerts/alertmanager"
SIGNALS = "/api/v1/signals"
VERIFY = "python scripts/verify_decision_log.py audit/decision_logs/runtime.jsonl"
STARTS = "2026-11-23T09:00:00Z"


def fingerprint(scheduler: str) -> str:
    return hashlib.sha256(scheduler.encode()).hexdigest()[:16]


def delivery(scheduler: str) -> dict[str, Any]:
    """A webhook of version 4 with one alert that is a cause of its own."""
    labels = {
        "alertname": "Stage4LoopLatencyHigh",
        "severity": "critical",
        "kind": "latency",
        "scheduler": scheduler,
        "installation": "desk",
    }
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "slow"},
        "startsAt": STARTS,
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": fingerprint(scheduler),
        "generatorURL": "",
    }
    return {
        "version": "4",
        "groupKey": f"{{}}:{scheduler}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "stage4-critical",
        "groupLabels": {},
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
        "alerts": [alert],
    }


def post(desk: Installed, path: str, content: bytes, **headers: str) -> httpx.Response:
    return httpx.post(desk.page + path, content=content, headers=headers, timeout=20.0, trust_env=False)


def deliver(desk: Installed, scheduler: str) -> httpx.Response:
    return post(desk, WEBHOOK, json.dumps(delivery(scheduler)).encode(), **desk.tokens)


def concerned(desk: Installed, scheduler: str) -> list[str]:
    """The incidents that hold the alert of `scheduler`."""
    with closing(sqlite3.connect(f"file:{desk.root / 'var/stage4.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("select incident_id from alerts where fingerprint = ?", (fingerprint(scheduler),))
        return [row[0] for row in rows]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with Installed.make(tmp_path_factory.mktemp("service") / "desk") as installed:
        yield installed


@pytest.fixture(scope="module")
def service(desk: Installed) -> Running:
    return desk.serve()


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Installed]:
    with Installed.make(tmp_path / "idle") as installed:
        yield installed


@pytest.mark.parametrize("path", [WEBHOOK, SIGNALS])
@pytest.mark.parametrize("authorization", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}])
def test_a_stranger_is_refused_and_leaves_nothing(
    desk: Installed, service: Running, path: str, authorization: dict[str, str]
) -> None:
    answer = post(desk, path, json.dumps(delivery("stranger")).encode(), **authorization)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"].startswith("security.token_")
    assert concerned(desk, "stranger") == []


@pytest.mark.parametrize("path", [WEBHOOK, SIGNALS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        b"[]",
        b'{"version": "3", "alerts": []}',
        b'{"version": "4", "alerts": [{}]}',
        b"[" * 9999,
    ],
)
def test_nonsense_of_a_known_sender_is_kept_aside_and_not_sent_for_ever(
    desk: Installed, service: Running, path: str, body: bytes
) -> None:
    answer = post(desk, path, body, **desk.tokens)
    assert answer.status_code == 200
    assert answer.json()["quarantined"]
    with closing(sqlite3.connect(f"file:{desk.root / 'var/stage4.db'}?mode=ro", uri=True)) as database:
        kept = [row[0] for row in database.execute("select body from quarantine")]
    assert body in kept
    assert "Traceback" not in service.said


def test_a_repeated_delivery_is_one_incident(desk: Installed, service: Running) -> None:
    first, second = deliver(desk, "repeated"), deliver(desk, "repeated")
    assert (first.status_code, first.json()["new"]) == (200, 1)
    assert (second.status_code, second.json()["duplicates"]) == (200, 1)
    assert concerned(desk, "repeated") == first.json()["incidents"] == second.json()["incidents"]


def test_a_full_disk_is_503_until_there_is_room_and_nothing_is_lost_or_doubled(
    desk: Installed, service: Running
) -> None:
    assert deliver(desk, "before").status_code == 200
    with full_disk_of(service.pid):
        refused = deliver(desk, "during")
        assert refused.status_code == 503, "never 4xx: Alertmanager has to come again"
        assert refused.json()["exit_code"] == 3
        page = httpx.get(f"{desk.page}/", timeout=5.0, trust_env=False)
        assert page.status_code == 200
    again = desk.until(lambda: taken if (taken := deliver(desk, "during")).status_code == 200 else None, "room")
    assert concerned(desk, "during") == again.json()["incidents"]
    assert len(concerned(desk, "before")) == 1
    assert desk.entries(kind="incident_opened", stage="l1")
    assert desk.shell(VERIFY).code == 0
    assert service.process.poll() is None


@contextmanager
def full_disk_of(pid: int) -> Iterator[None]:
    """Nothing that this process writes may make a file longer than one byte."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_a_log_that_cannot_be_appended_is_503_and_the_database_keeps_nothing_of_it(
    desk: Installed, service: Running
) -> None:
    assert deliver(desk, "logged").status_code == 200
    aside = desk.log.with_suffix(".aside")
    desk.log.rename(aside)
    desk.log.mkdir()
    try:
        assert deliver(desk, "unlogged").status_code == 503
        assert concerned(desk, "unlogged") == []
    finally:
        desk.log.rmdir()
        aside.rename(desk.log)
    assert deliver(desk, "unlogged").status_code == 200
    assert len(concerned(desk, "unlogged")) == 1
    assert desk.shell(VERIFY).code == 0


def test_a_full_disk_refuses_the_summary_and_leaves_the_log_whole(desk: Installed, service: Running) -> None:
    (incident, *_) = deliver(desk, "summed").json()["incidents"]
    summary = f"python scripts/verify_decision_log.py summary --incident {incident}"
    assert desk.shell(summary).code == 0
    length = desk.log.stat().st_size
    # The shell counts in blocks of 512 bytes; the next whole one has no room for an entry.
    outcome = desk.shell(f"ulimit -f {length // 512} && {summary}")
    assert outcome.code == 3
    assert "audit/decision_logs/runtime.jsonl" in outcome.error
    assert outcome.hint
    assert outcome.document["error"]["code"] == "log.append_failed"
    assert "seq" not in outcome.document, "nothing is acknowledged"
    assert desk.shell(VERIFY).code == 0


def test_a_taken_port_is_said(idle: Installed) -> None:
    with listening(idle.port_base):
        outcome = idle.stage4("serve")
    assert outcome.code == 3
    assert str(idle.port_base) in outcome.error
    assert "ss -ltnp" in outcome.hint
    document = idle.stage4("--json", "incident", "list")
    assert document.code == 3
    assert document.document["error"]["code"] == "service.not_running"


def test_a_lost_token_is_said_at_the_start_because_monitoring_would_be_refused(idle: Installed) -> None:
    headers = idle.tokens
    (idle.root / "secrets/alertmanager.token").unlink()
    service = idle.serve()
    assert "token alertmanager grants nothing" in service.said
    assert post(idle, WEBHOOK, b"{}", **headers).status_code == 401


def test_a_second_service_is_refused(desk: Installed, service: Running) -> None:
    outcome = desk.stage4("serve")
    assert outcome.code == 4
    assert "already" in outcome.error
    assert service.process.poll() is None


def test_what_was_acknowledged_survives_sigkill(idle: Installed) -> None:
    chance = random.Random(20261123)
    acknowledged: dict[str, list[str]] = {}
    for round_ in range(3):
        service = idle.serve()
        killer = threading.Timer(chance.uniform(0.0, 0.1), service.process.kill)
        enough = chance.randint(1, 8)
        try:
            for number in range(10_000):
                if number == enough:
                    killer.start()
                scheduler = f"killed-{round_}-{number}"
                answer = deliver(idle, scheduler)
                assert answer.status_code == 200
                acknowledged[scheduler] = answer.json()["incidents"]
        except httpx.TransportError:
            assert service.end() == -signal.SIGKILL
        finally:
            killer.cancel()
    assert len(acknowledged) >= 3
    idle.serve()
    assert {scheduler: concerned(idle, scheduler) for scheduler in acknowledged} == acknowledged
    # What a kill left between log and database never happened, is taken back at the start, and its number is free.
    voided = {entry["metadata"]["voided_seq"] for entry in idle.entries(kind="void")}
    entries = [entry for entry in idle.entries(kind="incident_opened") if entry["seq"] not in voided]
    opened = [entry["metadata"]["incident_id"] for entry in entries]
    assert {incident for incidents in acknowledged.values() for incident in incidents} <= set(opened)
    assert len(opened) == len(set(opened)), "none is opened twice"
    assert idle.shell(VERIFY).code == 0


def test_appends_that_are_killed_in_the_middle_lose_nothing_acknowledged(idle: Installed) -> None:
    chance = random.Random(11)
    summary = "exec python scripts/verify_decision_log.py summary --incident INC-20261123-0001"
    assert idle.shell(summary).code == 0
    told: list[dict[str, Any]] = []
    for _ in range(4):
        writers: list[subprocess.Popen[str]] = [idle.type(summary) for _ in range(3)]
        time.sleep(chance.uniform(0.1, 0.3))  # so that the kill falls into the middle of the work
        for writer in writers[1:]:
            writer.kill()
        outcomes = [collect(writer) for writer in writers]
        assert outcomes[0].code == 0, "nobody's death keeps the log locked"
        told += [outcome.document for outcome in outcomes if outcome.code == 0]
    entries = {entry["seq"]: entry for entry in idle.entries()}
    assert all(entries[document["seq"]] == document["entry"] for document in told)
    assert idle.shell(VERIFY).code == 0
