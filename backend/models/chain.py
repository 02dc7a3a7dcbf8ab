"""The chain as this service knows it: blocks and events with their hashes, and the outbox of its own transactions."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned


class KnownBlock(Owned, Base):
    """Blocks the event reader goes back along: the newest final one and all after it."""

    __tablename__ = "known_blocks"
    number: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(Hash)


class ChainEventRow(Owned, Base):
    """An event of our contracts. `applied`: its block is final and the books have it; before that it is *pending*."""

    __tablename__ = "chain_events"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    block_number: Mapped[int] = mapped_column(Big)
    block_hash: Mapped[bytes] = mapped_column(Hash)
    time_s: Mapped[int] = mapped_column(Big)
    log_index: Mapped[int] = mapped_column(Big)
    transaction_hash: Mapped[bytes] = mapped_column(Hash)
    name: Mapped[str] = mapped_column(String(40))
    values: Mapped[str] = mapped_column(Json)
    session: Mapped[bytes | None] = mapped_column(Hash, index=True)
    applied: Mapped[bool] = mapped_column(Boolean, default=False)
    __table_args__ = (
        UniqueConstraint("block_number", "log_index"),
        Index("ix_chain_events_applied_block_number", "applied", "block_number"),
    )


class AnchorLinkRow(Owned, Base):
    """A final link of an anchorer's chain on AnchorLog: ours, and those of our meter keys."""

    __tablename__ = "anchor_links"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    anchorer: Mapped[bytes] = mapped_column(Address)
    previous_head: Mapped[bytes] = mapped_column(Hash)
    root: Mapped[bytes] = mapped_column(Hash)
    head: Mapped[bytes] = mapped_column(Hash, unique=True)
    time_s: Mapped[int] = mapped_column(Big)
    block_number: Mapped[int] = mapped_column(Big)
    transaction_hash: Mapped[bytes] = mapped_column(Hash)
    __table_args__ = (Index("ix_anchor_links_anchorer_id", "anchorer", "id"), Index("ix_anchor_links_root", "root"))


class KeyEventRow(Owned, Base):
    """A final KeyChanged of one of our devices, in the order of the registry's chain."""

    __tablename__ = "key_events"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(Hash, index=True)
    role: Mapped[int] = mapped_column(Big)
    old_key: Mapped[bytes] = mapped_column(Address)
    new_key: Mapped[bytes] = mapped_column(Address)
    last_frame: Mapped[bytes] = mapped_column(Hash)
    head: Mapped[bytes] = mapped_column(Hash)
    time_s: Mapped[int] = mapped_column(Big)
    block_number: Mapped[int] = mapped_column(Big)
    transaction_hash: Mapped[bytes] = mapped_column(Hash)


class ChainHaltRow(Owned, Base):
    """A stretch in which the chain made no block: receipts' times move by it."""

    __tablename__ = "chain_halts"
    from_block: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=False)
    from_s: Mapped[int] = mapped_column(Big)
    until_s: Mapped[int] = mapped_column(Big)


class IntentRow(Owned, Base):
    """Something the service wants on the chain, written with the business change that wants it."""

    __tablename__ = "intents"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    sender: Mapped[bytes] = mapped_column(Address)
    kind: Mapped[str] = mapped_column(String(20))
    what: Mapped[str] = mapped_column(String(60))
    cause: Mapped[bytes] = mapped_column(Hash, unique=True)
    reference: Mapped[bytes] = mapped_column(Hash)  # the session, the epoch's root …
    to: Mapped[bytes] = mapped_column(Address)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(10))  # open, then succeeded, reverted or refused
    created_at_s: Mapped[int] = mapped_column(Big)
    settled_at_s: Mapped[int | None] = mapped_column(Big)
    mined_transaction: Mapped[bytes | None] = mapped_column(Hash)
    mined_block_number: Mapped[int | None] = mapped_column(Big)
    mined_block_hash: Mapped[bytes | None] = mapped_column(Hash)
    mined_succeeded: Mapped[bool | None] = mapped_column(Boolean)
    gas_used: Mapped[int | None] = mapped_column(Big)
    gas_price_wei: Mapped[str | None] = mapped_column(String(40))
    reason_name: Mapped[str] = mapped_column(String(60), default="")
    reason: Mapped[str] = mapped_column(String(500), default="")
    __table_args__ = (Index("ix_intents_sender_state_id", "sender", "state", "id"), Index("ix_intents_reference", "reference"))


class AttemptRow(Owned, Base):
    """Signed bytes of an intent, saved before they were broadcast. `released`: their nonce was proven dead; kept as history."""

    __tablename__ = "attempts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    intent_id: Mapped[int] = mapped_column(ForeignKey("intents.id"), index=True)
    transaction_hash: Mapped[bytes] = mapped_column(Hash, unique=True)
    nonce: Mapped[int] = mapped_column(Big)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    gas_limit: Mapped[int] = mapped_column(Big)
    fee_wei: Mapped[str] = mapped_column(String(40))  # text: a price in wei can pass 2^63
    tip_wei: Mapped[str] = mapped_column(String(40))
    created_at_s: Mapped[int] = mapped_column(Big)
    released: Mapped[bool] = mapped_column(Boolean, default=False)


class ClaimRow(Owned, Base):
    """One session in one claim batch."""

    __tablename__ = "claim_rows"
    intent_id: Mapped[int] = mapped_column(ForeignKey("intents.id"), primary_key=True)
    session: Mapped[bytes] = mapped_column(ForeignKey("sessions.session"), primary_key=True)
    amount_micro: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_claim_rows_session", "session"),)
