"""What a session signs and accepts: every charge within every bound of the contract, every payment checked, the limit exact."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter_agent.credit import Course, Forecast
from meter_agent.errors import Refused
from meter_agent.session import Session, resume
from meter_agent.state import Live, Phase
from protocol.eip712 import digest, from_json, money_domain, to_json
from protocol.errors import ProtocolError
from protocol.evidence import Flag, Reason, Record
from protocol.keys import Signer, check_signature
from protocol.money import MeteredCharge, Payment, ceiling_micro, deliverable_milliwatt_hours
from protocol.pricing import price
from tests.agent.desk import CHAIN_ID
from tests.agent.paper import NOW, Paper
from tests.agent.point import TARIFF
from tests.agent.test_grants import JSON

NANO = 10**9
MODULUS = 10**12
MIXED: dict[str, Any] = {
    **TARIFF,
    "minPrice": {"microTaxIncluded": 5_000, "taxPpm": 0},
    "elements": [
        {"priceComponents": [{"type": "ENERGY", "microPerKwh": 300_000_000, "taxPpm": 190_000}], "restrictions": {"maxDurationS": 300}},
        {"priceComponents": [{"type": "ENERGY", "microPerKwh": 500_000_000, "taxPpm": 190_000},
                             {"type": "TIME", "microPerHour": 3_600_000, "taxPpm": 70_000},
                             {"type": "FLAT", "microPerSession": 900, "taxPpm": 0}]},
    ],
}  # fmt: skip


def make(paper: Paper, **changes: Any) -> tuple[Session, Any]:
    wanted = paper.session(**changes)
    live = Live(session=wanted.id, granted=wanted.grant(send=False, number=1), phase=Phase.SUPPLYING, charge_index=0)
    return Session(live, MODULUS), wanted


def record(paper: Paper, sequence: int, start_s: int, end_s: int, register: int, power: int = 0, flags: int = 0) -> Record:
    reason = Reason.START if sequence == 1 else Reason.PERIODIC
    return Record(
        paper.device, 1, sequence, start_s, end_s, register, 0, 1, 230_000, 0, power, flags, reason, bytes(32), bytes(32), os.urandom(32)
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400_000)), min_size=1, max_size=12),
    st.integers(0, 3_000_000),
    st.sampled_from([TARIFF, MIXED]),
)
def test_every_charge_is_within_every_bound_of_the_contract_and_none_falls(
    steps: list[tuple[int, int]], lock_micro: int, tariff: dict[str, Any]
) -> None:
    """Also when the meter counts faster than the connection's rating, and past the terms' latest end."""
    paper = Paper()
    session, wanted = make(paper, lock_micro=lock_micro, tariff=tariff, latest_end_s=NOW + 900, opened_at_s=NOW)
    terms, now, register = wanted.terms, NOW, 0
    session.add(record(paper, 1, now, now, register))
    before = MeteredCharge(wanted.id, 0, 0, 0, bytes(32))
    for i, (seconds, energy) in enumerate(steps):
        session.add(record(paper, i + 2, now, now + seconds, register + energy, energy))
        now, register = now + seconds, register + energy
        frame = os.urandom(32)
        document = session.charge(frame, paper.charge, now)
        assert document is not None
        signature = bytes.fromhex(document.pop("signature")[2:])
        charge = from_json(MeteredCharge, document)
        check_signature(digest(money_domain(CHAIN_ID, paper.desk.escrow), charge), signature, terms.signer)
        assert charge.frame == frame
        assert charge.elapsed_s <= min(now, terms.latest_end_s) - wanted.opened_at_s
        assert charge.energy_milliwatt_hours <= deliverable_milliwatt_hours(terms.rated_watts, charge.elapsed_s)
        assert charge.amount_micro <= lock_micro
        assert charge.amount_micro <= ceiling_micro(terms, charge.energy_milliwatt_hours, charge.elapsed_s)
        assert all(a >= b for a, b in zip(charge[1:4], before[1:4], strict=True))
        before = charge


def test_a_plausible_session_is_charged_exactly_its_bill() -> None:
    paper = Paper()
    session, wanted = make(paper, tariff=MIXED, opened_at_s=NOW, lock_micro=9_000_000)
    records = [record(paper, 1, NOW, NOW, 0)]
    records += [record(paper, i + 1, NOW + 60 * (i - 1), NOW + 60 * i, 300 * i, 18_000) for i in range(1, 10)]
    for one in records:
        session.add(one)
    charge = session.charge(bytes(32), paper.charge, NOW + 3_600)
    bill = price(session.granted.tariff, NOW, records)
    assert charge is not None
    assert charge["amountMicro"] == bill.total_micro
    live = Live(session=wanted.id, granted=wanted.grant(send=False, number=1), phase=Phase.SUPPLYING, charge_index=0)
    again = resume(live, MODULUS, records)
    assert again.charge(bytes(32), paper.charge, NOW + 3_600) == charge


def test_records_dated_ahead_charge_no_more_time_than_passed() -> None:
    paper = Paper()
    session, _ = make(paper, opened_at_s=NOW)
    session.add(record(paper, 1, NOW + 14_400, NOW + 14_400, 0))
    session.add(record(paper, 2, NOW + 14_400, NOW + 14_460, 300, 18_000))
    charge = session.charge(bytes(32), paper.charge, NOW + 70)
    assert charge is not None
    assert (charge["elapsedS"], charge["energyMilliwattHours"]) == (70, 300)


def test_a_record_that_cannot_be_priced_is_remembered() -> None:
    paper = Paper()
    session, _ = make(paper)
    session.add(record(paper, 1, NOW, NOW, 5_000))
    session.add(record(paper, 2, NOW, NOW + 60, 4_000))
    assert "fell" in session.unpriced
    session, _ = make(paper)
    session.add(record(paper, 1, NOW, NOW, 5_000))
    session.add(record(paper, 2, NOW, NOW + 60, 0, flags=Flag.QUARANTINED_REGISTER))
    session.add(record(paper, 3, NOW + 60, NOW + 120, 6_000))
    assert session.unpriced == ""
    assert session.pricer.energy_milliwatt_hours == 1_000


# Payment mode


def pay(paper: Paper, payer: Signer, session: bytes, amount: int) -> dict[str, Any]:
    payment = Payment(session, amount, os.urandom(32))
    return {**to_json(payment), "signature": "0x" + payer.sign(digest(money_domain(CHAIN_ID, paper.desk.escrow), payment)).hex()}


def test_payments_rise_are_signed_by_the_payer_and_stay_within_the_lock() -> None:
    paper, payer = Paper(), Signer.create()
    session, wanted = make(paper, metered=False, signer=payer.address)
    assert session.may_start() == "no payment yet, and the grant gives no credit"
    assert session.check_payment(pay(paper, payer, wanted.id, 400)) == 400
    session.paid(400)
    assert session.may_start() == ""
    assert session.charge(bytes(32), paper.charge, NOW) is None
    for document in (
        pay(paper, payer, wanted.id, 400),
        pay(paper, payer, wanted.id, 399),
        pay(paper, payer, wanted.id, 1_000_001),
        pay(paper, payer, os.urandom(32), 500),
        pay(paper, Signer.create(), wanted.id, 500),
        {**pay(paper, payer, wanted.id, 500), "amountMicro": 501},
    ):
        with pytest.raises(Refused):
            session.check_payment(document)
    assert session.paid_micro == 400


def test_a_metered_session_takes_no_payments() -> None:
    paper = Paper()
    session, wanted = make(paper)
    with pytest.raises(Refused, match="metered"):
        session.check_payment(pay(paper, paper.charge, wanted.id, 5))


@given(JSON)
def test_anything_that_is_no_payment_is_malformed(document: Any) -> None:
    session, _ = make(PAPER, metered=False, signer=os.urandom(20))
    if isinstance(document, dict):
        with pytest.raises((Refused, ProtocolError)):
            session.check_payment(document)


PAPER = Paper()


def test_limits() -> None:
    paper, payer = Paper(), Signer.create()
    local, _ = make(paper)
    assert local.limit_micro(heard=True, max_credit_micro=9) == 1_000_000
    emergency, _ = make(paper, policy={"cutOff": {"emergencyCreditMicro": 70}})
    assert emergency.limit_micro(heard=True, max_credit_micro=9) == 1_000_070
    remote, _ = make(paper, policy={"mode": "remote"})
    assert remote.limit_micro(heard=True, max_credit_micro=9) == 1_000_009
    assert remote.limit_micro(heard=False, max_credit_micro=9) == 1_000_000
    paying, wanted = make(paper, metered=False, signer=payer.address, credit_micro=300)
    assert paying.limit_micro(heard=True, max_credit_micro=9) == 300
    paying.paid(paying.check_payment(pay(paper, payer, wanted.id, 500)))
    assert paying.limit_micro(heard=True, max_credit_micro=9) == 800
    paying.paid(paying.check_payment(pay(paper, payer, wanted.id, 1_000_000)))
    assert paying.limit_micro(heard=True, max_credit_micro=9) == 1_000_000


def test_the_energy_credit_counts_from_where_the_payments_end() -> None:
    paper, payer = Paper(), Signer.create()
    session, _ = make(paper, metered=False, signer=payer.address, credit_micro=500_000, credit_milliwatt_hours=1_000)
    session.add(record(paper, 1, NOW, NOW, 0))
    session.paid(400_000)  # buys 1,000 mWh
    session.add(record(paper, 2, NOW, NOW + 60, 900, 54_000))
    assert not session.over_energy_credit(1_000, 400_000)
    assert not session.over_energy_credit(1_900, 760_000)
    assert session.over_energy_credit(1_901, 760_400)


# The forecast


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3_680_000), st.integers(1, 2_000_000), st.integers(0, 900), st.sampled_from([TARIFF, MIXED]))
def test_the_forecast_finds_the_last_millisecond_the_money_pays_for(power: int, room: int, energy: int, tariff: dict[str, Any]) -> None:
    paper = Paper()
    session, _ = make(paper, tariff=tariff, opened_at_s=NOW)
    session.add(record(paper, 1, NOW, NOW, 0))
    assert session.last is not None
    offset = NOW * NANO - 77 * NANO  # the session began at monotonic 77 s
    forecast = Forecast(session.pricer, session.last, 0, Course(78 * NANO, energy, power), offset)
    limit = forecast.total_micro(78 * NANO) + room
    until = (78 + 400) * NANO
    at = forecast.last_before(lambda t: forecast.total_micro(t) >= limit, 78 * NANO, until)
    if at is None:
        assert forecast.total_micro(until) < limit
    else:
        assert forecast.total_micro(at) < limit <= forecast.total_micro(at + 1_000_001)


def test_a_limit_already_passed_is_reached_now() -> None:
    paper = Paper()
    session, _ = make(paper)
    session.add(record(paper, 1, NOW, NOW, 0))
    assert session.last is not None
    forecast = Forecast(session.pricer, session.last, 0, Course(NANO, 10_000, 0), NOW * NANO - NANO)
    assert forecast.last_before(lambda t: forecast.total_micro(t) >= 1, NANO, 2 * NANO) == NANO
    assert forecast.last_before(lambda t: forecast.total_micro(t) >= 10**9, NANO, 2 * NANO) is None


def test_payments_that_always_come_a_little_late_never_use_up_the_energy_credit() -> None:
    """Each pays for the frame before; more was used by then. The credit counts what stands unpaid, not all since the start."""
    paper, payer = Paper(), Signer.create()
    session, _ = make(paper, metered=False, signer=payer.address, credit_micro=500_000, credit_milliwatt_hours=1_000)
    session.add(record(paper, 1, NOW, NOW, 0))
    before = 0
    for i in range(1, 20):
        session.add(record(paper, 1 + i, NOW + i - 1, NOW + i, 500 * i, 54_000))
        cost, energy = session.pricer.total_micro, session.pricer.energy_milliwatt_hours
        assert not session.over_energy_credit(energy, cost)
        if before:
            session.paid(before)
        before = cost
    assert session.over_energy_credit(energy + 501, cost + 1)
