"""Continuous comparison: ledger against contract (money), sessions against registers (energy), bills against anchored records
(evidence), supply of the token against the rails' float (`backend.rails.fourth_book`).

Every difference has a name and a place, raises an alarm, and clears it when it is gone. Comparisons with the chain are made at one final
block, and only when the books stand exactly at that block: otherwise both would be right and differ.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.client import ChainClient

from ..context import Service
from ..errors import LedgerError
from ..evidence.frames import decode, frames_between
from ..hexes import to_hex
from ..models import HOUSE, Epoch, FrameRow, Operator, SessionRow
from ..onchain.outbox import Writing
from ..people.alarms import AlarmKind, clear_alarm, open_alarms, raise_alarm
from ..rails import fourth_book
from ..sessions.life import sessions_in
from ..sessions.states import State
from ..store.facts import chain_status
from ..supply.commands import terms_of
from .ledger import Kind, Ledger, assert_balanced
from .rating import pricer_of

log = structlog.get_logger()
MAX_SESSIONS_A_ROUND = 200


class Difference(NamedTuple):
    """One thing that does not agree. `name` stays the same for the same kind of fault; `place` says where."""

    operator_id: int
    name: str
    place: str
    detail: str


def round_(service: Service, client: ChainClient, writing: Writing) -> list[Difference]:
    """Compare everything once. Returns the differences found, after raising and clearing their alarms."""
    found = _books(service) + _money(service, client) + _token(service, client) + _energy_and_evidence(service)
    with writing() as db:
        present = {(d.operator_id, f"{d.name}: {d.place}"): d for d in found}
        for (operator_id, place), difference in present.items():
            raise_alarm(db, service, operator_id, AlarmKind.RECONCILIATION, place, difference.detail)
        for alarm in open_alarms(db):
            if alarm.kind == AlarmKind.RECONCILIATION and (alarm.operator_id, alarm.place) not in present:
                clear_alarm(db, service, alarm.operator_id, AlarmKind.RECONCILIATION, alarm.place)
    return found


def _books(service: Service) -> list[Difference]:
    with service.db.reading() as db:
        try:
            assert_balanced(db)
        except LedgerError as error:
            return [Difference(HOUSE, "books-unbalanced", "ledger", error.detail)]
    return []


def _money(service: Service, client: ChainClient) -> list[Difference]:
    """Ledger against contract, at the final block the books stand at."""
    found: list[Difference] = []
    with service.db.reading() as db:
        status = chain_status(db)
        if status is None:
            return []
        block = client.block(status.final_number)
        if block is None:
            return []
        for operator in db.scalars(select(Operator).where(Operator.id != HOUSE)).all():
            ledger = Ledger(db, operator.id, service.now_s())
            ours, theirs = ledger.balance(Kind.PAYEE), client.free_micro(operator.payee, block.hash)
            if ours != theirs:
                detail = f"the books say {ours}, the escrow {theirs} at block {block.number}"
                found.append(Difference(operator.id, "payee-balance", to_hex(operator.payee), detail))
        for row in _chain_sessions(db):
            state = client.session(terms_of(row), block.hash)
            ledger = Ledger(db, row.operator_id, service.now_s())
            locked = 0 if state.closed else state.lock_micro - state.claimed_micro
            ours = ledger.balance(Kind.LOCKED, row.session)
            if ours != locked or row.claimed_micro != state.claimed_micro:
                detail = f"locked: books {ours}, escrow {locked}; claimed: books {row.claimed_micro}, escrow {state.claimed_micro}"
                found.append(Difference(row.operator_id, "session-money", to_hex(row.session), detail))
    return found


def _token(service: Service, client: ChainClient) -> list[Difference]:
    """The fourth book, where there are rails: supply against float less what is pending, at the block the books stand at."""
    if not service.rails:
        return []
    with service.db.reading() as db:
        status = chain_status(db)
        block = None if status is None else client.block(status.final_number)
        if block is None:
            return []
        book = fourth_book.read(db, service)
    found = fourth_book.differences(book, client.token_supply_micro(block.hash))
    return [Difference(HOUSE, name, place, detail) for name, place, detail in found]


def _chain_sessions(db: Session) -> list[SessionRow]:
    query = select(SessionRow).where(
        SessionRow.opened_at_s.is_not(None),
        SessionRow.state.in_((State.OPEN, State.RUNNING, State.ENDING, State.ENDED, State.SETTLING)),
    )
    return list(db.scalars(query.order_by(SessionRow.opened_at_s).limit(MAX_SESSIONS_A_ROUND)))


def _energy_and_evidence(service: Service) -> list[Difference]:
    """Each session under way, and each settled one not yet looked at: refold its frames and compare energy, bill and anchors."""
    found: list[Difference] = []
    with service.db.reading() as db:
        for row in sessions_in(db, State.ENDED, State.SETTLING):
            found += _one(db, service, row)
        late = db.execute(
            select(FrameRow.device, func.count()).join(Epoch, Epoch.id == FrameRow.epoch_id)
            .where(Epoch.state == "anchored", Epoch.link_id.is_(None)).group_by(FrameRow.device)
        ).all()  # fmt: skip
        found += [Difference(HOUSE, "anchor-without-link", to_hex(device), f"{count} frames") for device, count in late]
    return found


def _one(db: Session, service: Service, row: SessionRow) -> list[Difference]:
    if row.first_frame_id is None or row.last_frame_id is None:
        return []
    place, found = to_hex(row.session), []
    pricer = pricer_of(db, service, row)
    if (pricer.total_micro, pricer.energy_milliwatt_hours) != (row.bill_micro, row.energy_milliwatt_hours):
        detail = f"its frames give {pricer.total_micro} for {pricer.energy_milliwatt_hours} mWh, the books {row.bill_micro} for "
        found.append(Difference(row.operator_id, "bill", place, f"{detail}{row.energy_milliwatt_hours} mWh"))
    frames = frames_between(db, row.device, row.first_frame_id, row.last_frame_id)
    first = next(r for r in decode(frames[0]).records if r.sequence == row.first_sequence)
    last = [r for r in decode(frames[-1]).records if r.channel == row.channel][-1]
    rise = last.import_milliwatt_hours - first.import_milliwatt_hours
    whole = rise == row.energy_milliwatt_hours or "rollover" in " ".join(f.flagged for f in frames) or first.meter_hash != last.meter_hash
    if not whole and last.sequence == row.last_sequence:
        detail = f"its registers rose by {rise} mWh, {row.energy_milliwatt_hours} mWh are billed"
        found.append(Difference(row.operator_id, "session-energy", place, detail))
    use = -Ledger(db, row.operator_id, service.now_s()).balance(Kind.USE, row.session)
    unpaid = row.bill_micro - row.claimed_micro + row.credit_note_micro
    if use != unpaid:
        detail = f"the ledger shows {use} used and unpaid, the session {unpaid}"
        found.append(Difference(row.operator_id, "session-ledger", place, detail))
    return found
