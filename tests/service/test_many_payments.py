"""POST /payments: many sessions in one transaction; a repeat is a success, a refusal undoes nothing, everything taken is kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from backend.errors import BadRequest
from backend.models import AgentMessage, SignedAmount
from backend.money.settlement import last_claimable
from backend.sessions.life import get_session, ready
from backend.sessions.many_payments import MAX_PAYMENTS, read_payments, take_payments
from protocol.eip712 import digest, to_json
from protocol.keys import HALF_ORDER, Signer
from protocol.money import Payment
from tests.service.bench_agent import Meter
from tests.service.inside import Inside, Running


def signed(inside: Inside, session: bytes, amount_micro: int, key: Signer, frame: bytes = bytes(32)) -> dict[str, Any]:
    payment = Payment(session, amount_micro, frame)
    return to_json(payment) | {"signature": "0x" + key.sign(digest(inside.service.money, payment)).hex()}


def post(inside: Inside, *payments: dict[str, Any]) -> dict[str, Any]:
    items, refused = read_payments(inside.service, json.dumps({"payments": payments}).encode())
    with inside.service.db.writing() as db:
        return take_payments(db, inside.service, items, refused).to_document()


def paying(inside: Inside, key: Signer) -> Running:
    meter = Meter()
    return inside.session(meter, inside.enrol(meter), signer=key)


def kept(inside: Inside, session: bytes) -> list[int]:
    with inside.service.db.reading() as db:
        return sorted(db.scalars(select(SignedAmount.amount_micro).where(SignedAmount.session == session)))


def codes(answer: dict[str, Any]) -> list[tuple[int, str]]:
    return [(item["index"], item["code"]) for item in answer["refused"]]


def test_payments_of_many_sessions_are_kept_and_passed_on(inside: Inside) -> None:
    key = Signer.create()
    sessions = [paying(inside, key) for _ in range(3)]
    with inside.service.db.writing() as db:  # the first waits with its nonce for a first payment
        why = ready(db, inside.service, get_session(db, sessions[0].session, lock=True), os.urandom(32))
        assert why == "the first payment comes before power"
    rising = [signed(inside, each.session, micro, key) for micro in (10, 20, 30) for each in sessions]
    assert post(inside, *rising) == {"accepted": 9, "repeated": 0, "refused": []}
    assert [kept(inside, each.session) for each in sessions] == [[10, 20, 30]] * 3  # all of them, not only the highest
    assert [each.row().charge_micro for each in sessions] == [30] * 3
    assert len(sessions[0].commands()) == 1  # RECONNECT
    with inside.service.db.reading() as db:
        waiting = db.scalars(select(AgentMessage).where(AgentMessage.event == "payment", AgentMessage.done_at_s.is_(None))).all()
        assert sorted(json.loads(message.data)["amountMicro"] for message in waiting) == [30] * 3  # the highest says it all
    assert post(inside, *rising, signed(inside, sessions[0].session, 40, key)) == {"accepted": 1, "repeated": 9, "refused": []}
    with inside.service.db.reading() as db:
        waiting = db.scalars(select(AgentMessage).where(AgentMessage.event == "payment", AgentMessage.done_at_s.is_(None))).all()
        assert sorted(json.loads(message.data)["amountMicro"] for message in waiting) == [30, 30, 40]


def test_each_refusal_has_its_code_and_undoes_nothing(inside: Inside) -> None:
    key, stranger = Signer.create(), Signer.create()
    one, two = paying(inside, key), paying(inside, key)
    metered = inside.session(meter := Meter(), inside.enrol(meter))
    good = signed(inside, one.session, 50, key)
    high_s = bytes.fromhex(good["signature"][2:])
    flipped = high_s[:32] + (2 * HALF_ORDER + 1 - int.from_bytes(high_s[32:64], "big")).to_bytes(32, "big") + bytes([55 - high_s[64]])
    answer = post(
        inside,
        good,
        signed(inside, os.urandom(32), 50, key),
        signed(inside, one.session, 60, stranger),
        signed(inside, metered.session, 50, key),
        signed(inside, one.session, 40, key),
        signed(inside, one.session, 100_001, key),
        good | {"amountMicro": 51},
        good | {"frame": "0x12"},
        good | {"amountMicro": 0},
        good | {"signature": "0x" + flipped.hex()},
        good | {"session": "0x" + two.session.hex()},
        signed(inside, two.session, 50, key),
        good,
        good | {"frame": "0x" + " " * 64},
        good | {"session": good["session"][:-2] + "  "},
    )
    assert codes(answer) == [
        (1, "unknown_session"), (2, "bad_signature"), (3, "metered"), (4, "not_rising"), (5, "above_lock"), (6, "bad_signature"),
        (7, "malformed"), (8, "malformed"), (9, "bad_signature"), (10, "bad_signature"),
        (13, "malformed"), (14, "malformed"),
    ]  # fmt: skip
    assert (answer["accepted"], answer["repeated"]) == (2, 1)
    assert (kept(inside, one.session), kept(inside, two.session)) == ([50], [50])
    for body in (b"{", b'{"payments":1}', b'{"payments":[{"session":1}]}', b'{"payments":[],"x":1}', b"[" * 10_000):
        with pytest.raises(BadRequest):
            read_payments(inside.service, body)
    with pytest.raises(BadRequest):
        read_payments(inside.service, json.dumps({"payments": [good] * (MAX_PAYMENTS + 1)}).encode())
    assert post(inside) == {"accepted": 0, "repeated": 0, "refused": []}


def test_a_payment_before_the_grant_comes_with_it(inside: Inside) -> None:
    meter, key = Meter(), Signer.create()
    point_id = inside.enrol(meter)
    session = inside.session(meter, point_id, signer=key, open_on_chain=False)
    assert post(inside, signed(inside, session.session, 70, key))["accepted"] == 1
    from chain.event_types import SessionOpened

    inside.final(SessionOpened(session.session, inside.payer.address, inside.service.payee, 100_000), time_s=int(time.time()))
    with inside.service.db.reading() as db:
        sent = [m.event for m in db.scalars(select(AgentMessage).where(AgentMessage.session == session.session).order_by(AgentMessage.id))]
    assert sent == ["grant", "payment"]


def test_a_claim_falls_back_where_the_highest_is_not_covered(new_inside: Callable[..., Inside]) -> None:
    """Why every payment is kept: one that names no priced frame is not claimed, the one below it is."""
    inside, key = new_inside(), Signer.create()
    session = paying(inside, key)
    assert post(inside, signed(inside, session.session, 1, key))["accepted"] == 1
    session.connect()
    session.meter.clock += 1
    measured = session.meter.frame(session.meter.record(rise=1_000, power=3_600_000))
    session.use(measured)
    paid = session.row().bill_micro
    covered, uncovered = (paid, measured.digest), (paid + 5, os.urandom(32))
    assert post(inside, *(signed(inside, session.session, micro, key, frame) for micro, frame in (covered, uncovered)))["accepted"] == 2
    with inside.service.db.reading() as db:
        found = last_claimable(db, get_session(db, session.session))
    assert found is not None
    assert found.amount_micro == paid
