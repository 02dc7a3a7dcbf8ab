"""The schema, by Alembic, run from code: at every start and by `python -m backend migrate`. Migrations only go forward."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text

from ..errors import Misconfigured
from ..models import HOUSE, Operator
from .db import Database

SCRIPTS = Path(__file__).parents[1] / "migrations"
_LOCK = 0x57A77  # PostgreSQL advisory lock: two processes that start together migrate once


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config


def migrate(db: Database) -> None:
    """Bring the database to this program's schema. Safe to run again, and from several processes at once.

    Raises `Misconfigured` where a newer program made the database.
    """
    with db.engine.begin() as connection:
        if not db.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and not is_known(found):
            raise Misconfigured(f"its schema {found} was made by another version of this program; take a newer one", "database_url")
        command.upgrade(_config(connection), "head")


def is_known(revision: str) -> bool:
    """Whether this program has a migration of that name."""
    return revision in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def is_current(db: Database) -> bool:
    """Whether the database has exactly this program's schema."""
    with db.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_config()).get_current_head()


def seed_operators(db: Database, name: str, payee: bytes, now_s: int) -> None:
    """The installation's own row and the first operator's. A changed payee of the settings holds for new sessions."""
    with db.writing() as session:
        for operator_id, operator_name in ((HOUSE, "installation"), (1, name)):
            row = session.scalar(select(Operator).where(Operator.id == operator_id))
            if row is None:
                session.execute(insert(Operator).values(id=operator_id, name=operator_name, payee=payee, created_at_s=now_s))
            elif operator_id != HOUSE:
                row.name, row.payee = operator_name, payee
