"""Orders to disconnect many points; how far each reservation is drawn on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "disconnections", sa.Column("id", BIG, nullable=False), sa.Column("points", sa.Text(), nullable=False),
        sa.Column("point_count", BIG, nullable=False), sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("asked_by", sa.String(80), nullable=False), sa.Column("asked_at_s", BIG, nullable=False),
        sa.Column("approved_by", sa.String(80), nullable=True), sa.Column("approved_at_s", BIG, nullable=True),
        sa.Column("done_count", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_disconnections"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_disconnections_operator_id"),
    )  # fmt: skip
    op.create_index("ix_disconnections_operator_id_id", "disconnections", ["operator_id", "id"])
    op.add_column("transfers", sa.Column("drawn_micro", BIG, nullable=False, server_default="0"))
    op.execute(
        "update transfers set drawn_micro = coalesce((select sum(p.amount_micro) from transfers p where p.pending_id = transfers.id), 0)"
        " where kind = 'pending'"
    )
