"""Rulings on disputed stretches, and the frames they take out of a log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rulings", sa.Column("id", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False), sa.Column("document", sa.Text(), nullable=False),
        sa.Column("signatures", sa.Text(), nullable=False), sa.Column("incarnation", sa.LargeBinary(32), nullable=False),
        sa.Column("first_sequence", BIG, nullable=False), sa.Column("last_sequence", BIG, nullable=False),
        sa.Column("accepted_frame", sa.LargeBinary(32), nullable=False), sa.Column("received_at_s", BIG, nullable=False),
        sa.Column("operator_id", BIG, nullable=False), sa.PrimaryKeyConstraint("id", name="pk_rulings"),
        sa.UniqueConstraint("digest", name="uq_rulings_digest"),
        sa.ForeignKeyConstraint(["session"], ["sessions.session"], name="fk_rulings_session"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_rulings_operator_id"),
    )  # fmt: skip
    op.create_index("ix_rulings_session", "rulings", ["session"])
    op.create_table(
        "ruled_out_frames", sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("device", sa.LargeBinary(32), nullable=False), sa.Column("ruling_id", BIG, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False), sa.Column("received_at_s", BIG, nullable=False),
        sa.Column("epoch_id", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_ruled_out_frames"),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_ruled_out_frames_device"),
        sa.ForeignKeyConstraint(["ruling_id"], ["rulings.id"], name="fk_ruled_out_frames_ruling_id"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_ruled_out_frames_epoch_id"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_ruled_out_frames_operator_id"),
    )  # fmt: skip
    op.create_index("ix_ruled_out_frames_device", "ruled_out_frames", ["device"])
    op.create_index("ix_ruled_out_frames_epoch_id", "ruled_out_frames", ["epoch_id"])
    op.add_column("sessions", sa.Column("bill_version", BIG, nullable=False, server_default="0"))
