"""A whole session on real parts: rig process, agent process, HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from protocol.control import Cause, SupplyState
from protocol.evidence import Flag, Reason
from protocol.pricing import price
from protocol.tariff import Tariff
from tests.agent.point import RATED_WATTS, AgentPoint, until

NANO_PER_HOUR = 3_600 * 10**9


def test_from_a_reading_to_the_end_of_the_money(make_point: Callable[..., AgentPoint]) -> None:
    point = make_point(slow_line=True)
    point.start()
    session = point.session(lock_micro=800_000)  # 2,000 mWh: a little over seven seconds at 1 kW
    point.tell("mark")
    session.start()
    stop = point.stopped()
    truth = point.tell("state")

    # Supply is off, and was measured off.
    end = point.confirmed(SupplyState.DISCONNECTED)
    assert (end.cause, end.auxiliary_open, end.voltage_millivolts, end.session) == (Cause.CREDIT, True, 0, session.id)
    assert not truth["contact_closed"]

    # What passed the lock is within the bound, and the money was not cut short by more than a second of power.
    bound = RATED_WATTS * 1_000 * (10**9 + 200_000_000) // NANO_PER_HOUR + 100
    beyond = truth["since_mark_milliwatt_hours"] - 2_000
    assert -300 < beyond < bound
    assert beyond < 300  # power was steady, so the end was foreseen

    # The records tell it: idle, START, PERIODIC …, STOP; the register is the meter's own.
    reasons = [Reason(r.reason) for r in point.desk.records]
    first = reasons.index(Reason.START)
    assert set(reasons[:first]) == {Reason.PERIODIC}
    assert set(reasons[first + 1 : -1]) == {Reason.PERIODIC}
    records = point.desk.records[first:]
    assert stop.import_milliwatt_hours == truth["meter"]["import_milliwatt_hours"]
    assert all(not r.flags & Flag.CLOCK_NOT_SYNCHRONISED for r in records)
    assert records[0].flags & Flag.DISCONNECTED
    assert stop.flags & Flag.DISCONNECTED
    assert not any(r.flags & Flag.DISCONNECTED for r in records[1:-1])

    # Every charge is the price of the records up to its frame; the last one is the bill, capped at the lock.
    tariff = Tariff.from_document(session.tariff)
    bill = price(tariff, session.opened_at_s, records)
    point.desk.wait(lambda: point.desk.charges[-1]["frame"] == "0x" + point.desk.frames[-1].digest.hex(), "the last charge")
    last = point.desk.charges[-1]
    assert last["amountMicro"] == min(bill.total_micro, 800_000)
    assert last["energyMilliwattHours"] == bill.energy_milliwatt_hours
    assert last["elapsedS"] == stop.end_s - session.opened_at_s
    amounts = [c["amountMicro"] for c in point.desk.charges]
    assert amounts == sorted(amounts)
    assert point.desk.faults == []

    # The agent stops cleanly and its state folder tells the same without a passphrase.
    assert point.stop() == 0
    shown = json.loads(point.command("show", "--state", str(point.state), "--json").stdout)
    assert shown["session"] is None
    assert shown["receiptedThrough"] == stop.sequence
    assert shown["endedSessions"][0]["cause"] == "CREDIT"
    assert shown["confirmationsNotTaken"] == 0
    lines = point.command("log", "--state", str(point.state)).stdout
    assert "STOP" in lines
@pytest.mark.slow
def test_a_second_session_uses_a_fresh_charge_key(make_point: Callable[..., AgentPoint]) -> None:
    point = make_point(profile="full")
    point.start()
    first = point.session(lock_micro=400_000)
    first.start()
    point.stopped()
    until(lambda: len(point.desk.vouchers) > 1, "the next voucher")
    second = point.session(lock_micro=400_000)
    assert second.terms.signer != first.terms.signer
    second.start()
    point.desk.wait(lambda: [r.reason for r in point.desk.records].count(Reason.STOP) == 2, "the second STOP")
    assert point.desk.faults == []
