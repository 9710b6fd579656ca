"""What the organisation asks for: intervals, windows, strength. Flags before settings, settings before defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stage4.config.settings import Settings
from stage4.security.rotation import always_due
from stage4.security.tokens import ALERTS_WRITE, METRICS_READ, RISK_READ, SCHEDULE_READ, SCHEDULE_WRITE

DEFAULT_BUNDLE: Final = "core-oem"
TLS_PURPOSES: Final = ("tls_ca", "tls_server", "tls_client")
# What somebody must be able to do for each kind of service to be of use, by the first part of the service's name.
REQUIRED_SCOPES: Final[Mapping[str, tuple[str, ...]]] = {
    "scheduler": (SCHEDULE_READ, SCHEDULE_WRITE),
    "metrics_service": (METRICS_READ,),
    "risk_service": (RISK_READ,),
    "operations": (ALERTS_WRITE,),
}


@dataclass(frozen=True, slots=True)
class RequiredRotation:
    """One row that a registry must have; days."""

    registry: str  # "tls" or "keys"
    key: str
    purpose: str
    interval_days: float
    warn_days: float
    asked: bool = False  # by this audit's own options, not by the settings

    @property
    def always_due(self) -> bool:
        """Whether the warning window is not shorter than the interval, so that it warns from the first day on."""
        return always_due(self.interval_days, self.warn_days)


@dataclass(frozen=True, slots=True)
class Policy:
    """One audit's demands; days unless the name says otherwise."""

    bundle: str
    rotations: tuple[RequiredRotation, ...]
    rotation_interval_days: float
    rotation_warn_days: float
    allow_missing_env: bool = False
    check_paths: bool = False
    expiry_fail_days: float = 3.0
    life_used_warn_ratio: float = 0.66
    leaf_lifetime_days: float = 398.0
    min_secret_bits: float = 128.0
    # How long after its notBefore a certificate may reach the host, and how far the registry may lag behind it.
    deployment_days: float = 7.0
    registry_lag_days: float = 1.0
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: REQUIRED_SCOPES)

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        bundle: str = DEFAULT_BUNDLE,
        interval_days: float | None = None,
        warn_days: float | None = None,
        allow_missing_env: bool = False,
        check_paths: bool = False,
        required_scopes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Policy:
        """
        The policy of an installation; `interval_days` and `warn_days` replace the settings' own, entry by entry.

        `required_scopes` replaces, by kind of service, what `REQUIRED_SCOPES` says of that kind.
        """
        rotation = settings.observability.key_rotation
        interval = rotation.default_interval_days if interval_days is None else interval_days
        warn = rotation.default_warn_within_days if warn_days is None else warn_days
        asked = interval_days is not None or warn_days is not None
        required = {
            (bundle.lower(), purpose): RequiredRotation("tls", bundle, purpose, interval, warn, asked)
            for purpose in TLS_PURPOSES
        }
        entries: dict[tuple[str, str], RequiredRotation] = {}
        for entry in rotation.entries:
            name = (entry.key.lower(), entry.purpose.lower())
            row = RequiredRotation(
                # An entry for a certificate of the bundle says how often; its row stays in the TLS registry.
                "tls" if name in required else "keys",
                entry.key,
                entry.purpose,
                _first(interval_days, entry.interval_days, interval),
                _first(warn_days, entry.warn_within_days, warn),
                asked,
            )
            # Of two entries for one key the stricter counts.
            if name not in entries or row.interval_days < entries[name].interval_days:
                entries[name] = row
        required |= entries
        return cls(
            bundle=bundle,
            rotations=tuple(required.values()),
            rotation_interval_days=interval,
            rotation_warn_days=warn,
            allow_missing_env=allow_missing_env,
            check_paths=check_paths,
            scopes={**REQUIRED_SCOPES, **(required_scopes or {})},
        )

    def required_scopes(self, service: str) -> tuple[str, ...]:
        """The scopes that `service` ("scheduler:core", "metrics_service") needs a usable token for."""
        return self.scopes.get(service.partition(":")[0], ())

    def admitted_scopes(self, service: str) -> frozenset[str]:
        """The scopes that a token of `service` may have: what is needed of its kind, by the settings or by default."""
        kind = service.partition(":")[0]
        return frozenset((*self.scopes.get(kind, ()), *REQUIRED_SCOPES.get(kind, ())))


def _first(flag: float | None, entry: float | None, default: float) -> float:
    return flag if flag is not None else entry if entry is not None else default
