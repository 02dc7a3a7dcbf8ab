"""What operators do by hand: disconnect a point, acknowledge an alarm."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from ..accounts.acts import note
from ..accounts.depends import Actor
from ..reports import alarms, points, supply
from ..supply.orders import disconnect_point
from . import shapes
from .answers import AlarmAnswer, SupplyAnswer
from .bodies import Body
from .depends import Db, TheService
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


@router.post("/alarms/{alarm_id}/acknowledge")
def post_acknowledge(alarm_id: RowId, service: TheService, caller: Actor, db: Db) -> AlarmAnswer:
    """Note that somebody saw an alarm; who was first stays. It hides and clears nothing."""
    line = alarms.acknowledge(db, caller.scope, alarm_id, caller.name, service.now_s())
    note(db, line.alarm.operator_id, caller.name, "alarm acknowledged", f"{line.alarm.kind} {line.alarm.place}", "", service.now_s())
    return shapes.alarm_answer(line)
