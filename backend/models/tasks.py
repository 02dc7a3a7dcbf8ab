"""Tasks between nodes, and every word that was signed about them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned


class TaskRow(Owned, Base):
    """One task. Amounts in micro-units, cumulative; what the chain says of it is final."""

    __tablename__ = "tasks"
    task: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    terms: Mapped[str] = mapped_column(Json)
    description: Mapped[str] = mapped_column(Json)
    requester: Mapped[bytes] = mapped_column(Address, index=True)
    node: Mapped[bytes] = mapped_column(Address, index=True)
    state: Mapped[str] = mapped_column(String(10))  # opening, open, closed; refused: the chain would not open it
    created_at_s: Mapped[int] = mapped_column(Big)
    price_micro: Mapped[int] = mapped_column(Big)
    word_micro: Mapped[int] = mapped_column(Big, default=0)  # the highest kept word that pays it
    paid_micro: Mapped[int] = mapped_column(Big, default=0)
    returned_micro: Mapped[int] = mapped_column(Big, default=0)
    opened_at_s: Mapped[int | None] = mapped_column(Big)  # block time
    ends_at_s: Mapped[int | None] = mapped_column(Big)
    due_at_s: Mapped[int | None] = mapped_column(Big)  # end and grace: from then on anyone may close it
    closed_at_s: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (Index("ix_tasks_state_due_at_s", "state", "due_at_s"), Index("ix_tasks_operator_id_task", "operator_id", "task"))


class TaskWord(Owned, Base):
    """A signed message about a task, kept as it came: opening, completion, payment, request to close, giving up."""

    __tablename__ = "task_words"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    task: Mapped[bytes] = mapped_column(ForeignKey("tasks.task"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    digest: Mapped[bytes] = mapped_column(Hash)
    document: Mapped[str] = mapped_column(Json)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    amount_micro: Mapped[int | None] = mapped_column(Big)  # of a word that pays: up to how much, in all
    energy: Mapped[str | None] = mapped_column(Json)  # what proves it, of a completion for energy
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_task_words_task_amount_micro", "task", "amount_micro"), UniqueConstraint("task", "kind", "digest"),)
