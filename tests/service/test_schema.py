"""Migrations and models say the same, and every row has an operator."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from backend.models import Base
from backend.store.db import Database
from backend.store.migrate import is_current, migrate


def test_migrations_make_exactly_the_models_schema(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    assert not is_current(db)
    migrate(db)
    migrate(db)  # again: nothing
    assert is_current(db)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    db.close()


def test_every_row_carries_its_operator() -> None:
    for table in Base.metadata.tables.values():
        assert "operator_id" in table.columns or table.name == "operators", table.name
