"""Alembic's entry point: runs on the connection that `Database.migrate` hands in; there is no ini file."""

from alembic import context

from vestibule.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
