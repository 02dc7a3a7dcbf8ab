"""What final events of token and escrow do to deposits, payouts and the fourth book. Each is applied once, in the chain's order.

Every mint and every burning is booked, whoever caused it: a token that no payment here stands behind has a name (*unbacked*).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain import event_types as events

from ..context import Service
from ..hexes import to_hex
from ..models import HOUSE, AttemptRow, ChainEventRow, Deposit, IntentRow, Payout
from ..money.ledger import Kind, Ledger
from ..onchain.outbox import OPEN
from ..people.alarms import AlarmKind, raise_alarm
from . import deposits, payouts
from .rows import In, Out, get_deposit, get_payout, step


def apply(db: Session, service: Service, row: ChainEventRow, body: events.Body) -> bool:
    """Apply an event. False if it is none that concerns rails."""
    do = _HANDLERS.get(type(body))
    if do is None:
        return False
    do(db, service, row, body)
    return True


def _minted(db: Session, service: Service, row: ChainEventRow, body: events.Minted) -> None:
    ledger = Ledger(db, HOUSE, service.now_s())
    found = db.scalar(select(Deposit.id).where(Deposit.receipt_id == body.receipt_id))
    deposit = None if found is None else get_deposit(db, found, lock=True)
    if deposit is None or not _is_ours(service, deposit, body) or ledger.balance(Kind.PENDING, deposit.id) < body.amount_micro:
        source = ledger.account(Kind.UNBACKED)
    else:
        source = ledger.account(Kind.PENDING, deposit.id)
        deposit.mint_micro = body.amount_micro
        step(deposit, In.CREDITING)
        deposits.credit(db, service, deposit)
    place = (row.transaction_hash, row.log_index)
    ledger.apply([ledger.move(source, ledger.account(Kind.SUPPLY), body.amount_micro, "minted", body.receipt_id, *place)])


def _is_ours(service: Service, deposit: Deposit, body: events.Minted) -> bool:
    return bool(service.rails) and body.to == service.till.address and deposit.state in (In.PAID, In.MINTING)


def _paid_out(db: Session, service: Service, row: ChainEventRow, body: events.PaidOut) -> None:
    ledger = Ledger(db, HOUSE, service.now_s())
    found = db.scalar(select(Payout.id).where(Payout.id == body.payout_id))
    payout = None if found is None else get_payout(db, found, lock=True)
    stands = payout is not None and payout.state == Out.BURNING and payout.amount_micro == body.amount_micro
    if payout is None or not stands or not service.rails or body.sender != service.till.address:
        target = ledger.account(Kind.UNBACKED)
    else:
        target = ledger.account(Kind.PENDING, payout.id)
        step(payout, Out.REFUNDING)
        service.after_commit(db, lambda: service.hub.wake_loop("rails"))
    place = (row.transaction_hash, row.log_index)
    ledger.apply([ledger.move(ledger.account(Kind.SUPPLY), target, body.amount_micro, "burned", body.payout_id, *place)])


def _deposited(db: Session, service: Service, row: ChainEventRow, body: events.Deposited) -> None:
    if not service.rails or body.sender != service.till.address:
        return
    found = _intent_of(db, row)
    if found is not None and found.kind == "deposit-for":
        deposit_id: bytes | None = found.reference
    else:  # from before a restored backup: the same amount to the same account, which was on its way
        waits = (Deposit.state == In.CREDITING, Deposit.account == body.account, Deposit.mint_micro == body.amount_micro)
        deposit_id = db.scalar(select(Deposit.id).where(*waits).order_by(Deposit.created_at_s, Deposit.id).limit(1))
    if deposit_id is None:
        detail = f"{body.amount_micro} micro went from the till to {to_hex(body.account)}, and no deposit here wanted it"
        raise_alarm(db, service, HOUSE, AlarmKind.RAIL_UNMATCHED, f"transaction {to_hex(row.transaction_hash)}", detail)
        return
    deposit = get_deposit(db, deposit_id, lock=True)
    if deposit.state != In.CREDITING:
        return
    if found is None:
        _unwant(db, deposit.id, "deposit-for")
    step(deposit, In.CREDITED)
    deposit.credited_at_s = row.time_s


def _withdrawn(db: Session, service: Service, row: ChainEventRow, body: events.Withdrawn) -> None:
    if not service.rails or body.to != service.till.address:
        return
    found = _intent_of(db, row)
    waits = (Payout.account == body.account, Payout.amount_micro == body.amount_micro, Payout.state.in_((Out.WITHDRAWING, Out.REFUSED)))
    query = select(Payout.id).where(*waits).order_by(Payout.state.desc(), Payout.created_at_s, Payout.id).limit(1)
    payout_id = found.reference if found is not None and found.kind == "payout-withdraw" else db.scalar(query)
    payout = None if payout_id is None else get_payout(db, payout_id, lock=True)
    if payout is None or payout.state not in (Out.WITHDRAWING, Out.REFUSED) or not payouts.set_aside_again(db, payout):
        detail = f"{to_hex(body.account)} sent {body.amount_micro} micro to the till, and no payout here wants it; it lies there"
        raise_alarm(db, service, HOUSE, AlarmKind.RAIL_UNMATCHED, f"transaction {to_hex(row.transaction_hash)}", detail)
        return
    step(payout, Out.BURNING)
    payouts.burn(db, service, payout)


def _intent_of(db: Session, row: ChainEventRow) -> IntentRow | None:
    """The intent whose transaction this is, by the bytes that were signed."""
    signed = select(AttemptRow.intent_id).where(AttemptRow.transaction_hash == row.transaction_hash)
    return db.scalar(select(IntentRow).where(IntentRow.id.in_(signed)))


def _unwant(db: Session, reference: bytes, kind: str) -> None:
    """It is done already: an intent that was never signed here goes without being sent."""
    wanted = select(IntentRow).where(IntentRow.reference == reference, IntentRow.kind == kind, IntentRow.state == OPEN)
    for intent in db.scalars(wanted):
        intent.state, intent.reason_name, intent.reason = "refused", "DoneBefore", "it was sent before the backup that was restored"


_HANDLERS: dict[type, Callable[[Session, Service, ChainEventRow, Any], None]] = {
    events.Minted: _minted, events.PaidOut: _paid_out, events.Deposited: _deposited, events.Withdrawn: _withdrawn,
}  # fmt: skip
