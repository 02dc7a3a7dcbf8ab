"""How an operator's installation stands, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from ..context import Service
from ..models import Alarm
from ..store.facts import chain_status
from . import alarms, anchors, books, points, sessions
from .points import PointLine

LINES = 12
"""Points and alarms shown on the overview; the rest is on their own pages."""


class Overview(NamedTuple):
    """Counts, sums and the first lines. `money` is None for those who may not see it; `not_ready` names checks that fail."""

    points: int
    points_up: int
    connected: int
    disconnected: int
    unmeasured: int
    power_milliwatts: int
    live_sessions: int
    settling_sessions: int
    open_alarms: int
    critical_alarms: int
    money: books.Summary | None
    anchored_at_s: int | None
    frames_waiting: int
    block: int | None
    block_time_s: int | None
    not_ready: list[tuple[str, str]]
    lines: list[PointLine]
    alarms: list[Alarm]


def overview(db: Session, service: Service, operator_ids: Sequence[int], *, with_money: bool, not_ready: list[tuple[str, str]]) -> Overview:
    """Everything at a glance: of the first operator; alarms of all of them."""
    operator_id = operator_ids[0]
    stand = points.count(db, service, operator_id)
    open_alarms, critical = alarms.count_open(db, operator_ids)
    head = chain_status(db)
    return Overview(
        stand.points,
        stand.heard,
        stand.connected,
        stand.disconnected,
        stand.points - stand.connected - stand.disconnected,
        stand.power_milliwatts,
        sessions.count(db, operator_id, "live"),
        sessions.count(db, operator_id, "ended"),
        open_alarms,
        critical,
        books.summary(db, operator_id, service.now_s()) if with_money else None,
        anchors.last_anchored_at_s(db, operator_id),
        anchors.waiting(db, operator_id).frames,
        head and head.head_number,
        head and head.head_time_s,
        not_ready,
        points.page(db, service, operator_id, None, LINES).items,
        [line.alarm for line in alarms.page(db, operator_ids, None, LINES, only_open=True).items],
    )
