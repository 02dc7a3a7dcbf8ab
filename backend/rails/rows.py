"""Deposits and payouts as rows: states, locks, and what their charges can still give back.

Deposit: creating → awaiting → paid → minting → crediting → credited; creating, awaiting → expired;
expired → paid (late); paid → returned (all went back before a mint).
Payout: requested → withdrawing → burning → refunding → paid-back; requested, withdrawing → refused; refunding, paid-back → failed
→ refunding.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..errors import IllegalTransition, NotFound
from ..models import Deposit, Payout, PayoutPart


class In(StrEnum):
    """States of a deposit."""

    CREATING = "creating"  # the rail is being asked for a payment
    AWAITING = "awaiting"  # for the payer
    PAID = "paid"  # the rail has it; to be minted
    MINTING = "minting"
    CREDITING = "crediting"  # minted; on its way into the free balance
    CREDITED = "credited"
    EXPIRED = "expired"  # nobody paid in time, or there is nothing to pay: `why`
    RETURNED = "returned"  # went back at the rail before anything was minted


class Out(StrEnum):
    """States of a payout."""

    REQUESTED = "requested"  # the chain is being asked whether it stands
    WITHDRAWING = "withdrawing"  # out of the free balance, to the till
    BURNING = "burning"
    REFUNDING = "refunding"  # over the rail
    DONE = "paid-back"
    REFUSED = "refused"
    FAILED = "failed"  # burned, and the rail would not: somebody must look


STEPS: dict[str, frozenset[str]] = {
    In.CREATING: frozenset({In.AWAITING, In.PAID, In.EXPIRED}), In.AWAITING: frozenset({In.PAID, In.EXPIRED}),
    In.EXPIRED: frozenset({In.PAID}), In.PAID: frozenset({In.MINTING, In.RETURNED, In.CREDITING}), In.RETURNED: frozenset({In.PAID}),
    In.MINTING: frozenset({In.PAID, In.CREDITING}), In.CREDITING: frozenset({In.CREDITED}), In.CREDITED: frozenset(),
    Out.REQUESTED: frozenset({Out.WITHDRAWING, Out.REFUSED}), Out.WITHDRAWING: frozenset({Out.BURNING, Out.REFUSED}),
    Out.BURNING: frozenset({Out.REFUNDING}), Out.REFUNDING: frozenset({Out.DONE, Out.FAILED}), Out.FAILED: frozenset({Out.REFUNDING}),
    Out.DONE: frozenset({Out.FAILED}), Out.REFUSED: frozenset({Out.BURNING}),
}  # fmt: skip
"""Who may follow whom. A payment that comes after its time is a payment; a withdrawal that somebody relays after ours was refused is one;
a refund can come back long after it went."""


def step(row: Deposit | Payout, to: In | Out, why: str = "") -> None:
    """Raises `IllegalTransition`."""
    if to not in STEPS[row.state]:
        raise IllegalTransition(f"{row.state} is not followed by {to}", f"{row.__tablename__} 0x{row.id.hex()}")
    row.state, row.why = to, why[:300]


def get_deposit(db: Session, deposit_id: bytes, *, lock: bool = False) -> Deposit:
    """Raises `NotFound`."""
    query = select(Deposit).where(Deposit.id == deposit_id)
    found = db.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound("there is no such deposit", "deposit")
    return found


def get_payout(db: Session, payout_id: bytes, *, lock: bool = False) -> Payout:
    """Raises `NotFound`."""
    query = select(Payout).where(Payout.id == payout_id)
    found = db.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound("there is no such payout", "payout")
    return found


def deposits_in(db: Session, *states: In) -> list[Deposit]:
    """Oldest first, at most a thousand: the rest comes in later rounds."""
    query = select(Deposit).where(Deposit.state.in_(states)).order_by(Deposit.created_at_s, Deposit.id).limit(1_000)
    return list(db.scalars(query))


def payouts_in(db: Session, *states: Out) -> list[Payout]:
    return list(db.scalars(select(Payout).where(Payout.state.in_(states)).order_by(Payout.created_at_s, Payout.id).limit(1_000)))


def parts_of(db: Session, payout_id: bytes) -> list[PayoutPart]:
    query = select(PayoutPart).where(PayoutPart.payout_id == payout_id).order_by(PayoutPart.deposit_id)
    return list(db.scalars(query))


def returnable_micro(db: Session, deposit: Deposit) -> int:
    """What can still go back over a charge: paid, less what went back, less what payouts have set aside. Nothing while it is disputed."""
    if deposit.dispute in ("open", "lost") or deposit.state != In.CREDITED:
        return 0
    aside = select(func.coalesce(func.sum(PayoutPart.amount_micro), 0)).where(
        PayoutPart.deposit_id == deposit.id, PayoutPart.state.in_(("waiting", "asked", "failed"))
    )
    return deposit.paid_micro - deposit.refunded_micro - int(db.scalar(aside) or 0)


def divide(db: Session, account: bytes, rail: str, amount_micro: int, *, lock: bool = False) -> list[tuple[Deposit, int]] | int:
    """Which charges of an account a payout goes back over, the newest first; or how much could, where that is less."""
    query = select(Deposit).where(Deposit.account == account, Deposit.rail == rail, Deposit.state == In.CREDITED)
    query = query.order_by(Deposit.created_at_s.desc(), Deposit.id)
    shares, left = [], amount_micro
    for deposit in db.scalars(query.with_for_update() if lock else query).all():
        part = min(left, returnable_micro(db, deposit))
        if part > 0:
            shares.append((deposit, part))
            left -= part
    return amount_micro - left if left else shares
