"""A scheduler in trouble: taken ports, no answer, refused certificates, two stops at once, a full disk, kills."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from stage4.security.demo_pki import create_bundle
from support.installation import Installed, Outcome, Running, answers, collect, listening

DISABLE = "python scripts/disable_multi_strategy.py --reason drill --ticket T-1"
WATCH = "python scripts/watch_metrics_stream.py --headers-report --duration 2s"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with Installed.make(tmp_path_factory.mktemp("scheduler") / "desk") as installed:
        yield installed


@pytest.fixture(scope="module")
def environment(desk: Installed) -> Running:
    return desk.run()


@pytest.fixture
def running(desk: Installed, environment: Running) -> Iterator[Running]:
    """The running environment, enabled before and after."""
    assert desk.word()["state"] == "enabled"
    yield environment
    if desk.word()["state"] != "enabled" or desk.stop_file.exists():
        assert desk.enable("l2-marek", "im-zofia").code == 0


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Installed]:
    """An installation in which nothing runs."""
    with Installed.make(tmp_path / "idle") as installed:
        yield installed


@pytest.mark.parametrize(("offset", "what"), [(1, "gRPC"), (2, "/metrics")])
def test_a_taken_port_keeps_the_environment_from_trading_unwatched(idle: Installed, offset: int, what: str) -> None:
    with listening(idle.port_base + offset):
        outcome = idle.stage4("run")
    assert outcome.code == 3, what
    assert f"127.0.0.1:{idle.port_base + offset}" in outcome.error
    assert "port" in outcome.hint
    assert idle.word() == {}, "no signal was evaluated"
    assert "is running" not in outcome.out


def test_a_second_environment_is_refused_and_the_first_goes_on(desk: Installed, running: Running) -> None:
    outcome = desk.stage4("run")
    assert outcome.code == 4
    assert str(running.pid) in outcome.error
    assert outcome.hint
    assert desk.word()["pid"] == running.pid


def test_nobody_answers_where_nothing_runs_and_the_next_start_is_stopped(idle: Installed) -> None:
    outcome = idle.shell(f"{DISABLE} --wait 300ms")
    assert (outcome.code, outcome.document["code"]) == (3, "stop.word_absent")
    assert idle.stop_file.exists()
    idle.run()
    assert (idle.word()["state"], idle.word()["signals_submitted"]) == ("disabled", 0)


def test_a_hung_scheduler_gives_no_word_and_obeys_when_it_wakes(desk: Installed, running: Running) -> None:
    running.process.send_signal(signal.SIGSTOP)
    try:
        outcome = desk.shell(f"{DISABLE} --wait 1s")
        assert (outcome.code, outcome.document["code"]) == (3, "stop.word_silent")
        assert outcome.document["scheduler"]["answer"] == "silent"
        assert outcome.hint
        assert desk.stop_file.exists()
    finally:
        running.process.send_signal(signal.SIGCONT)
    desk.until(lambda: desk.word()["state"] == "disabled" or None, "the word of the woken scheduler")
    assert desk.word()["signals_after_stop"] == 0


def test_a_killed_scheduler_leaves_no_process_and_its_last_word_does_not_count(idle: Installed) -> None:
    environment = idle.run()
    children = psutil.Process(environment.pid).children(recursive=True)
    assert len(children) >= 4, "telemetry and a worker for each strategy"
    environment.end(signal.SIGKILL)
    assert idle.word()["state"] == "enabled", "its last word lies"
    outcome = idle.shell(f"{DISABLE} --wait 300ms")
    assert (outcome.code, outcome.document["code"]) == (3, "stop.word_silent")
    assert idle.stop_file.exists()
    idle.until(lambda: not any(map(psutil.Process.is_running, children)) or None, "the end of its children")


def test_two_stops_at_once_both_succeed_and_leave_one_file(desk: Installed, running: Running) -> None:
    calls = [desk.type(DISABLE) for _ in range(2)]
    outcomes = [collect(call) for call in calls]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert sorted(outcome.document["already"] for outcome in outcomes) == [False, True]
    assert list(desk.stop_file.parent.glob("*disable*")) == [desk.stop_file]
    digests = {outcome.document["override"]["sha256"] for outcome in outcomes}
    assert digests == {desk.word()["override_digest"]}
    recorded = {outcome.document["decision_log"]["seq"] for outcome in outcomes}
    assert len(recorded) == 2, "each who asked is in the log"


def test_a_full_disk_does_not_prevent_a_stop(desk: Installed, running: Running) -> None:
    with full_disk():
        outcome = desk.shell(DISABLE)
    assert (outcome.code, outcome.document["scheduler"]["state"]) == (0, "disabled")
    assert desk.stop_file.read_bytes() == b"", "an empty file stops as well"
    warned = {warning["code"] for warning in outcome.document["warnings"]}
    assert {"stop.written_partly", "stop.unlogged"} <= warned
    assert outcome.document["decision_log"]["logged"] is False


@contextmanager
def full_disk(size: int = 0) -> Iterator[None]:
    """Commands started meanwhile cannot make a file longer than `size` bytes; pipes are no files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_killed_telemetry_process_is_started_again_and_the_scheduler_goes_on(
    desk: Installed, running: Running
) -> None:
    (telemetry,) = (child for child in psutil.Process(running.pid).children() if "_telemetry" in child.cmdline())
    heard = desk.word()["heartbeat_ns"]
    telemetry.kill()
    desk.until(lambda: not answers(desk.metrics) or None, "the gap")
    desk.until(lambda: answers(desk.metrics), "the exporter again", running)
    assert desk.word()["heartbeat_ns"] > heard
    assert "service.telemetry_restarted" in running.said
    assert "Traceback" not in running.said


def test_a_certificate_of_another_authority_is_refused(desk: Installed, running: Running, tmp_path: Path) -> None:
    """A client with a bundle of its own: it does not trust the service, and the service does not trust it."""
    with Installed.make(tmp_path / "stranger") as stranger:
        stranger.environ["METRICS_SERVICE_AUTH_TOKEN"] = desk.environ["METRICS_SERVICE_AUTH_TOKEN"]
        untrusting = watched(stranger, desk)
        assert untrusting.document["tls"]["reason"] == "CERTIFICATE_VERIFY_FAILED"

        # With the right authority to trust, the service's own refusal is what remains.
        shutil.copy(desk.root / "secrets/mtls/core-oem-ca.pem", stranger.root / "secrets/mtls/core-oem-ca.pem")
        assert "server" not in watched(stranger, desk).document["tls"], "it was not served"


def watched(client: Installed, service: Installed) -> Outcome:
    """A watch that is refused, in words and in its document."""
    port = str(service.port_base + 1)
    outcome = client.call(["python", "scripts/watch_metrics_stream.py", "--duration", "1s", "--port", port])
    document = outcome.document
    assert (outcome.code, document["exit_code"], document["verdict"]) == (1, 1, "headers_or_access_wrong"), outcome.err
    assert document["tls"]["right"] is False
    assert document["stream"]["messages"] == 0
    assert port in outcome.error
    assert "certificates" in outcome.hint
    assert "ssl_transport_security" not in outcome.err, "gRPC's own words are for its developers"
    return outcome


def test_an_exchanged_certificate_is_served_without_a_restart(
    desk: Installed, running: Running, tmp_path: Path
) -> None:
    bundle = desk.root / "secrets/mtls"
    sound = {path: path.read_bytes() for path in bundle.glob("*.pem")}
    create_bundle(tmp_path, "core-oem", now=datetime.now(UTC))
    try:
        for path in bundle.glob("*.pem"):
            shutil.copy(tmp_path / path.name, path)
        outcome = desk.shell(WATCH)
        assert (outcome.code, outcome.document["verdict"]) == (0, "clean"), outcome.err
    finally:
        for path, content in sound.items():
            path.write_bytes(content)
