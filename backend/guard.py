"""What has to happen to sessions though nobody calls: late commands, points that never start, limits, the blind limit, endings that wait.

The agent itself is the first line (design §7); this is the second, for agents that are heard and for those that are not.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from protocol.control import Cause

from .alarms import AlarmKind, clear_alarm, raise_alarm
from .context import Service
from .facts import chain_status
from .models import HOUSE, SessionRow
from .outbox import Writing
from .rating import over_limit
from .sessions import end, sessions_in, try_end
from .states import State, step
from .supply import due_commands, retry, terms_of

AFTER_GRACE_S = 60
"""After the last second that can be metered, evidence is waited for so long; then the session settles on what is here."""
STILL_S = 30
"""Without a new final block for so long the chain counts as standing still (for people; sessions go by their own stopGraceS)."""


def round_(service: Service, writing: Writing) -> None:
    """One round. Short transactions, so that ingest never waits for it."""
    with writing() as db:
        for late in due_commands(db, service.now_s()):
            retry(db, service, late, db.get(SessionRow, late.session))
    with writing() as db:
        for row in sessions_in(db, State.OPEN, State.RUNNING):
            _look_after(db, service, row)
        for row in sessions_in(db, State.ENDING):
            try_end(db, service, row)
            _give_up_waiting(db, service, row)
    with writing() as db:
        _blindness(db, service)


def _look_after(db: Session, service: Service, row: SessionRow) -> None:
    now, terms = service.now_s(), terms_of(row)
    started_by = (row.opened_at_s or now) + service.settings.terms.start_within_seconds
    if row.state == State.OPEN and now > started_by:
        end(db, service, row, Cause.NEVER_STARTED, f"no measured power within {service.settings.terms.start_within_seconds} s")
    elif now >= terms.latest_end_s:
        end(db, service, row, Cause.OPERATOR, "the latest end of its terms")
    elif over_limit(db, service, row):
        end(db, service, row, Cause.CREDIT, "the lock is used up")


def _give_up_waiting(db: Session, service: Service, row: SessionRow) -> None:
    """An agent that is not heard cannot hold the payer's money: after the last second that can be metered, settle on what is here."""
    if row.state != State.ENDING:
        return
    terms, now = terms_of(row), service.now_s()
    last_s = terms.latest_end_s
    if row.close_requested_at_s is not None:
        last_s = min(last_s, row.close_requested_at_s + terms.stop_grace_s)
    if now > last_s + AFTER_GRACE_S:
        step(db, row, State.ENDED, "nothing more can be metered; its disconnection is still not measured", now)
        service.after_commit(db, lambda: service.hub.wake_loop("settlement"))


def _blindness(db: Session, service: Service) -> None:
    """Without a fresh final block a payer may be asking to close unseen: sessions go on only within the operator's blind limit."""
    status, now = chain_status(db), service.now_s()
    if status is None:
        return
    still_s = now - status.final_seen_at_s
    if still_s > STILL_S:
        detail = f"no new final block for {still_s} s (the last is {status.final_number}); metering goes on, claims and anchors wait"
        raise_alarm(db, service, HOUSE, AlarmKind.CHAIN_STANDS_STILL, "chain", detail)
    else:
        clear_alarm(db, service, HOUSE, AlarmKind.CHAIN_STANDS_STILL, "chain")
    for row in sessions_in(db, State.OPEN, State.RUNNING):
        _blind(db, service, row, still_s)


def _blind(db: Session, service: Service, row: SessionRow, still_s: int) -> None:
    terms, limit, now = terms_of(row), service.settings.blind, service.now_s()
    if still_s <= terms.stop_grace_s:
        row.blind_since_s = row.blind_from_milliwatt_hours = None
        return
    if row.blind_since_s is None:
        row.blind_since_s, row.blind_from_milliwatt_hours = now, row.energy_milliwatt_hours
    used = row.energy_milliwatt_hours - (row.blind_from_milliwatt_hours or 0)
    # Never longer than the payee's time to claim after a request it could not see.
    longest = min(limit.seconds, max(0, terms.close_delay_s - terms.stop_grace_s))
    if used > limit.milliwatt_hours or now - row.blind_since_s >= longest:
        end(db, service, row, Cause.OPERATOR, "the chain is not heard and the blind limit is reached")
