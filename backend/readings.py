"""The last reading of each point, and whether a new one may follow it. See `plausibility` for the rule itself."""

from __future__ import annotations

from sqlalchemy.orm import Session

from protocol.eip712 import from_json
from protocol.evidence import Flag, HandOver, Record
from protocol.wire import SignedFrame

from . import jsons
from .alarms import AlarmKind, clear_alarm, raise_alarm
from .context import Service
from .hexes import to_hex
from .models import Device, Point, Reading
from .plausibility import Known, judge
from .points import hand_overs_of, point_at


def judge_frame(db: Session, service: Service, device: Device, signed: SignedFrame) -> list[str]:
    """Take a frame's readings as the points' last ones. Returns flags: `implausible:<channel>` and so on, for the frame's row."""
    flags: list[str] = []
    points: dict[int, Point | None] = {}
    for record in signed.records:
        if record.channel not in points:
            points[record.channel] = point_at(db, device.device, record.channel)
        point = points[record.channel]
        if point is None:
            continue  # a channel nobody bills: its records are kept with the frame
        for flag in _take(db, service, device, point, record):
            if flag not in flags:
                flags.append(flag)
    return flags


def _take(db: Session, service: Service, device: Device, point: Point, record: Record) -> list[str]:
    reading = db.get(Reading, point.id)
    known = None
    if reading is not None:
        known = Known(
            reading.end_s, reading.import_milliwatt_hours, reading.good_end_s, reading.good_import_milliwatt_hours,
            reading.quarantined_since_s is not None,
        )  # fmt: skip
    if record.meter_hash != point.meter_hash:
        problem, rollover = _other_meter(db, device, point, record)
        known = None if not problem else known
    else:
        problem, rollover = judge(record, known, point.rated_watts, point.register_modulus_milliwatt_hours, service.now_s())
    quarantined_by_agent = bool(record.flags & Flag.QUARANTINED_REGISTER)
    good = not problem and not quarantined_by_agent
    if reading is None:
        reading = Reading(
            operator_id=point.operator_id, point_id=point.id, good_end_s=record.end_s,
            good_import_milliwatt_hours=record.import_milliwatt_hours,
            good_export_milliwatt_hours=record.export_milliwatt_hours,
        )  # fmt: skip
        db.add(reading)
    _remember(reading, record, good)
    flags = []
    place = f"point {point.id}"
    if quarantined_by_agent:
        flags.append(f"quarantined:{record.channel}")
    elif problem:
        flags.append(f"implausible:{record.channel}")
        raise_alarm(
            db, service, point.operator_id, AlarmKind.IMPLAUSIBLE_REGISTER, place,
            f"record {record.sequence} of device {to_hex(device.device)}: {problem}; it is kept and not billed",
        )  # fmt: skip
    else:
        clear_alarm(db, service, point.operator_id, AlarmKind.IMPLAUSIBLE_REGISTER, place)
    if rollover:
        flags.append(f"rollover:{record.channel}")
    return flags


def _other_meter(db: Session, device: Device, point: Point, record: Record) -> tuple[str, bool]:
    """Another meter's record: plausible only after an approved hand-over that names it, whose register it goes on from."""
    for row in hand_overs_of(db, device.device, record.channel):
        swap = from_json(HandOver, jsons.loads(row.document))
        if swap.new_meter_hash != record.meter_hash or record.sequence <= swap.sequence:
            continue
        known = Known(swap.at_s, swap.new_import_milliwatt_hours, swap.at_s, swap.new_import_milliwatt_hours, False)
        judged = judge(record, known, point.rated_watts, point.register_modulus_milliwatt_hours, 1 << 62)
        if not judged.problem:
            point.meter_hash = record.meter_hash
        return judged
    return "another meter's reading, without a hand-over that an operator approved", False


def _remember(reading: Reading, record: Record, good: bool) -> None:
    reading.sequence, reading.end_s, reading.flags = record.sequence, record.end_s, record.flags
    reading.import_milliwatt_hours, reading.export_milliwatt_hours = record.import_milliwatt_hours, record.export_milliwatt_hours
    reading.power_milliwatts, reading.voltage_millivolts = record.power_milliwatts, record.voltage_millivolts
    if good:
        reading.good_end_s, reading.good_import_milliwatt_hours = record.end_s, record.import_milliwatt_hours
        reading.good_export_milliwatt_hours, reading.quarantined_since_s = record.export_milliwatt_hours, None
    elif reading.quarantined_since_s is None:
        reading.quarantined_since_s = record.end_s
