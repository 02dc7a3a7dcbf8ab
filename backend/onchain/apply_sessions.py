"""What final events of the escrow do to sessions and to the books. Each event is applied once, in the order of the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain import event_types as events
from protocol.control import Cause

from ..context import Service
from ..errors import Conflict
from ..hexes import to_hex
from ..models import HOUSE, AttemptRow, ChainEventRow, ClaimRow, Operator, SessionRow
from ..money.ledger import Kind, Ledger
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from ..sessions.life import end, get_session, live_session, opened
from ..sessions.quotes import queue, take_voucher
from ..sessions.states import State, step
from ..sessions.unlocked import is_unlocked, locked_late
from ..supply.commands import issue_grant, send
from ..wallets.follow import withdrawn

REFUSALS = (
    "none", "unknown session", "session closed", "nothing new", "above the lock", "more time than passed on the chain",
    "more energy than the rating delivers", "above the ceilings", "signature refused",
)  # fmt: skip
"""`ClaimRules.Refusal`, in words."""
RETRY_SKIPPED_S = 15
RETRY_SKIPPED_MOST_S = 3_600


def apply(db: Session, service: Service, row: ChainEventRow, body: events.Body) -> bool:
    """Apply an event of the escrow. False if it is none."""
    do = _HANDLERS.get(type(body))
    if do is None:
        return False
    do(db, service, row, body)
    return True


def _session(db: Session, session: bytes) -> SessionRow | None:
    if db.scalar(select(SessionRow.session).where(SessionRow.session == session)) is None:
        return None
    return get_session(db, session, lock=True)


def _ledger(db: Session, service: Service, operator_id: int) -> Ledger:
    return Ledger(db, operator_id, service.now_s())


def _place(row: ChainEventRow) -> tuple[bytes, int]:
    return row.transaction_hash, row.log_index


def _opened(db: Session, service: Service, row: ChainEventRow, body: events.SessionOpened) -> None:
    found = _session(db, body.session)
    operator = _operator_paid(db, body.payee)
    if found is None:
        if operator is not None:
            detail = f"{to_hex(body.payer)} locked {body.lock_micro} for a session nobody quoted here; it returns when it closes"
            raise_alarm(db, service, operator.id, AlarmKind.FOREIGN_SESSION, f"session {to_hex(body.session)}", detail)
        return
    ledger = _ledger(db, service, found.operator_id)
    locked, use = ledger.account(Kind.LOCKED, body.session), ledger.account(Kind.USE, body.session)
    ledger.apply([
        ledger.move(ledger.account(Kind.CUSTOMERS), locked, body.lock_micro, "opened", body.session, *_place(row)),
        ledger.reserve(use, ledger.account(Kind.SALES), body.lock_micro, "reserved", body.session, *_place(row)),
    ])  # fmt: skip
    if is_unlocked(found) and found.state != State.SETTLED:
        locked_late(found, body.lock_micro, row.time_s, row.block_number)
        if found.state in (State.OPEN, State.RUNNING):
            issue_grant(db, service, found)
        service.after_commit(db, lambda: service.hub.wake_loop("settlement"))
        return
    why = "" if found.state == State.OPENING else _why_not_open(db, found, row)  # not by us: the payer sent the transaction itself
    if why:
        _refuse(db, service, found, body.lock_micro, row, why)
        return
    opened(db, service, found, body.lock_micro, row.time_s, row.block_number)


def _why_not_open(db: Session, found: SessionRow, row: ChainEventRow) -> str:
    """Why a session that somebody else sent to the chain gets no power; empty: it does, and has its charge key.

    Anybody can send an opening at any time, so no case here may raise: it would stop the reading of the chain.
    """
    if found.state != State.QUOTED:
        return "our own transaction had been refused for good"
    holder = live_session(db, found.device, found.channel)
    if holder is not None and holder.session != found.follows:
        return "the point was taken"
    if row.time_s > found.quote_expires_at_s:
        return "the quote had run out"
    try:
        take_voucher(db, found)
    except Conflict:
        return "its charge key served another session"
    try:
        queue(db, found, holder)
    except Conflict:
        return "another session waited there already"
    return ""


def _refuse(db: Session, service: Service, found: SessionRow, lock_micro: int, row: ChainEventRow, why: str) -> None:
    """Opened on the chain against the quote: no power, and the money goes straight back."""
    found.lock_micro, found.opened_at_s, found.opened_block = lock_micro, row.time_s, row.block_number
    found.end_cause, found.end_detail = int(Cause.NEVER_STARTED), f"opened on the chain when {why}"
    step(db, found, State.ENDED, found.end_detail, service.now_s())
    service.after_commit(db, lambda: service.hub.wake_loop("settlement"))


def _raised(db: Session, service: Service, row: ChainEventRow, body: events.LockRaised) -> None:
    found = _session(db, body.session)
    if found is None:
        return
    delta = body.total_lock_micro - found.lock_micro
    found.lock_micro = body.total_lock_micro
    ledger = _ledger(db, service, found.operator_id)
    locked, use = ledger.account(Kind.LOCKED, body.session), ledger.account(Kind.USE, body.session)
    ledger.apply([
        ledger.move(ledger.account(Kind.CUSTOMERS), locked, delta, "topped-up", body.session, *_place(row)),
        ledger.reserve(use, ledger.account(Kind.SALES), delta, "reserved", body.session, *_place(row)),
    ])  # fmt: skip
    if found.state in (State.OPEN, State.RUNNING):
        issue_grant(db, service, found)


def _claimed(db: Session, service: Service, row: ChainEventRow, body: events.ChargeClaimed) -> None:
    found = _session(db, body.session)
    if found is None:
        return
    delta = body.amount_micro - found.claimed_micro
    found.claimed_micro = body.amount_micro
    found.claim_skips, found.claim_not_before_s = 0, 0
    ledger = _ledger(db, service, found.operator_id)
    ledger.apply([
        ledger.move(ledger.account(Kind.LOCKED, body.session), ledger.account(Kind.PAYEE), delta, "claimed", body.session, *_place(row)),
        ledger.move(ledger.account(Kind.CLAIMED), ledger.account(Kind.USE, body.session), delta, "paid", body.session, *_place(row)),
    ])  # fmt: skip
    clear_alarm(db, service, found.operator_id, AlarmKind.CLAIM_REFUSED, f"session {to_hex(body.session)}")


def _skipped(db: Session, service: Service, row: ChainEventRow, body: events.ClaimSkipped) -> None:
    found = _session(db, body.session)
    ours = db.scalar(
        select(ClaimRow.intent_id).join(AttemptRow, AttemptRow.intent_id == ClaimRow.intent_id)
        .where(ClaimRow.session == body.session, AttemptRow.transaction_hash == row.transaction_hash).limit(1)
    )  # fmt: skip
    if found is None or ours is None:
        return  # somebody else's claim: only its sender needs to know, and anybody could hold ours up with one that is bound to fail
    why = REFUSALS[body.refusal] if body.refusal < len(REFUSALS) else f"refusal {body.refusal}"
    if why in ("nothing new", "session closed"):
        return  # done already, by a claim that came first
    found.claim_skips += 1
    found.claim_not_before_s = service.now_s() + min(RETRY_SKIPPED_S << min(found.claim_skips, 8), RETRY_SKIPPED_MOST_S)
    raise_alarm(
        db,
        service,
        found.operator_id,
        AlarmKind.CLAIM_REFUSED,
        f"session {to_hex(body.session)}",
        f"{why}: {body.value}, bound {body.bound}",
    )


def _close_requested(db: Session, service: Service, row: ChainEventRow, body: events.CloseRequested) -> None:
    found = _session(db, body.session)
    if found is None:
        return
    found.close_requested_at_s = row.time_s
    end(db, service, found, Cause.PAYER_STOP, "the payer asked on the chain")
    send(db, service, found, "close", {"session": to_hex(found.session), "requestedAtS": row.time_s})


def _closed(db: Session, service: Service, row: ChainEventRow, body: events.SessionClosed) -> None:
    found = _session(db, body.session)
    if found is None:
        return
    found.closed_at_s, found.returned_micro = row.time_s, body.returned_micro
    ledger = _ledger(db, service, found.operator_id)
    locked = ledger.account(Kind.LOCKED, body.session)
    ledger.apply([ledger.move(locked, ledger.account(Kind.CUSTOMERS), body.returned_micro, "returned", body.session, *_place(row))])
    end(db, service, found, Cause.PAYER_STOP, "its money was returned on the chain")
    service.after_commit(db, lambda: service.hub.wake_loop("settlement"))


def _credit_note(db: Session, service: Service, row: ChainEventRow, body: events.CreditNoteGiven) -> None:
    found = _session(db, body.session)
    if found is None:
        return
    found.credit_note_micro += body.amount_micro
    ledger = _ledger(db, service, found.operator_id)
    payee, customers = ledger.account(Kind.PAYEE), ledger.account(Kind.CUSTOMERS)
    # Before the settlement it takes back what was claimed ahead of use; after it, it corrects a bill that stood.
    corrected = ledger.account(Kind.SALES) if found.state == State.SETTLED else ledger.account(Kind.USE, body.session)
    ledger.apply([
        ledger.move(payee, customers, body.amount_micro, "credit-note", body.session, *_place(row)),
        ledger.move(corrected, ledger.account(Kind.CLAIMED), body.amount_micro, "corrected", body.session, *_place(row)),
    ])  # fmt: skip


def _deposited(db: Session, service: Service, row: ChainEventRow, body: events.Deposited) -> None:
    operator = _operator_paid(db, body.account)
    if operator is not None:
        ledger = _ledger(db, service, operator.id)
        moves = [ledger.move(ledger.account(Kind.CUSTOMERS), ledger.account(Kind.PAYEE), body.amount_micro, "deposited", b"", *_place(row))]
        ledger.apply(moves)


def _withdrawn(db: Session, service: Service, row: ChainEventRow, body: events.Withdrawn) -> None:
    withdrawn(db, body)
    operator = _operator_paid(db, body.account)
    if operator is not None:
        ledger = _ledger(db, service, operator.id)
        moves = [ledger.move(ledger.account(Kind.PAYEE), ledger.account(Kind.PAID_OUT), body.amount_micro, "paid-out", b"", *_place(row))]
        ledger.apply(moves)


def _operator_paid(db: Session, payee: bytes) -> Operator | None:
    return db.scalar(select(Operator).where(Operator.payee == payee, Operator.id != HOUSE).order_by(Operator.id).limit(1))


_HANDLERS: dict[type, Callable[[Session, Service, ChainEventRow, Any], None]] = {
    events.SessionOpened: _opened, events.LockRaised: _raised, events.ChargeClaimed: _claimed, events.ClaimSkipped: _skipped,
    events.CloseRequested: _close_requested, events.SessionClosed: _closed, events.CreditNoteGiven: _credit_note,
    events.Deposited: _deposited, events.Withdrawn: _withdrawn,
}  # fmt: skip
