"""Prices what sessions use, as frames arrive, and posts it, in the transaction that stores the frames.

`advance` takes a session from the last frame it was priced to, to the device's last one. It stops, and says why, at the first record that
cannot be priced: an implausible register, a swap without an approved hand-over, a dispute. What was priced stays; the bill stops there.
The pricer is kept in memory between frames and rebuilt from the stored frames where it is not at hand: it is a pure fold of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.eip712 import from_json
from protocol.errors import PricingError
from protocol.evidence import HandOver, Reason, Record
from protocol.hashing import ZERO32
from protocol.pricing import Pricer
from protocol.wire import SignedFrame

from .. import jsons
from ..context import Service
from ..devices.points import get_point, hand_overs_of, tariff_of
from ..devices.policies import stored_policy
from ..evidence.frames import decode, frames_after, frames_between
from ..hexes import to_hex
from ..models import FrameRow, RulingRow, SessionFrame, SessionRow
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from ..sessions.states import State
from ..sessions.unlocked import is_unlocked
from .ledger import Kind, Ledger

log = structlog.get_logger()
MAX_PRICERS = 10_000
"""Pricers kept in memory: one a running session; the oldest are dropped and rebuilt when needed."""
START_TOLERANCE_S = 65
"""The START record may end this much before the chain's block time of the opening: agents take a grant whose opening lies up to 60 s ahead
of their clock. Less than they take here would be power that is never billed.
"""

_IN_MEMORY = Lock()


class Held(NamedTuple):
    """A pricer and the frame it stands after."""

    pricer: Pricer
    frame_id: int


class Outcome(NamedTuple):
    """What `advance` found. `blocked` empty: everything was priced."""

    advanced: bool
    blocked: str
    over_limit: bool


def _cache(service: Service) -> OrderedDict[bytes, Held]:
    cache: OrderedDict[bytes, Held] = service.caches.setdefault("pricers", OrderedDict())
    return cache


def _take(service: Service, row: SessionRow) -> Pricer | None:
    """Take a session's pricer out of memory: if this transaction falls, so does the pricer."""
    with _IN_MEMORY:
        held = _cache(service).pop(row.session, None)
    return held.pricer if held is not None and held.frame_id == row.last_frame_id else None


def forget(service: Service, row: SessionRow) -> None:
    """The bill went back: what is in memory stands too far on."""
    with _IN_MEMORY:
        _cache(service).pop(row.session, None)


def _keep(service: Service, db: Session, row: SessionRow, pricer: Pricer) -> None:
    held = Held(pricer, row.last_frame_id or 0)

    def put() -> None:
        with _IN_MEMORY:
            cache = _cache(service)
            cache[row.session] = held
            if len(cache) > MAX_PRICERS:
                cache.popitem(last=False)

    service.after_commit(db, put)


def pricer_of(db: Session, service: Service, row: SessionRow) -> Pricer:
    """A fresh pricer, folded over the frames the session is priced to."""
    point = get_point(db, row.point_id)
    tariff = tariff_of(db, service, row.operator_id, row.tariff_hash)
    pricer = Pricer(tariff, row.opened_at_s or 0, point.register_modulus_milliwatt_hours)
    if row.first_frame_id is not None and row.last_frame_id is not None:
        swaps = _swaps(db, row)
        for stored in frames_between(db, row.device, row.first_frame_id, row.last_frame_id):
            for record in records_of(row, decode(stored)):
                _add(pricer, record, swaps)
    return pricer


def records_of(row: SessionRow, signed: SignedFrame) -> list[Record]:
    """The records of a frame that belong to the session: its channel, from START to STOP."""
    records = [record for record in signed.records if record.channel == row.channel]
    if row.first_sequence is not None:
        records = [record for record in records if record.sequence >= row.first_sequence]
    for i, record in enumerate(records):
        if record.reason == Reason.STOP:
            return records[: i + 1]
    return records


def _swaps(db: Session, row: SessionRow) -> dict[int, HandOver]:
    return {swap.sequence: from_json(HandOver, jsons.loads(swap.document)) for swap in hand_overs_of(db, row.device, row.channel)}


def _add(pricer: Pricer, record: Record, swaps: dict[int, HandOver]) -> None:
    pricer.add(record)
    if record.reason == Reason.SWAP and record.sequence in swaps:
        pricer.hand_over(swaps[record.sequence])


def advance(
    db: Session, service: Service, row: SessionRow, fresh: Sequence[tuple[FrameRow, SignedFrame]] = (), *, retry: bool = False
) -> Outcome:  # fmt: skip
    """Price the frames of the session's device that it was not priced to yet, and post what they cost.

    `fresh` are frames just stored, already decoded, in order. `retry`: also where pricing was blocked before. Call with the device locked.
    """
    if row.stop_record_seen or row.disputed_from_s is not None or row.opened_at_s is None or (row.blocked and not retry):
        return Outcome(False, row.blocked, over_limit(db, service, row))
    start_after = row.last_frame_id if row.last_frame_id is not None else row.after_frame_id
    known = {stored.id: signed for stored, signed in fresh}
    pricer = _take(service, row)
    swaps: dict[int, HandOver] | None = None
    before, advanced, blocked = row.bill_micro, False, ""
    while not blocked and not row.stop_record_seen:
        batch = frames_after(db, row.device, start_after)
        for stored in batch:
            signed = known.get(stored.id) or decode(stored)
            if pricer is None:
                pricer = pricer_of(db, service, row)
            if swaps is None:
                swaps = _swaps(db, row)
            blocked = _frame(db, row, pricer, stored, signed, swaps)
            if blocked or row.stop_record_seen:
                break
            advanced = True
            start_after = stored.id
        if len(batch) == 0 or blocked:
            break
    advanced = advanced or row.stop_record_seen
    if pricer is not None and not blocked:
        _keep(service, db, row, pricer)
    _blocked(db, service, row, blocked)
    if row.bill_micro != before:
        _post(db, service, row, row.bill_micro - before)
    return Outcome(advanced, blocked, over_limit(db, service, row))


def _frame(db: Session, row: SessionRow, pricer: Pricer, stored: FrameRow, signed: SignedFrame, swaps: dict[int, HandOver]) -> str:
    """Price one frame. Returns why it cannot be priced, having changed nothing of the session."""
    records = records_of(row, signed)
    if row.first_frame_id is None:
        starts = [i for i, r in enumerate(records) if r.reason == Reason.START and r.end_s >= (row.opened_at_s or 0) - START_TOLERANCE_S]
        if not starts:
            return ""
        records = records[starts[0] :]
    if f"implausible:{row.channel}" in stored.flagged.split() and not _ruled(db, row, stored):
        return f"frame {to_hex(stored.digest)} has an implausible register"
    try:
        for record in records:
            _add(pricer, record, swaps)
    except PricingError as error:
        return str(error)
    if not records:
        return ""
    if row.first_frame_id is None:
        row.first_frame_id, row.first_sequence = stored.id, records[0].sequence
    row.last_frame_id, row.last_sequence, row.last_record_end_s = stored.id, records[-1].sequence, records[-1].end_s
    row.bill_micro, row.energy_milliwatt_hours = pricer.total_micro, pricer.energy_milliwatt_hours
    row.stop_record_seen = records[-1].reason == Reason.STOP
    db.add(SessionFrame(
        operator_id=row.operator_id, session=row.session, frame_id=stored.id, total_micro=row.bill_micro,
        energy_milliwatt_hours=row.energy_milliwatt_hours, end_s=row.last_record_end_s,
    ))  # fmt: skip
    return ""


def _ruled(db: Session, row: SessionRow, stored: FrameRow) -> bool:
    """Whether the parties ruled that what a frame says stands, implausible as it is."""
    found = select(RulingRow.id).where(
        RulingRow.session == row.session, RulingRow.incarnation == stored.incarnation, RulingRow.accepted_frame != ZERO32,
        RulingRow.first_sequence <= stored.first_sequence, RulingRow.last_sequence >= stored.last_sequence,
    )  # fmt: skip
    return db.scalar(found.limit(1)) is not None


def _post(db: Session, service: Service, row: SessionRow, delta_micro: int) -> None:
    """Use: debit what the session owes, credit sales; first out of the reservation, beyond it in a transfer named so."""
    ledger = Ledger(db, row.operator_id, service.now_s())
    use, sales = ledger.account(Kind.USE, row.session), ledger.account(Kind.SALES)
    # After a dispute the same frame may be posted again: another version of the bill is another cause.
    version = (row.bill_version,) if row.bill_version else ()
    beyond = "unlocked" if is_unlocked(row) else "unreserved"
    ledger.apply(ledger.draw(row.session, use, sales, delta_micro, "use", row.last_frame_id or 0, *version, unreserved=beyond))


def _blocked(db: Session, service: Service, row: SessionRow, why: str) -> None:
    place = f"session {to_hex(row.session)}"
    if why and not row.blocked:
        row.blocked = why[:300]
        raise_alarm(db, service, row.operator_id, AlarmKind.PRICING_BLOCKED, place, f"the bill stops before it: {why}")
    elif not why and row.blocked:
        row.blocked = ""
        clear_alarm(db, service, row.operator_id, AlarmKind.PRICING_BLOCKED, place)


def over_limit(db: Session, service: Service, row: SessionRow) -> bool:
    """Whether the session has used what its lock and its policy allow."""
    if row.state not in (State.OPEN, State.RUNNING):
        return False
    policy = stored_policy(row.policy)
    if row.bill_micro < policy.limit_micro(row.lock_micro):
        return False
    return not policy.protects(service.now_s(), tariff_of(db, service, row.operator_id, row.tariff_hash).time_zone)
