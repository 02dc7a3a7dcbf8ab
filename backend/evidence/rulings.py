"""Rulings: what operator and payer (or the arbiter the agreement names) agree stands where a meter's word is in dispute.

A ruling names a stretch of records of one incarnation and the frame that stands there: the one in the log, whose billing goes on; the one
that was refused, which then takes its place in the log; or none (zero), so that the bill stays where it stopped. Guaranteed: nothing is
ruled on twice; what is ruled out stays as proof, in its epoch; a ruling of one session never changes what another was billed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from protocol.eip712 import EVIDENCE, digest, hex_bytes, to_json
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Ruling
from protocol.hashing import ZERO32
from protocol.keys import check_signature
from protocol.wire import decode_frame

from .. import jsons
from ..context import Service
from ..devices.points import get_device
from ..errors import BadRequest, Conflict, Unavailable
from ..hexes import to_hex
from ..models import ConflictRow, Device, FrameRow, Incarnation, Reading, RuledOutFrame, RulingRow, SessionFrame, SessionRow
from ..money.disputes import refresh_amounts, rulings_of, stop_bill
from ..money.rating import advance
from ..money.settlement import give_credit
from ..people.alarms import AlarmKind, clear_alarm
from ..sessions.life import try_end
from ..sessions.states import State
from .frames import conflicts_of, decode, frame_by_digest
from .intake import Arrived, Intake

MAX_AHEAD_S = 300
"""How far a ruling's time may lie ahead of this machine's clock."""


class Dispute(NamedTuple):
    """One place of a session that two frames claim. `held` is the log's."""

    conflict: ConflictRow
    last_sequence: int
    held: FrameRow | None


def take_ruling(db: Session, service: Service, row: SessionRow, ruling: Ruling, signatures: Sequence[bytes]) -> RulingRow:
    """Keep a ruling and let it count. The same again is a success. Call with the session locked."""
    if (ruling.session, ruling.device) != (row.session, row.device):
        raise BadRequest("is of another session or device", "ruling")
    if not ruling.first_sequence <= ruling.last_sequence or ruling.made_at_s > service.now_s() + MAX_AHEAD_S:
        raise BadRequest("needs a range of records and a time that is not ahead", "ruling")
    _check_signatures(service, row, ruling, signatures)
    signed = digest(EVIDENCE, ruling)
    found = db.scalar(select(RulingRow).where(RulingRow.digest == signed))
    if found is not None:
        if row.state == State.SETTLED:
            give_credit(db, service, row)  # wanted again where the chain refused it
        return found
    for earlier in rulings_of(db, row.session):
        overlap = earlier.first_sequence <= ruling.last_sequence and ruling.first_sequence <= earlier.last_sequence
        if earlier.incarnation == ruling.incarnation and overlap:
            raise Conflict(f"records {earlier.first_sequence}…{earlier.last_sequence} are ruled on already", "ruling")
    kept = RulingRow(
        operator_id=row.operator_id, session=row.session, digest=signed, document=jsons.dumps(to_json(ruling)),
        signatures=jsons.dumps([to_hex(s) for s in signatures]), incarnation=ruling.incarnation, first_sequence=ruling.first_sequence,
        last_sequence=ruling.last_sequence, accepted_frame=ruling.accepted_frame, received_at_s=service.now_s(),
    )  # fmt: skip
    _Judgement(db, service, row, ruling).execute(kept)
    return kept


def open_disputes(db: Session, row: SessionRow) -> list[Dispute]:
    """The places that two frames claim, that concern a session and that nobody ruled on yet."""
    decided = [r for r in rulings_of(db, row.session) if r.accepted_frame != ZERO32]
    found = []
    for conflict in conflicts_of(db, row.device):
        if conflict.received_at_s < row.quoted_at_s or frame_by_digest(db, conflict.digest) is not None:
            continue
        last = decode_frame(conflict.body).last_sequence
        if not any(_covers(r, conflict.incarnation, conflict.first_sequence, last) for r in decided):
            found.append(Dispute(conflict, last, db.get(FrameRow, conflict.accepted_frame_id)))
    return found


def _covers(ruling: Ruling | RulingRow, incarnation: bytes, first: int, last: int) -> bool:
    return ruling.incarnation == incarnation and ruling.first_sequence <= first and last <= ruling.last_sequence


def arbiter_of(row: SessionRow) -> bytes | None:
    """Whom the agreement names to rule alone."""
    agreement = jsons.loads(row.policy)
    try:
        return hex_bytes(agreement["arbiter"], 20, "agreement.arbiter") if "arbiter" in agreement else None
    except Malformed:
        return None


def _check_signatures(service: Service, row: SessionRow, ruling: Ruling, signatures: Sequence[bytes]) -> None:
    """Operator's and payer's, in this order, or the arbiter's alone: as the auditor asks (auditor/attached.py)."""
    arbiter = arbiter_of(row)
    signers = (arbiter,) if len(signatures) == 1 and arbiter else (service.keys.sender.address, row.payer)
    if len(signatures) != len(signers):
        raise BadRequest(f"has {len(signatures)}; a ruling takes operator's and payer's, or the agreed arbiter's", "signatures")
    for signature, signer in zip(signatures, signers, strict=True):
        try:
            check_signature(digest(EVIDENCE, ruling), signature, signer)
        except BadSignature as error:
            raise BadRequest(f"{error}; {to_hex(signer)} signs the Ruling in the evidence domain", "signatures") from None


class _Judgement:
    """What one ruling changes."""

    def __init__(self, db: Session, service: Service, row: SessionRow, ruling: Ruling) -> None:
        self._db, self._service, self._row, self._ruling = db, service, row, ruling
        self._disputes = [d for d in open_disputes(db, row) if self._is_on(d)]

    def _is_on(self, dispute: Dispute) -> bool:
        conflict, ruling = dispute.conflict, self._ruling
        covered = _covers(ruling, conflict.incarnation, conflict.first_sequence, dispute.last_sequence)
        return covered or conflict.digest == ruling.accepted_frame

    def execute(self, kept: RulingRow) -> None:
        db, row, ruling = self._db, self._row, self._ruling
        held = frame_by_digest(db, ruling.accepted_frame)
        if ruling.accepted_frame == ZERO32:
            self._none_stands()
        elif held is not None and held.device == row.device:
            self._log_stands(held)
        else:
            self._refused_stands(kept)
        db.add(kept)
        db.flush()
        for dispute in self._disputes:
            conflict = dispute.conflict
            conflict.ruled_at_s = conflict.ruled_at_s or self._service.now_s()
            place = f"device {to_hex(conflict.device)} record {conflict.first_sequence}"
            clear_alarm(db, self._service, conflict.operator_id, AlarmKind.EQUIVOCATION, place)
        self._go_on()

    def _none_stands(self) -> None:
        """The bill stays where it stopped; of a settled session it stops now."""
        row = self._row
        if not self._disputes and not row.blocked:
            raise BadRequest("nothing is disputed there", "ruling.firstSequence")
        if self._disputes and row.disputed_from_s is None:
            row.disputed_from_s = min(d.conflict.disputed_from_s for d in self._disputes)
            stop_bill(self._db, self._service, row)

    def _log_stands(self, held: FrameRow) -> None:
        ruling = self._ruling
        if any(d.held is None or d.held.id != held.id for d in self._disputes):
            raise BadRequest("another frame of the log stands at a place it covers; one ruling a place", "ruling.acceptedFrame")
        if not self._disputes and not self._quarantined(held):
            raise BadRequest("nothing is disputed there", "ruling.firstSequence")
        if not self._disputes and not _covers(ruling, held.incarnation, held.first_sequence, held.last_sequence):
            raise BadRequest("does not lie in the records ruled on", "ruling.acceptedFrame")

    def _quarantined(self, held: FrameRow) -> bool:
        return bool(self._row.blocked) and f"implausible:{self._row.channel}" in held.flagged.split()

    def _refused_stands(self, kept: RulingRow) -> None:
        """The refused frame takes its place in the log; what stood there is ruled out, with all that went on from it."""
        db, service, row, ruling = self._db, self._service, self._row, self._ruling
        refused = next((d for d in self._disputes if d.conflict.digest == ruling.accepted_frame), None)
        if refused is None or refused.held is None:
            raise BadRequest("is neither in the log nor among the frames refused beside it", "ruling.acceptedFrame")
        if row.state == State.SETTLED:
            raise Conflict("the session is settled, so nothing more is billed; rule that none stands (zero)", "ruling.acceptedFrame")
        later = select(FrameRow).where(FrameRow.device == row.device, FrameRow.id >= refused.held.id)
        losing = list(db.scalars(later.order_by(FrameRow.id)))
        last = losing[-1]
        if any(not _covers(ruling, f.incarnation, f.first_sequence, f.last_sequence) for f in losing):
            raise BadRequest(f"must cover what it rules out: all records from {losing[0].first_sequence} to {last.last_sequence}", "ruling")
        if any(f.epoch_id is None for f in losing):
            raise Unavailable("what it rules out is promised to be anchored and is not yet; send it again after the next epoch", "ruling")
        self._refuse_if_others_stand_on(losing[0].id)
        db.add(kept)
        db.flush()
        device = get_device(db, row.device, lock=True)
        for frame in losing:
            db.add(RuledOutFrame(
                operator_id=frame.operator_id, digest=frame.digest, device=frame.device, ruling_id=kept.id, body=frame.body,
                received_at_s=frame.received_at_s, epoch_id=frame.epoch_id,
            ))  # fmt: skip
        _take_out(db, device, losing[0].id)
        _reset_readings(db, device, row)
        intake = Intake(db, service, device)
        intake.take(Arrived(decode_frame(refused.conflict.body), refused.conflict.digest, refused.conflict.body))
        if intake.refused:
            raise Conflict(f"the accepted frame cannot take its place: {intake.refused[0].detail}", "ruling.acceptedFrame")
        intake.close()

    def _refuse_if_others_stand_on(self, frame_id: int) -> None:
        db, row = self._db, self._row
        others = select(SessionRow.session).where(
            SessionRow.device == row.device, SessionRow.session != row.session, SessionRow.state != State.QUOTED
        )
        priced = others.where(SessionRow.session.in_(select(SessionFrame.session).where(SessionFrame.frame_id >= frame_id)))
        disputed = others.where(SessionRow.disputed_from_s.is_not(None), SessionRow.state != State.SETTLED)
        other = db.scalar(priced.limit(1)) or db.scalar(disputed.limit(1))
        if other is not None:
            why = f"session {to_hex(other)} stands on the branch that would go; rule that the log's frame stands, or none (zero)"
            raise Conflict(why, "ruling.acceptedFrame")

    def _go_on(self) -> None:
        """Price what stands now, and let what was signed for it be claimed."""
        db, service, row = self._db, self._service, self._row
        was_blocked, priced_to = row.blocked, row.last_frame_id
        if row.state != State.SETTLED and self._ruling.accepted_frame != ZERO32:
            row.disputed_from_s = min((d.conflict.disputed_from_s for d in open_disputes(db, row)), default=None)
            outcome = advance(db, service, row, retry=True)
            if was_blocked and not self._disputes and outcome.blocked and row.last_frame_id == priced_to:
                raise Conflict(f"it cannot be priced even so: {outcome.blocked}; rule that none stands (zero)", "ruling.acceptedFrame")
            if row.disputed_from_s is not None:
                stop_bill(db, service, row)
            refresh_amounts(db, row)
            if row.charge_micro == row.bill_micro:
                clear_alarm(db, service, row.operator_id, AlarmKind.CHARGE_DIFFERS, f"session {to_hex(row.session)}")
            _trust_reading(db, service, row, self._ruling)
            try_end(db, service, row)
        if row.state == State.SETTLED:
            give_credit(db, service, row)
        service.after_commit(db, lambda: service.hub.wake_loop("settlement"))
        service.wake(db, row.device)


def _take_out(db: Session, device: Device, from_id: int) -> None:
    """Take a device's frames from one on out of its log."""
    mine = FrameRow.device == device.device
    db.execute(delete(Incarnation).where(Incarnation.device == device.device, Incarnation.first_frame_id >= from_id))
    for branch in db.scalars(select(Incarnation).where(Incarnation.device == device.device, Incarnation.tip_frame_id >= from_id)).all():
        tip = select(func.max(FrameRow.id)).where(mine, FrameRow.incarnation == branch.incarnation, FrameRow.id < from_id)
        branch.tip_frame_id = db.scalar(tip) or 0
    device.tip_frame_id = db.scalar(select(func.max(FrameRow.id)).where(mine, FrameRow.id < from_id))
    db.execute(update(SessionRow).where(SessionRow.device == device.device, SessionRow.after_frame_id >= from_id).values(
        after_frame_id=device.tip_frame_id or 0
    ))  # fmt: skip
    db.execute(delete(FrameRow).where(mine, FrameRow.id >= from_id))
    db.flush()


def _reset_readings(db: Session, device: Device, row: SessionRow) -> None:
    """The point's last reading is that of the last frame that stands."""
    reading = db.get(Reading, row.point_id)
    tip = None if device.tip_frame_id is None else decode(db.get_one(FrameRow, device.tip_frame_id))
    last = None if tip is None else next((r for r in reversed(tip.records) if r.channel == row.channel), None)
    if reading is None or last is None:
        return
    reading.sequence, reading.end_s, reading.flags = last.sequence, last.end_s, last.flags
    reading.import_milliwatt_hours, reading.export_milliwatt_hours = last.import_milliwatt_hours, last.export_milliwatt_hours
    reading.good_end_s, reading.good_import_milliwatt_hours = last.end_s, last.import_milliwatt_hours
    reading.quarantined_since_s = None
    db.flush()


def _trust_reading(db: Session, service: Service, row: SessionRow, ruling: Ruling) -> None:
    """A register the parties accept is what the next reading is compared with."""
    reading = db.get(Reading, row.point_id)
    if reading is None or reading.quarantined_since_s is None or row.blocked or reading.sequence > ruling.last_sequence:
        return
    reading.good_end_s, reading.good_import_milliwatt_hours = reading.end_s, reading.import_milliwatt_hours
    reading.good_export_milliwatt_hours, reading.quarantined_since_s = reading.export_milliwatt_hours, None
    clear_alarm(db, service, row.operator_id, AlarmKind.IMPLAUSIBLE_REGISTER, f"point {row.point_id}")
