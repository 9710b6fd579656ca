"""Who gets into the metrics service: real TLS, real tokens, every refusal beside the control that works."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from stage4.clock import SystemClock
from stage4.config import Installation, load
from stage4.errors import Refused, Unavailable, UsageError
from stage4.security.demo_pki import CreatedBundle, create_bundle
from stage4.security.mtls import Material
from stage4.telemetry.grpc_client import Endpoint, MetricsClient
from stage4.telemetry.sample import Sample
from stage4.telemetry.serving import run_telemetry
from support.telemetry_process import (
    ENVIRON,
    START,
    TOKEN,
    TelemetryProcess,
    make_installation,
    replace_bundle,
    sample,
    settle_ports,
)

BEARER = (("authorization", f"Bearer {TOKEN}"),)


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TelemetryProcess]:
    with TelemetryProcess(make_installation(tmp_path_factory.mktemp("installation"))) as process:
        assert process.failure is None
        yield process


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> CreatedBundle:
    """A bundle of another CA with the same names."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    return create_bundle(tmp_path_factory.mktemp("foreign"), "core-oem", now=now)


def status_of(endpoint: Endpoint, headers: tuple[tuple[str, str], ...]) -> str:
    """OK, or the gRPC status that the service answered with."""
    try:
        with MetricsClient(endpoint, headers) as client:
            client.status()
    except (Refused, Unavailable) as error:
        return str(error.params["status"])
    return "OK"


def with_certificate(endpoint: Endpoint, certificate: Path, key: Path) -> Endpoint:
    assert endpoint.material is not None
    shown = replace(endpoint.material, chain=certificate.read_bytes(), private_key=key.read_bytes())
    return replace(endpoint, material=shown)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_certificate_and_token_together_open_the_door(telemetry: TelemetryProcess) -> None:
    assert status_of(telemetry.endpoint, BEARER) == "OK"
    assert status_of(telemetry.endpoint, (("x-bot-auth", TOKEN),)) == "OK"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param((), "UNAUTHENTICATED", id="no token"),
        pytest.param((("authorization", "Bearer wrong"),), "UNAUTHENTICATED", id="wrong token"),
        pytest.param((("authorization", TOKEN),), "UNAUTHENTICATED", id="no Bearer before it"),
        pytest.param((("authorization", "Bearer "),), "UNAUTHENTICATED", id="empty token"),
        pytest.param((("x-bot-auth", TOKEN.upper()),), "UNAUTHENTICATED", id="other case"),
        pytest.param((*BEARER, ("x-bot-auth", "wrong")), "UNAUTHENTICATED", id="two tokens that differ"),
        pytest.param((*BEARER, ("authorization", "Bearer wrong")), "UNAUTHENTICATED", id="one header twice"),
        pytest.param(
            (("x-bot-auth", ENVIRON["SCHEDULER_TOKEN"]),), "PERMISSION_DENIED", id="a known token without the scope"
        ),
    ],
)
def test_without_the_right_token_nobody_gets_in(
    telemetry: TelemetryProcess, headers: tuple[tuple[str, str], ...], status: str
) -> None:
    assert status_of(telemetry.endpoint, headers) == status
    assert status_of(telemetry.endpoint, BEARER) == "OK"


def test_without_a_certificate_the_handshake_fails(telemetry: TelemetryProcess) -> None:
    assert telemetry.endpoint.material is not None
    bare = replace(telemetry.endpoint, material=replace(telemetry.endpoint.material, chain=b"", private_key=b""))
    assert status_of(bare, BEARER) == "UNAVAILABLE"
    assert status_of(telemetry.endpoint, BEARER) == "OK"


def test_plain_text_is_not_spoken(telemetry: TelemetryProcess) -> None:
    assert status_of(replace(telemetry.endpoint, material=None), BEARER) == "UNAVAILABLE"


def test_a_certificate_of_a_foreign_authority_fails(telemetry: TelemetryProcess, foreign: CreatedBundle) -> None:
    stranger = with_certificate(telemetry.endpoint, foreign.client, foreign.client_key)
    assert status_of(stranger, BEARER) == "UNAVAILABLE"
    assert status_of(telemetry.endpoint, BEARER) == "OK"


def test_the_servers_own_certificate_is_no_clients_certificate(telemetry: TelemetryProcess) -> None:
    folder = telemetry.installation.root / "secrets/mtls"
    posing = with_certificate(telemetry.endpoint, folder / "core-oem-server.pem", folder / "core-oem-server-key.pem")
    assert status_of(posing, BEARER) == "UNAVAILABLE"
    assert status_of(telemetry.endpoint, BEARER) == "OK"


def test_a_client_does_not_believe_a_server_of_a_foreign_authority(
    telemetry: TelemetryProcess, foreign: CreatedBundle
) -> None:
    assert telemetry.endpoint.material is not None
    trusting = replace(telemetry.endpoint.material, trusted=foreign.ca.read_bytes())
    assert status_of(replace(telemetry.endpoint, material=trusting), BEARER) == "UNAVAILABLE"


@pytest.mark.parametrize("call", ["series", "stream"])
def test_every_call_asks_for_the_token(telemetry: TelemetryProcess, call: str) -> None:
    with telemetry.client(headers=()) as client, pytest.raises(Refused) as refusal:
        client.series("stage4_avg_abs_zscore") if call == "series" else next(iter(client.stream()))
    assert refusal.value.params["status"] == "UNAUTHENTICATED"
    assert refusal.value.params["reason"] == "security.token_missing"


def test_a_method_that_does_not_exist_is_not_served(telemetry: TelemetryProcess) -> None:
    shown = telemetry.endpoint.material
    assert isinstance(shown, Material)
    credentials = grpc.ssl_channel_credentials(shown.trusted, shown.private_key, shown.chain)
    with grpc.secure_channel(telemetry.endpoint.target, credentials) as channel:
        push = channel.unary_unary("/stage4.telemetry.v1.MetricsService/PushMetrics")
        with pytest.raises(grpc.RpcError) as error:
            push(b"", metadata=BEARER, timeout=5)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("san", "status"), [("stage4-client", "OK"), ("another-client", "PERMISSION_DENIED")])
def test_a_token_bound_to_a_certificate_counts_from_that_peer_only(tmp_path: Path, san: str, status: str) -> None:
    with TelemetryProcess(make_installation(tmp_path, san=san)) as process:
        assert status_of(process.endpoint, BEARER) == status


def test_new_certificates_are_taken_over_without_a_restart(tmp_path: Path) -> None:
    installation = make_installation(tmp_path)
    with TelemetryProcess(installation) as process:
        old = process.endpoint
        assert status_of(old, BEARER) == "OK"
        fresh = create_bundle(tmp_path / "fresh", "core-oem", now=datetime.now(UTC) - timedelta(minutes=1))
        replace_bundle(installation.root, fresh.ca.parent)
        assert status_of(process.endpoint, BEARER) == "OK"
        assert status_of(old, BEARER) == "UNAVAILABLE"


def test_half_a_rotation_keeps_the_certificates_that_fit(tmp_path: Path) -> None:
    installation = make_installation(tmp_path)
    with TelemetryProcess(installation) as process:
        endpoint = process.endpoint
        fresh = create_bundle(tmp_path / "fresh", "core-oem", now=datetime.now(UTC) - timedelta(minutes=1))
        (installation.root / "secrets/mtls/core-oem-server.pem").write_bytes(fresh.server.read_bytes())
        assert status_of(endpoint, BEARER) == "OK"


def test_a_port_in_use_is_said_in_words(telemetry: TelemetryProcess, tmp_path: Path) -> None:
    installation = make_installation(tmp_path)
    for listening in (
        replace(telemetry.listening, metrics_port=0),
        replace(telemetry.listening, grpc_port=0),
    ):
        taken = settle_ports(installation, listening)
        read_end, write_end = os.pipe()
        with pytest.raises(Unavailable) as error:
            run_telemetry(taken, read_end, SystemClock(), environ=ENVIRON)
        assert error.value.code == "telemetry.port_in_use"
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("require_client_auth: true", "require_client_auth: false", "telemetry.client_auth_off"),
        ("metrics_host: 127.0.0.1", "metrics_host: 0.0.0.0", "telemetry.not_loopback"),
    ],
)
def test_settings_that_open_the_door_are_refused(tmp_path: Path, old: str, new: str, code: str) -> None:
    installation = make_installation(tmp_path)
    settings = tmp_path / "config/core.yaml"
    written = settings.read_text(encoding="utf-8")
    assert old in written
    settings.write_text(written.replace(old, new), encoding="utf-8")
    read_end, write_end = os.pipe()
    with pytest.raises(UsageError) as error:
        run_telemetry(load(installation.root), read_end, SystemClock(), environ=ENVIRON)
    assert error.value.code == code
    os.close(read_end)
    os.close(write_end)


def test_the_process_ends_with_its_pipe(tmp_path: Path) -> None:
    seen: list[Sample] = []
    with TelemetryProcess(make_installation(tmp_path), [seen.append]) as process:
        process.offer(*(sample(seq) for seq in range(100)))
        process.close()
        assert process.failure is None
        assert [one.seq for one in seen] == list(range(100))
        assert status_of(process.endpoint, BEARER) == "UNAVAILABLE"


def test_an_observer_that_fails_ends_the_process(tmp_path: Path) -> None:
    def fail(_: Sample) -> None:
        raise Unavailable("telemetry.no_answer", host="-", port=0, status="-", reason="-")

    with TelemetryProcess(make_installation(tmp_path), [fail]) as process:
        process.offer(sample(1))
        eventually(lambda: process.failure is not None)
        assert isinstance(process.failure, Unavailable)


def test_a_slow_observer_holds_nobody_back(tmp_path: Path) -> None:
    go_on = threading.Event()

    def wait(_: Sample) -> None:
        go_on.wait(10)

    with TelemetryProcess(make_installation(tmp_path), [wait]) as process, process.client() as client:
        process.offer(*(sample(seq) for seq in range(50)))
        eventually(lambda: client.status().samples == 50)
        go_on.set()


def test_a_stream_begins_with_the_newest_and_goes_on_live(tmp_path: Path) -> None:
    with TelemetryProcess(make_installation(tmp_path)) as process, process.client() as client:
        process.offer(sample(1, avg_abs_zscore=1.0), sample(2, START + timedelta(seconds=1), avg_abs_zscore=2.0))
        eventually(lambda: client.status().samples == 2)
        stream = client.stream()
        messages = iter(stream)
        first = next(messages)
        assert (first.replayed, first.seq, first.values) == (True, 2, {"stage4_avg_abs_zscore": 2.0})
        process.offer(sample(3, schedule="", equity=1e6))
        second = next(messages)
        assert (second.replayed, second.seq, second.risk_profile) == (False, 3, "desk")
        stream.cancel()
        assert list(messages) == []


def test_a_slow_reader_keeps_the_newest_and_is_told_what_it_lost(tmp_path: Path) -> None:
    total = 60_000
    with TelemetryProcess(make_installation(tmp_path)) as process, process.client() as client:
        stream = client.stream()
        messages = iter(stream)
        process.offer(sample(0))
        assert next(messages).seq == 0
        sent = 0
        while sent < total:
            sent += process.sink.offer(sample(sent + 1, avg_abs_zscore=1.0)) or 0
        eventually(lambda: client.status().samples == total + 1)
        got = []
        for message in messages:
            got.append(message)
            if message.seq == total:
                break
        stream.cancel()
        assert [one.seq for one in got] == sorted(one.seq for one in got)
        assert got[-1].dropped > 0
        assert len(got) + got[-1].dropped == total


def test_series_and_scrape_show_the_same_values(tmp_path: Path) -> None:
    with TelemetryProcess(make_installation(tmp_path)) as process, process.client() as client:
        process.offer(
            sample(1, avg_abs_zscore=1.5, lateness_seconds=0.004, signals_total=10),
            sample(2, START + timedelta(seconds=1), avg_abs_zscore=2.5, lateness_seconds=0.3, signals_total=12),
            sample(3, START + timedelta(seconds=2), signals_total=5),  # the runtime was started anew
            sample(9, START + timedelta(seconds=3), schedule="", equity=1e6),
        )
        eventually(lambda: client.status().samples == 4)
        (series,) = client.series("stage4_avg_abs_zscore", schedule="mean_reversion_intraday")
        assert [point.value for point in series.points] == [1.5, 2.5]
        (recent,) = client.series("stage4_avg_abs_zscore", seconds=2)
        assert [point.value for point in recent.points] == [2.5]
        with pytest.raises(UsageError):
            client.series("stage4_invented")
        url = f"http://127.0.0.1:{process.listening.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            exposition = answer.read().decode()
    labels = (
        'risk_profile="balanced",schedule="mean_reversion_intraday",scheduler="core",strategy="core_mean_reversion"'
    )
    lines = exposition.splitlines()
    assert f"stage4_avg_abs_zscore{{{labels}}} 2.5" in lines
    assert f"stage4_signals_total{{{labels}}} 17.0" in lines
    assert f"stage4_lateness_seconds_count{{{labels}}} 2.0" in lines
    assert 'stage4_equity{risk_profile="desk",scheduler="core"} 1e+06' in lines
    assert "stage4_samples_lost_total 5.0" in lines


def test_garbage_in_the_pipe_is_counted_and_passed_over(tmp_path: Path) -> None:
    installation: Installation = make_installation(tmp_path)
    with TelemetryProcess(installation) as process, process.client() as client:
        os.write(process.sink._fd, b"garbage\n")
        process.offer(sample(1))
        eventually(lambda: client.status().samples == 1)
        assert client.status().malformed == 1
