"""Frames, charges and OCMF texts from agents: checked, stored as received, priced and posted in one transaction, answered with a receipt.

Guaranteed: a repeat changes nothing and is a success; another frame at a place that is taken is refused *and kept as proof*; what is
refused does not undo the rest; after a gap nothing of that device is taken, so a log here has no holes. Only frames with a valid signature
of the device's meter key leave anything behind: nobody else can fill the tables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.control import Cause
from protocol.eip712 import EVIDENCE, digest, hex_bytes, to_json
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Receipt
from protocol.wire import MAX_FRAME_BYTES, SignedFrame, check_frame, decode_frame

from .alarms import AlarmKind, raise_alarm
from .context import Service
from .errors import BadRequest
from .frames import Place, frame_by_digest, locate
from .hexes import to_hex
from .models import ConflictRow, Device, DeviceKey, FrameRow, Incarnation, ReceiptRow, SessionRow
from .rating import advance
from .readings import judge_frame
from .sessions import end, live_session, try_end
from .signed_amounts import take_charge, take_ocmf
from .states import State

log = structlog.get_logger()
MAX_BODY_BYTES = 16 << 20
"""One largest frame (8 MiB) and room for a day of small ones; more comes in the next request."""
MAX_FRAMES = 1_000
"""Frames in one request: the transaction stays well below a second."""
MAX_CHARGES = 1_000
MAX_OCMF = 16
ANCHOR_EPOCHS = 3
"""A receipt promises the anchor after this many epochs: one that is open, one whose transaction is under way, one to spare."""
ANCHOR_MARGIN_S = 60


class Upload(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /frames. Each frame's bytes are cut out exactly as received."""

    frames: list[msgspec.Raw] = []
    charges: list[dict[str, Any]] = []
    ocmf: list[dict[str, Any]] = []


class Refused(NamedTuple):
    frame: bytes | None
    code: str
    detail: str
    transient: bool = False

    def to_document(self) -> dict[str, Any]:
        frame = None if self.frame is None else to_hex(self.frame)
        return {"frame": frame, "code": self.code, "detail": self.detail, "transient": self.transient}


class Arrived(NamedTuple):
    """A frame that can be read, and its bytes as received."""

    signed: SignedFrame
    body: bytes


class Tally:
    """What becomes of one request."""

    def __init__(self) -> None:
        self.accepted = self.repeated = 0
        self.refused: list[Refused] = []
        self.receipts: list[ReceiptRow] = []

    def to_document(self) -> dict[str, Any]:
        return {
            "receipts": [receipt_document(row) for row in self.receipts], "accepted": self.accepted, "repeated": self.repeated,
            "refused": [item.to_document() for item in self.refused],
        }  # fmt: skip


def parse_upload(body: bytes) -> Upload:
    """Cut a request into frames, charges and texts. Raises `BadRequest`."""
    try:
        upload = msgspec.json.decode(body, type=Upload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not an upload: {error}", "body") from None
    limits = (("frames", upload.frames, MAX_FRAMES), ("charges", upload.charges, MAX_CHARGES), ("ocmf", upload.ocmf, MAX_OCMF))
    for name, items, most in limits:
        if len(items) > most:
            raise BadRequest(f"at most {most} in one request, not {len(items)}; send the rest in the next", name)
    return upload


def decode_frames(upload: Upload, tally: Tally) -> list[Arrived]:
    """Read and hash all frames before the database is touched."""
    arrived = []
    for i, raw in enumerate(upload.frames):
        body = bytes(raw)
        if len(body) > MAX_FRAME_BYTES:
            tally.refused.append(Refused(None, "malformed", f"frames[{i}]: more than {MAX_FRAME_BYTES} bytes"))
            continue
        try:
            arrived.append(Arrived(decode_frame(body), body))
        except Malformed as error:
            tally.refused.append(Refused(None, "malformed", f"frames[{i}]: {error}"))
    return arrived


def ingest(db: Session, service: Service, upload: Upload, arrived: list[Arrived], tally: Tally) -> None:
    """Take a request's evidence. `arrived` are its frames, decoded; the tally receives the rest of the outcome."""
    devices: dict[bytes, list[Arrived]] = {}
    for item in arrived:
        devices.setdefault(item.signed.frame.device, []).append(item)
    for device_id in sorted(devices):  # one order for all requests, so that two of them cannot wait for each other
        device = db.scalar(select(Device).where(Device.device == device_id).with_for_update())
        if device is None:
            tally.refused += [Refused(a.signed.digest, "unknown_device", "this device is not enrolled here") for a in devices[device_id]]
            continue
        _device(db, service, device, devices[device_id], tally)
    for i, charge in enumerate(upload.charges):
        problem = take_charge(db, service, charge, f"charges[{i}]")
        if problem:
            tally.refused.append(Refused(_frame_named(charge), "charge", problem))
    for i, text in enumerate(upload.ocmf):
        problem = take_ocmf(db, service, text, f"ocmf[{i}]")
        if problem:
            tally.refused.append(Refused(None, "ocmf", problem))


def _frame_named(charge: dict[str, Any]) -> bytes | None:
    try:
        return hex_bytes(charge.get("frame"), 32, "frame")
    except Malformed:
        return None


def _device(db: Session, service: Service, device: Device, arrived: list[Arrived], tally: Tally) -> None:
    """All frames of one device, in order. After a gap the rest waits for it to be filled."""
    stored: list[tuple[FrameRow, SignedFrame]] = []
    last: FrameRow | None = None
    gap = ""
    device.last_heard_at_s = service.now_s()
    for item in arrived:
        signed = item.signed
        key = _key_for(db, device, signed)
        if key is None:
            tally.refused.append(
                Refused(signed.digest, "bad_signature", f"not signed by the device's meter key {to_hex(device.meter_key)}")
            )
            continue
        place = Place(gap=gap) if gap else locate(db, device, signed)
        if place.repeated is not None:
            tally.repeated += 1
            last = place.repeated
        elif place.gap:
            gap = gap or place.gap
            tally.refused.append(Refused(signed.digest, "gap", place.gap, transient=True))
        elif place.contradiction:
            tally.refused.append(Refused(signed.digest, "malformed", place.contradiction))
            gap = gap or "a frame before it was refused"
        elif place.rival is not None:
            _keep_proof(db, service, device, item, place)
            tally.refused.append(
                Refused(signed.digest, "equivocation", f"another frame stands there: {to_hex(place.rival.digest)}; both are kept")
            )
            gap = gap or "a frame before it was refused as equivocation"
        else:
            last = _store(db, service, device, item, key, place)
            stored.append((last, signed))
            tally.accepted += 1
    if stored:
        _price(db, service, device, stored)
    if last is not None:
        tally.receipts.append(_receipt(db, service, device, last))


def _key_for(db: Session, device: Device, signed: SignedFrame) -> bytes | None:
    """The meter key that signed, if it is the device's, or was while the frame was made (caught up after a rotation)."""
    try:
        check_frame(signed, device.meter_key)
        return device.meter_key
    except BadSignature:
        pass
    for old in db.scalars(select(DeviceKey).where(DeviceKey.device == device.device, DeviceKey.until_s.is_not(None))):
        try:
            check_frame(signed, old.key)
        except BadSignature:
            continue
        if old.last_frame is None or frame_by_digest(db, old.last_frame) is None:
            return old.key  # the rotation's last frame is still to come: at or before it the old key is valid
    return None


def _store(db: Session, service: Service, device: Device, item: Arrived, key: bytes, place: Place) -> FrameRow:
    signed, frame, now = item.signed, item.signed.frame, service.now_s()
    flags = judge_frame(db, service, device, signed)
    if place.rolled_back:
        flags.append("rolled-back")
    row = FrameRow(
        operator_id=device.operator_id, device=device.device, incarnation=frame.incarnation, first_sequence=frame.first_sequence,
        last_sequence=signed.last_sequence, digest=signed.digest, previous=frame.previous_frame, head_seen=frame.head_seen, meter_key=key,
        start_s=min(r.start_s for r in signed.records), end_s=max(r.end_s for r in signed.records), body=item.body, received_at_s=now,
        anchor_by_s=now + ANCHOR_EPOCHS * service.settings.settlement.epoch_seconds + ANCHOR_MARGIN_S, flagged=" ".join(flags)[:100],
    )  # fmt: skip
    db.add(row)
    db.flush()
    branch = db.get(Incarnation, (device.device, frame.incarnation))
    if branch is None:
        parent = frame_by_digest(db, frame.previous_frame)
        db.add(Incarnation(
            operator_id=device.operator_id, device=device.device, incarnation=frame.incarnation,
            parent_frame_id=None if parent is None else parent.id, first_frame_id=row.id, tip_frame_id=row.id,
            rolled_back=place.rolled_back,
        ))  # fmt: skip
        if place.rolled_back:
            raise_alarm(
                db, service, device.operator_id, AlarmKind.LOG_ROLLED_BACK, f"device {to_hex(device.device)}",
                f"the agent's log went back to before record {signed.frame.first_sequence}; no time overlaps, so nothing is disputed",
            )  # fmt: skip
    else:
        branch.tip_frame_id = row.id
    device.tip_frame_id = row.id
    return row


def _keep_proof(db: Session, service: Service, device: Device, item: Arrived, place: Place) -> None:
    """Equivocation: keep the second frame beside the first, tell people, and bill nothing measured after the disputed place."""
    assert place.rival is not None
    signed = item.signed
    if db.scalar(select(ConflictRow.id).where(ConflictRow.digest == signed.digest)) is not None:
        return
    disputed_from_s = min(place.rival.start_s, signed.records[0].start_s)
    db.add(ConflictRow(
        operator_id=device.operator_id, device=device.device, incarnation=signed.frame.incarnation,
        first_sequence=signed.frame.first_sequence,
        kind=place.kind, accepted_frame_id=place.rival.id, digest=signed.digest, body=item.body, received_at_s=service.now_s(),
        disputed_from_s=disputed_from_s,
    ))  # fmt: skip
    raise_alarm(
        db, service, device.operator_id, AlarmKind.EQUIVOCATION, f"device {to_hex(device.device)} record {signed.frame.first_sequence}",
        f"two frames for one {'place' if place.kind == 'same-place' else 'time'}: {to_hex(place.rival.digest)} and {to_hex(signed.digest)}",
    )  # fmt: skip
    affected = db.scalars(select(SessionRow).where(
        SessionRow.device == device.device, SessionRow.state.not_in((State.QUOTED, State.SETTLED)),
        (SessionRow.last_record_end_s.is_(None)) | (SessionRow.last_record_end_s > disputed_from_s),
    )).all()  # fmt: skip
    for row in affected:
        if row.disputed_from_s is None or disputed_from_s < row.disputed_from_s:
            row.disputed_from_s = disputed_from_s
        end(db, service, row, Cause.FAULT, "its meter signed two different frames for one place")


def _price(db: Session, service: Service, device: Device, stored: list[tuple[FrameRow, SignedFrame]]) -> None:
    channels = sorted({record.channel for _, signed in stored for record in signed.records})
    for channel in channels:
        row = live_session(db, device.device, channel) or _late(db, device.device, channel)
        if row is None:
            continue
        outcome = advance(db, service, row, stored)
        if outcome.blocked:
            end(db, service, row, Cause.FAULT, f"what it uses cannot be billed: {outcome.blocked}")
        elif outcome.over_limit:
            end(db, service, row, Cause.CREDIT, "the lock is used up")
        try_end(db, service, row)


def _late(db: Session, device: bytes, channel: int) -> SessionRow | None:
    """A session that ended without its last record, which may be arriving now."""
    return db.scalar(select(SessionRow).where(
        SessionRow.device == device, SessionRow.channel == channel, SessionRow.state == State.ENDED, SessionRow.stop_record_seen.is_(False),
        SessionRow.running_at_s.is_not(None),
    ).order_by(SessionRow.ended_at_s.desc()).limit(1))  # fmt: skip


def _receipt(db: Session, service: Service, device: Device, last: FrameRow) -> ReceiptRow:
    """Sign for everything up to `last`. A repeat of the latest frame gets the receipt it got."""
    kept = db.get(ReceiptRow, device.device)
    if kept is not None and kept.frame == last.digest:
        return kept
    receipt = Receipt(last.device, last.incarnation, last.last_sequence, last.digest, last.received_at_s, last.anchor_by_s)
    values = {
        "incarnation": receipt.incarnation, "through_sequence": receipt.through_sequence, "frame": receipt.frame,
        "received_at_s": receipt.received_at_s, "anchor_by_s": receipt.anchor_by_s,
        "signature": service.keys.service.sign(digest(EVIDENCE, receipt)),
    }  # fmt: skip
    row = ReceiptRow(operator_id=device.operator_id, device=device.device, **values)
    if kept is None:
        db.add(row)
        return row
    if last.id == device.tip_frame_id:
        for name, value in values.items():
            setattr(kept, name, value)
        return kept
    return row  # for an older frame that was sent again: signed, not kept, the latest covers it


def receipt_of(row: ReceiptRow) -> Receipt:
    return Receipt(row.device, row.incarnation, row.through_sequence, row.frame, row.received_at_s, row.anchor_by_s)


def receipt_document(row: ReceiptRow) -> dict[str, Any]:
    """A receipt as it is answered: its fields and the service key's signature."""
    return to_json(receipt_of(row)) | {"signature": to_hex(row.signature)}
