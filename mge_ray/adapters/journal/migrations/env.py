"""Alembic's entry: runs the migrations on the connection, and in the transaction, that `upgrade` hands over."""

from __future__ import annotations

from alembic import context

from mge_ray.adapters.journal.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
