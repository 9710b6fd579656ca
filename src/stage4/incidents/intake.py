"""What comes in from outside, read strictly: Alertmanager's webhook (version 4) and the signal `stage4.signal/1`.

Both become the same `Alert`. The sources are authenticated before; here a body is understood whole or refused with
UsageError, and the caller keeps what it could not read, so that nothing is lost and no sender retries for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from stage4.clock import parse_instant
from stage4.errors import UsageError
from stage4.incidents.incident import Condition, Kind

BODY_LIMIT = 64 << 20
TEXT_LIMIT = 4096
KINDS = frozenset(kind.value for kind in Kind)
CONDITIONS = {Kind.PNL: Condition.LOSS, Kind.NO_SIGNALS: Condition.NO_SIGNALS}
NEVER = "0001-01-01T00:00:00Z"
ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as delivered. `fingerprint` identifies it, `cause` groups alerts into an incident.

    `starts_at` tells one firing of it from the next; each path may give the same firing another one.

    `condition` is set where the alert by itself is a reason to call the Incident Manager (label `escalate:
    incident_manager`); `l1_only` alerts (`escalate: never`) warn L1 and open no incident; a `heartbeat` (severity
    `none`) only shows that the alarm chain lives.
    """

    fingerprint: str
    starts_at: datetime
    firing: bool
    name: str
    kind: Kind
    source: str
    severity: str
    cause: str
    condition: Condition | None = None
    l1_only: bool = False
    heartbeat: bool = False
    ends_at: datetime | None = None
    ticket: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The alerts of one delivery, and why others in it could not be read."""

    alerts: tuple[Alert, ...]
    unread: tuple[UsageError, ...] = ()


def read_alertmanager(body: bytes) -> Delivered:
    """The alerts of one webhook delivery, version 4. Raises UsageError where not one can be read.

    One alert that cannot be read never holds up the others of its delivery.
    """
    document = _document(body)
    if document.get("version") != "4":
        raise UsageError("intake.wrong_version", version=str(document.get("version"))[:40])
    alerts = document.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        raise UsageError("intake.no_alerts")
    read: list[Alert] = []
    unread: list[UsageError] = []
    for each in alerts:
        try:
            read.append(_from_alertmanager(each))
        except UsageError as e:
            unread.append(e)
    if not read:
        raise unread[0]
    return Delivered(tuple(read), tuple(unread))


def read_signal(body: bytes) -> Alert:
    """The alert of one direct signal. Raises UsageError."""
    document = _document(body)
    if document.get("schema") != "stage4.signal/1":
        raise UsageError("intake.wrong_schema", schema=str(document.get("schema"))[:40])
    labels = _texts(document, "labels")
    return _alert(
        name=_text(document, "name"),
        source=_text(document, "source"),
        status=_text(document, "status"),
        starts_at=_text(document, "starts_at"),
        ends_at=document.get("ends_at"),
        fingerprint=document.get("fingerprint"),
        labels={**labels, "kind": _text(document, "kind"), "severity": _text(document, "severity")},
        annotations=_texts(document, "annotations"),
    )


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """A fingerprint for senders that give none: the same labels, the same alert."""
    text = json.dumps(dict(sorted(labels.items())), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cause_of(kind: Kind, scheduler: str, condition: Condition | None) -> str:
    """Alerts of one kind on one scheduler have one cause; a loss past its limit is always its own incident."""
    loss = "|loss_limit" if condition is Condition.LOSS else ""
    return f"{kind.value}|{scheduler}{loss}"


def _from_alertmanager(each: object) -> Alert:
    if not isinstance(each, dict):
        raise UsageError("intake.not_an_object", field="alerts[]")
    labels = _texts(each, "labels")
    return _alert(
        name=labels.get("alertname", ""),
        source=ALERTMANAGER,
        status=_text(each, "status"),
        starts_at=_text(each, "startsAt"),
        ends_at=each.get("endsAt"),
        fingerprint=each.get("fingerprint"),
        labels=labels,
        annotations=_texts(each, "annotations"),
    )


def _alert(
    *,
    name: str,
    source: str,
    status: str,
    starts_at: str,
    ends_at: object,
    fingerprint: object,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> Alert:
    if status not in ("firing", "resolved"):
        raise UsageError("intake.wrong_status", status=status[:40])
    if not name:
        raise UsageError("intake.missing", field="alertname")
    given = labels.get("kind", "")
    # An alert of no kind that the playbook knows is a risk until somebody says otherwise: it must not be lost.
    kind = Kind(given) if given in KINDS else Kind.RISK
    condition = CONDITIONS.get(kind) if labels.get("escalate") == "incident_manager" else None
    return Alert(
        fingerprint=_clean(fingerprint)[:64]
        if isinstance(fingerprint, str) and fingerprint
        else fingerprint_of(labels),
        starts_at=parse_instant(starts_at),
        firing=status == "firing",
        name=name,
        kind=kind,
        source=source,
        severity=labels.get("severity", "critical"),
        cause=cause_of(kind, labels.get("scheduler", labels.get("installation", "")), condition),
        condition=condition,
        l1_only=labels.get("escalate") == "never",
        heartbeat=labels.get("severity") == "none",
        ends_at=parse_instant(ends_at) if isinstance(ends_at, str) and ends_at != NEVER else None,
        labels=labels,
        annotations=annotations,
    )


def _document(body: bytes) -> dict[str, object]:
    if len(body) > BODY_LIMIT:
        raise UsageError("intake.too_large", limit=BODY_LIMIT)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise UsageError("intake.not_json", reason=str(e)[:120]) from e
    if not isinstance(document, dict):
        raise UsageError("intake.not_an_object", field="body")
    return cast("dict[str, object]", document)


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError("intake.missing", field=key)
    return _clean(value)


def _texts(document: Mapping[str, object], key: str) -> dict[str, str]:
    value = document.get(key, {})
    if not isinstance(value, dict) or len(value) > 100:
        raise UsageError("intake.not_an_object", field=key)
    for name, each in value.items():
        if not isinstance(each, str):
            raise UsageError("intake.not_text", field=_clean(f"{key}.{name}")[:80])
    return {_clean(name): _clean(each) for name, each in value.items()}


def _clean(text: str) -> str:
    """At most TEXT_LIMIT characters, each of which has UTF-8: half a surrogate pair becomes a question mark."""
    return text[:TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8")
