"""The probe against real servers: the outcome of every LIVE control for each."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stage4.audit import collect_live
from stage4.audit.collect_bundle import collect as collect_bundle
from stage4.audit.collect_live import Target
from stage4.audit.controls.live import CONTROLS
from stage4.audit.evidence_live import Live
from stage4.audit.finding import Outcome
from stage4.audit.report import NOT_WELL
from stage4.clock import SystemClock
from stage4.config import Installation
from support import probe_servers as servers
from support.audits import EMPTY, NOW, POLICY
from support.installation import free_ports
from support.telemetry_process import ENVIRON, TOKEN, TelemetryProcess, make_installation

ALL = tuple(control.id for control in CONTROLS)
CANNOT_TELL = dict.fromkeys(ALL, "unknown")
HEALTHY = dict.fromkeys(ALL, "pass")
# Servers of ours that speak TLS and greet, but answer no call.
NO_CALLS = {"LIVE-01": "unknown", "LIVE-04": "unknown"}


@dataclass(frozen=True)
class Probed:
    """What a probe saw of a port, and what the controls say."""

    live: Live
    outcomes: Mapping[str, str]
    codes: frozenset[str]
    seconds: float

    def outcome(self, shown: str, protocol: str) -> str:
        return next(a.outcome for a in self.live.of(shown) if a.protocol == protocol)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return make_installation(tmp_path_factory.mktemp("probed"))


@pytest.fixture
def installation(made: Installation, tmp_path: Path) -> Installation:
    shutil.copytree(made.root, tmp_path / "own")
    return dataclasses.replace(made, root=tmp_path / "own")


def probe(
    installation: Installation,
    port: int,
    *,
    host: str = "127.0.0.1",
    seconds: float = 5.0,
    environ: Mapping[str, str] = ENVIRON,
) -> Probed:
    began = time.monotonic()
    target = Target(host, port, configured=False)
    live = collect_live.collect(installation, target, "core-oem", environ=environ, clock=SystemClock(), seconds=seconds)
    spent = time.monotonic() - began
    bundle = collect_bundle(installation, "core-oem", datetime.now(UTC))
    evidence = dataclasses.replace(EMPTY, bundle=bundle, live=live)
    findings = {control.id: control.judge(evidence, POLICY, NOW) for control in CONTROLS}
    outcomes = {
        name: str(min({f.outcome for f in said} - {Outcome.SKIPPED}, key=(*NOT_WELL, Outcome.PASS).index))
        for name, said in findings.items()
    }
    return Probed(live, outcomes, frozenset(f.code for said in findings.values() for f in said), spent)


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TelemetryProcess]:
    with TelemetryProcess(make_installation(tmp_path_factory.mktemp("service"))) as process:
        assert process.failure is None
        yield process


def test_the_real_service_passes_every_control(telemetry: TelemetryProcess) -> None:
    probed = probe(telemetry.installation, telemetry.endpoint.port)

    assert probed.outcomes == HEALTHY
    assert "probe.lesser_token_denied" in probed.codes
    assert {a.outcome for a in probed.live.of("no_certificate")} <= {"eof", "reset"}
    assert probed.seconds < 2


def test_the_evidence_holds_no_token(telemetry: TelemetryProcess) -> None:
    probed = probe(telemetry.installation, telemetry.endpoint.port)

    said = repr(probed.live) + repr(probed.live.document())
    assert not [secret for secret in ENVIRON.values() if secret in said]


def test_the_foreign_certificate_is_gone_after_the_probe(
    telemetry: TelemetryProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    probe(telemetry.installation, telemetry.endpoint.port)

    assert not list(tmp_path.iterdir())


def test_a_proxy_of_the_shell_is_never_used(telemetry: TelemetryProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)}")
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    assert probe(telemetry.installation, telemetry.endpoint.port).outcomes == HEALTHY


def test_without_the_good_token_the_certificates_are_judged_and_the_tokens_are_not(
    telemetry: TelemetryProcess,
) -> None:
    probed = probe(telemetry.installation, telemetry.endpoint.port, environ={})

    assert probed.outcomes == HEALTHY | NO_CALLS
    assert {"security.token_env_missing", "probe.no_token_control"} <= probed.codes


def test_a_token_that_fits_into_no_header_is_not_sent(telemetry: TelemetryProcess) -> None:
    odd = {"METRICS_SERVICE_AUTH_TOKEN": "zażółć"}

    probed = probe(telemetry.installation, telemetry.endpoint.port, environ=odd)

    assert probed.outcomes == HEALTHY | NO_CALLS
    assert "probe.token_unfit" in probed.codes


def test_no_token_is_shown_to_a_service_whose_certificate_does_not_verify(installation: Installation) -> None:
    servers.reissue(installation)  # names localhost only
    with servers.grpc_service(installation, demands=True, token=TOKEN) as port:
        by_name, by_address = probe(installation, port, host="localhost"), probe(installation, port)

    assert by_name.outcomes == HEALTHY
    assert by_address.outcomes == HEALTHY | NO_CALLS
    assert "probe.untrusted" in by_address.codes
    assert {call.status for call in by_address.live.calls} == {"not tried"}


def test_a_service_with_tokens_and_client_certificates_passes(installation: Installation) -> None:
    with servers.grpc_service(installation, demands=True, token=TOKEN) as port:
        assert probe(installation, port).outcomes == HEALTHY


def test_a_service_that_demands_no_client_certificate_fails(installation: Installation) -> None:
    with servers.grpc_service(installation, demands=False, token=TOKEN) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | {"LIVE-02": "fail", "LIVE-03": "fail"}
    assert {"probe.uncertified_in", "probe.foreign_in", "probe.server_in"} <= probed.codes
    assert {a.outcome for a in probed.live.of("no_certificate")} == {"settings"}


def test_a_service_that_takes_every_call_fails(installation: Installation) -> None:
    with servers.grpc_service(installation, demands=True) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | {"LIVE-04": "fail"}
    assert {"probe.no_token_admitted", "probe.wrong_token_admitted"} <= probed.codes


def test_a_service_without_certificates_fails_also_when_our_own_is_unreadable(installation: Installation) -> None:
    servers.paths(installation)["client-key"].unlink()

    with servers.grpc_service(installation, demands=False) as port:
        probed = probe(installation, port)

    assert probed.outcomes == CANNOT_TELL | {"LIVE-02": "fail", "LIVE-03": "fail"}
    assert "probe.pair_unusable" in probed.codes


@pytest.mark.parametrize("role", ["client", "client-key", "server", "server-key", "ca"])
def test_a_pipe_in_the_place_of_a_file_keeps_no_probe_waiting(installation: Installation, role: str) -> None:
    with servers.grpc_service(installation, demands=True) as port:
        path = servers.paths(installation)[role]
        path.unlink()
        os.mkfifo(path)
        probed = probe(installation, port)

    assert "unknown" in probed.outcomes.values()
    assert any(attempt.problem is not None for attempt in probed.live.attempts)
    assert probed.seconds < 5


def test_a_service_in_plain_text_fails_and_nothing_else_can_be_told(installation: Installation) -> None:
    with servers.grpc_service(installation, demands=False, encrypted=False) as port:
        probed = probe(installation, port)

    assert probed.outcomes == CANNOT_TELL | {"LIVE-05": "fail"}
    assert {"probe.speaks_plaintext", "probe.plaintext_spoken"} <= probed.codes


@pytest.mark.parametrize(
    "greeting",
    [
        servers.HTTP_1,
        b"220 mail\r\n",
        b"\0",
        b"\0\0\0\4\1\0\0\0\0",  # the acknowledgement of SETTINGS, which nobody may send first
        b"\0\0\7\4\0\0\0\0\0",  # SETTINGS of a length that no SETTINGS has
        b"\0\0\0\4\0\0\0\0\1",  # SETTINGS on a stream
        b"\0\0\10\7\0\0\0\0\0" + bytes(8),  # GOAWAY
        b"\x15\x03\x01\0\x02\x02\x46",  # the TLS alert protocol_version, to everybody
        b"\x16\x03\x03\0\x04\x0e\0\0\0",  # a handshake that begins with its end
        b"",
    ],
)
def test_a_port_of_something_else_cannot_tell(installation: Installation, greeting: bytes) -> None:
    with servers.listening(servers.plain(greeting)) as port:
        assert probe(installation, port).outcomes == CANNOT_TELL


def test_a_port_that_resets_cannot_tell(installation: Installation) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with servers.listening(reset) as port:
        assert probe(installation, port).outcomes == CANNOT_TELL


def test_a_service_that_goes_away_under_the_probe_cannot_tell(installation: Installation) -> None:
    serve = servers.tls(installation)
    met: list[socket.socket] = []

    def twice(connection: socket.socket) -> None:
        met.append(connection)
        if len(met) <= 2:  # the positive control over both versions
            serve(connection)

    with servers.listening(twice) as port:
        probed = probe(installation, port)

    assert probed.outcomes == CANNOT_TELL
    assert "probe.went_away" in probed.codes


def test_a_dead_port_cannot_tell(installation: Installation) -> None:
    probed = probe(installation, free_ports(1))

    assert probed.outcomes == CANNOT_TELL
    assert "probe.nobody_listens" in probed.codes
    assert {a.outcome for a in probed.live.attempts} == {"refused"}


def test_a_host_that_does_not_exist_cannot_tell(installation: Installation) -> None:
    probed = probe(installation, 8741, host="no-such-host.invalid", seconds=2)

    assert probed.outcomes == CANNOT_TELL
    assert probed.seconds < 3


def test_a_service_that_hangs_is_cut_by_the_time_limit(installation: Installation) -> None:
    with servers.listening(servers.hanging) as port:
        probed = probe(installation, port, seconds=1)

    assert probed.outcomes == CANNOT_TELL
    assert "probe.hangs" in probed.codes
    assert probed.outcome("certificate", "TLSv1.3") == "timeout"
    assert probed.outcome("certificate", "TLSv1") == "not tried"
    assert 0.9 < probed.seconds < 1.5


def test_a_service_that_hangs_after_the_handshake_is_cut_too(installation: Installation) -> None:
    with servers.listening(servers.tls(installation, greeting=b"")) as port:
        probed = probe(installation, port, seconds=1)

    assert probed.outcomes == CANNOT_TELL
    assert probed.outcome("certificate", "TLSv1.3") == "timeout"
    assert probed.seconds < 1.5


def drip(connection: socket.socket, whole: bytes) -> None:
    """Send a byte now and then, for longer than a connection may take."""
    ended = threading.Event()
    for byte in whole:
        connection.sendall(bytes([byte]))
        ended.wait(0.05)


def test_a_handshake_that_comes_byte_by_byte_is_cut_too(installation: Installation) -> None:
    record = b"\x16\x03\x03\x40\x00" + bytes(200)  # a record of 16 KB, as far as it comes
    with servers.listening(lambda connection: drip(connection, record)) as port:
        probed = probe(installation, port, seconds=1)

    assert probed.outcomes == CANNOT_TELL
    assert probed.outcome("certificate", "TLSv1.3") == "timeout"
    assert probed.seconds < 1.5


def test_a_greeting_that_comes_byte_by_byte_is_cut_too(installation: Installation) -> None:
    serve = servers.tls(installation, greeting=servers.SETTINGS, send=drip)
    with servers.listening(serve) as port:
        probed = probe(installation, port, seconds=1)

    assert probed.outcomes == CANNOT_TELL
    assert probed.outcome("certificate", "TLSv1.3") == "timeout"
    assert probed.seconds < 1.5


def test_a_greeting_over_mutual_tls_is_enough_for_all_but_the_tokens(installation: Installation) -> None:
    with servers.listening(servers.tls(installation)) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | NO_CALLS
    assert probed.outcome("no_certificate", "TLSv1.3") == "alert:certificate_required"
    assert probed.outcome("foreign_certificate", "TLSv1.3").startswith("alert:")
    assert probed.outcome("certificate", "TLSv1") == "alert:protocol_version"


@pytest.mark.parametrize(("only", "other"), [("TLSv1_2", "TLSv1.3"), ("TLSv1_3", "TLSv1.2")])
def test_a_service_of_one_version_is_judged_over_that_version(
    installation: Installation, only: str, other: str
) -> None:
    with servers.listening(servers.tls(installation, versions=(only, only))) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | NO_CALLS
    assert "probe.version_unspoken" in probed.codes
    assert probed.outcome("certificate", other) == "alert:protocol_version"


def test_a_service_of_one_version_without_client_certificates_fails(installation: Installation) -> None:
    serve = servers.tls(installation, versions=("TLSv1_2", "TLSv1_2"), demands=False)
    with servers.listening(serve) as port:
        assert probe(installation, port).outcomes == HEALTHY | NO_CALLS | {"LIVE-02": "fail", "LIVE-03": "fail"}


def test_old_versions_fail(installation: Installation) -> None:
    with servers.listening(servers.tls(installation, versions=("TLSv1", "TLSv1_3"))) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | NO_CALLS | {"LIVE-05": "fail"}
    assert probed.outcome("certificate", "TLSv1") == "settings"
    assert "probe.old_spoken" in probed.codes


def test_http_1_behind_tls_cannot_tell(installation: Installation) -> None:
    with servers.listening(servers.tls(installation, greeting=servers.HTTP_1)) as port:
        probed = probe(installation, port)

    assert probed.outcomes == CANNOT_TELL
    assert "probe.another_service" in probed.codes


def test_a_certificate_that_is_not_the_one_on_disk_is_stale(installation: Installation) -> None:
    old = servers.reissue(installation).write(installation.root, "old")
    with servers.listening(servers.tls(installation, leaf=old)) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | NO_CALLS | {"LIVE-06": "fail"}
    assert "probe.leaf_stale" in probed.codes


def test_a_service_of_another_bundle_is_stale_and_nothing_else_can_be_told(
    installation: Installation, telemetry: TelemetryProcess
) -> None:
    servers.reissue(installation)

    probed = probe(installation, telemetry.endpoint.port)

    assert probed.outcomes == CANNOT_TELL | {"LIVE-06": "fail"}
    assert "probe.shut" in probed.codes


def test_openssl_that_verifies_clients_passes(installation: Installation) -> None:
    with servers.openssl_server(installation, "-Verify", "2", "-verify_return_error") as port:
        assert probe(installation, port).outcomes == HEALTHY | NO_CALLS


def test_openssl_that_demands_a_certificate_and_believes_any_fails(installation: Installation) -> None:
    # -Verify alone asks for a certificate and goes on when it does not verify.
    with servers.openssl_server(installation, "-Verify", "2") as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | NO_CALLS | {"LIVE-03": "fail"}
    assert {a.outcome for a in probed.live.of("no_certificate")} == {
        "alert:certificate_required",
        "alert:handshake_failure",
    }


def test_openssl_that_does_not_ask_what_a_certificate_is_for_fails(installation: Installation) -> None:
    flags = ("-Verify", "2", "-verify_return_error", "-purpose", "any")
    with servers.openssl_server(installation, *flags) as port:
        probed = probe(installation, port)

    assert probed.outcomes == HEALTHY | NO_CALLS | {"LIVE-03": "fail"}
    assert {"probe.server_in", "probe.foreign_out"} <= probed.codes


def test_openssl_that_only_asks_fails(installation: Installation) -> None:
    with servers.openssl_server(installation, "-verify", "2") as port:
        assert probe(installation, port).outcomes == HEALTHY | NO_CALLS | {"LIVE-02": "fail", "LIVE-03": "fail"}


def test_openssl_with_old_versions_fails(installation: Installation) -> None:
    flags = ("-Verify", "2", "-verify_return_error", "-cipher", "DEFAULT:@SECLEVEL=0", "-min_protocol", "TLSv1")
    with servers.openssl_server(installation, *flags) as port:
        assert probe(installation, port).outcomes == HEALTHY | NO_CALLS | {"LIVE-05": "fail"}


def test_openssl_that_answers_as_a_web_server_cannot_tell(installation: Installation) -> None:
    with servers.openssl_server(installation, "-Verify", "2", "-verify_return_error", "-www") as port:
        probed = probe(installation, port, seconds=2)

    assert probed.outcomes == CANNOT_TELL
