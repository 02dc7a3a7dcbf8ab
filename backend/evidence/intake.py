"""The frames of one device in one request: each checked for key and place, stored as received; then judged, and priced.

Guaranteed: what is stored of a device is a chain without holes; a frame that contradicts one that is here is kept as proof and bills
nothing. A log that simply goes on, as almost every one does, costs no query a frame: its place follows from the frame before, which the
lock on the device's row keeps where it is.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.control import Cause
from protocol.errors import BadSignature
from protocol.keys import check_signature
from protocol.wire import SignedFrame

from ..context import Service
from ..devices.points import point_at
from ..hexes import to_hex
from ..models import ConflictRow, Device, DeviceKey, FrameRow, Incarnation, SessionRow
from ..money.disputes import stop_bill
from ..money.rating import advance
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from ..sessions.life import end, live_session, try_end
from ..sessions.states import State
from .frames import Place, frame_by_digest, locate
from .readings import Judges

ANCHOR_EPOCHS = 3
"""A receipt promises the anchor after this many epochs: one that is open, one whose transaction is under way, one to spare."""
ANCHOR_MARGIN_S = 60
IDLE_MILLIWATTS = 20_000
"""What a point without a session may draw: above any contactor's leakage and meter's own use, below any load worth stealing for."""
IDLE_FRESH_S = 120
"""Only what is drawn now counts; frames that are caught up belong to the past."""


class Refused(NamedTuple):
    """What was not taken, and why. `frame`: its digest, where it has one."""

    frame: bytes | None
    code: str
    detail: str
    transient: bool = False


class Arrived(NamedTuple):
    """A frame that can be read, its digest, and its bytes as received."""

    signed: SignedFrame
    digest: bytes
    body: bytes


class Intake:
    """What becomes of one device's frames. Made with the device's row locked; `close` when all have been taken."""

    def __init__(self, db: Session, service: Service, device: Device) -> None:
        self._db, self._service, self._device = db, service, device
        self.accepted = self.repeated = 0
        self.refused: list[Refused] = []
        self.last: FrameRow | None = None  # the last frame that is here now, of those that came
        self._now_s = service.now_s()
        self._judges = Judges(db, service, device)
        self._gap = ""
        self._fresh: list[tuple[FrameRow, SignedFrame]] = []
        self._tip: FrameRow | None = None
        self._branch: Incarnation | None = None
        if device.tip_frame_id is not None:
            self._tip = db.get_one(FrameRow, device.tip_frame_id)
            self._branch = db.get_one(Incarnation, (device.device, self._tip.incarnation))
        self._written = True  # whether the rows above are in the database, and point at the newest frame

    def take(self, item: Arrived) -> None:
        """The next frame. After one that is refused the rest waits for the gap to be filled."""
        key = self._key_for(item)
        if key is None:
            self._refuse(item, "bad_signature", f"not signed by the device's meter key {to_hex(self._device.meter_key)}")
            return
        place = Place(gap=self._gap) if self._gap else self._locate(item)
        if place.repeated is not None:
            self.repeated += 1
            self.last = place.repeated
        elif place.gap:
            self._gap = place.gap
            self._refuse(item, "gap", place.gap, transient=True)
        elif place.contradiction:
            self._gap = "a frame before it was refused"
            self._refuse(item, "malformed", place.contradiction)
        elif place.rival is not None:
            self._keep_proof(item, place, place.rival)
            self._gap = "a frame before it was refused as equivocation"
            self._refuse(item, "equivocation", f"another frame stands there: {to_hex(place.rival.digest)}; both are kept")
        else:
            self._store(item, key, place)

    def close(self) -> None:
        """Write the readings and price what is new."""
        self._judges.keep()
        self._write()
        if self._fresh:
            self._price()

    def _refuse(self, item: Arrived, code: str, detail: str, *, transient: bool = False) -> None:
        self.refused.append(Refused(item.digest, code, detail, transient))

    def _key_for(self, item: Arrived) -> bytes | None:
        """The meter key that signed, if it is the device's, or was while the frame was made (caught up after a rotation)."""
        digest, signature = item.digest, item.signed.signature
        if _signed_by(self._device.meter_key, digest, signature):
            return self._device.meter_key
        query = select(DeviceKey).where(DeviceKey.device == self._device.device, DeviceKey.until_s.is_not(None))
        for old in self._db.scalars(query):
            if old.last_frame == bytes(32):
                continue  # revoked without naming a frame: it may be in a thief's hands, and vouches for nothing that is not here
            # The rotation's last frame is still to come: at or before it the old key is valid.
            if _signed_by(old.key, digest, signature) and (old.last_frame is None or frame_by_digest(self._db, old.last_frame) is None):
                return old.key
        return None

    def _locate(self, item: Arrived) -> Place:
        tip, branch, frame = self._tip, self._branch, item.signed.frame
        named = (frame.incarnation, frame.previous_frame, frame.first_sequence)
        if tip is not None and branch is not None and named == (tip.incarnation, tip.digest, tip.last_sequence + 1):
            return Place(rolled_back=branch.rolled_back)  # after the newest frame of all nothing stands, and nothing overlaps
        self._write()
        return locate(self._db, self._device, item.signed)

    def _store(self, item: Arrived, key: bytes, place: Place) -> None:
        signed, frame, device = item.signed, item.signed.frame, self._device
        flags = self._judges.judge(signed)
        if place.rolled_back:
            flags.append("rolled-back")
        promised_s = ANCHOR_EPOCHS * self._service.settings.settlement.epoch_seconds + ANCHOR_MARGIN_S
        row = FrameRow(
            operator_id=device.operator_id, device=device.device, incarnation=frame.incarnation, first_sequence=frame.first_sequence,
            last_sequence=signed.last_sequence, digest=item.digest, previous=frame.previous_frame, head_seen=frame.head_seen, meter_key=key,
            start_s=min(r.start_s for r in signed.records), end_s=max(r.end_s for r in signed.records), body=item.body,
            received_at_s=self._now_s, anchor_by_s=self._now_s + promised_s, flagged=" ".join(flags),
        )  # fmt: skip
        self._db.add(row)
        branch = self._branch
        if branch is None or branch.incarnation != frame.incarnation:
            self._branch = self._db.get(Incarnation, (device.device, frame.incarnation)) or self._new_branch(row, place)
        self._tip = self.last = row
        self._fresh.append((row, signed))
        self._written = False
        self.accepted += 1

    def _new_branch(self, row: FrameRow, place: Place) -> Incarnation:
        """An incarnation's first frame."""
        device = self._device
        self._db.flush()
        parent = frame_by_digest(self._db, row.previous)
        branch = Incarnation(
            operator_id=device.operator_id, device=device.device, incarnation=row.incarnation, rolled_back=place.rolled_back,
            parent_frame_id=None if parent is None else parent.id, first_frame_id=row.id, tip_frame_id=row.id,
        )  # fmt: skip
        self._db.add(branch)
        if place.rolled_back:
            raise_alarm(
                self._db, self._service, device.operator_id, AlarmKind.LOG_ROLLED_BACK, f"device {to_hex(device.device)}",
                f"the agent's log went back to before record {row.first_sequence}; no time overlaps, so nothing is disputed",
            )  # fmt: skip
        return branch

    def _write(self) -> None:
        """Let the database know of the frames taken so far: all in one statement, in their order."""
        if self._written:
            return
        self._db.flush()
        ids = [row.id for row, _ in self._fresh]
        assert ids == sorted(ids), "frames are numbered in the order of their log"
        assert self._tip is not None
        assert self._branch is not None
        self._branch.tip_frame_id = self._device.tip_frame_id = self._tip.id
        self._written = True

    def _keep_proof(self, item: Arrived, place: Place, rival: FrameRow) -> None:
        """Equivocation: keep the second frame beside the first, tell people, and bill nothing measured after the disputed place."""
        db, service, device, frame = self._db, self._service, self._device, item.signed.frame
        if db.scalar(select(ConflictRow.id).where(ConflictRow.digest == item.digest)) is not None:
            return
        disputed_from_s = min(rival.start_s, item.signed.records[0].start_s)
        db.add(ConflictRow(
            operator_id=device.operator_id, device=device.device, incarnation=frame.incarnation, first_sequence=frame.first_sequence,
            kind=place.kind, accepted_frame_id=rival.id, digest=item.digest, body=item.body, received_at_s=self._now_s,
            disputed_from_s=disputed_from_s,
        ))  # fmt: skip
        raise_alarm(
            db, service, device.operator_id, AlarmKind.EQUIVOCATION, f"device {to_hex(device.device)} record {frame.first_sequence}",
            f"two frames for one {'place' if place.kind == 'same-place' else 'time'}: {to_hex(rival.digest)} and {to_hex(item.digest)}",
        )  # fmt: skip
        affected = db.scalars(select(SessionRow).where(
            SessionRow.device == device.device, SessionRow.state.not_in((State.QUOTED, State.SETTLED)),
            (SessionRow.last_record_end_s.is_(None)) | (SessionRow.last_record_end_s > disputed_from_s),
        )).all()  # fmt: skip
        for row in affected:
            if row.disputed_from_s is None or disputed_from_s < row.disputed_from_s:
                row.disputed_from_s = disputed_from_s
                stop_bill(db, service, row)
            end(db, service, row, Cause.FAULT, "its meter signed two different frames for one place")

    def _idle_power(self, channel: int) -> None:
        """Power that no session pays for: a contact that leaks, or somebody who bridged it."""
        point = point_at(self._db, self._device.device, channel)
        if point is None:
            return
        row, signed = self._fresh[-1]
        if row.end_s < self._now_s - IDLE_FRESH_S:
            return
        power, place = _power_of(signed, channel), f"point {point.id}"
        if power > IDLE_MILLIWATTS:
            detail = f"{power} mW are drawn and no session pays for it"
            raise_alarm(self._db, self._service, point.operator_id, AlarmKind.ENERGY_WITHOUT_SESSION, place, detail)
        else:
            clear_alarm(self._db, self._service, point.operator_id, AlarmKind.ENERGY_WITHOUT_SESSION, place)

    def _price(self) -> None:
        db, service, device = self._db, self._service, self._device.device
        for channel in sorted({record.channel for _, signed in self._fresh for record in signed.records}):
            row = live_session(db, device, channel) or _late(db, device, channel)
            if row is None:
                self._idle_power(channel)
                continue
            outcome = advance(db, service, row, self._fresh)
            if outcome.blocked:
                end(db, service, row, Cause.FAULT, f"what it uses cannot be billed: {outcome.blocked}")
            elif outcome.over_limit:
                end(db, service, row, Cause.CREDIT, "the lock is used up")
            try_end(db, service, row)


def _power_of(signed: SignedFrame, channel: int) -> int:
    return max((abs(r.power_milliwatts) for r in signed.records if r.channel == channel), default=0)


def _signed_by(key: bytes, digest: bytes, signature: bytes) -> bool:
    try:
        check_signature(digest, signature, key)
    except BadSignature:
        return False
    return True


def _late(db: Session, device: bytes, channel: int) -> SessionRow | None:
    """A session that ended without its last record, which may be arriving now."""
    return db.scalar(select(SessionRow).where(
        SessionRow.device == device, SessionRow.channel == channel, SessionRow.state == State.ENDED, SessionRow.stop_record_seen.is_(False),
        SessionRow.running_at_s.is_not(None),
    ).order_by(SessionRow.ended_at_s.desc()).limit(1))  # fmt: skip
