"""What an operator orders by hand: disconnect a point, with a reason that stays on record.

A running session ends by the cause OPERATOR; a point without one is commanded off all the same. Nothing here reconnects: only a
session does.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from protocol.control import Action, Cause
from protocol.hashing import ZERO32

from ..accounts.acts import note
from ..accounts.callers import Caller
from ..context import Service
from ..devices.points import get_point
from ..sessions.life import end, live_session
from ..sessions.states import State
from .commands import command_channel


def disconnect_point(db: Session, service: Service, caller: Caller, point_id: str, reason: str) -> None:
    """Command a point off for a stated reason. Raises `NotFound` where it is not this caller's operator's."""
    disconnect(db, service, caller.operator_id, caller.name, point_id, reason)


def disconnect(db: Session, service: Service, operator_id: int, who: str, point_id: str, reason: str) -> None:
    """The same in the name of whoever ordered it."""
    point = get_point(db, point_id, operator_id)
    row = live_session(db, point.device, point.channel)
    if row is not None and row.state in (State.OPEN, State.RUNNING):
        end(db, service, row, Cause.OPERATOR, f"{who}: {reason}")
    else:
        command_channel(db, service, point.device, point.channel, ZERO32 if row is None else row.session, Action.DISCONNECT)
    note(db, operator_id, who, "disconnect commanded", f"point {point.id}", reason, service.now_s())
