"""Runs the revisions on the connection that the store opened; there is no other way to migrate."""

from alembic import context

from stage4.incidents.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
