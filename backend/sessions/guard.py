"""What has to happen to sessions though nobody calls: late commands, points that never start, limits, the blind limit, endings that wait.

The agent itself is the first line (design §7); this is the second, for agents that are heard and for those that are not. Each round looks
first, without a lock, and then changes one session a transaction, after looking again: ingest never waits for it.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.orm import Session

from protocol.control import Cause

from ..context import Service
from ..models import HOUSE, Command, SessionRow
from ..money.rating import over_limit
from ..onchain.outbox import Writing
from ..people.alarms import AlarmKind, clear_alarm, open_alarm, raise_alarm
from ..store.facts import chain_status
from ..supply import bulk
from ..supply.commands import due_commands, last_metered_s, retry, terms_of
from .life import end, get_session, give_way, sessions_in, try_end
from .states import State, step
from .unlocked import may_open_unlocked, open_unlocked

AFTER_GRACE_S = 60
"""After the last second that can be metered, evidence is waited for so long; then the session settles on what is here."""
STILL_S = 30
"""Without a new final block for so long the chain counts as standing still (for people; sessions go by their own stopGraceS)."""

FIRST_READ_S = 10
"""After a start the chain is read before its silence is judged: what was missed while nothing ran here is no silence of the chain."""


class Verdict(NamedTuple):
    """Why a session has to end."""

    cause: Cause
    detail: str


def round_(service: Service, writing: Writing) -> None:
    """One round."""
    now = service.now_s()
    with service.db.reading() as db:
        late = [(command.id, command.session) for command in due_commands(db, now)]
        still_s = _still_s(db, service)
        look = [row.session for row in sessions_in(db, State.OPEN, State.RUNNING) if _needs_a_look(db, service, row, still_s)]
        ending = [row.session for row in sessions_in(db, State.ENDING) if _may_end(row, now)]
        opening = [] if still_s <= STILL_S else [r.session for r in sessions_in(db, State.OPENING) if may_open_unlocked(db, service, r)]
    for session in opening:
        with writing() as db:
            open_unlocked(db, service, get_session(db, session, lock=True))
    for command_id, session in late:
        with writing() as db:
            _retry(db, service, command_id, session)
    for session in look:
        with writing() as db:
            _look_after(db, service, get_session(db, session, lock=True), still_s)
    for session in ending:
        with writing() as db:
            row = get_session(db, session, lock=True)
            try_end(db, service, row)
            _give_up_waiting(db, service, row)
    bulk.round_(service, writing)
    _say_whether_the_chain_stands_still(service, writing, still_s)


def _retry(db: Session, service: Service, command_id: int, session: bytes) -> None:
    row = get_session(db, session, lock=True) if db.get(SessionRow, session) is not None else None
    late = db.get_one(Command, command_id)
    if late.state in ("sent", "failed") and late.retry_at_s <= service.now_s():  # nobody answered in between
        retry(db, service, late, row)


def _verdict(db: Session, service: Service, row: SessionRow) -> Verdict | None:
    now, terms = service.now_s(), terms_of(row)
    within_s = service.settings.terms.start_within_seconds
    # Counted from our own start too: an agent that connected while nothing ran here has yet to be heard.
    if row.state == State.OPEN and row.granted_at_s is not None and now > max(row.granted_at_s, service.started_s) + within_s:
        return Verdict(Cause.NEVER_STARTED, f"no measured power within {within_s} s")
    if now >= terms.latest_end_s:
        return Verdict(Cause.OPERATOR, "the latest end of its terms")
    if over_limit(db, service, row):
        return Verdict(Cause.CREDIT, "the lock is used up")
    return None


def _needs_a_look(db: Session, service: Service, row: SessionRow, still_s: int) -> bool:
    blind = still_s > terms_of(row).stop_grace_s
    return blind or row.blind_since_s is not None or _verdict(db, service, row) is not None


def _look_after(db: Session, service: Service, row: SessionRow, still_s: int) -> None:
    if row.state not in (State.OPEN, State.RUNNING):
        return
    verdict = _verdict(db, service, row)
    if verdict is not None:
        end(db, service, row, verdict.cause, verdict.detail)
    else:
        _blind(db, service, row, still_s)


def _blind(db: Session, service: Service, row: SessionRow, still_s: int) -> None:
    """Without a fresh final block a payer may be asking to close unseen: a session goes on only within the operator's blind limit."""
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


def _may_end(row: SessionRow, now: int) -> bool:
    return row.disconnected_at_s is not None or now > last_metered_s(row) + AFTER_GRACE_S


def _give_up_waiting(db: Session, service: Service, row: SessionRow) -> None:
    """An agent that is not heard cannot hold the payer's money: after the last second that can be metered, settle on what is here."""
    now = service.now_s()
    if row.state == State.ENDING and now > last_metered_s(row) + AFTER_GRACE_S:
        step(db, row, State.ENDED, "nothing more can be metered; its disconnection is still not measured", now)
        give_way(db, service, row)
        service.after_commit(db, lambda: service.hub.wake_loop("settlement"))


def _still_s(db: Session, service: Service) -> int:
    """For how long no new final block was seen, by a service that had time to look."""
    status, now = chain_status(db), service.now_s()
    return 0 if status is None or now < service.started_s + FIRST_READ_S else max(0, now - status.final_seen_at_s)


def chain_stands_still(db: Session, service: Service) -> bool:
    return _still_s(db, service) > STILL_S


def _say_whether_the_chain_stands_still(service: Service, writing: Writing, still_s: int) -> None:
    still = still_s > STILL_S
    with service.db.reading() as db:
        said = open_alarm(db, HOUSE, AlarmKind.CHAIN_STANDS_STILL, "chain") is not None
        last = chain_status(db)
    if still == said:
        return
    with writing() as db:
        if still:
            at = f" (the last is {last.final_number})" if last else ""
            detail = f"no new final block for {still_s} s{at}; metering and cut-off go on, claims and anchors wait"
            raise_alarm(db, service, HOUSE, AlarmKind.CHAIN_STANDS_STILL, "chain", detail)
        else:
            clear_alarm(db, service, HOUSE, AlarmKind.CHAIN_STANDS_STILL, "chain")
