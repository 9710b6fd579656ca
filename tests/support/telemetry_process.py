"""A telemetry process of a small installation, run in a thread of the test, fed through a real pipe."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import yaml

from stage4.clock import SystemClock
from stage4.config import Installation, load
from stage4.security.demo_pki import create_bundle
from stage4.telemetry.grpc_client import Endpoint, MetricsClient, endpoint_of, token_header
from stage4.telemetry.sample import PipeSink, Sample
from stage4.telemetry.serving import Listening, run_telemetry

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "metrics-reader-secret-for-tests"
ENVIRON = {"METRICS_SERVICE_AUTH_TOKEN": TOKEN, "SCHEDULER_TOKEN": "known-but-without-the-scope"}
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def make_installation(root: Path, *, san: str | None = None) -> Installation:
    """The demo's settings on ports of the system's choice, with a fresh bundle."""
    create_bundle(root / "secrets/mtls", "core-oem", now=datetime.now(UTC) - timedelta(minutes=5))
    document = yaml.safe_load((REPOSITORY / "config/core.yaml").read_text(encoding="utf-8"))
    service = document["runtime"]["metrics_service"]
    service["port"] = 0
    reader = {"token_id": "reader", "token_env": "METRICS_SERVICE_AUTH_TOKEN", "scopes": ["metrics.read"]}
    if san is not None:
        del service["auth_token_env"]
        reader["san"] = san
    service["rbac_tokens"] = [
        reader,
        {"token_id": "scheduler", "token_env": "SCHEDULER_TOKEN", "scopes": ["runtime.schedule.read"]},
        {"token_id": "scopeless", "token_hash": "sha256:" + "0" * 64},
    ]
    document["operations"]["monitoring"]["metrics_port"] = 0
    write_settings(root, document)
    return load(root)


def write_settings(root: Path, document: object) -> None:
    (root / "config").mkdir(exist_ok=True)
    (root / "config/core.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def settle_ports(installation: Installation, listening: Listening) -> Installation:
    """Write the ports in use into the settings, as a script that reads them needs it."""
    document = yaml.safe_load((installation.root / "config/core.yaml").read_text(encoding="utf-8"))
    document["runtime"]["metrics_service"]["port"] = listening.grpc_port
    document["operations"]["monitoring"]["metrics_port"] = listening.metrics_port
    write_settings(installation.root, document)
    return load(installation.root)


def replace_bundle(root: Path, source: Path) -> None:
    for path in source.glob("*.pem"):
        shutil.copy(path, root / "secrets/mtls" / path.name)


def sample(seq: int, at: datetime = START, schedule: str = "mean_reversion_intraday", **values: float) -> Sample:
    return Sample(
        seq=seq,
        at=at,
        scheduler="core",
        schedule=schedule,
        strategy="core_mean_reversion" if schedule else "",
        risk_profile="balanced" if schedule else "desk",
        values={f"stage4_{name}": value for name, value in values.items()},
    )


@dataclass
class TelemetryProcess:
    """Use as a context; `offer` samples, `close` the pipe."""

    installation: Installation
    observers: Sequence[Callable[[Sample], None]] = ()
    failure: BaseException | None = None
    _ready: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.read_end, write_end = os.pipe()
        self.sink = PipeSink(write_end)
        self._thread = threading.Thread(target=self._run, name="telemetry")
        self._thread.start()
        assert self._ready.wait(10), "telemetry did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sink.close()
        self._thread.join(10)
        assert not self._thread.is_alive(), "telemetry did not end with its pipe"

    def offer(self, *samples: Sample) -> None:
        for one in samples:
            assert self.sink.offer(one)

    @property
    def endpoint(self) -> Endpoint:
        assert self.listening.grpc_port is not None
        return endpoint_of(self.installation, port=self.listening.grpc_port)

    def client(self, headers: Sequence[tuple[str, str]] | None = None) -> MetricsClient:
        own = token_header(self.installation, ENVIRON) if headers is None else headers
        return MetricsClient(self.endpoint, own)

    def _run(self) -> None:
        def ready(listening: Listening) -> None:
            self.listening = listening
            self._ready.set()

        try:
            run_telemetry(self.installation, self.read_end, SystemClock(), self.observers, environ=ENVIRON, ready=ready)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failure = error
        finally:
            self._ready.set()
            os.close(self.read_end)
