"""Which certificates the two ends of the metrics stream show and trust, by the installation's settings."""

from __future__ import annotations

from pathlib import Path

from stage4.config import Installation
from stage4.errors import UsageError
from stage4.security.mtls import ClientIdentity, ServerIdentity


def server_identity(installation: Installation) -> ServerIdentity:
    """What the server shows; fields that `metrics_service.tls` leaves out come from `execution.mtls`.

    Raises UsageError `telemetry.client_auth_off`, because TLS without client certificates would admit by token alone.
    """
    tls, bundle = installation.settings.runtime.metrics_service.tls, installation.settings.execution.mtls
    if not tls.require_client_auth:
        raise UsageError("telemetry.client_auth_off")
    return ServerIdentity(
        _configured(installation, "certificate_path", tls.certificate_path or bundle.server_certificate),
        _configured(installation, "private_key_path", tls.private_key_path or bundle.server_key),
        _configured(installation, "client_ca_path", tls.client_ca_path or bundle.ca_certificate),
    )


def client_identity(installation: Installation) -> ClientIdentity:
    """What this installation's own clients show."""
    return ClientIdentity(*client_paths(installation))


def client_paths(installation: Installation) -> tuple[Path, Path, Path]:
    """Certificate, key, and the CA of the server, for libraries that want files."""
    bundle = installation.settings.execution.mtls
    return (
        _configured(installation, "client_certificate", bundle.client_certificate),
        _configured(installation, "client_key", bundle.client_key),
        _configured(installation, "ca_certificate", bundle.ca_certificate),
    )


def _configured(installation: Installation, field: str, value: str | None) -> Path:
    if value is None:
        raise UsageError("telemetry.certificate_not_configured", field=field)
    return installation.path(value)
