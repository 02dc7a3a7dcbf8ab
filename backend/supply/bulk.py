"""One order to disconnect many points (design §7): beyond `ALONE` it takes a second operator, and goes out one point after the other.

Guaranteed: who asked can never be who approves; an order is done once a point, however often it is called; nothing here delays the end of
anybody's credit.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import jsons
from ..accounts.acts import note
from ..accounts.callers import Caller
from ..context import Service
from ..devices.points import get_point
from ..errors import BadRequest, Conflict, Forbidden, NotFound
from ..models import DisconnectionRow
from ..onchain.outbox import Writing
from .orders import disconnect

ALONE = 20
"""Points that one operator may disconnect alone: a street's cabinet, not a town."""
MAX_POINTS = 10_000
APPROVE_WITHIN_S = 3_600
"""An order nobody confirmed within the hour belongs to a situation that has passed."""


def order(db: Session, service: Service, caller: Caller, point_ids: list[str], reason: str) -> DisconnectionRow:
    """Order points off. Up to `ALONE` it counts at once; beyond, once somebody else approved it."""
    if len(set(point_ids)) != len(point_ids):
        raise BadRequest("names a point twice", "pointIds")
    for point_id in point_ids:
        get_point(db, point_id, caller.operator_id)
    now, alone = service.now_s(), len(point_ids) <= ALONE
    row = DisconnectionRow(
        operator_id=caller.operator_id, points=jsons.dumps(point_ids), point_count=len(point_ids), reason=reason, asked_by=caller.name,
        asked_at_s=now, approved_by="" if alone else None, approved_at_s=now if alone else None, done_count=0,
    )  # fmt: skip
    db.add(row)
    db.flush()
    note(db, caller.operator_id, caller.name, "disconnections ordered", f"{len(point_ids)} points", reason, now)
    if alone:
        service.after_commit(db, lambda: service.hub.wake_loop("supply"))
    return row


def get(db: Session, order_id: int, operator_id: int) -> DisconnectionRow:
    row = db.get(DisconnectionRow, order_id)
    if row is None or row.operator_id != operator_id:
        raise NotFound("no such order", "disconnection_id")
    return row


def approve(db: Session, service: Service, caller: Caller, order_id: int) -> DisconnectionRow:
    """The second operator's word. The same again is a success. Raises `Forbidden` to who asked."""
    row = get(db, order_id, caller.operator_id)
    if row.approved_at_s is not None:
        return row
    if caller.name == row.asked_by:
        raise Forbidden(f"more than {ALONE} points take another operator's word than {row.asked_by}'s", "disconnection_id")
    now = service.now_s()
    if now > row.asked_at_s + APPROVE_WITHIN_S:
        raise Conflict("it was asked more than an hour ago; order it anew", "disconnection_id")
    row.approved_by, row.approved_at_s = caller.name, now
    note(db, caller.operator_id, caller.name, "disconnections approved", f"{row.point_count} points", f"asked by {row.asked_by}", now)
    service.after_commit(db, lambda: service.hub.wake_loop("supply"))
    return row


def page(db: Session, operator_id: int, limit: int) -> list[DisconnectionRow]:
    """The newest first."""
    query = select(DisconnectionRow).where(DisconnectionRow.operator_id == operator_id)
    return list(db.scalars(query.order_by(DisconnectionRow.id.desc()).limit(limit)))


def round_(service: Service, writing: Writing) -> None:
    """Command what is due of approved orders, one point a transaction."""
    with service.db.reading() as db:
        approved = (DisconnectionRow.approved_at_s.is_not(None), DisconnectionRow.done_count < DisconnectionRow.point_count)
        due = [(row.id, _due(service, row)) for row in db.scalars(select(DisconnectionRow).where(*approved).order_by(DisconnectionRow.id))]
    for order_id, count in due:
        for _ in range(count):
            with writing() as db:
                _next(db, service, order_id)


def _due(service: Service, row: DisconnectionRow) -> int:
    """How many more points may be commanded now: one each `disconnect_each_seconds`, or all of a small order."""
    each = service.settings.supply.disconnect_each_seconds
    if row.point_count <= ALONE or each == 0:
        return row.point_count - row.done_count
    begun = 1 + (service.now_s() - (row.approved_at_s or 0)) // each
    return max(0, min(begun, row.point_count) - row.done_count)


def _next(db: Session, service: Service, order_id: int) -> None:
    row = db.scalar(select(DisconnectionRow).where(DisconnectionRow.id == order_id).with_for_update())
    if row is None or row.done_count >= row.point_count or row.approved_at_s is None:
        return
    point_id = jsons.loads(row.points)[row.done_count]
    row.done_count += 1
    who = row.asked_by + (f", {row.approved_by}" if row.approved_by else "")
    disconnect(db, service, row.operator_id, who, point_id, row.reason)
