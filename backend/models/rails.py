"""Money over rails (payment providers): what customers pay in and get back, what moved at the provider, and which events were heard."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Owned


class Deposit(Owned, Base):
    """One payment in. `state`: see `backend.rails.deposits`; `why`: why it waits, empty where it does not."""

    __tablename__ = "deposits"
    id: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    rail: Mapped[str] = mapped_column(String(20))
    account: Mapped[bytes] = mapped_column(Address)  # whose free balance it becomes
    amount_micro: Mapped[int] = mapped_column(Big)  # asked for
    state: Mapped[str] = mapped_column(String(12))
    why: Mapped[str] = mapped_column(String(300), default="")
    payment_id: Mapped[str | None] = mapped_column(String(255))  # the rail's name of the payment
    pay_url: Mapped[str | None] = mapped_column(String(2000))
    expires_at_s: Mapped[int | None] = mapped_column(Big)
    charge_id: Mapped[str | None] = mapped_column(String(255))
    receipt_id: Mapped[bytes | None] = mapped_column(Hash, unique=True)
    paid_micro: Mapped[int] = mapped_column(Big, default=0)
    refunded_micro: Mapped[int] = mapped_column(Big, default=0)  # whatever went back over this charge, whoever asked
    disputed_micro: Mapped[int] = mapped_column(Big, default=0)
    dispute: Mapped[str] = mapped_column(String(8), default="")  # open, won, lost; empty: never
    mint_micro: Mapped[int | None] = mapped_column(Big)  # decided: so much is minted
    tries: Mapped[int] = mapped_column(Big, default=0)  # mints the chain refused before
    look_again: Mapped[bool] = mapped_column(Boolean, default=False)  # an event said that something is new about it
    created_at_s: Mapped[int] = mapped_column(Big)
    paid_at_s: Mapped[int | None] = mapped_column(Big)
    credited_at_s: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (
        UniqueConstraint("rail", "charge_id"), Index("ix_deposits_state", "state"), Index("ix_deposits_account", "account"),
        Index("ix_deposits_created_at_s_id", "created_at_s", "id"),
    )  # fmt: skip


class Payout(Owned, Base):
    """One signed withdrawal that goes back over the rail it came by. `state`: see `backend.rails.payouts`."""

    __tablename__ = "payouts"
    id: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    rail: Mapped[str] = mapped_column(String(20))
    account: Mapped[bytes] = mapped_column(Address)
    amount_micro: Mapped[int] = mapped_column(Big)
    nonce: Mapped[int] = mapped_column(Big)
    deadline_s: Mapped[int] = mapped_column(Big)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(12))
    why: Mapped[str] = mapped_column(String(300), default="")
    created_at_s: Mapped[int] = mapped_column(Big)
    done_at_s: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (
        Index("ix_payouts_state", "state"), Index("ix_payouts_account", "account"),
        Index("ix_payouts_created_at_s_id", "created_at_s", "id"),
    )  # fmt: skip


class PayoutPart(Owned, Base):
    """What of a payout goes back over one charge."""

    __tablename__ = "payout_parts"
    payout_id: Mapped[bytes] = mapped_column(ForeignKey("payouts.id"), primary_key=True)
    deposit_id: Mapped[bytes] = mapped_column(ForeignKey("deposits.id"), primary_key=True)
    amount_micro: Mapped[int] = mapped_column(Big)
    state: Mapped[str] = mapped_column(String(8))  # waiting, asked, done, failed, void
    tries: Mapped[int] = mapped_column(Big, default=0)  # part of the rail's idempotency key
    name: Mapped[bytes] = mapped_column(Hash, unique=True)  # what the refund carries at the rail
    refund_id: Mapped[str | None] = mapped_column(String(255))
    why: Mapped[str] = mapped_column(String(300), default="")
    __table_args__ = (Index("ix_payout_parts_deposit_id", "deposit_id"),)


class RailMovement(Owned, Base):
    """One movement of the rail's balance, as the rail tells it. Its row and its transfers are one transaction."""

    __tablename__ = "rail_movements"
    rail: Mapped[str] = mapped_column(String(20), primary_key=True)
    movement_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    amount_micro: Mapped[int] = mapped_column(Big)  # signed: positive comes in
    fee_micro: Mapped[int] = mapped_column(Big)
    deposit_id: Mapped[bytes | None] = mapped_column(Hash)
    moved_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_rail_movements_rail_moved_at_s", "rail", "moved_at_s"),)


class RailEvent(Owned, Base):
    """A webhook that was signed and heard: by its id, once."""

    __tablename__ = "rail_events"
    rail: Mapped[str] = mapped_column(String(20), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    kind: Mapped[str] = mapped_column(String(80))
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_rail_events_received_at_s", "received_at_s"),)
