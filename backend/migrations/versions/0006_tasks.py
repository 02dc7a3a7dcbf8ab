"""Tasks between nodes and the words signed about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "tasks", _bytes("task", 32), sa.Column("terms", sa.Text(), nullable=False), sa.Column("description", sa.Text(), nullable=False),
        _bytes("requester", 20), _bytes("node", 20), sa.Column("state", sa.String(10), nullable=False), _big("created_at_s"),
        _big("paid_micro"), _big("returned_micro"), _big("opened_at_s", True), _big("ends_at_s", True), _big("closed_at_s", True),
        _big("operator_id"), sa.PrimaryKeyConstraint("task", name="pk_tasks"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_tasks_operator_id"),
    )  # fmt: skip
    for columns in (("requester",), ("node",), ("state", "ends_at_s"), ("operator_id", "task")):
        op.create_index(f"ix_tasks_{'_'.join(columns)}", "tasks", list(columns))
    op.create_table(
        "task_words", _big("id"), _bytes("task", 32), sa.Column("kind", sa.String(16), nullable=False), _bytes("digest", 32),
        sa.Column("document", sa.Text(), nullable=False), sa.Column("signature", sa.LargeBinary(), nullable=False),
        _big("received_at_s"), _big("operator_id"), sa.PrimaryKeyConstraint("id", name="pk_task_words"),
        sa.UniqueConstraint("task", "kind", "digest", name="uq_task_words_task_kind_digest"),
        sa.ForeignKeyConstraint(["task"], ["tasks.task"], name="fk_task_words_task"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_task_words_operator_id"),
    )  # fmt: skip
    op.create_index("ix_task_words_task", "task_words", ["task"])


def _big(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, BIG, nullable=nullable)


def _bytes(name: str, size: int) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(size), nullable=False)
