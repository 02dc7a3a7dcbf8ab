"""What a dispute does to a bill: it stops at the last frame nobody disputes, and goes on from there once a ruling says what stands.

Guaranteed: nothing disputed is billed or claimed; what was posted for it is taken back by a transfer of its own; what was claimed for it
before the dispute goes back by credit note. A session in dispute is closed only when its parties had time to rule.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from protocol.hashing import ZERO32
from protocol.money import MeteredCharge

from ..context import Service
from ..evidence.frames import decode, frame_by_digest
from ..models import FrameRow, RulingRow, SessionFrame, SessionRow, SignedAmount
from ..sessions.states import State
from ..supply.commands import terms_of
from .ledger import Kind, Ledger
from .rating import forget, records_of
from .signed_amounts import why_not_claimable


def stop_bill(db: Session, service: Service, row: SessionRow) -> None:
    """Take the bill back to the last frame before the dispute, and withdraw what was signed for later ones. With the device locked."""
    if row.disputed_from_s is None:
        return
    disputed = (
        select(func.min(SessionFrame.frame_id)).join(FrameRow, FrameRow.id == SessionFrame.frame_id)
        .where(SessionFrame.session == row.session, FrameRow.end_s > row.disputed_from_s)
    )  # fmt: skip
    first = db.scalar(disputed)
    if first is not None:
        _cut(db, service, row, first)
    refresh_amounts(db, row)


def _cut(db: Session, service: Service, row: SessionRow, first_frame_id: int) -> None:
    mine = SessionFrame.session == row.session
    before_it = select(SessionFrame).where(mine, SessionFrame.frame_id < first_frame_id)
    kept = db.scalar(before_it.order_by(SessionFrame.frame_id.desc()).limit(1))
    db.execute(delete(SessionFrame).where(mine, SessionFrame.frame_id >= first_frame_id))
    before = row.bill_micro
    row.stop_record_seen, row.bill_version = False, row.bill_version + 1
    if kept is None:
        row.first_frame_id = row.last_frame_id = row.first_sequence = row.last_sequence = row.last_record_end_s = None
        row.bill_micro = row.energy_milliwatt_hours = 0
    else:
        last = records_of(row, decode(db.get_one(FrameRow, kept.frame_id)))[-1]
        row.last_frame_id, row.last_sequence, row.last_record_end_s = kept.frame_id, last.sequence, last.end_s
        row.bill_micro, row.energy_milliwatt_hours = kept.total_micro, kept.energy_milliwatt_hours
    forget(service, row)
    if row.state == State.SETTLED:  # its books are closed: a credit note corrects the sales themselves
        row.tail_micro = max(0, row.bill_micro - row.claimed_micro)
    elif before > row.bill_micro:
        _take_back(db, service, row, before - row.bill_micro)


def _take_back(db: Session, service: Service, row: SessionRow, delta_micro: int) -> None:
    """Use that was posted and is disputed now, and the reservation that covered it."""
    ledger = Ledger(db, row.operator_id, service.now_s())
    use, sales = ledger.account(Kind.USE, row.session), ledger.account(Kind.SALES)
    moves = [ledger.move(sales, use, delta_micro, "disputed", row.session, row.bill_version)]
    left = sum(free for _, free in ledger.reservations(row.session))
    again = max(0, row.lock_micro - row.bill_micro) - left
    if again > 0:
        moves.append(ledger.reserve(use, sales, again, "reserved-again", row.session, row.bill_version))
    ledger.apply(moves)


def refresh_amounts(db: Session, row: SessionRow) -> None:
    """Decide anew which signed amounts may be claimed: what was signed for disputed frames stays as evidence."""
    db.flush()
    amounts = db.scalars(select(SignedAmount).where(SignedAmount.session == row.session)).all()
    for amount in amounts:
        frame = frame_by_digest(db, amount.frame)
        if row.state == State.SETTLED:  # nothing more is claimed; what was signed for disputed frames no longer counts
            disputed = frame is not None and row.disputed_from_s is not None and frame.end_s > row.disputed_from_s
            amount.claimable = amount.claimable and not disputed
        elif row.metered:
            charge = MeteredCharge(row.session, amount.amount_micro, amount.energy_milliwatt_hours, amount.elapsed_s, amount.frame)
            amount.claimable = frame is not None and not why_not_claimable(db, row, charge, frame)
        else:  # a payment is claimed only as far as its frame is priced: see `settlement.last_claimable`
            amount.claimable = frame is None or row.disputed_from_s is None or frame.end_s <= row.disputed_from_s
    row.charge_micro = max((amount.amount_micro for amount in amounts if amount.claimable), default=0)
    db.flush()


def rulings_of(db: Session, session: bytes) -> list[RulingRow]:
    return list(db.scalars(select(RulingRow).where(RulingRow.session == session).order_by(RulingRow.id)))


def is_in_dispute(db: Session, row: SessionRow) -> bool:
    """Whether part of what was measured is neither billed nor ruled on: two frames for one place, or a register nobody can believe."""
    if row.disputed_from_s is None and not row.blocked:
        return False
    return all(ruling.accepted_frame != ZERO32 for ruling in rulings_of(db, row.session))


def awaiting_ruling(db: Session, service: Service, row: SessionRow) -> bool:
    """Whether the close of an ended session waits for its parties to rule. Never longer than the payer's own request to close lets it."""
    if row.closed_at_s is not None or row.state not in (State.ENDED, State.SETTLING) or row.first_frame_id is None:
        return False
    return is_in_dispute(db, row) and service.now_s() < ruling_by_s(service, row)


def ruling_by_s(service: Service, row: SessionRow) -> int:
    """Until when a ruling is waited for; then the session settles on its last undisputed frame."""
    until = (row.ended_at_s or service.now_s()) + service.settings.settlement.ruling_wait_seconds
    if row.close_requested_at_s is not None:
        until = min(until, row.close_requested_at_s + terms_of(row).close_delay_s)
    return until
