"""Alembic's way in: it works on the connection, and in the transaction, that it is handed."""

from __future__ import annotations

from alembic import context

from hpcharvest.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
