"""The tables of the incident room. Instants are whole microseconds since 1970 in UTC; documents are JSON texts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("cause", String(256), nullable=False),
    Column("ticket", String(128), nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Index("incidents_by_state_and_cause", "state", "cause"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("starts_at", BigInteger, primary_key=True),
    Column("incident_id", String(32)),
    Column("firing", Boolean, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("alerts_by_incident", "incident_id", "firing"),
)

timers = Table(
    "timers",
    metadata,
    Column("incident_id", String(32), primary_key=True),
    Column("kind", String(24), primary_key=True),
    Column("state", String(8), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("due_boottime_ns", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    Index("timers_by_due", "state", "due_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("notifier", String(64), primary_key=True),
    Column("incident_id", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    Column("document", Text, nullable=False),
    Index("outbox_by_next", "state", "next_at"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("incident_id", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("seq", BigInteger),
    Column("document", Text, nullable=False),
    Index("decisions_by_seq", "seq"),
)

events = Table(
    "events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("incident_id", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(48), nullable=False),
    Column("person", String(64)),
    Column("params", Text, nullable=False),
    Index("events_by_incident", "incident_id", "number"),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("incident_id", String(32), nullable=False),
    Column("document", Text, nullable=False),
    Index("artefacts_by_incident", "incident_id", "number"),
)

statements = Table(
    "statements",
    metadata,
    Column("incident_id", String(32), primary_key=True),
    Column("person", String(64), primary_key=True),
    Column("role", String(24), primary_key=True),
    Column("content", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

sign_offs = Table(
    "sign_offs",
    metadata,
    Column("incident_id", String(32), primary_key=True),
    Column("person", String(64), primary_key=True),
    Column("role", String(24), primary_key=True),
    Column("document", Text, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("source", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
