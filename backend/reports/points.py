"""Points as people see them: supply, power, whether the agent is heard, the session that holds them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from protocol.control import SupplyState
from protocol.evidence import Flag

from ..context import Service
from ..devices.policies import Policy
from ..errors import NotFound
from ..evidence.frames import decode
from ..models import Confirmation, Device, FrameRow, Point, Reading, SessionRow
from ..sessions.states import LIVE
from .pages import Page, page_of

HEARD_WITHIN_S = 120
"""Where the agent's stream is held by another process: how fresh its last word must be."""
SUPPLY = {
    None: "not measured",
    SupplyState.DISCONNECTED: "disconnected",
    SupplyState.CONNECTED: "connected",
    SupplyState.FAILED: "switching failed",
}
MAX_FRAMES_READ = 4_000
"""Frames decoded for one chart: an hour of records a second."""


class PointLine(NamedTuple):
    """A point and what stands now."""

    point: Point
    device: Device
    reading: Reading | None
    session: SessionRow | None
    heard: bool

    state: SupplyState | None
    measured_at_s: int | None

    @property
    def supply(self) -> str:
        """What was last measured, in words."""
        return SUPPLY[self.state]


class PowerReading(NamedTuple):
    """One record of a point."""

    sequence: int
    end_s: int
    power_milliwatts: int
    import_milliwatt_hours: int
    voltage_millivolts: int


def is_heard(service: Service, device: Device) -> bool:
    """Whether the agent has its stream open here, or opened it lately at another process."""
    recent = device.last_heard_at_s is not None and device.last_heard_at_s > service.now_s() - HEARD_WITHIN_S
    return device.device in service.hub.connected() or (recent and not service.db.is_sqlite)


def _lines(db: Session, service: Service, query: Select[Any]) -> list[PointLine]:
    """Points of a query with what stands now."""
    full = (
        query.with_only_columns(Point, Device, Reading, SessionRow)
        .join(Device, Device.device == Point.device)
        .outerjoin(Reading, Reading.point_id == Point.id)
        .outerjoin(
            SessionRow,
            (SessionRow.point_id == Point.id) & SessionRow.state.in_([state.value for state in LIVE]) & SessionRow.waits.is_(False),
        )
    )
    return [
        PointLine(point, device, reading, session, is_heard(service, device), *_measured(db, point, reading))
        for point, device, reading, session in db.execute(full)
    ]


def _measured(db: Session, point: Point, reading: Reading | None) -> tuple[SupplyState | None, int | None]:
    """Supply as last measured, and when. Before a point's first reading only the confirmations know."""
    if reading is not None and reading.supply is not None:
        return SupplyState(reading.supply), reading.supply_at_s
    said = db.scalar(
        select(Confirmation)
        .where(Confirmation.device == point.device, Confirmation.channel == point.channel)
        .order_by(Confirmation.id.desc())
        .limit(1)
    )
    return (None, None) if said is None else (SupplyState(said.state), said.measured_at_s)


def page(db: Session, service: Service, operator_id: int, after: str | None, limit: int) -> Page[PointLine]:
    """Points by id."""
    query = select(Point).where(Point.operator_id == operator_id, Point.id > (after or "")).order_by(Point.id).limit(limit + 1)
    return page_of(_lines(db, service, query), limit, lambda line: line.point.id)


def get(db: Session, service: Service, operator_id: int, point_id: str) -> PointLine:
    """One point of this operator. Raises `NotFound`."""
    lines = _lines(db, service, select(Point).where(Point.operator_id == operator_id, Point.id == point_id))
    if not lines:
        raise NotFound(f"no point {point_id!r}", "pointId")
    return lines[0]


def names(db: Session, point_ids: set[str]) -> dict[str, str]:
    """Names of points where somebody had a session, whoever hosts them: its seller may know where it sold."""
    query = select(Point.id, Point.name).where(Point.id.in_(sorted(point_ids)))
    return {point_id: name for point_id, name in db.execute(query)}


class Count(NamedTuple):
    """All points of an operator, summed up."""

    points: int
    heard: int
    connected: int
    disconnected: int
    power_milliwatts: int


def count(db: Session, service: Service, operator_id: int) -> Count:
    """How points stand. Power is the sum over those that are heard: an old reading of a silent point says nothing of now."""
    lines = _lines(db, service, select(Point).where(Point.operator_id == operator_id))
    return Count(
        len(lines), sum(line.heard for line in lines), sum(line.state == SupplyState.CONNECTED for line in lines),
        sum(line.state == SupplyState.DISCONNECTED for line in lines),
        sum(line.reading.power_milliwatts for line in lines if line.heard and line.reading is not None),
    )  # fmt: skip


def power_history(db: Session, point: Point, since_s: int, limit: int) -> list[PowerReading]:
    """Records of a point that end after `since_s`, the oldest first: the latest `limit` of them, decoded from the stored frames."""
    query = select(FrameRow).where(FrameRow.device == point.device, FrameRow.end_s > since_s)
    rows = db.scalars(query.order_by(FrameRow.end_s.desc(), FrameRow.id.desc()).limit(min(limit, MAX_FRAMES_READ)))
    found: list[PowerReading] = []
    for row in rows:
        for record in reversed(decode(row).records):
            if record.channel == point.channel and record.end_s > since_s:
                found.append(
                    PowerReading(
                        record.sequence, record.end_s, record.power_milliwatts, record.import_milliwatt_hours, record.voltage_millivolts
                    )
                )
        if len(found) >= limit:
            break
    return sorted(found[:limit], key=lambda reading: (reading.end_s, reading.sequence))


def flag_words(flags: int) -> list[str]:
    """What was unusual about a reading, in words."""
    return [(flag.name or "").lower().replace("_", " ") for flag in Flag if flags & flag]


def policy_words(policy: Policy) -> str:
    """How a point switches, in a sentence."""
    mode = "the agent disconnects by itself" if policy.mode == "local" else "the service decides while it is heard"
    credit = "at zero" if policy.cutOff == "zero" else f"at an emergency credit of {policy.cutOff.emergencyCreditMicro} micro-units"
    hours = f", not inside {len(policy.protectedHours)} protected stretches" if policy.protectedHours else ""
    lost = policy.lostCommunication
    hold = "disconnects" if lost.action == "disconnect" else f"holds for {lost.milliwattHours} mWh or {lost.seconds} s"
    done = policy.loadFinished
    finished = f"; a load that draws less than {done.belowMilliwatts} mW for {done.forS} s has finished" if done else ""
    return f"{mode}, {credit}{hours}; when communication is lost it {hold}{finished}"
