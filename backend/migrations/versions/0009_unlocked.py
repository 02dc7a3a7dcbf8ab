"""Sessions on the operator's own credit while the chain stands still."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("unlocked_micro", BIG, nullable=True))
    op.add_column("sessions", sa.Column("locked_at_s", BIG, nullable=True))
