"""Charges signed by agents and OCMF texts: taken with the frames, compared with our own price, kept byte for byte."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol import ocmf
from protocol.eip712 import digest, from_json, hex_bytes
from protocol.errors import BadSignature, Malformed
from protocol.hashing import keccak
from protocol.keys import check_signature
from protocol.money import MeteredCharge, ceiling_micro

from ..context import Service
from ..devices.points import meter_key_at
from ..evidence.frames import frame_by_digest
from ..hexes import to_hex
from ..models import FrameRow, OcmfText, Point, SessionFrame, SessionRow, SignedAmount
from ..people.alarms import AlarmKind, raise_alarm
from ..sessions.states import State
from ..supply.commands import terms_of

OCMF_GOOD = "signed by the meter key"
OCMF_FOREIGN = "signed by the point's own calibrated meter"
MAX_OCMF_BYTES = 65_536
"""An OCMF text with hundreds of readings; see `protocol.bundle.MAX_TEXT`."""


def take_charge(db: Session, service: Service, document: dict[str, Any], where: str) -> str:
    """Take one metered charge. Returns why it is refused, or nothing. The same again is a success."""
    body = dict(document)
    try:
        signature = hex_bytes(body.pop("signature", None), 65, f"{where}.signature")
        charge = from_json(MeteredCharge, body, where)
    except Malformed as error:
        return str(error)
    row = db.get(SessionRow, charge.session)
    if row is None or not row.metered:
        return f"{where}: there is no metered session {to_hex(charge.session)} here"
    try:
        check_signature(digest(service.money, charge), signature, row.signer)
    except BadSignature as error:
        return f"{where}: {error}; the charge key of the terms signs charges"
    found = db.scalar(select(SignedAmount.id).where(
        SignedAmount.session == charge.session, SignedAmount.amount_micro == charge.amount_micro, SignedAmount.frame == charge.frame
    ))  # fmt: skip
    if found is not None:
        return ""
    frame = frame_by_digest(db, charge.frame)
    if frame is None or frame.device != row.device:
        return f"{where}: the frame it names is not held here; send the frame first"
    problem = why_not_claimable(db, row, charge, frame)
    db.add(SignedAmount(
        operator_id=row.operator_id, session=row.session, kind="charge", amount_micro=charge.amount_micro,
        energy_milliwatt_hours=charge.energy_milliwatt_hours, elapsed_s=charge.elapsed_s, frame=charge.frame, signature=signature,
        received_at_s=service.now_s(), claimable=not problem,
    ))  # fmt: skip
    db.flush()
    if problem:
        place = f"session {to_hex(row.session)}"
        raise_alarm(
            db, service, row.operator_id, AlarmKind.CHARGE_DIFFERS, place, f"a charge of {charge.amount_micro} is not claimed: {problem}"
        )
    else:
        row.charge_micro = max(row.charge_micro, charge.amount_micro)
    return ""


def is_signed_charge(db: Session, service: Service, document: dict[str, Any]) -> bool:
    """Whether this is a charge that the charge key of a session here signed: what `take_charge` may keep."""
    body = dict(document)
    try:
        signature = hex_bytes(body.pop("signature", None), 65, "signature")
        charge = from_json(MeteredCharge, body, "charge")
        row = db.get(SessionRow, charge.session)
        if row is None or not row.metered:
            return False
        check_signature(digest(service.money, charge), signature, row.signer)
    except (Malformed, BadSignature):
        return False
    return True


def why_not_claimable(db: Session, row: SessionRow, charge: MeteredCharge, frame: FrameRow) -> str:
    """Why a validly signed charge must not be claimed: it stays as evidence all the same."""
    terms = terms_of(row)
    if row.disputed_from_s is not None and frame.end_s > row.disputed_from_s:
        return "its frame is disputed"
    if row.state in (State.SETTLED,):
        return "the session is settled"
    priced = db.get(SessionFrame, (row.session, frame.id))
    if priced is None:
        return f"its frame is not priced ({row.blocked or 'it does not belong to the session'})"
    if charge.amount_micro > priced.total_micro:
        return f"our own price at that frame is {priced.total_micro}"
    if charge.amount_micro > row.lock_micro:
        return f"the lock is {row.lock_micro}"
    if charge.amount_micro > ceiling_micro(terms, charge.energy_milliwatt_hours, charge.elapsed_s):
        return "it is above the ceilings of the terms"
    return ""


def take_ocmf(db: Session, service: Service, document: dict[str, Any], where: str) -> str:
    """Keep an OCMF text byte for byte. Returns why it is refused, or nothing."""
    if set(document) != {"session", "text"} or not isinstance(document["text"], str):
        return f'{where}: must be {{"session","text"}}'
    text = document["text"]
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return f"{where}.text: is not Unicode text"
    if b"\0" in raw:
        return f"{where}.text: holds a NUL, which no OCMF text does"
    if len(raw) > MAX_OCMF_BYTES:
        return f"{where}: more than {MAX_OCMF_BYTES} bytes"
    try:
        session = hex_bytes(document["session"], 32, f"{where}.session")
    except Malformed as error:
        return str(error)
    row = db.get(SessionRow, session)
    if row is None:
        return f"{where}: there is no session {to_hex(session)} here"
    text_hash = keccak(raw)
    if db.scalar(select(OcmfText.id).where(OcmfText.session == session, OcmfText.hash == text_hash)) is None:
        verdict, public_key = _judge_ocmf(db, row, raw)
        db.add(OcmfText(
            operator_id=row.operator_id, session=session, hash=text_hash, text=text, verdict=verdict, public_key=public_key,
            received_at_s=service.now_s(),
        ))  # fmt: skip
    return ""


def _judge_ocmf(db: Session, row: SessionRow, raw: bytes) -> tuple[str, bytes | None]:
    """Who signed, or what is wrong; and the foreign meter's key, where it did. The text is kept all the same, byte for byte.

    Anybody can send a text, so a foreign key counts only where an operator stated it for the point.
    """
    try:
        parsed = ocmf.parse(raw)
        try:
            ocmf.verify_by_address(parsed, meter_key_at(db, row.device, row.opened_at_s or 0))
            return OCMF_GOOD, None
        except BadSignature:
            foreign = db.get_one(Point, row.point_id).ocmf_public_key
            if foreign is None:
                raise
            ocmf.verify_by_public_key(parsed, foreign)
            return OCMF_FOREIGN, foreign
    except (Malformed, BadSignature) as error:
        return str(error)[:200], None
