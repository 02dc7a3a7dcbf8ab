"""Who sells at which point, and the offers they stand by."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned, Signature


class OfferRow(Owned, Base):
    """An offer as its provider signed it, and what the chain made of it. `operator_id` is the seller's."""

    __tablename__ = "offers"
    hash: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    provider: Mapped[bytes] = mapped_column(Address)
    number: Mapped[int] = mapped_column(Big)
    valid_from_s: Mapped[int] = mapped_column(Big)
    valid_until_s: Mapped[int] = mapped_column(Big)
    offer: Mapped[str] = mapped_column(Json)
    signature: Mapped[bytes] = mapped_column(Signature)
    document: Mapped[str] = mapped_column(Json)  # RFC 8785
    tariff_hash: Mapped[bytes] = mapped_column(Hash)
    made_at_s: Mapped[int] = mapped_column(Big)
    published_at_s: Mapped[int | None] = mapped_column(Big)  # block time, final
    withdraw_signature: Mapped[bytes | None] = mapped_column(Signature)
    withdraw_asked_at_s: Mapped[int | None] = mapped_column(Big)  # no quote under it from then on
    withdrawn_at_s: Mapped[int | None] = mapped_column(Big)  # block time, final
    __table_args__ = (UniqueConstraint("provider", "number"), Index("ix_offers_operator_id_made_at_s", "operator_id", "made_at_s"))


class OfferPoint(Owned, Base):
    """A point an offer is for."""

    __tablename__ = "offer_points"
    offer: Mapped[bytes] = mapped_column(ForeignKey("offers.hash"), primary_key=True)
    point_id: Mapped[str] = mapped_column(ForeignKey("points.id"), primary_key=True)
    __table_args__ = (Index("ix_offer_points_point_id", "point_id"),)


class PointSeller(Owned, Base):
    """An operator that may sell at another's point. `operator_id` is the host's."""

    __tablename__ = "point_sellers"
    point_id: Mapped[str] = mapped_column(ForeignKey("points.id"), primary_key=True)
    seller_id: Mapped[int] = mapped_column(ForeignKey("operators.id"), primary_key=True, autoincrement=False)


class ProviderRow(Owned, Base):
    """An account the provider book admitted, by final events."""

    __tablename__ = "providers"
    provider: Mapped[bytes] = mapped_column(Address, primary_key=True)
    registered: Mapped[bool] = mapped_column(Boolean)
    since_s: Mapped[int] = mapped_column(Big)
