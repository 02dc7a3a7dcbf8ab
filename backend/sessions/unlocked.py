"""Sessions on the operator's own credit, for payers who sign while the chain stands still. Nothing is locked for them yet.

Guaranteed: only within the credit the operator stated (default none), over all its sessions that are not locked; what they use is booked
as *unlocked*; nothing is claimed before the lock is final. When the chain is back, the opening that waits in the outbox locks the money;
where the chain refuses it, the session ends and what it used is written off under the name *unlocked*.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from protocol.control import Cause

from ..context import Service
from ..models import SessionRow
from .life import end, grant
from .states import State, step


def is_unlocked(row: SessionRow) -> bool:
    """Whether a session runs, or ran, on the operator's credit and its lock is not final on the chain."""
    return row.unlocked_micro is not None and row.locked_at_s is None


def credit_left_micro(db: Session, service: Service, operator_id: int) -> int:
    """What is left of the operator's credit for sessions that are not locked."""
    given = select(func.coalesce(func.sum(SessionRow.unlocked_micro), 0)).where(
        SessionRow.operator_id == operator_id, SessionRow.locked_at_s.is_(None), SessionRow.state.not_in((State.QUOTED, State.SETTLED))
    )
    return service.settings.blind.new_sessions_micro - int(db.scalar(given) or 0)


def may_open_unlocked(db: Session, service: Service, row: SessionRow) -> bool:
    """Whether the operator's credit takes a session whose opening waits for the chain."""
    return row.state == State.OPENING and not row.waits and row.wanted_lock_micro <= credit_left_micro(db, service, row.operator_id)


def open_unlocked(db: Session, service: Service, row: SessionRow) -> None:
    """Grant power on credit. Time counts from now, as the agent is told; the chain's own opening comes later."""
    if not may_open_unlocked(db, service, row):
        return
    row.unlocked_micro = row.lock_micro = row.wanted_lock_micro
    row.opened_at_s = service.now_s()
    step(db, row, State.OPEN, "on the operator's credit: the chain stands still and nothing is locked yet", service.now_s())
    grant(db, service, row)


def locked_late(row: SessionRow, lock_micro: int, time_s: int, block: int) -> None:
    """The chain is back, and the lock of a session that began without it is final."""
    row.lock_micro, row.locked_at_s, row.opened_block = lock_micro, time_s, block


def refused(db: Session, service: Service, row: SessionRow, why: str) -> None:
    """The chain refused the opening for good: no more on credit."""
    row.lock_micro = 0
    end(db, service, row, Cause.OPERATOR, f"the chain refused the opening: {why}")
