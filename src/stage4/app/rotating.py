"""What an installation does about its rotations: one recorded by hand, a bundle renewed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from stage4.app.rotation_table import registry_paths
from stage4.audit.collect_bundle import configured_paths
from stage4.audit.policy import TLS_PURPOSES, Policy
from stage4.clock import Clock, format_instant
from stage4.config import Installation
from stage4.decisionlog import reading, traces
from stage4.decisionlog.entry import ROTATION, SECURITY_CATEGORY, Draft
from stage4.decisionlog.open import load_keyring, open_log
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Refused, Unavailable, UsageError
from stage4.security import certificates, demo_pki, rotating
from stage4.security.certificate_facts import facts_of
from stage4.security.keyring import KeyRing
from stage4.security.rotating import Bundle, Outcome, Plan, Renewal
from stage4.security.rotation import SEPARATOR, RotationRegistry
from stage4.security.rotation_journal import locked, read_journal, require_bundle_name

_STAGE: Final = "rotation"
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Mark:
    """A rotation recorded by hand; `seq` is the entry's number, None where nothing was written."""

    key: str
    purpose: str
    at: datetime
    previous: datetime | None
    registry: Path
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Followup:
    """Something that a person has to do after a bundle was renewed; a code and its parameters."""

    code: str
    params: Mapping[str, object]


def plan(installation: Installation, bundle: str) -> tuple[Bundle, Plan]:
    """What `renew` would do; raises what refuses it."""
    require_bundle_name(bundle)
    if not installation.is_rehearsal:
        raise Refused("rotation.production", bundle=bundle)
    paths = configured_paths(installation, bundle)
    for path in paths.values():
        if not path.resolve().is_relative_to(installation.root):
            raise Refused("rotation.outside", path=path)
    meant = Bundle(installation.root, bundle, paths, registry_paths(installation)["tls"])
    usual = demo_pki.bundle_paths(paths["ca"].parent, bundle)["ca"]
    if usual != paths["ca"] and not any(key == bundle.lower() for key, _ in _content(meant.registry).rotated_at):
        raise Refused("rotation.other_bundle", bundle=bundle, path=paths["ca"])
    return meant, rotating.plan(meant)


def renew(installation: Installation, bundle: str, clock: Clock, environ: Mapping[str, str]) -> tuple[Renewal, int]:
    """
    Replace the bundle by a whole new one, or end a rotation that was interrupted; with the number of the log's entry.

    Raises Refused for a production installation or a CA that is not the project's own, and what the decision log
    raises, before anything was changed, where it takes no entry.
    """
    meant, _ = plan(installation, bundle)
    log = open_log(installation, clock, environ)
    _require_willing(log, load_keyring(installation, environ))
    numbers: list[int] = []

    def record(renewal: Renewal) -> None:
        draft = entry_of(installation, renewal)
        known = None
        if renewal.outcome is not Outcome.ROTATED and log.path.exists():
            known = next(
                (
                    entry.seq
                    for entry in reading.entries(log.path, category=SECURITY_CATEGORY, holding=renewal.rotation_id)
                    if entry.metadata.get("rotation_id") == renewal.rotation_id and entry.status == draft.status
                ),
                None,
            )
        numbers.append(log.append(draft).seq if known is None else known)

    done = rotating.renew(meant, clock, record)
    return done, numbers[-1]


def _require_willing(log: DecisionLog, ring: KeyRing) -> None:
    """Raise what keeps the log from taking an entry: a bundle that was replaced and not told of stays unfinished."""
    if log.in_force() is None:
        trace = traces.find(log.path, ring.path)
        if trace is not None:
            raise Unavailable("log.vanished", path=log.path, trace=trace)
        ring.active_key().secret_for("rotation", "")


def entry_of(installation: Installation, renewal: Renewal) -> Draft:
    """The decision-log entry of a rotation: which certificates went and came, and where the old files are."""
    backup = renewal.backup.relative_to(installation.root)
    return Draft(
        ROTATION,
        SECURITY_CATEGORY,
        _STAGE,
        "rolled_back" if renewal.outcome is Outcome.ROLLED_BACK else "rotated",
        artefacts={"backup": str(backup)},
        metadata={
            "rotation_id": renewal.rotation_id,
            "bundle": renewal.bundle,
            "rotated_at": format_instant(renewal.at),
            "old_fingerprints": dict(renewal.old),
            "new_fingerprints": dict(renewal.new),
            "resumed": renewal.outcome is not Outcome.ROTATED,
            "requested_by": _account(),
        },
    )


def followups(installation: Installation, bundle: Bundle, fingerprint: str | None) -> Iterator[Followup]:
    """What the settings leave to people; `fingerprint` is that of the new server certificate, None before it exists."""
    service = installation.settings.runtime.metrics_service
    tls = service.tls
    if service.enabled and tls.enabled:
        shown = installation.path(tls.certificate_path) if tls.certificate_path else bundle.paths["server"]
        if shown != bundle.paths["server"]:
            yield Followup("rotation.own_certificate", {"path": shown})
        believed = installation.path(tls.client_ca_path) if tls.client_ca_path else bundle.paths["ca"]
        if believed != bundle.paths["ca"]:
            yield Followup("rotation.copy_authority", {"ca": bundle.paths["ca"], "path": believed})
        if tls.pinned_fingerprints:
            yield Followup("rotation.pinned", {"fingerprint": f"sha256:{fingerprint}" if fingerprint else "sha256:…"})


def mark(
    installation: Installation,
    key: str,
    purpose: str,
    reason: str,
    clock: Clock,
    environ: Mapping[str, str],
    *,
    at: datetime | None = None,
    dry_run: bool = False,
) -> Mark:
    """
    Record a rotation that was done by hand, in the registry and in the decision log.

    Raises UsageError `rotation.unknown_row` for a key that is neither under rotation nor on record, Refused
    `rotation.mark_future`, Refused `rotation.certificate_older` or `rotation.certificate_newer` where the certificate
    on disk tells otherwise, Conflict `rotation.busy`, and what the registry and the log raise.
    """
    planned, draft = _planned(installation, key, purpose, reason, clock, at)
    log = open_log(installation, clock, environ)
    if dry_run:
        log.rehearse(draft)
        return planned
    with locked(installation.root):
        # Asked again: somebody else may have recorded something until the lock was ours.
        planned, draft = _planned(installation, key, purpose, reason, clock, at)
        after = _content(planned.registry).record(key, purpose, planned.at)
        receipt = log.append(draft)
        after.write(planned.registry)
    return replace(planned, seq=receipt.seq)


def _planned(
    installation: Installation, key: str, purpose: str, reason: str, clock: Clock, at: datetime | None
) -> tuple[Mark, Draft]:
    now = clock.now()
    at = (at or now).replace(microsecond=0)
    if at > now:
        raise Refused("rotation.mark_future", at=format_instant(at), now=format_instant(now))
    tls = purpose.lower() in TLS_PURPOSES
    path = registry_paths(installation)["tls" if tls else "keys"]
    rotating.require_own(path)
    registry = _content(path)
    registry.record(key, purpose, at)
    _require_known(installation, registry, key, purpose)
    if tls:
        _require_agreement(installation, key, purpose.lower(), at)
    planned = Mark(key.lower(), purpose.lower(), at, registry.get(key, purpose), path)
    draft = Draft(
        ROTATION,
        SECURITY_CATEGORY,
        _STAGE,
        "marked",
        metadata={
            "key": planned.key,
            "purpose": planned.purpose,
            "rotated_at": format_instant(at),
            "previously": None if planned.previous is None else format_instant(planned.previous),
            "reason": reason,
            "requested_by": _account(),
        },
    )
    return planned, draft


def _content(path: Path) -> RotationRegistry:
    return RotationRegistry.load(path) if os.path.lexists(path) else RotationRegistry()


def _require_known(installation: Installation, registry: RotationRegistry, key: str, purpose: str) -> None:
    policy = Policy.of(installation.settings)
    known = {(row.key.lower(), row.purpose.lower()) for row in policy.rotations} | set(registry.rotated_at)
    if (key.lower(), purpose.lower()) in known:
        return
    paths = configured_paths(installation, key)
    if purpose.lower() in TLS_PURPOSES and demo_pki.bundle_paths(paths["ca"].parent, key)["ca"] == paths["ca"]:
        return
    listed = ", ".join(sorted(SEPARATOR.join(name) for name in known))
    raise UsageError("rotation.unknown_row", row=f"{key}{SEPARATOR}{purpose}", known=listed)


def _require_agreement(installation: Installation, bundle: str, purpose: str, at: datetime) -> None:
    """The registry may say of a certificate only what ROT-04 of the audit would believe."""
    require_bundle_name(bundle)
    if read_journal(installation.root, bundle) is not None:
        raise Refused("rotation.unfinished", bundle=bundle, path=f"var/security/rotation.{bundle}.json")
    path = configured_paths(installation, bundle)[purpose.removeprefix("tls_")]
    begins = facts_of(certificates.load_certificates(path)[0]).not_before
    policy = Policy.of(installation.settings, bundle=bundle)
    params = {"path": path, "not_before": format_instant(begins), "at": format_instant(at)}
    if at - begins > policy.deployment_days * _DAY:
        raise Refused("rotation.certificate_older", **params)
    if begins - at > policy.registry_lag_days * _DAY:
        raise Refused("rotation.certificate_newer", **params)


def _account() -> str:
    return f"account:{os.getuid()}"
