"""Alembic's entry: works on the connection that `backend.store.migrate` hands over."""

from alembic import context

from backend.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
