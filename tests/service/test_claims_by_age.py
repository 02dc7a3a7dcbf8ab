"""Claims by age go together: once a day a session, however their payments fall, so that a batch's gas is shared by as many as there are."""

from __future__ import annotations

import os

from sqlalchemy import select

from backend.models import ClaimRow, IntentRow
from backend.money.exposure import exposure
from backend.money.settlement import round_
from backend.sessions.many_payments import Signed, take_payments
from backend.store.facts import CHAIN, remember
from chain import event_types
from protocol.keys import Signer
from tests.service.bench_agent import Meter
from tests.service.inside import Inside, Running

DAY_S = 86_400


def pay(inside: Inside, running: Running, key: Signer, frame: bytes, micro: int) -> None:
    payment = Signed(0, running.session, micro, frame, os.urandom(65), key.address)
    with inside.service.db.writing() as db:
        assert take_payments(db, inside.service, [payment], []).accepted == 1


def settle(inside: Inside) -> None:
    now = inside.service.now_s()
    with inside.service.db.writing() as db:
        remember(db, CHAIN, {
            "head_number": 9, "head_time_s": now, "final_number": 9, "final_time_s": now, "final_seen_at_s": now, "caught_up": True,
        })  # fmt: skip
    round_(inside.service, inside.service.db.writing)


def claims(inside: Inside) -> list[set[bytes]]:
    """The sessions of each batch, and each batch final on the chain."""
    with inside.service.db.writing() as db:
        found = []
        for intent in db.scalars(select(IntentRow).where(IntentRow.kind == "claim").order_by(IntentRow.id)):
            rows = db.scalars(select(ClaimRow).where(ClaimRow.intent_id == intent.id)).all()
            found.append({row.session for row in rows})
            intent.state = "succeeded"
        return found


def test_one_claim_a_day_for_payments_each_minute_and_sessions_go_together(inside: Inside) -> None:
    key = Signer.create()
    runnings = []
    for hours in (0, 1, 12):  # the third begins half a day later
        inside.at(hours * 3_600)
        meter = Meter()
        running = inside.session(meter, inside.enrol(meter), signer=key)
        pay(inside, running, key, bytes(32), 1)
        running.connect()
        running.meter.clock += 1
        measured = running.meter.frame(running.meter.record(rise=1_000, power=3_600_000))
        running.use(measured)
        pay(inside, running, key, measured.digest, running.row().bill_micro - 10)
        runnings.append(running)
    paid = runnings[0].row().bill_micro
    with inside.service.db.reading() as db:
        found = exposure(db, inside.service, 1)
    assert (found.sessions, found.unclaimed_micro, found.unsigned_micro) == (3, 3 * (paid - 10), 30)
    assert found.oldest_at_s is not None
    assert found.bound_micro == 3 * 100_000
    inside.at(23 * 3_600)
    settle(inside)
    assert claims(inside) == []
    inside.at(DAY_S + 60)
    settle(inside)
    batches = claims(inside)
    assert batches == [{runnings[0].session, runnings[1].session}]  # 23 hours old goes along, 12 hours old waits
    for running in runnings[:2]:
        inside.final(event_types.ChargeClaimed(running.session, inside.service.payee, paid - 10, bytes(32)))
    with inside.service.db.reading() as db:
        assert exposure(db, inside.service, 1).unclaimed_micro == paid - 10
