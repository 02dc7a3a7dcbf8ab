"""What changed since a cursor, for one operator: what live pages and programs are told over SSE.

Events are hints to look again, and readings for charts; they are not a record. Nothing is carried from the writer: the rows are looked at,
so it does not matter which process wrote them. A row that another process commits late, under a lower number than one already told, may go
untold; every page draws itself anew each half minute for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..evidence.frames import decode
from ..hexes import to_hex
from ..models import Alarm, ChainEventRow, Command, Confirmation, Epoch, FrameRow, Point, SessionRow, SessionStep
from . import alarms

MAX_FRAMES = 500
"""Frames told at once; an agent that catches up with more is told by its latest ones."""


class News(NamedTuple):
    """One event."""

    kind: str
    data: dict[str, Any]


class Cursor(NamedTuple):
    """How far an operator's listeners were told."""

    frame: int
    step: int
    command: int
    confirmation: int
    event: int
    alarms: tuple[int, int, int, int]  # open, critical, newest, times raised
    epochs: tuple[int, int]  # newest, newest anchored


def now(db: Session, operator_ids: Sequence[int]) -> Cursor:
    """The cursor that stands after everything so far. The first operator is whose rows are told; alarms are of all of them."""
    operator_id = operator_ids[0]

    def last(column: Any, table: Any) -> int:
        return int(db.scalar(select(func.max(column)).where(table.operator_id == operator_id)) or 0)

    return Cursor(
        last(FrameRow.id, FrameRow),
        last(SessionStep.id, SessionStep),
        last(Command.id, Command),
        last(Confirmation.id, Confirmation),
        _last_event(db, operator_id),
        _alarms(db, operator_ids),
        _epochs(db, operator_id),
    )


def since(db: Session, operator_ids: Sequence[int], cursor: Cursor) -> tuple[list[News], Cursor]:
    """What is new, and the cursor after it."""
    operator_id, after = operator_ids[0], now(db, operator_ids)
    news: list[News] = []
    if after.frame > cursor.frame:
        news += _readings(db, operator_id, cursor.frame)
    if after.step > cursor.step:
        steps = db.scalars(
            select(SessionStep).where(SessionStep.operator_id == operator_id, SessionStep.id > cursor.step).order_by(SessionStep.id)
        )
        news += [
            News("session", {"session": to_hex(step.session), "state": step.to_state, "why": step.why, "atS": step.at_s}) for step in steps
        ]
    if after.command > cursor.command or after.confirmation > cursor.confirmation:
        news += _supply(db, operator_id, cursor)
    if after.event > cursor.event:
        news.append(News("money", {"through": after.event}))
    if after.alarms != cursor.alarms:
        opened, critical, _, _ = after.alarms
        news.append(News("alarm", {"open": opened, "critical": critical}))
    if after.epochs != cursor.epochs:
        newest, anchored = after.epochs
        news.append(News("anchor", {"newestEpoch": newest, "newestAnchored": anchored}))
    return news, after


def _last_event(db: Session, operator_id: int) -> int:
    """The newest chain event about a session of this operator."""
    query = select(func.max(ChainEventRow.id)).join(SessionRow, SessionRow.session == ChainEventRow.session)
    return int(db.scalar(query.where(SessionRow.operator_id == operator_id)) or 0)


def _alarms(db: Session, operator_ids: Sequence[int]) -> tuple[int, int, int, int]:
    """Enough of all alarms to see that one changed."""
    opened, critical = alarms.count_open(db, operator_ids)
    query = select(func.coalesce(func.max(Alarm.id), 0), func.coalesce(func.sum(Alarm.times), 0)).where(Alarm.operator_id.in_(operator_ids))
    newest, times = db.execute(query).one()
    return opened, critical, int(newest), int(times)


def _epochs(db: Session, operator_id: int) -> tuple[int, int]:
    """The newest epoch with frames of this operator, and the newest of those that is anchored."""
    own = select(func.max(FrameRow.epoch_id)).where(FrameRow.operator_id == operator_id)
    anchored = own.join(Epoch, Epoch.id == FrameRow.epoch_id).where(Epoch.state == "anchored")
    return int(db.scalar(own) or 0), int(db.scalar(anchored) or 0)


def _readings(db: Session, operator_id: int, after_frame: int) -> list[News]:
    """The last reading of each point among the new frames, and what its session cost by then."""
    latest = (
        select(FrameRow)
        .where(FrameRow.operator_id == operator_id, FrameRow.id > after_frame)
        .order_by(FrameRow.id.desc())
        .limit(MAX_FRAMES)
    )
    points = {(point.device, point.channel): point.id for point in db.scalars(select(Point).where(Point.operator_id == operator_id))}
    running = {
        row.point_id: row
        for row in db.scalars(
            select(SessionRow).where(SessionRow.operator_id == operator_id, SessionRow.state.in_(("open", "running", "ending")))
        )
    }
    news = []
    for frame in reversed(list(db.scalars(latest))):
        for record in decode(frame).records:
            point_id = points.get((record.device, record.channel))
            if point_id is None:
                continue
            session = running.get(point_id)
            news.append(
                News(
                    "reading",
                    {
                        "pointId": point_id,
                        "sequence": record.sequence,
                        "endS": record.end_s,
                        "powerMilliwatts": record.power_milliwatts,
                        "importMilliwattHours": record.import_milliwatt_hours,
                        "voltageMillivolts": record.voltage_millivolts,
                        "session": None if session is None else to_hex(session.session),
                        "billMicro": None if session is None else session.bill_micro,
                    },
                )
            )
    return news


def _supply(db: Session, operator_id: int, cursor: Cursor) -> list[News]:
    commands = db.scalars(select(Command).where(Command.operator_id == operator_id, Command.id > cursor.command).order_by(Command.id))
    said = db.scalars(select(Confirmation).where(Confirmation.operator_id == operator_id, Confirmation.id > cursor.confirmation))
    news = [News("supply", {"device": to_hex(c.device), "channel": c.channel, "command": c.action, "number": c.number}) for c in commands]
    news += [
        News("supply", {"device": to_hex(s.device), "channel": s.channel, "state": s.state, "measuredAtS": s.measured_at_s}) for s in said
    ]
    return news
