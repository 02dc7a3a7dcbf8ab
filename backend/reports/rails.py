"""Deposits, payouts and the fourth book as people and programs read them: each row with the reason why it waits."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from ..models import Deposit, IntentRow, Payout, PayoutPart
from ..onchain.outbox import intents_of
from ..rails.rows import In, Out, parts_of
from .anchors import intent_words
from .cursors import time_and_key_in
from .pages import Page, page_of

WAITS = {
    In.CREATING: "the payment provider is being asked",
    In.AWAITING: "the payer has not paid yet",
    In.PAID: "the payment is being read again before it is minted",
    Out.REQUESTED: "the chain is being asked whether the withdrawal stands",
    Out.REFUNDING: "the payment provider is being asked to pay back, or its balance has not moved yet",
}
"""What a state waits for, where no transaction and no row says it better."""


class DepositLine(NamedTuple):
    deposit: Deposit
    pending: str  # why it waits; empty: it does not


class PayoutLine(NamedTuple):
    payout: Payout
    parts: list[PayoutPart]
    pending: str


def deposits(db: Session, after: str | None, limit: int) -> Page[DepositLine]:
    """All deposits, the newest first."""
    query = select(Deposit).order_by(Deposit.created_at_s.desc(), Deposit.id.desc())
    rows = db.scalars(_after(query, Deposit, after).limit(limit + 1)).all()
    return page_of([deposit_line(db, row) for row in rows], limit, lambda line: _cursor(line.deposit))


def payouts(db: Session, after: str | None, limit: int) -> Page[PayoutLine]:
    """All payouts, the newest first."""
    query = select(Payout).order_by(Payout.created_at_s.desc(), Payout.id.desc())
    rows = db.scalars(_after(query, Payout, after).limit(limit + 1)).all()
    return page_of([payout_line(db, row) for row in rows], limit, lambda line: _cursor(line.payout))


def deposit_line(db: Session, row: Deposit) -> DepositLine:
    over = row.state in (In.CREDITED, In.EXPIRED, In.RETURNED)
    kind = {In.MINTING: "mint", In.CREDITING: "deposit-for"}.get(In(row.state))
    return DepositLine(row, "" if over else _pending(db, row, kind))


def payout_line(db: Session, row: Payout) -> PayoutLine:
    over = row.state in (Out.DONE, Out.REFUSED)
    kind = {Out.WITHDRAWING: "payout-withdraw", Out.BURNING: "burn"}.get(Out(row.state))
    return PayoutLine(row, parts_of(db, row.id), "" if over else _pending(db, row, kind))


def _pending(db: Session, row: Deposit | Payout, kind: str | None) -> str:
    intents: list[IntentRow] = [] if kind is None else intents_of(db, row.id, kind)
    said = row.why or WAITS.get(row.state, "")  # type: ignore[call-overload]
    return said if not intents else (intent_words(db, intents[-1]) or said or "it is on the chain, and not final yet")


def _cursor(row: Deposit | Payout) -> str:
    return f"{row.created_at_s}-{row.id.hex()}"


def _after(query: Select[Any], table: type[Deposit] | type[Payout], after: str | None) -> Select[Any]:
    place = time_and_key_in(after)
    if place is None:
        return query
    at_s, key = place
    return query.where(or_(table.created_at_s < at_s, and_(table.created_at_s == at_s, table.id < key)))
