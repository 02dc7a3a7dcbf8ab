"""The books: accounts and immutable transfers, in micro-units. See `backend.money.ledger`."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Big, Hash, Owned


class Account(Owned, Base):
    """One account. Both sides only ever rise, but for pending amounts, which are taken back when posted or voided."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    reference: Mapped[bytes] = mapped_column(Hash)  # a session, an address; empty for the one of its kind
    debits_posted: Mapped[int] = mapped_column(Big, default=0)
    credits_posted: Mapped[int] = mapped_column(Big, default=0)
    debits_pending: Mapped[int] = mapped_column(Big, default=0)
    credits_pending: Mapped[int] = mapped_column(Big, default=0)
    __table_args__ = (
        UniqueConstraint("operator_id", "kind", "reference"),
        CheckConstraint("debits_posted >= 0 and credits_posted >= 0 and debits_pending >= 0 and credits_pending >= 0", name="not_negative"),
    )


class Transfer(Owned, Base):
    """One immutable transfer. Its id is a function of its cause, so the same cause can never move money twice."""

    __tablename__ = "transfers"
    id: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))  # posted, pending, post, void
    debit_account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    credit_account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    amount_micro: Mapped[int] = mapped_column(Big)
    pending_id: Mapped[bytes | None] = mapped_column(Hash, index=True)
    drawn_micro: Mapped[int] = mapped_column(Big, default=0)  # of a reservation: what was posted and voided; the one thing that moves
    cause: Mapped[str] = mapped_column(String(30))
    reference: Mapped[bytes] = mapped_column(Hash)  # the session, or empty
    at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (
        CheckConstraint("amount_micro > 0", name="amount_positive"),
        CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
        Index("ix_transfers_operator_id_reference", "operator_id", "reference"),
        Index("ix_transfers_operator_id_at_s_id", "operator_id", "at_s", "id"),
    )
