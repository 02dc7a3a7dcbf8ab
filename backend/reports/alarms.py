"""Alarms as people work through them: open or over, and who took note. Acknowledging hides nothing and clears nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from ..errors import NotFound
from ..models import Alarm, AlarmNote
from .cursors import number_in
from .pages import Page, page_of


class AlarmLine(NamedTuple):
    """An alarm, and who acknowledged it (None: nobody)."""

    alarm: Alarm
    note: AlarmNote | None


def page(db: Session, operator_ids: Sequence[int], after: str | None, limit: int, *, only_open: bool | None = None) -> Page[AlarmLine]:
    """Alarms, the newest first."""
    query = select(Alarm, AlarmNote).outerjoin(AlarmNote, AlarmNote.alarm_id == Alarm.id).where(Alarm.operator_id.in_(operator_ids))
    before = number_in(after)
    if before is not None:
        query = query.where(Alarm.id < before)
    if only_open is not None:
        query = query.where(Alarm.cleared_at_s.is_(None) if only_open else Alarm.cleared_at_s.is_not(None))
    rows = db.execute(query.order_by(Alarm.id.desc()).limit(limit + 1)).all()
    return page_of([AlarmLine(*row) for row in rows], limit, lambda line: str(line.alarm.id))


def count_open(db: Session, operator_ids: Sequence[int]) -> tuple[int, int]:
    """How many are open, and how many of those critical."""
    critical = func.coalesce(func.sum(case((Alarm.severity == "critical", 1), else_=0)), 0)
    query = select(func.count(), critical).select_from(Alarm).where(Alarm.operator_id.in_(operator_ids), Alarm.cleared_at_s.is_(None))
    count, bad = db.execute(query).one()
    return int(count), int(bad)


def acknowledge(db: Session, operator_ids: Sequence[int], alarm_id: int, who: str, now_s: int) -> AlarmLine:
    """Note that somebody saw an alarm; who was first stays. Raises `NotFound`."""
    alarm = db.get(Alarm, alarm_id)
    if alarm is None or alarm.operator_id not in operator_ids:
        raise NotFound(f"no alarm {alarm_id}", "alarmId")
    note = db.get(AlarmNote, alarm_id)
    if note is None:
        note = AlarmNote(alarm_id=alarm_id, operator_id=alarm.operator_id, who=who[:80], at_s=now_s)
        db.add(note)
        db.flush()
    return AlarmLine(alarm, note)
