"""What a watch has seen, what it sends for that, and what it says of it in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stage4.config import Installation
from stage4.telemetry import headers
from stage4.telemetry.grpc_client import token_header
from stage4.telemetry.headers import Header, Merged
from stage4.telemetry.probes import Access
from stage4.telemetry.watch import Probe, Tally, Verdict, conclude

HEADERS_VARIABLE = "STAGE4_WATCH_HEADERS"
CONFIGURED = "config:runtime.metrics_service.grpc_metadata"


def watch_headers(
    installation: Installation, environ: Mapping[str, str], paths: Sequence[Path], entries: Sequence[str]
) -> Merged:
    """What the watch sends: token, settings, environment, files in their order, command line; the later wins.

    Raises UsageError `watch.header_*`, Unavailable for a value that cannot be read.
    """
    service = installation.settings.runtime.metrics_service

    def parsed(written: Sequence[str], source: str) -> list[Header]:
        return headers.parse(written, source, environ, installation.root)

    token_source = f"config:{service.auth_token_env or service.auth_token_file}"
    own = [Header(key, value, token_source) for key, value in token_header(installation, environ)]
    configured = [f"{key}={value}" for key, value in service.grpc_metadata.items()]
    from_environ = headers.split_entries(environ.get(HEADERS_VARIABLE, ""))
    return headers.merge(
        [
            own,
            parsed(configured, CONFIGURED),
            parsed(from_environ, f"env:{HEADERS_VARIABLE}"),
            *(parsed(headers.read_file(path), f"file:{path}") for path in paths),
            parsed(entries, "cli:--header"),
        ]
    )


@dataclass(frozen=True, slots=True)
class Watched:
    """The facts of one watch; `key` makes its fingerprints and is recorded nowhere."""

    merged: Merged
    key: bytes = field(repr=False)
    access: Access
    tls: Mapping[str, object]
    tally: Tally
    interrupted: bool
    headers_asked: bool

    @property
    def arrived(self) -> list[dict[str, object]]:
        """What the server says it received."""
        return headers.received(self.merged, self.access.answer, self.key)

    @property
    def headers_right(self) -> bool | None:
        """None: not asked for, or the server did not let us in to ask."""
        return headers.arrived_right(self.arrived) if self.headers_asked and self.access.status is not None else None

    def concluded(self) -> tuple[Verdict, list[str]]:
        """The verdict, and the catalogue codes of its reasons."""
        return conclude(
            self.tally,
            probes=self.access.probes,
            tls_right=self.tls["right"] is not False,
            headers_right=self.headers_right,
            interrupted=self.interrupted,
        )

    def headers_document(self) -> dict[str, object]:
        """The header part of the document, empty where it was not asked for."""
        if not self.headers_asked:
            return {}
        return {
            **headers.report(self.merged, self.key),
            "received_by_server": self.arrived if self.access.status else [],
            "headers_right": self.headers_right,
        }

    def findings_document(self) -> dict[str, object]:
        """What was found: transport, access, metrics, anomalies, and the stream itself."""
        tally = self.tally
        return {
            "tls": self.tls,
            "rbac": {
                "right": _all_right([probe.right for probe in self.access.probes]),
                "probes": [_probe_document(probe) for probe in self.access.probes],
            },
            "metrics": tally.metrics_document(),
            "anomalies": [anomaly.document() for anomaly in tally.anomalies],
            "anomalies_count": {"critical": tally.critical_anomalies, "warning": tally.warning_anomalies},
            "stream": tally.stream_document(),
        }


def _probe_document(probe: Probe) -> dict[str, object]:
    return {
        "name": probe.name,
        "expected": probe.expected,
        "outcome": probe.outcome,
        "status": probe.status,
        "right": probe.right,
    }


def _all_right(verdicts: Sequence[bool | None]) -> bool | None:
    """False when one is wrong, None when one cannot be told."""
    if False in verdicts:
        return False
    return None if None in verdicts or not verdicts else True
