"""Device wallets as the chain's final events say, and what their agents tell people."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned, Signature


class WalletRow(Owned, Base):
    """A wallet of the factory. It belongs to its owner, so to no operator here: rows are the installation's."""

    __tablename__ = "wallets"
    wallet: Mapped[bytes] = mapped_column(Address, primary_key=True)
    device: Mapped[bytes] = mapped_column(Hash)
    owner: Mapped[bytes] = mapped_column(Address)
    policy_hash: Mapped[bytes | None] = mapped_column(Hash)
    policy: Mapped[str | None] = mapped_column(Json)  # the standing policy's document
    policy_at_s: Mapped[int | None] = mapped_column(Big)
    frozen: Mapped[bool] = mapped_column(Boolean, default=False)
    withdrawn_micro: Mapped[int] = mapped_column(Big, default=0)  # paid out of its free balance, in all
    created_at_s: Mapped[int] = mapped_column(Big)


class WalletNote(Owned, Base):
    """What a wallet's agent says for people to see, signed by its pay key."""

    __tablename__ = "wallet_notes"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    wallet: Mapped[bytes] = mapped_column(ForeignKey("wallets.wallet"))
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)
    kind: Mapped[str] = mapped_column(String(10))  # choice, refusal, stopped
    session: Mapped[bytes | None] = mapped_column(Hash)
    document: Mapped[str] = mapped_column(Json)  # RFC 8785
    made_at_s: Mapped[int] = mapped_column(Big)
    signature: Mapped[bytes] = mapped_column(Signature)
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_wallet_notes_wallet_id", "wallet", "id"),)
