"""The last reading of each point, and whether a new one may follow it. See `plausibility` for the rule itself.

Records are judged one after the other in memory; points are read and written once a request, however many records it brings.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from protocol.eip712 import from_json
from protocol.evidence import Flag, HandOver, Record
from protocol.wire import SignedFrame

from .. import jsons
from ..context import Service
from ..devices.points import hand_overs_of, point_at
from ..hexes import to_hex
from ..models import Device, Point, Reading
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from .plausibility import Judgement, Known, judge

_QUARANTINED = int(Flag.QUARANTINED_REGISTER)  # a plain integer: an enumeration's & is slow, and this runs for every record


class Judges:
    """The points of one device while one request's frames are judged. `keep` writes what they came to, once."""

    def __init__(self, db: Session, service: Service, device: Device) -> None:
        self._db, self._service, self._device = db, service, device
        self._now_s = service.now_s()
        self._judges: dict[int, _Judge | None] = {}

    def judge(self, signed: SignedFrame) -> list[str]:
        """Take a frame's readings as the points' last ones. Returns flags: `implausible:<channel>` and so on, for the frame's row."""
        flags: dict[str, None] = {}
        for record in signed.records:
            try:
                chosen = self._judges[record.channel]
            except KeyError:
                point = point_at(self._db, self._device.device, record.channel)
                chosen = self._judges[record.channel] = None if point is None else _Judge(self._db, point, self._now_s)
            if chosen is not None:  # a channel nobody bills: its records are kept with the frame
                for flag in chosen.take(record):
                    flags[f"{flag}:{record.channel}"] = None
        return list(flags)

    def keep(self) -> None:
        """Write the points' last readings, raise and clear alarms."""
        for chosen in self._judges.values():
            if chosen is not None:
                chosen.keep(self._service)


class _Judge:
    """One point, its readings in memory."""

    def __init__(self, db: Session, point: Point, now_s: int) -> None:
        self._db, self._point, self._now_s = db, point, now_s
        self._reading = row = db.get(Reading, point.id)
        self._meter_hash, self._modulus = point.meter_hash, point.register_modulus_milliwatt_hours
        self._known: Known | None = None
        self._quarantined_since_s: int | None = None
        if row is not None:
            quarantined = row.quarantined_since_s is not None
            self._known = Known(row.end_s, row.import_milliwatt_hours, row.good_end_s, row.good_import_milliwatt_hours, quarantined)
            self._quarantined_since_s = row.quarantined_since_s
        self._may_be_alarmed = self._quarantined_since_s is not None
        """An alarm stands only while a reading is quarantined: both change in one transaction."""
        self._last: Record | None = None
        self._last_good: Record | None = None
        self._problem: tuple[Record, str] | None = None  # the first of the request
        self._problems = 0
        self._ends_well = False

    def take(self, record: Record) -> tuple[str, ...]:
        """Judge the next record. Returns what is to be noted about it."""
        known = self._known
        if record.meter_hash == self._meter_hash:
            judged = judge(record, known, self._point.rated_watts, self._modulus, self._now_s)
        else:
            judged = self._other_meter(record)
        self._last = record
        by_agent = record.flags & _QUARANTINED
        if judged.problem or by_agent:
            self._quarantine(record, known)
            if by_agent:  # explained by the agent already: no alarm of ours
                return ("quarantined",)
            self._problem = self._problem or (record, judged.problem)
            self._problems += 1
            self._ends_well = False
            return ("implausible",)
        self._quarantined_since_s = None
        self._known = Known(record.end_s, record.import_milliwatt_hours, record.end_s, record.import_milliwatt_hours, False)
        self._last_good, self._ends_well = record, True
        return ("rollover",) if judged.rollover else ()

    def _quarantine(self, record: Record, known: Known | None) -> None:
        if self._quarantined_since_s is None:
            self._quarantined_since_s = record.end_s
        if known is None:  # the very first reading: nothing better is known
            self._last_good = record
            known = Known(0, 0, record.end_s, record.import_milliwatt_hours, True)
        self._known = Known(record.end_s, record.import_milliwatt_hours, known.good_end_s, known.good_import_milliwatt_hours, True)

    def _other_meter(self, record: Record) -> Judgement:
        """Another meter's record: plausible only after an approved hand-over that names it, whose register it goes on from."""
        for row in hand_overs_of(self._db, record.device, record.channel):
            swap = from_json(HandOver, jsons.loads(row.document))
            if swap.new_meter_hash != record.meter_hash or record.sequence <= swap.sequence:
                continue
            known = Known(swap.at_s, swap.new_import_milliwatt_hours, swap.at_s, swap.new_import_milliwatt_hours, False)
            judged = judge(record, known, self._point.rated_watts, self._modulus, 1 << 62)
            if not judged.problem:
                self._meter_hash = self._point.meter_hash = record.meter_hash
            return judged
        return Judgement("another meter's reading, without a hand-over that an operator approved", False)

    def keep(self, service: Service) -> None:
        last, known = self._last, self._known
        assert last is not None
        assert known is not None
        row = self._reading
        if row is None:
            row = Reading(operator_id=self._point.operator_id, point_id=self._point.id)
            self._db.add(row)
        row.sequence, row.end_s, row.flags = last.sequence, last.end_s, last.flags
        row.import_milliwatt_hours, row.export_milliwatt_hours = last.import_milliwatt_hours, last.export_milliwatt_hours
        row.power_milliwatts, row.voltage_millivolts = last.power_milliwatts, last.voltage_millivolts
        row.good_end_s, row.good_import_milliwatt_hours = known.good_end_s, known.good_import_milliwatt_hours
        row.quarantined_since_s = self._quarantined_since_s
        if self._last_good is not None:
            row.good_export_milliwatt_hours = self._last_good.export_milliwatt_hours
        self._alarm(service)

    def _alarm(self, service: Service) -> None:
        """One alarm a request, naming its first implausible record; a good record after it clears it."""
        place, operator_id = f"point {self._point.id}", self._point.operator_id
        if self._problem is not None:
            record, problem = self._problem
            more = f" (and {self._problems - 1} more that came with it)" if self._problems > 1 else ""
            raise_alarm(
                self._db, service, operator_id, AlarmKind.IMPLAUSIBLE_REGISTER, place,
                f"record {record.sequence} of device {to_hex(record.device)}: {problem}; it is kept and not billed{more}",
            )  # fmt: skip
        if self._ends_well and (self._problem is not None or self._may_be_alarmed):
            clear_alarm(self._db, service, operator_id, AlarmKind.IMPLAUSIBLE_REGISTER, place)
