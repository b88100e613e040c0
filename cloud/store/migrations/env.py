"""Alembic's entry: runs the migrations on the connection that `cloud.store.migrate` hands in."""

from alembic import context

from cloud.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter most things in place; a later migration copies the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
