"""Offers as people read them: one operator's own, and who sells at its points."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import jsons
from ..models import OfferRow, Operator, Point, PointSeller
from ..offers.shelf import is_registered, state_of
from .cursors import time_and_key_in
from .pages import Page, page_of


class OfferLine(NamedTuple):
    """An offer with its document and state."""

    row: OfferRow
    document: dict[str, Any]
    state: str

    @property
    def renewable_percent(self) -> str:
        """The share of renewables, as exact as stated."""
        whole, rest = divmod(self.document["energySource"]["renewablePpm"], 10_000)
        return f"{whole}{f'.{rest:04d}'.rstrip('0') if rest else ''} %"


class SellerLine(NamedTuple):
    """Another operator at a point of this one."""

    point: Point
    seller: str


def page(db: Session, operator_id: int, after: str | None, limit: int, now_s: int) -> Page[OfferLine]:
    """An operator's offers, the newest first."""
    query = select(OfferRow).where(OfferRow.operator_id == operator_id)
    cursor = time_and_key_in(after)
    if cursor is not None:
        at_s, key = cursor
        query = query.where((OfferRow.made_at_s < at_s) | ((OfferRow.made_at_s == at_s) & (OfferRow.hash < key)))
    rows = db.scalars(query.order_by(OfferRow.made_at_s.desc(), OfferRow.hash.desc()).limit(limit + 1)).all()
    lines = [OfferLine(row, jsons.loads(row.document), state_of(db, row, now_s)) for row in rows]
    return page_of(lines, limit, lambda line: f"{line.row.made_at_s}-{line.row.hash.hex()}")


def sellers(db: Session, operator_id: int) -> list[SellerLine]:
    """Who else sells at this operator's points."""
    query = (
        select(Point, Operator.name).join(PointSeller, PointSeller.point_id == Point.id)
        .join(Operator, Operator.id == PointSeller.seller_id)
        .where(PointSeller.operator_id == operator_id).order_by(Point.name, Operator.name)
    )  # fmt: skip
    return [SellerLine(point, name) for point, name in db.execute(query)]


def on_the_book(db: Session, operator_id: int) -> bool:
    """Whether the provider book has this operator's account."""
    return is_registered(db, db.get_one(Operator, operator_id).payee)
