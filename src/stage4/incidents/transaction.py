"""The statements of one transaction on the tables of the incident room.

SQL never asks for the time. Only `_claim` would differ on another database (`FOR UPDATE SKIP LOCKED` on PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from stage4.decisionlog.entry import Draft
from stage4.errors import Conflict
from stage4.incidents import schema
from stage4.incidents.effects import TimerKind
from stage4.incidents.evidence import Artefact
from stage4.incidents.incident import Incident, State
from stage4.incidents.intake import Alert
from stage4.incidents.rows import Decision, Event, Outgoing, Told, instant, micros
from stage4.incidents.signoff import SignOff
from stage4.incidents.timers import Timer
from stage4.notify import Notice

QUARANTINE_LIMIT = 1000


class Transaction:
    """The statements of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._sql = connection

    # incidents

    def incident(self, incident_id: str) -> Incident | None:
        row = self._sql.execute(select(schema.incidents.c.document).where(schema.incidents.c.id == incident_id)).first()
        return msgspec.json.decode(row.document, type=Incident) if row else None

    def incidents(
        self, *, states: Sequence[State] = tuple(State), cause: str | None = None, limit: int | None = None
    ) -> list[Incident]:
        """Newest first."""
        query = select(schema.incidents.c.document).where(
            schema.incidents.c.state.in_([state.value for state in states])
        )
        if cause is not None:
            query = query.where(schema.incidents.c.cause == cause)
        newest_first = query.order_by(schema.incidents.c.opened_at.desc(), schema.incidents.c.id.desc())
        rows = self._sql.execute(newest_first.limit(limit))
        return [msgspec.json.decode(row.document, type=Incident) for row in rows]

    def save(self, incident: Incident) -> Incident:
        """Stores a new incident or the next revision of a known one; Conflict when another revision came first."""
        saved = replace(incident, revision=incident.revision + 1)
        values = {
            "state": saved.state.value,
            "kind": saved.kind.value,
            "cause": saved.cause,
            "ticket": saved.ticket,
            "opened_at": micros(saved.opened_at),
            "revision": saved.revision,
            "document": msgspec.json.encode(saved).decode(),
        }
        if incident.revision == 0:
            self._sql.execute(insert(schema.incidents).values(id=saved.id, **values))
            return saved
        known = and_(schema.incidents.c.id == saved.id, schema.incidents.c.revision == incident.revision)
        if self._sql.execute(update(schema.incidents).where(known).values(**values)).rowcount != 1:
            raise Conflict("incident.changed_meanwhile", incident=incident.id)
        return saved

    def next_number(self, name: str) -> int:
        """Counts up from one under `name`."""
        value = self.fact(name) + 1
        self.set_fact(name, value)
        return value

    def fact(self, name: str) -> int:
        row = self._sql.execute(select(schema.facts.c.value).where(schema.facts.c.name == name)).first()
        return int(row.value) if row else 0

    def set_fact(self, name: str, value: int) -> None:
        self._upsert(schema.facts, {"name": name}, {"value": value})

    # alerts

    def alert(self, fingerprint: str, starts_at: datetime) -> Told | None:
        """What was told last of an alert under this start."""
        table = schema.alerts
        key = and_(table.c.fingerprint == fingerprint, table.c.starts_at == micros(starts_at))
        row = self._sql.execute(select(table).where(key)).first()
        return _told(row) if row else None

    def standing(self, fingerprint: str) -> list[Told]:
        """The starts under which an alert fires; the paths may each have given it one."""
        table = schema.alerts
        query = select(table).where(table.c.fingerprint == fingerprint, table.c.firing).order_by(table.c.starts_at)
        return [_told(row) for row in self._sql.execute(query)]

    def put_alert(self, alert: Alert, incident_id: str | None, now: datetime) -> None:
        self._upsert(
            schema.alerts,
            {"fingerprint": alert.fingerprint, "starts_at": micros(alert.starts_at)},
            {
                "incident_id": incident_id,
                "firing": alert.firing,
                "received_at": micros(now),
                "document": msgspec.json.encode(alert).decode(),
            },
        )

    def alerts_of(self, incident_id: str, limit: int = 200) -> list[Alert]:
        table = schema.alerts
        query = select(table.c.document).where(table.c.incident_id == incident_id).order_by(table.c.starts_at)
        return [msgspec.json.decode(row.document, type=Alert) for row in self._sql.execute(query.limit(limit))]

    def firing(self, incident_id: str) -> int:
        """How many alerts of the incident are firing."""
        table = schema.alerts
        query = select(func.count()).where(table.c.incident_id == incident_id, table.c.firing)
        return int(self._sql.execute(query).scalar_one())

    # timers

    def arm(self, timer: Timer) -> Timer:
        """Sets the timer, replacing a pending one of its kind; its fence is one more than any before."""
        table = schema.timers
        key = {"incident_id": timer.incident_id, "kind": timer.kind.value}
        row = self._sql.execute(select(table.c.fence).where(*self._same(table, key))).first()
        fenced = replace(timer, fence=(row.fence if row else 0) + 1)
        values = {
            "state": "pending",
            "due_at": micros(timer.due_at),
            "boot_id": timer.boot_id,
            "due_boottime_ns": timer.due_boottime_ns,
            "fence": fenced.fence,
        }
        self._upsert(table, key, values)
        return fenced

    def disarm(self, incident_id: str, kind: TimerKind) -> None:
        key = {"incident_id": incident_id, "kind": kind.value}
        self._sql.execute(update(schema.timers).where(*self._same(schema.timers, key)).values(state="idle"))

    def claim_due(self, now: datetime, boot_id: str, boottime_ns: int, limit: int = 100) -> list[Timer]:
        """Takes due timers for this transaction, the oldest first; whoever commits has fired them, once."""
        timers = [_timer(row) for row in self._claim(self._due(now, boot_id, boottime_ns).limit(limit))]
        for timer in timers:
            self.disarm(timer.incident_id, timer.kind)
        return timers

    def timers_of(self, incident_id: str) -> list[Timer]:
        """The pending timers, the next one first."""
        table = schema.timers
        query = select(table).where(table.c.incident_id == incident_id, table.c.state == "pending")
        return [_timer(row) for row in self._sql.execute(query.order_by(table.c.due_at))]

    # outbox

    def put_notice(self, notifier: str, notice: Notice, now: datetime) -> None:
        self._sql.execute(
            insert(schema.outbox).values(
                key=notice.key,
                notifier=notifier,
                incident_id=notice.incident_id or "",
                state="pending",
                attempts=0,
                next_at=micros(now),
                lease_until=0,
                fence=0,
                detail="",
                document=msgspec.json.encode(notice).decode(),
            )
        )

    def claim_notices(
        self, now: datetime, lease_until: datetime, notifier: str | None = None, limit: int = 50
    ) -> list[Outgoing]:
        """Leases notices, of one notifier or of all, that may go out now.

        An attempt that never answered is attempted again, and counted.
        """
        table = schema.outbox
        query = select(table).where(
            table.c.state == "pending", table.c.next_at <= micros(now), table.c.lease_until <= micros(now)
        )
        if notifier is not None:
            query = query.where(table.c.notifier == notifier)
        rows = self._claim(query.order_by(table.c.next_at, table.c.key).limit(limit))
        for row in rows:
            key = {"key": row.key, "notifier": row.notifier}
            lease = {"lease_until": micros(lease_until), "fence": row.fence + 1, "attempts": row.attempts + 1}
            self._sql.execute(update(table).where(*self._same(table, key)).values(**lease))
        return [replace(_outgoing(row), attempts=row.attempts + 1, fence=row.fence + 1) for row in rows]

    def notifiers_waiting(self, now: datetime) -> list[str]:
        """The notifiers that have a notice which may go out now."""
        table = schema.outbox
        query = select(table.c.notifier).where(table.c.state == "pending", table.c.next_at <= micros(now)).distinct()
        return sorted(row.notifier for row in self._sql.execute(query))

    def release_leases(self) -> None:
        """After a restart of the only node: what was leased by the process that died may go out at once."""
        self._sql.execute(update(schema.outbox).where(schema.outbox.c.lease_until > 0).values(lease_until=0))

    def timers_wait(self, now: datetime, boot_id: str, boottime_ns: int) -> bool:
        return self._sql.execute(self._due(now, boot_id, boottime_ns).limit(1)).first() is not None

    def _due(self, now: datetime, boot_id: str, boottime_ns: int) -> Select[tuple[object, ...]]:
        table = schema.timers
        by_boot = and_(table.c.boot_id == boot_id, table.c.due_boottime_ns <= boottime_ns)
        by_wall = and_(table.c.boot_id != boot_id, table.c.due_at <= micros(now))
        return select(table).where(table.c.state == "pending", or_(by_boot, by_wall)).order_by(table.c.due_at)

    def settle_notice(self, sent: Outgoing, state: str, detail: str, next_at: datetime) -> bool:
        """Records what became of an attempt; False when the attempt is no longer the current one."""
        table = schema.outbox
        key = {"key": sent.notice.key, "notifier": sent.notifier, "fence": sent.fence}
        values = {"state": state, "detail": detail[:500], "next_at": micros(next_at), "lease_until": 0}
        return self._sql.execute(update(table).where(*self._same(table, key)).values(**values)).rowcount == 1

    def notices_of(self, incident_id: str) -> list[Outgoing]:
        table = schema.outbox
        query = select(table).where(table.c.incident_id == incident_id).order_by(table.c.key, table.c.notifier)
        return [_outgoing(row) for row in self._sql.execute(query)]

    # decisions and timeline

    def put_decision(self, decision: Decision) -> None:
        self._sql.execute(
            insert(schema.decisions).values(
                id=decision.id,
                incident_id=decision.incident_id,
                at=micros(decision.at),
                seq=decision.seq,
                document=msgspec.json.encode(decision.draft).decode(),
            )
        )

    def set_seq(self, decision_id: str, seq: int) -> None:
        self._sql.execute(update(schema.decisions).where(schema.decisions.c.id == decision_id).values(seq=seq))

    def decision_known(self, decision_id: str) -> bool:
        query = select(schema.decisions.c.id).where(schema.decisions.c.id == decision_id)
        return self._sql.execute(query).first() is not None

    def unlogged(self, incident_id: str | None = None) -> list[Decision]:
        """Decisions that were acted upon and are not in the log yet, the oldest first."""
        table = schema.decisions
        query = select(table).where(table.c.seq.is_(None)).order_by(table.c.at, table.c.id)
        if incident_id is not None:
            query = query.where(table.c.incident_id == incident_id)
        return [
            Decision(row.id, row.incident_id, instant(row.at), msgspec.json.decode(row.document, type=Draft))
            for row in self._sql.execute(query)
        ]

    def put_event(self, entry: Event) -> None:
        params = msgspec.json.encode(entry.params).decode()
        self._sql.execute(
            insert(schema.events).values(
                incident_id=entry.incident_id, at=micros(entry.at), kind=entry.kind, person=entry.person, params=params
            )
        )

    def events_of(self, incident_id: str) -> list[Event]:
        table = schema.events
        rows = self._sql.execute(select(table).where(table.c.incident_id == incident_id).order_by(table.c.number))
        return [
            Event(row.incident_id, instant(row.at), row.kind, row.person, msgspec.json.decode(row.params))
            for row in rows
        ]

    # evidence and signatures

    def put_artefact(self, artefact: Artefact) -> None:
        document = msgspec.json.encode(artefact).decode()
        self._sql.execute(insert(schema.artefacts).values(incident_id=artefact.incident_id, document=document))

    def artefacts_of(self, incident_id: str) -> list[Artefact]:
        table = schema.artefacts
        query = select(table.c.document).where(table.c.incident_id == incident_id).order_by(table.c.number)
        return [msgspec.json.decode(row.document, type=Artefact) for row in self._sql.execute(query)]

    def put_statement(self, incident_id: str, person: str, role: str, content: str, body: bytes) -> None:
        key = {"incident_id": incident_id, "person": person, "role": role}
        self._upsert(schema.statements, key, {"content": content, "body": body})

    def statement(self, incident_id: str, person: str, role: str) -> tuple[str, bytes] | None:
        """The digest of what it covers, and the bytes that were given out to be signed."""
        table = schema.statements
        key = {"incident_id": incident_id, "person": person, "role": role}
        row = self._sql.execute(select(table.c.content, table.c.body).where(*self._same(table, key))).first()
        return (row.content, row.body) if row else None

    def put_sign_off(self, sign_off: SignOff) -> None:
        key = {"incident_id": sign_off.incident_id, "person": sign_off.person, "role": sign_off.role}
        self._upsert(schema.sign_offs, key, {"document": msgspec.json.encode(sign_off).decode()})

    def sign_offs_of(self, incident_id: str) -> list[SignOff]:
        table = schema.sign_offs
        rows = self._sql.execute(select(table.c.document).where(table.c.incident_id == incident_id))
        return [msgspec.json.decode(row.document, type=SignOff) for row in rows]

    # quarantine

    def put_quarantine(self, at: datetime, source: str, reason: str, body: bytes) -> None:
        """Keeps a body that could not be read; the oldest beyond the limit go."""
        table = schema.quarantine
        self._sql.execute(insert(table).values(at=micros(at), source=source, reason=reason, body=body))
        newest = select(table.c.number).order_by(table.c.number.desc()).limit(QUARANTINE_LIMIT)
        self._sql.execute(delete(table).where(table.c.number.not_in(newest)))

    def quarantined(self) -> int:
        return int(self._sql.execute(select(func.count()).select_from(schema.quarantine)).scalar_one())

    def _claim(self, query: Select[tuple[object, ...]]) -> list[Row[tuple[object, ...]]]:
        # The write lock of SQLite already makes this transaction the only claimant.
        return list(self._sql.execute(query))

    def _upsert(self, table: Table, key: Mapping[str, object], values: Mapping[str, object]) -> None:
        if self._sql.execute(update(table).where(*self._same(table, key)).values(**values)).rowcount == 0:
            self._sql.execute(insert(table).values(**key, **values))

    @staticmethod
    def _same(table: Table, key: Mapping[str, object]) -> list[ColumnElement[bool]]:
        return [table.c[name] == value for name, value in key.items()]


def _told(row: Row[tuple[object, ...]]) -> Told:
    return Told(msgspec.json.decode(row.document, type=Alert), row.incident_id, instant(row.received_at))


def _timer(row: Row[tuple[object, ...]]) -> Timer:
    return Timer(row.incident_id, TimerKind(row.kind), instant(row.due_at), row.boot_id, row.due_boottime_ns, row.fence)


def _outgoing(row: Row[tuple[object, ...]]) -> Outgoing:
    notice = msgspec.json.decode(row.document, type=Notice)
    return Outgoing(row.notifier, notice, row.attempts, row.fence, row.state, row.detail)
