"""The first tables of the incident room."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(256), nullable=False),
        sa.Column("ticket", sa.String(128), nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("incidents_by_state_and_cause", "incidents", ["state", "cause"])
    op.create_table(
        "alerts",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("starts_at", sa.BigInteger, primary_key=True),
        sa.Column("incident_id", sa.String(32)),
        sa.Column("firing", sa.Boolean, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("alerts_by_incident", "alerts", ["incident_id", "firing"])
    op.create_table(
        "timers",
        sa.Column("incident_id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(24), primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("due_boottime_ns", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
    )
    op.create_index("timers_by_due", "timers", ["state", "due_at"])
    op.create_table(
        "outbox",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("notifier", sa.String(64), primary_key=True),
        sa.Column("incident_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("outbox_by_next", "outbox", ["state", "next_at"])
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("incident_id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("decisions_by_seq", "decisions", ["seq"])
    op.create_table(
        "events",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("incident_id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(48), nullable=False),
        sa.Column("person", sa.String(64)),
        sa.Column("params", sa.Text, nullable=False),
    )
    op.create_index("events_by_incident", "events", ["incident_id", "number"])
    op.create_table(
        "artefacts",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("incident_id", sa.String(32), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("artefacts_by_incident", "artefacts", ["incident_id", "number"])
    op.create_table(
        "statements",
        sa.Column("incident_id", sa.String(32), primary_key=True),
        sa.Column("person", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(24), primary_key=True),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "sign_offs",
        sa.Column("incident_id", sa.String(32), primary_key=True),
        sa.Column("person", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(24), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "facts",
        "quarantine",
        "sign_offs",
        "statements",
        "artefacts",
        "events",
        "decisions",
        "outbox",
        "timers",
        "alerts",
        "incidents",
    ):
        op.drop_table(table)
