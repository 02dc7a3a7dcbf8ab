"""What a provider has delivered on trust in the next claim: signed money that is not claimed yet, and use that is not signed yet.

Bounded by settings: a session is claimed once `claim_amount_micro` of it is unclaimed or its oldest unclaimed amount is `claim_age_seconds`
old, and in payment mode an agent disconnects when more than `payment_credit_micro` stands unsigned.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..context import Service
from ..models import SessionRow, SignedAmount
from ..sessions.states import POWERED, State

OPEN_STATES = (*POWERED, State.ENDED, State.SETTLING)


class Exposure(NamedTuple):
    """Micro-units; `oldest_at_s` is when the oldest unclaimed amount was signed for. `bound_micro`: the most that can stand unclaimed in
    the sessions that are open now before a claim leaves, one frame's payment aside.
    """

    sessions: int
    unclaimed_micro: int
    oldest_at_s: int | None
    unsigned_micro: int
    bound_micro: int
    claim_amount_micro: int
    claim_age_s: int
    credit_micro: int


def exposure(db: Session, service: Service, operator_id: int) -> Exposure:
    """How an operator stands now."""
    settings, credit = service.settings.settlement, service.settings.terms.payment_credit_micro
    ours = (SessionRow.operator_id == operator_id, SessionRow.state.in_(OPEN_STATES), SessionRow.closed_at_s.is_(None))
    rows = db.execute(
        select(SessionRow.lock_micro, SessionRow.bill_micro, SessionRow.charge_micro, SessionRow.claimed_micro).where(*ours)
    ).all()
    oldest = db.scalar(
        select(func.min(SignedAmount.received_at_s)).join(SessionRow, SessionRow.session == SignedAmount.session)
        .where(*ours, SignedAmount.claimable.is_(True), SignedAmount.amount_micro > SessionRow.claimed_micro)
    )  # fmt: skip
    unclaimed = sum(max(0, charge - claimed) for _, _, charge, claimed in rows)
    unsigned = sum(max(0, bill - charge) for _, bill, charge, _ in rows)
    bound = sum(min(max(0, lock - claimed), settings.claim_amount_micro) for lock, _, _, claimed in rows)
    return Exposure(
        len(rows), unclaimed, oldest, unsigned, bound, settings.claim_amount_micro, settings.claim_age_seconds, credit
    )  # fmt: skip
