"""Sessions as people follow them: lists, what happened when, and why anything is pending, in words."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import jsons
from ..models import ChainEventRow, ClaimRow, IntentRow, SessionRow, SessionStep, SignedRequest
from ..onchain.outbox import OPEN, intents_of
from ..sessions.states import LIVE, State
from ..sessions.views import waiting_for
from ..supply.commands import terms_of
from . import points, supply
from .anchors import intent_words
from .cursors import time_and_key_in
from .pages import Page, page_of
from .supply import cause_words
from .words import instant, money, power, span

GROUPS: dict[str, tuple[State, ...]] = {
    "live": LIVE,
    "ended": (State.ENDED, State.SETTLING),
    "settled": (State.SETTLED,),
    "quoted": (State.QUOTED,),
}
"""How the console sorts states; `quoted` are quotes that nobody took (yet)."""


class SessionLine(NamedTuple):
    """A session in a list."""

    row: SessionRow
    point_name: str
    cause: str


class Moment(NamedTuple):
    """Something that happened to a session."""

    at_s: int
    what: str
    detail: str


def page(
    db: Session, operator_id: int, after: str | None, limit: int, group: str | None = None, point_id: str | None = None
) -> Page[SessionLine]:
    """Sessions, the newest quote first; without a group all but quotes nobody took."""
    query = select(SessionRow).where(SessionRow.operator_id == operator_id)
    query = query.where(SessionRow.state.in_(GROUPS[group])) if group else query.where(SessionRow.state != State.QUOTED)
    if point_id is not None:
        query = query.where(SessionRow.point_id == point_id)
    cursor = time_and_key_in(after)
    if cursor is not None:
        at_s, key = cursor
        query = query.where((SessionRow.quoted_at_s < at_s) | ((SessionRow.quoted_at_s == at_s) & (SessionRow.session < key)))
    rows = db.scalars(query.order_by(SessionRow.quoted_at_s.desc(), SessionRow.session.desc()).limit(limit + 1)).all()
    names = points.names(db, {row.point_id for row in rows})
    lines = [SessionLine(row, names.get(row.point_id, row.point_id), cause_words(row.end_cause)) for row in rows]
    return page_of(lines, limit, lambda line: f"{line.row.quoted_at_s}-{line.row.session.hex()}")


def count(db: Session, operator_id: int, group: str) -> int:
    """How many sessions of a group there are."""
    query = select(func.count()).select_from(SessionRow).where(SessionRow.operator_id == operator_id, SessionRow.state.in_(GROUPS[group]))
    return int(db.scalar(query) or 0)


def timeline(db: Session, row: SessionRow) -> list[Moment]:
    """What happened to a session, in the order of time: its steps, what was signed, commanded, measured, and what the chain said."""
    moments = [Moment(row.quoted_at_s, "quoted", "")]
    steps = db.scalars(select(SessionStep).where(SessionStep.session == row.session).order_by(SessionStep.id))
    moments += [Moment(step.at_s, step.to_state, step.why) for step in steps]
    requests = db.scalars(select(SignedRequest).where(SignedRequest.session == row.session).order_by(SignedRequest.id))
    moments += [Moment(asked.received_at_s, f"payer signed {asked.kind}", _amount(asked)) for asked in requests]
    moments += [Moment(line.at_s, line.what, f"{line.detail} ({line.state})") for line in supply.of_session(db, row.session)]
    events = db.scalars(select(ChainEventRow).where(ChainEventRow.session == row.session).order_by(ChainEventRow.id))
    moments += [
        Moment(event.time_s, f"chain: {_spaced(event.name)}", f"block {event.block_number}{'' if event.applied else ', pending'}")
        for event in events
    ]
    return sorted(moments, key=_order)


def pending(db: Session, row: SessionRow) -> list[str]:
    """Why anything of a session is pending: its own state, transactions under way, events that are not final."""
    words = []
    waiting = waiting_for(row)
    if waiting:
        words.append(f"the session waits for {waiting}")
    if row.blocked:
        words.append(f"the bill stops: {row.blocked}")
    if row.state in (State.ENDED, State.SETTLING) and row.claimed_micro < row.charge_micro:
        words.append("the highest signed charge is above what was claimed; the next claim takes the difference")
    claims = select(IntentRow).join(ClaimRow, ClaimRow.intent_id == IntentRow.id).where(ClaimRow.session == row.session)
    batches = [intent for intent in db.scalars(claims.order_by(IntentRow.id)) if intent.reference != row.session]
    for intent in [*intents_of(db, row.session), *batches]:
        waits = intent_words(db, intent)
        if waits:
            words.append(f"{_spaced(intent.kind)}: {waits}")
    events = db.scalars(
        select(ChainEventRow).where(ChainEventRow.session == row.session, ChainEventRow.applied.is_(False)).order_by(ChainEventRow.id)
    )
    words += [f"{_spaced(event.name)} in block {event.block_number}: not final yet, so the books do not have it" for event in events]
    return words


def claim_pending(db: Session, row: SessionRow) -> bool:
    """Whether a claim of this session is on its way to the chain."""
    query = (
        select(IntentRow.id)
        .join(ClaimRow, ClaimRow.intent_id == IntentRow.id)
        .where(ClaimRow.session == row.session, IntentRow.state == OPEN)
    )
    return db.scalar(query.limit(1)) is not None


def terms_words(row: SessionRow) -> list[tuple[str, str]]:
    """The terms, each in the unit people use."""
    terms = terms_of(row)
    return [
        ("Payer", f"0x{terms.payer.hex()}"),
        ("Payee", f"0x{terms.payee.hex()}"),
        ("Refund to", f"0x{terms.refund_to.hex()}"),
        ("Signs amounts", f"0x{terms.signer.hex()} ({'charge key of the agent' if terms.metered else 'pay key'})"),
        (
            "At most",
            f"{money(terms.max_micro_per_kwh)} per kWh, {money(terms.max_micro_per_hour)} per hour, {money(terms.max_flat_micro)} flat",
        ),
        ("Rated", power(terms.rated_watts * 1_000)),
        ("Ends at the latest", f"{instant(terms.latest_end_s)} UTC"),
        (
            "After a request to close",
            f"{span(terms.stop_grace_s)} grace; closes after {span(terms.close_delay_s)} and {terms.close_delay_blocks} blocks",
        ),
        ("Tariff", f"0x{terms.tariff_hash.hex()}"),
    ]


_WITHIN_A_SECOND = (
    "quoted", "payer signed", "opening", "chain: session opened", "open", "ending", "reconnect commanded", "disconnect commanded",
    "measured", "running", "ended", "settling", "chain", "settled",
)  # fmt: skip
"""What causes what, where two moments carry the same second."""


def _order(moment: Moment) -> tuple[int, int]:
    rank = next((i for i, what in enumerate(_WITHIN_A_SECOND) if moment.what == what), None)
    if rank is None:
        rank = next((i for i, what in enumerate(_WITHIN_A_SECOND) if moment.what.startswith(what)), len(_WITHIN_A_SECOND))
    return moment.at_s, rank


def _amount(asked: SignedRequest) -> str:
    document = jsons.loads(asked.document)
    amount = document.get("lockMicro") or document.get("totalLockMicro")
    return "" if amount is None else money(amount)


def _spaced(name: str) -> str:
    """`SessionOpened` or `request-close` as words."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip().replace("-", " ")
