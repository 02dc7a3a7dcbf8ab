"""The state machine of a session, as a table. An illegal step raises; every legal one is written down with its reason."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.orm import Session

from ..errors import IllegalTransition
from ..models import SessionRow, SessionStep

MAX_WHY = 300


class State(StrEnum):
    QUOTED = "quoted"
    OPENING = "opening"  # the payer signed; the lock is not final on the chain
    OPEN = "open"  # locked; power is granted and not yet measured
    RUNNING = "running"  # measured connected
    ENDING = "ending"  # to be disconnected, or disconnected with its last frame still under way
    ENDED = "ended"  # measured disconnected, evidence complete (or waited for as long as the rule says)
    SETTLING = "settling"  # last claim, then close
    SETTLED = "settled"


STEPS: dict[State, frozenset[State]] = {
    State.QUOTED: frozenset({State.OPENING, State.OPEN, State.ENDED}),  # not by us: the payer sent the transaction, in time or too late
    State.OPENING: frozenset({State.OPEN, State.SETTLED, State.ENDED}),  # settled: the chain refused, nothing is locked
    State.OPEN: frozenset({State.RUNNING, State.ENDING, State.ENDED}),
    State.RUNNING: frozenset({State.ENDING}),
    State.ENDING: frozenset({State.ENDED}),
    State.ENDED: frozenset({State.SETTLING}),
    State.SETTLING: frozenset({State.SETTLED}),
    State.SETTLED: frozenset({State.ENDED}),  # the chain had refused our opening, and took somebody else's later: the lock goes back
}
LIVE = (State.OPENING, State.OPEN, State.RUNNING, State.ENDING)
"""States in which a session holds its point."""
POWERED = (State.OPEN, State.RUNNING, State.ENDING)
"""States in which supply may be on."""
TIMES = {
    State.RUNNING: "running_at_s", State.ENDING: "ending_at_s", State.ENDED: "ended_at_s", State.SETTLED: "settled_at_s",
}  # fmt: skip


def step(db: Session, row: SessionRow, to: State, why: str, now_s: int) -> None:
    """Take a session to another state. Raises `IllegalTransition` where the table has no such step."""
    now = State(row.state)
    if to not in STEPS[now]:
        allowed = ", ".join(sorted(STEPS[now])) or "nothing: it is over"
        raise IllegalTransition(f"the session is {now.value}; from there it can only become {allowed}, not {to.value}", "session")
    db.add(SessionStep(
        operator_id=row.operator_id, session=row.session, from_state=now.value, to_state=to.value, why=why[:MAX_WHY], at_s=now_s
    ))  # fmt: skip
    row.state = to.value
    if to in TIMES and getattr(row, TIMES[to]) is None:
        setattr(row, TIMES[to], now_s)
