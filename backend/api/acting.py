"""What operators do by hand: disconnect a point, acknowledge an alarm."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from ..accounts.acts import note
from ..accounts.depends import Actor, Reader
from ..models import DisconnectionRow
from ..reports import alarms, points, supply
from ..supply import bulk
from ..supply.orders import disconnect_point
from . import shapes
from .answers import AlarmAnswer, Answer, SupplyAnswer
from .bodies import Body
from .bodies import PointId as PointIdText
from .depends import Db, ReadDb, TheService
from .idempotency import Once
from .reports import PointId, RowId

router = APIRouter(prefix="/api/v1", tags=["operators"])


class DisconnectBody(Body):
    reason: Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[^\x00]*$")]


@router.post("/points/{point_id}/disconnect", status_code=202, response_model=SupplyAnswer)
def post_disconnect(point_id: PointId, body: DisconnectBody, service: TheService, caller: Actor, db: Db, once: Once) -> Response:
    """Command a point off, for a reason that stays on record. It counts once the agent has measured it; only a session reconnects."""

    def order() -> tuple[int, dict[str, object]]:
        disconnect_point(db, service, caller, point_id, body.reason)
        line = points.get(db, service, caller.operator_id, point_id)
        return 202, shapes.supply_answer(supply.of_point(db, caller.operator_id, line.point, 1)[0]).model_dump()

    return once.once(db, service, order)


class DisconnectionsBody(Body):
    pointIds: Annotated[list[PointIdText], Field(min_length=1, max_length=bulk.MAX_POINTS)]
    reason: Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[^\x00]*$")]


class DisconnectionAnswer(Answer):
    """`approvedBy` null: waits for a second operator; empty: so few points that none was needed."""

    id: int
    pointCount: int
    doneCount: int
    reason: str
    askedBy: str
    askedAtS: int
    approvedBy: str | None
    approvedAtS: int | None


def _order_answer(row: DisconnectionRow) -> dict[str, object]:
    return {
        "id": row.id, "pointCount": row.point_count, "doneCount": row.done_count, "reason": row.reason, "askedBy": row.asked_by,
        "askedAtS": row.asked_at_s, "approvedBy": row.approved_by, "approvedAtS": row.approved_at_s,
    }  # fmt: skip


@router.post("/disconnections", status_code=202, response_model=DisconnectionAnswer)
def post_disconnections(body: DisconnectionsBody, service: TheService, caller: Actor, db: Db, once: Once) -> Response:
    """Order points off. More than 20 wait for another operator's approval, and are commanded one after the other."""
    return once.once(db, service, lambda: (202, _order_answer(bulk.order(db, service, caller, body.pointIds, body.reason))))


@router.get("/disconnections", response_model=list[DisconnectionAnswer])
def get_disconnections(caller: Reader, db: ReadDb) -> list[dict[str, object]]:
    """The last 100 orders, the newest first."""
    return [_order_answer(row) for row in bulk.page(db, caller.operator_id, 100)]


@router.post("/disconnections/{disconnection_id}/approve", response_model=DisconnectionAnswer)
def post_disconnections_approval(disconnection_id: RowId, service: TheService, caller: Actor, db: Db) -> dict[str, object]:
    """The second operator's word on an order to more than 20 points. Never by who asked."""
    return _order_answer(bulk.approve(db, service, caller, disconnection_id))


@router.post("/alarms/{alarm_id}/acknowledge")
def post_acknowledge(alarm_id: RowId, service: TheService, caller: Actor, db: Db) -> AlarmAnswer:
    """Note that somebody saw an alarm; who was first stays. It hides and clears nothing."""
    line = alarms.acknowledge(db, caller.scope, alarm_id, caller.name, service.now_s())
    note(db, line.alarm.operator_id, caller.name, "alarm acknowledged", f"{line.alarm.kind} {line.alarm.place}", "", service.now_s())
    return shapes.alarm_answer(line)
