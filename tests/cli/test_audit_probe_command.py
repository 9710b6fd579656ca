"""`audit_stage4_compliance.py --probe`: which address it means, what may be probed, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stage4.app.installing import create, read_environment
from stage4.cli import audit_security_baseline, audit_stage4_compliance
from stage4.clock import SystemClock
from stage4.config import load
from support import probe_servers as servers
from support.installation import free_ports

LIVE = {f"LIVE-0{n}" for n in range(1, 7)}


@dataclass
class Place:
    """A demonstration installation of now, with its secrets in the environment."""

    root: Path
    secrets: Mapping[str, str]
    capture: pytest.CaptureFixture[str]

    def run(self, *flags: str) -> tuple[int, dict[str, Any], str]:
        code = audit_stage4_compliance.main(["--root", str(self.root), "--lang", "en", *flags])
        said = self.capture.readouterr()
        return code, json.loads(said.out), said.err

    def settings(self, old: str, new: str) -> None:
        path = self.root / "config/core.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("probed") / "demo"
    create(root, SystemClock(), installation_id="probed")
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    root = tmp_path / "demo"
    shutil.copytree(made, root)
    secrets = read_environment(root)
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    return Place(root, secrets, capsys)


def live(document: Mapping[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for result in document["results"]:
        if result["control"] in LIVE:
            found.setdefault(result["control"], set()).add(result["outcome"])
    return found


def test_a_healthy_service_passes_and_the_document_says_what_was_seen(place: Place) -> None:
    token = place.secrets["METRICS_SERVICE_AUTH_TOKEN"]
    with servers.grpc_service(load(place.root), demands=True, token=token) as port:
        code, document, err = place.run("--probe", f"127.0.0.1:{port}")

    assert code == 0, err
    assert live(document) == {name: {"pass"} for name in LIVE} | {"LIVE-04": {"pass", "skipped"}}
    assert document["probe"]["target"] == f"127.0.0.1:{port}"
    assert {attempt["outcome"] for attempt in document["probe"]["attempts"][:2]} == {"settings"}
    assert token not in json.dumps(document)


def test_without_a_value_the_service_of_the_settings_is_meant(place: Place) -> None:
    token = place.secrets["METRICS_SERVICE_AUTH_TOKEN"]
    with servers.grpc_service(load(place.root), demands=True, token=token) as port:
        place.settings("port: 8741", f"port: {port}")
        place.settings("host: 127.0.0.1\n    port:", "host: 0.0.0.0\n    port:")
        code, document, err = place.run("--probe")

    assert code == 0, err
    assert document["probe"]["target"] == f"127.0.0.1:{port}"


def test_a_stranger_who_is_let_in_ends_with_one(place: Place) -> None:
    with servers.grpc_service(load(place.root), demands=False) as port:
        code, document, err = place.run("--probe", f"127.0.0.1:{port}")

    assert code == 1
    assert [name for name, outcomes in sorted(live(document).items()) if "fail" in outcomes] == [
        "LIVE-02",
        "LIVE-03",
        "LIVE-04",
    ]
    assert "FAIL LIVE-02" in err


def test_a_service_that_hangs_ends_with_three(place: Place) -> None:
    with servers.listening(servers.hanging) as port:
        code, document, err = place.run("--probe", f"localhost:{port}", "--probe-timeout", "0.5")

    assert (code, document["status"], document["verdict"]) == (3, "fail", "cannot tell")
    assert live(document) == {name: {"unknown"} for name in LIVE}
    assert "does not answer" in err


def test_a_dead_port_ends_with_three(place: Place) -> None:
    code, document, _ = place.run("--probe", f"[::1]:{free_ports(1)}")

    assert (code, document["verdict"]) == (3, "cannot tell")


def test_without_the_option_nothing_is_probed_and_that_is_said(place: Place) -> None:
    code, document, _ = place.run()

    assert code == 0
    assert live(document) == {name: {"skipped"} for name in LIVE}
    assert "probe" not in document


def test_a_service_that_is_switched_off_is_skipped(place: Place) -> None:
    place.settings("enabled: true\n    host: 127.0.0.1", "enabled: false\n    host: 127.0.0.1")

    code, document, err = place.run("--probe")

    assert live(document) == {name: {"skipped"} for name in LIVE}, err
    assert code in (0, 1)


@pytest.mark.parametrize("kind", ["demo", "drill"])
def test_a_rehearsal_reaches_no_other_host(place: Place, kind: str) -> None:
    place.settings("installation: demo", f"installation: {kind}")

    code, document, err = place.run("--probe", "192.0.2.1:8741")

    assert (code, document["error"]["code"]) == (4, "probe.host_refused")
    assert "hint: " in err


@pytest.mark.parametrize(
    "target", ["nonsense", "127.0.0.1", "127.0.0.1:", ":8741", "127.0.0.1:0", "h:65536", "h:1e3", "::1:8741", "a b:1"]
)
def test_what_is_no_address_ends_with_two(place: Place, target: str) -> None:
    code, document, _ = place.run("--probe", target)

    assert (code, document["error"]["code"]) == (2, "probe.bad_target")


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "601", "soon"])
def test_what_is_no_time_limit_ends_with_two(place: Place, limit: str) -> None:
    code, document, _ = place.run("--probe", "--probe-timeout", limit)

    assert (code, document["error"]["code"]) == (2, "arguments.bad_seconds")


def test_the_baseline_does_not_probe(place: Place) -> None:
    code = audit_security_baseline.main(["--root", str(place.root), "--probe"])

    assert code == 2
    assert json.loads(place.capture.readouterr().out)["error"]["code"] == "arguments.unknown"
