"""Incidents in SQL. What is in force stands here; what was decided stands in the decision log.

A write transaction holds the only write lock from its first statement (`BEGIN IMMEDIATE` on SQLite), so that it never
fails half way for a reader that became a writer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from stage4.errors import Unavailable
from stage4.incidents.transaction import Transaction


class Store:
    """The database of incidents. Each thread has its own connection."""

    def __init__(self, url: str, root: Path) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
            path = root / parsed.database
            path.parent.mkdir(parents=True, exist_ok=True)
            parsed = parsed.set(database=str(path))
        self.url = parsed
        self._engine = create_engine(parsed)
        if parsed.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    def migrate(self) -> None:
        """Brings the tables to this version; raises Unavailable."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "stage4.incidents:migrations")
        config.set_main_option("path_separator", "os")
        with _translated(), self._engine.connect().execution_options(stage4_write=True) as connection:
            with connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A write transaction: committed at the end, rolled back when anything is raised."""
        with _translated(), self._engine.connect().execution_options(stage4_write=True) as connection:
            with connection.begin():
                yield Transaction(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """A consistent view that holds up nobody."""
        with _translated(), self._engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    def dispose(self) -> None:
        self._engine.dispose()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as e:
        reason = str(getattr(e, "orig", None) or e).splitlines()[0]
        raise Unavailable("incident.storage_unavailable", reason=reason) from e


def _prepare_sqlite(connection: object, _record: object) -> None:
    import sqlite3

    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None
    for pragma in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("stage4_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
