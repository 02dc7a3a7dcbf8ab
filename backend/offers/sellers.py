"""Who may sell at a point: its host, and the operators the host lets in. A session belongs to whoever sells it."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..devices.points import get_point
from ..errors import BadRequest
from ..models import HOUSE, Operator, Point, PointSeller

MAX_SELLERS = 32
"""Operators at one point: a buyer reads an offer of each."""


def sellers_of(db: Session, point_id: str) -> list[int]:
    """Operators that the host lets sell at its point, the host itself not among them."""
    return list(db.scalars(select(PointSeller.seller_id).where(PointSeller.point_id == point_id).order_by(PointSeller.seller_id)))


def set_sellers(db: Session, host_id: int, point_id: str, operator_ids: list[int]) -> list[int]:
    """Let exactly these operators sell at a point of this host. What they sold already goes on. Raises `BadRequest`, `NotFound`."""
    point = get_point(db, point_id, host_id)
    wanted = sorted(set(operator_ids) - {host_id})
    if len(wanted) > MAX_SELLERS:
        raise BadRequest(f"at most {MAX_SELLERS} operators sell at one point", "operatorIds")
    known = set(db.scalars(select(Operator.id).where(Operator.id.in_(wanted), Operator.id != HOUSE)))
    unknown = [operator_id for operator_id in wanted if operator_id not in known]
    if unknown:
        raise BadRequest(f"there is no operator {unknown[0]}", "operatorIds")
    db.execute(delete(PointSeller).where(PointSeller.point_id == point.id))
    db.add_all(PointSeller(operator_id=host_id, point_id=point.id, seller_id=operator_id) for operator_id in wanted)
    db.flush()
    return wanted


def may_sell(db: Session, point: Point, operator_id: int) -> bool:
    """Whether this operator sells at this point: it is its host, or the host lets it."""
    return point.operator_id == operator_id or db.get(PointSeller, (point.id, operator_id)) is not None
