"""When a task is due to be closed, and the words that pay it by amount."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("tasks", sa.Column("price_micro", BIG, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("word_micro", BIG, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("due_at_s", BIG, nullable=True))
    op.add_column("task_words", sa.Column("amount_micro", BIG, nullable=True))
    op.add_column("task_words", sa.Column("energy", sa.Text(), nullable=True))
    tasks = sa.table("tasks", *(sa.column(name) for name in ("task", "terms", "ends_at_s", "price_micro", "due_at_s")))
    connection = op.get_bind()
    for task, text, ends_at_s in connection.execute(sa.select(tasks.c.task, tasks.c.terms, tasks.c.ends_at_s)).all():
        terms = json.loads(text)
        due_at_s = None if ends_at_s is None else ends_at_s + int(terms["proofGraceS"])
        values = {"price_micro": int(terms["priceMicro"]), "due_at_s": due_at_s}
        connection.execute(sa.update(tasks).where(tasks.c.task == task).values(**values))
    op.drop_index("ix_tasks_state_ends_at_s", "tasks")
    op.create_index("ix_tasks_state_due_at_s", "tasks", ["state", "due_at_s"])
    op.create_index("ix_task_words_task_amount_micro", "task_words", ["task", "amount_micro"])
