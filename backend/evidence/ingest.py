"""Frames, charges and OCMF texts from agents: checked, stored as received, priced and posted in one transaction, answered with a receipt.

Guaranteed: a repeat changes nothing and is a success; another frame at a place that is taken is refused *and kept as proof*; what is
refused does not undo the rest; after a gap nothing of that device is taken, so a log here has no holes. Only frames with a valid signature
of the device's meter key leave anything behind: nobody else can fill the tables.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.eip712 import EVIDENCE, digest, hex_bytes, to_json
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Receipt
from protocol.keys import recover_address
from protocol.wire import MAX_FRAME_BYTES, decode_frame

from ..context import Service
from ..errors import BadRequest
from ..hexes import to_hex
from ..hub import payers_of
from ..models import Device, DeviceKey, FrameRow, ReceiptRow
from ..money.signed_amounts import is_signed_charge, take_charge, take_ocmf
from .intake import Arrived, Intake, Refused

log = structlog.get_logger()
MAX_BODY_BYTES = 16 << 20
"""One largest frame (8 MiB) and room for a day of small ones; more comes in the next request."""
MAX_FRAMES = 1_000
"""Frames in one request: the transaction stays well below a second."""
MAX_CHARGES = 1_000
MAX_OCMF = 16


class Upload(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /frames. Each frame's bytes are cut out exactly as received."""

    frames: list[msgspec.Raw] = []
    charges: list[dict[str, Any]] = []
    ocmf: list[dict[str, Any]] = []


class Tally:
    """What becomes of one request."""

    def __init__(self) -> None:
        self.accepted = self.repeated = 0
        self.refused: list[Refused] = []
        self.receipts: list[ReceiptRow] = []

    def to_document(self) -> dict[str, Any]:
        return {
            "receipts": [receipt_document(row) for row in self.receipts], "accepted": self.accepted, "repeated": self.repeated,
            "refused": [_refused_document(item) for item in self.refused],
        }  # fmt: skip


def _refused_document(item: Refused) -> dict[str, Any]:
    frame = None if item.frame is None else to_hex(item.frame)
    return {"frame": frame, "code": item.code, "detail": item.detail, "transient": item.transient}


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
            signed = decode_frame(body)
            arrived.append(Arrived(signed, signed.digest, body))
        except Malformed as error:
            tally.refused.append(Refused(None, "malformed", f"frames[{i}]: {error}"))
    return arrived


def of_strangers(service: Service, upload: Upload, arrived: list[Arrived], tally: Tally) -> bool:
    """Whether nothing in a request is signed by anybody known here. Then all of it is refused, without a writing transaction."""
    refused: list[Refused] = []
    with service.db.reading() as db:
        for item in arrived:
            device = db.get(Device, item.signed.frame.device)
            if device is None:
                refused.append(Refused(item.digest, "unknown_device", "this device is not enrolled here"))
                continue
            keys = {device.meter_key, *db.scalars(select(DeviceKey.key).where(DeviceKey.device == device.device))}
            if _signer_of(item) in keys:
                return False
            refused.append(Refused(item.digest, "bad_signature", f"not signed by the device's meter key {to_hex(device.meter_key)}"))
        for i, charge in enumerate(upload.charges):
            if is_signed_charge(db, service, charge):
                return False
            refused.append(Refused(_frame_named(charge), "charge", take_charge(db, service, charge, f"charges[{i}]")))
        if upload.ocmf:
            return False  # their signatures are judged, not asked for: whose they are is part of what is kept
    tally.refused += refused
    return True


def _signer_of(item: Arrived) -> bytes:
    try:
        return recover_address(item.digest, item.signed.signature)
    except BadSignature:
        return b""


def ingest(db: Session, service: Service, upload: Upload, arrived: list[Arrived], tally: Tally) -> None:
    """Take a request's evidence. `arrived` are its frames, decoded; the tally receives the rest of the outcome."""
    devices: dict[bytes, list[Arrived]] = {}
    for item in arrived:
        devices.setdefault(item.signed.frame.device, []).append(item)
    for device_id in sorted(devices):  # one order for all requests, so that two of them cannot wait for each other
        device = db.scalar(select(Device).where(Device.device == device_id).with_for_update())
        if device is None:
            tally.refused += [Refused(a.digest, "unknown_device", "this device is not enrolled here") for a in devices[device_id]]
            continue
        device.last_heard_at_s = service.now_s()
        intake = Intake(db, service, device)
        for item in devices[device_id]:
            intake.take(item)
        intake.close()
        service.wake(db, payers_of(device_id))
        tally.accepted += intake.accepted
        tally.repeated += intake.repeated
        tally.refused += intake.refused
        if intake.last is not None:
            tally.receipts.append(_receipt(db, service, device, intake.last))
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
