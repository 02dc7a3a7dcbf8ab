"""Claims in batches by amount and age, then close, then payout. Each step waits until the one before is *final on the chain*.

A session is closed only when its last claimable charge is claimed: closing first would give the payee's money away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.calls import MeteredRow, PaidRow
from protocol.control import Cause
from protocol.hashing import ZERO32
from protocol.money import MeteredCharge, Payment, deliverable_milliwatt_hours

from ..context import Service
from ..hexes import address_in, to_hex
from ..models import HOUSE, ChainEventRow, ClaimRow, FrameRow, IntentRow, Operator, SessionFrame, SessionRow, SignedAmount, Transfer
from ..onchain.outbox import OPEN, Writing, intend, intents_of
from ..sessions import unlocked
from ..sessions.life import get_session, give_way, sessions_in
from ..sessions.states import State, step
from ..sessions.unlocked import is_unlocked
from ..store.facts import chain_status
from ..supply.commands import last_metered_s, terms_of
from .disputes import awaiting_ruling
from .ledger import Kind, Ledger

log = structlog.get_logger()
CLOSE_RETRY_S = 30
LAST_PAYMENT_S = 30
"""In payment mode the last payment comes after the last frame: a buyer compares it with a meter of its own before it signs. Never longer
than half the close delay, after which anybody may close."""


def round_(service: Service, writing: Writing) -> None:
    """One round over all sessions that have something to settle. Looks first without a lock; then one session a transaction."""
    with service.db.reading() as db:
        status = chain_status(db)
        if status is None or not status.caught_up:
            return  # what is claimed and closed already is not known yet
        due = []
        for row in sessions_in(db, State.RUNNING, State.ENDING, State.ENDED, State.SETTLING):
            claim = _claim_due(db, service, row, status.head_time_s)
            if claim is not None:
                due.append(Due(row.session, claim.due, (row.operator_id, row.metered, terms_of(row).payee)))
        ended = [row.session for row in sessions_in(db, State.ENDED)]
        settling = [row.session for row in sessions_in(db, State.SETTLING)]
        waiting = sessions_in(db, State.OPENING) + [r for r in sessions_in(db, State.OPEN, State.RUNNING) if is_unlocked(r)]
        refused = [row.session for row in waiting if _refused_opening(db, row) is not None]
        operators = list(db.scalars(select(Operator.id).where(Operator.id != HOUSE)))
    _claim(service, writing, due, status.head_time_s)
    for session in (*ended, *settling):
        with writing() as db:
            row = get_session(db, session, lock=True)
            if row.state == State.ENDED and not _last_payment_comes(service, row):
                step(db, row, State.SETTLING, "claiming what was charged, then closing", service.now_s())
            if row.state == State.SETTLING:
                _settle(db, service, row)
    for session in refused:
        with writing() as db:
            _opening_failed(db, service, get_session(db, session, lock=True))
    for operator_id in operators:
        _pay_out(service, writing, operator_id)


def last_claimable(db: Session, row: SessionRow) -> SignedAmount | None:
    """The charge or payment to claim: in metered mode the highest whose time and energy the escrow will allow; in payment mode the highest
    that is not above the bill and names a frame of it, or none (signed ahead of use). One that counts more than a request to
    close and its grace is never allowed, and must not keep the others back.
    """
    query = select(SignedAmount).where(SignedAmount.session == row.session, SignedAmount.claimable.is_(True))
    if row.metered:
        most_s = max(0, last_metered_s(row) - (row.locked_at_s or row.opened_at_s or 0))
        most_energy = deliverable_milliwatt_hours(terms_of(row).rated_watts, most_s)
        query = query.where(SignedAmount.elapsed_s <= most_s, SignedAmount.energy_milliwatt_hours <= most_energy)
    else:
        # An amount is claimed whole or not at all: one above the bill waits until use has caught up with it, or is never claimed.
        billed = (
            select(FrameRow.digest).join(SessionFrame, FrameRow.id == SessionFrame.frame_id).where(SessionFrame.session == row.session)
        )  # fmt: skip
        named = (SignedAmount.frame == ZERO32) | SignedAmount.frame.in_(billed)
        query = query.where(SignedAmount.amount_micro <= row.bill_micro, named)
    return db.scalar(query.order_by(SignedAmount.amount_micro.desc()).limit(1))


class Claim(NamedTuple):
    """What to claim for a session. `due`: by itself; else it only goes along with one that is."""

    amount: SignedAmount
    due: bool


class Due(NamedTuple):
    """A session with something to claim, and the batch it belongs to: operator, mode, payee."""

    session: bytes
    due: bool
    batch: tuple[int, bool, bytes]


def _claim_due(db: Session, service: Service, row: SessionRow, chain_time_s: int) -> Claim | None:
    """What to claim for a session now, if anything.

    Sessions that are almost old enough go along with one that is: from then on they are claimed together, once in `claim_age_seconds`, and
    a batch of a hundred costs each of them the least gas.
    """
    amount, now, settings = last_claimable(db, row), service.now_s(), service.settings.settlement
    if amount is None or amount.amount_micro <= row.claimed_micro or row.closed_at_s is not None or is_unlocked(row):
        return None
    if now < row.claim_not_before_s or claim_under_way(db, row):
        return None
    passed_s = chain_time_s - (row.locked_at_s or row.opened_at_s or 0)
    deliverable = deliverable_milliwatt_hours(terms_of(row).rated_watts, max(0, passed_s))
    if row.metered and (amount.elapsed_s > passed_s or amount.energy_milliwatt_hours > deliverable):
        return None  # the chain's clock has not got there yet; it would be skipped
    unclaimed = amount.amount_micro - row.claimed_micro
    oldest = db.scalar(
        select(func.min(SignedAmount.received_at_s)).where(
            SignedAmount.session == row.session, SignedAmount.claimable.is_(True), SignedAmount.amount_micro > row.claimed_micro
        )
    )
    age_s = 0 if oldest is None else now - oldest
    ended = row.state in (State.ENDED, State.SETTLING) or row.close_requested_at_s is not None
    if ended or age_s >= settings.claim_age_seconds or unclaimed >= settings.claim_amount_micro:
        return Claim(amount, True)
    return Claim(amount, False) if age_s * 8 >= settings.claim_age_seconds * 7 else None


def claim_under_way(db: Session, row: SessionRow) -> bool:
    """Whether a claim of this session is sent and not settled, or settled and not read from the chain yet."""
    status = chain_status(db)
    read_through = -1 if status is None else min(status.final_number, status.head_number)
    query = (
        select(IntentRow.id).join(ClaimRow, ClaimRow.intent_id == IntentRow.id)
        .where(ClaimRow.session == row.session)
        # The sender may see a claim final before the reader has its event: claimed_micro is then still the old one.
        .where((IntentRow.state == OPEN) | ((IntentRow.state == "succeeded") & (IntentRow.mined_block_number > read_through)))
        .limit(1)
    )  # fmt: skip
    return db.scalar(query) is not None


def _last_payment_comes(service: Service, row: SessionRow) -> bool:
    """Whether a payment for the rest of the bill may still be under way. What is signed by now is claimed meanwhile."""
    if row.metered or row.charge_micro >= row.bill_micro or row.closed_at_s is not None or row.ended_at_s is None:
        return False
    return service.now_s() < row.ended_at_s + min(LAST_PAYMENT_S, terms_of(row).close_delay_s // 2)


def _claim(service: Service, writing: Writing, found: Sequence[Due], chain_time_s: int) -> None:
    """Batches of one payee and one kind. Sessions are locked in one order, and looked at again under their lock."""
    groups: dict[tuple[int, bool, bytes], list[Due]] = {}
    for item in sorted(found, key=lambda item: not item.due):  # what is due first: it must not wait for the next batch
        groups.setdefault(item.batch, []).append(item)
    size = service.settings.settlement.claim_batch_rows
    for (operator_id, metered, payee), items in groups.items():
        for start in range(0, len(items), size):
            part = items[start : start + size]
            if not part[0].due:
                break
            with writing() as db:
                rows = [db.get_one(SessionRow, item.session) for item in part]
                locked = [get_session(db, row.session, lock=True) for row in sorted(rows, key=lambda row: row.device)]
                claims = [(row, _claim_due(db, service, row, chain_time_s)) for row in locked]
                still_due = [(row, claim.amount) for row, claim in claims if claim is not None]
                if still_due:
                    _batch(db, service, operator_id, metered, payee, still_due)


def _batch(
    db: Session, service: Service, operator_id: int, metered: bool, payee: bytes, rows: Sequence[tuple[SessionRow, SignedAmount]]
) -> None:  # fmt: skip
    if metered:
        call = service.calls.claim_metered(payee, [
            MeteredRow(MeteredCharge(r.session, a.amount_micro, a.energy_milliwatt_hours, a.elapsed_s, a.frame), terms_of(r), a.signature)
            for r, a in rows
        ])  # fmt: skip
    else:
        paid = [PaidRow(Payment(r.session, a.amount_micro, a.frame), terms_of(r), a.signature) for r, a in rows]
        call = service.calls.claim_paid(payee, paid)
    tries = sum(len(intents_of(db, r.session, "claim")) + r.claim_skips for r, _ in rows)
    cause = (*(part for r, a in rows for part in (r.session, a.amount_micro)), tries)
    intent = intend(db, service, operator_id, call, kind="claim", cause=cause, reference=rows[0][0].session)
    for row, amount in rows:
        if db.get(ClaimRow, (intent.id, row.session)) is None:
            db.add(ClaimRow(operator_id=operator_id, intent_id=intent.id, session=row.session, amount_micro=amount.amount_micro))
    log.info("claim wanted", sessions=len(rows), metered=metered)


def credit_due_micro(db: Session, row: SessionRow) -> int:
    """What was claimed above the last undisputed charge and is not given back yet. Only a dispute can lower a bill."""
    if row.bill_version == 0:
        return 0
    amount = last_claimable(db, row)
    return max(0, row.claimed_micro - row.credit_note_micro - (0 if amount is None else amount.amount_micro))


def give_credit(db: Session, service: Service, row: SessionRow) -> bool:
    """Want the payee's credit note for what is due; never two for one due. Returns whether the session has to wait for it."""
    if credit_due_micro(db, row) == 0:
        return False
    if claim_under_way(db, row):
        return True  # it may raise what is due
    notes, status = intents_of(db, row.session, "credit-note"), chain_status(db)
    read_through = -1 if status is None else min(status.final_number, status.head_number)
    if notes:
        last = notes[-1]
        unread = last.state == "succeeded" and (last.mined_block_number or 0) > read_through
        if last.state == OPEN or unread or (last.state != "succeeded" and service.now_s() < (last.settled_at_s or 0) + CLOSE_RETRY_S):
            return True
    payee = terms_of(row).payee
    if payee in service.keys.payees:  # else the payee's key is elsewhere, and whoever holds it gives the note
        due = credit_due_micro(db, row)
        call = service.calls.credit_note(terms_of(row), due)
        cause = (row.session, due, len(notes))
        intend(db, service, row.operator_id, call, kind="credit-note", cause=cause, reference=row.session, sender=payee)
        log.info("credit note wanted", session=to_hex(row.session), micro=due)
    return True


def _settle(db: Session, service: Service, row: SessionRow) -> None:
    """Close once everything claimable is claimed and what was claimed too much is given back; settled once the close is final."""
    if is_unlocked(row):
        if _refused_opening(db, row) is not None:
            _settled(db, service, row)  # nothing was ever locked: what it used is the operator's
        return  # else the opening still waits for the chain
    if not awaiting_ruling(db, service, row) and give_credit(db, service, row):
        return
    if row.closed_at_s is not None:
        _settled(db, service, row)
        return
    amount = last_claimable(db, row)
    if amount is not None and amount.amount_micro > row.claimed_micro:
        return  # still to be claimed
    if claim_under_way(db, row) or awaiting_ruling(db, service, row):
        return
    closes = intents_of(db, row.session, "close")
    if closes and (closes[-1].state in (OPEN, "succeeded") or service.now_s() < (closes[-1].settled_at_s or 0) + CLOSE_RETRY_S):
        return
    payee = terms_of(row).payee
    sender = payee if payee in service.keys.payees else _anyone(db, service, row)
    if sender is None:
        return  # the payee's key is elsewhere: whoever holds it closes, or anyone after the delay
    call = service.calls.close(terms_of(row))
    intend(db, service, row.operator_id, call, kind="close", cause=(row.session, len(closes)), reference=row.session, sender=sender)


def _anyone(db: Session, service: Service, row: SessionRow) -> bytes | None:
    """Our own sender, once anybody may close: a payer's money does not wait for a payee whose key is elsewhere."""
    terms, status = terms_of(row), chain_status(db)
    if status is None or row.close_requested_at_s is None:
        return None
    request = select(func.max(ChainEventRow.block_number)).where(
        ChainEventRow.session == row.session, ChainEventRow.name == "CloseRequested", ChainEventRow.applied.is_(True)
    )
    due_s, due_block = row.close_requested_at_s + terms.close_delay_s, int(db.scalar(request) or 0) + terms.close_delay_blocks
    due = status.final_time_s >= due_s and status.final_number >= due_block
    return service.keys.sender.address if due else None


def _settled(db: Session, service: Service, row: SessionRow) -> None:
    """The chain is done with it: give the rest of the reservation back, write the tail off by name."""
    ledger = Ledger(db, row.operator_id, service.now_s())
    use = ledger.account(Kind.USE, row.session)
    moves = ledger.void_all(row.session, "settled")
    row.tail_micro = row.bill_micro - row.claimed_micro + row.credit_note_micro
    if row.tail_micro > 0:
        name = "unlocked" if is_unlocked(row) else "tail"
        moves.append(ledger.move(ledger.account(Kind.WRITTEN_OFF), use, row.tail_micro, name, row.session))
    ledger.apply(moves)
    outcome = f"claimed {row.claimed_micro} micro, returned {row.returned_micro} micro, tail {row.tail_micro} micro"
    step(db, row, State.SETTLED, outcome, service.now_s())
    log.info("session settled", session=to_hex(row.session), claimed=row.claimed_micro, returned=row.returned_micro)


def _refused_opening(db: Session, row: SessionRow) -> IntentRow | None:
    opens = intents_of(db, row.session, "open")
    gone = opens and opens[-1].state in ("refused", "reverted") and opens[-1].reason_name != "SessionIdUsed"
    return opens[-1] if gone else None


def _opening_failed(db: Session, service: Service, row: SessionRow) -> None:
    """The chain refused the opening for good: nothing is locked, so it is over."""
    intent = _refused_opening(db, row)
    if is_unlocked(row) and intent is not None:
        unlocked.refused(db, service, row, intent.reason or "no reason was given")
    elif row.state == State.OPENING and intent is not None:
        row.end_cause, row.end_detail = int(Cause.NEVER_STARTED), (intent.reason or "the chain refused the opening")[:300]
        step(db, row, State.SETTLED, f"the chain refused the opening: {row.end_detail}", service.now_s())
        give_way(db, service, row)


def _pay_out(service: Service, writing: Writing, operator_id: int) -> None:
    """Withdraw the payee's free balance. Not repeatable by itself, so never two at once, and each only after the last is read."""
    target = service.settings.settlement.payout_to
    if target is None:
        return
    with service.db.reading() as db:
        operator = db.get_one(Operator, operator_id)
        balance = Ledger(db, operator.id, service.now_s()).balance(Kind.PAYEE)
    if operator.payee != service.keys.payee.address or balance < service.settings.settlement.payout_amount_micro:
        return
    reference = operator.payee.ljust(32, b"\0")
    with writing() as db:
        earlier = intents_of(db, reference, "payout")
        done = sum(1 for intent in earlier if intent.state == "succeeded")
        if any(intent.state == OPEN for intent in earlier) or done > _withdrawals_seen(db, operator.id):
            return
        call = service.calls.withdraw(address_in(target, "settlement.payout_to"), balance)
        cause = (operator.payee, len(earlier))
        intend(db, service, operator.id, call, kind="payout", cause=cause, reference=reference, sender=operator.payee)


def _withdrawals_seen(db: Session, operator_id: int) -> int:
    query = select(func.count()).where(Transfer.operator_id == operator_id, Transfer.cause == "paid-out")
    return int(db.scalar(query) or 0)
