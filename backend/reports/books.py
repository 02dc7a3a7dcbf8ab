"""The books as people read them: accounts with balances, transfers, the trial balance, and differences by name and place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from ..errors import NotFound
from ..models import Account, Alarm, Transfer
from ..money.ledger import Kind, trial_balance
from ..people.alarms import AlarmKind
from .cursors import number_in, time_and_key_in
from .pages import Page, page_of

DIFFERENCES = (AlarmKind.RECONCILIATION, AlarmKind.CHAIN_DIFFERS, AlarmKind.CHARGE_DIFFERS, AlarmKind.ENERGY_WITHOUT_SESSION)
"""Alarms that say two books disagree."""


class TransferLine(NamedTuple):
    """A transfer with the names of its accounts."""

    transfer: Transfer
    debit: Account
    credit: Account


class Summary(NamedTuple):
    """One operator's books at a glance, in micro-units. `balanced`: debits equal credits equal what moved."""

    held_micro: int
    payee_micro: int
    paid_out_micro: int
    sales_micro: int
    written_off_micro: int
    claimed_today_micro: int
    trial: dict[str, int]
    balanced: bool


def accounts(db: Session, operator_id: int, after: str | None, limit: int, kind: str | None = None) -> Page[Account]:
    """Accounts in the order they were opened."""
    query = select(Account).where(Account.operator_id == operator_id, Account.id > (number_in(after) or 0))
    if kind is not None:
        query = query.where(Account.kind == kind)
    return page_of(db.scalars(query.order_by(Account.id).limit(limit + 1)).all(), limit, lambda row: str(row.id))


def transfers(
    db: Session, operator_id: int, after: str | None, limit: int, account_id: int | None = None, reference: bytes | None = None
) -> Page[TransferLine]:
    """Transfers, the newest first; of one account or session where asked."""
    debit, credit = aliased(Account), aliased(Account)
    query = (
        select(Transfer, debit, credit)
        .join(debit, debit.id == Transfer.debit_account_id)
        .join(credit, credit.id == Transfer.credit_account_id)
        .where(Transfer.operator_id == operator_id)
    )
    if account_id is not None:
        query = query.where((Transfer.debit_account_id == account_id) | (Transfer.credit_account_id == account_id))
    if reference is not None:
        query = query.where(Transfer.reference == reference)
    cursor = time_and_key_in(after)
    if cursor is not None:
        at_s, key = cursor
        query = query.where((Transfer.at_s < at_s) | ((Transfer.at_s == at_s) & (Transfer.id < key)))
    rows = db.execute(query.order_by(Transfer.at_s.desc(), Transfer.id.desc()).limit(limit + 1)).all()
    lines = [TransferLine(*row) for row in rows]
    return page_of(lines, limit, lambda line: f"{line.transfer.at_s}-{line.transfer.id.hex()}")


def summary(db: Session, operator_id: int, now_s: int) -> Summary:
    """Balances by kind of account, and whether all of it adds up."""
    query = select(Account.kind, func.sum(Account.credits_posted - Account.debits_posted)).where(Account.operator_id == operator_id)
    balances = {kind: int(balance) for kind, balance in db.execute(query.group_by(Account.kind))}
    sums = trial_balance(db, operator_id)
    balanced = sums["debits"] == sums["credits"] == sums["moved"] and sums["debitsPending"] == sums["creditsPending"]
    return Summary(
        balances.get(Kind.LOCKED, 0),
        balances.get(Kind.PAYEE, 0),
        balances.get(Kind.PAID_OUT, 0),
        balances.get(Kind.SALES, 0),
        balances.get(Kind.WRITTEN_OFF, 0),
        claimed_since(db, operator_id, now_s - now_s % 86_400),
        sums,
        balanced,
    )


def claimed_since(db: Session, operator_id: int, since_s: int) -> int:
    """What moved from sessions' locks to the payee since then."""
    debit, credit = aliased(Account), aliased(Account)
    query = (
        select(func.coalesce(func.sum(Transfer.amount_micro), 0))
        .join(debit, debit.id == Transfer.debit_account_id)
        .join(credit, credit.id == Transfer.credit_account_id)
        .where(
            Transfer.operator_id == operator_id,
            Transfer.at_s >= since_s,
            Transfer.kind.in_(("posted", "post")),
            debit.kind == Kind.LOCKED,
            credit.kind == Kind.PAYEE,
        )
    )
    return int(db.scalar(query) or 0)


def differences(db: Session, operator_ids: Sequence[int]) -> list[Alarm]:
    """What does not agree now: each has a name (kind), a place and a sentence."""
    query = select(Alarm).where(
        Alarm.operator_id.in_(operator_ids), Alarm.kind.in_([kind.value for kind in DIFFERENCES]), Alarm.cleared_at_s.is_(None)
    )
    return list(db.scalars(query.order_by(Alarm.id)))


def newest_accounts(db: Session, operator_id: int, limit: int) -> list[Account]:
    """The accounts opened last; those of which there is only one come first."""
    query = select(Account).where(Account.operator_id == operator_id)
    return list(db.scalars(query.order_by(func.length(Account.reference) > 0, Account.id.desc()).limit(limit)))


def get_account(db: Session, operator_id: int, account_id: int) -> Account:
    """An account of this operator. Raises `NotFound`."""
    row = db.get(Account, account_id)
    if row is None or row.operator_id != operator_id:
        raise NotFound(f"no account {account_id}", "accountId")
    return row
