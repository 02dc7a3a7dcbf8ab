"""How supply ends: every limit, every silence, every key change; on real lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from protocol.control import Action, Cause, KeyRole, KeyRotation, SupplyState
from protocol.eip712 import control_domain, digest, money_domain, to_json
from protocol.evidence import Reason
from protocol.keys import Signer
from protocol.money import Payment
from tests.agent.desk import CHAIN_ID
from tests.agent.point import TARIFF, AgentPoint, until

MakePoint = Callable[..., AgentPoint]
PLENTY = 10**9
CREDIT = "maxCreditMicro = 400000\nmaxCreditMilliwattHours = 1000\n"


def last_charge(point: AgentPoint) -> dict[str, Any]:
    """The charge that names the last frame."""
    point.desk.wait(lambda: point.desk.charges[-1]["frame"] == "0x" + point.desk.frames[-1].digest.hex(), "the last charge")
    return point.desk.charges[-1]


def pay(point: AgentPoint, payer: Signer, session: bytes, amount: int) -> None:
    frame = point.desk.frames[-1].digest
    payment = Payment(session, amount, frame)
    signature = payer.sign(digest(money_domain(CHAIN_ID, point.desk.escrow), payment))
    point.desk.say("payment", {**to_json(payment), "signature": "0x" + signature.hex()})


def test_payment_mode_pays_first_then_runs_as_far_as_was_paid(make_point: MakePoint) -> None:
    point, payer = make_point(), Signer.create()
    point.start()
    session = point.session(lock_micro=PLENTY, metered=False, signer=payer.address)
    session.grant()
    refused = session.reconnect()  # no credit, nothing paid
    answer = point.desk.wait(lambda: [c for c in point.desk.confirmations if c.highest_number == refused.number], "the refusal")[0]
    assert answer.state == SupplyState.DISCONNECTED
    pay(point, payer, session.id, 400_000)  # 1,000 mWh: 3.6 s at 1 kW
    point.tell("mark")
    until(lambda: len(point.desk.ready) > 1, "a fresh nonce")
    session.reconnect()
    point.confirmed(SupplyState.CONNECTED)
    pay(point, Signer.create(), session.id, PLENTY)  # a stranger's payment changes nothing
    time.sleep(1)
    pay(point, payer, session.id, 800_000)
    point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED, after=2).cause == Cause.CREDIT
    used = point.tell("state")["since_mark_milliwatt_hours"]
    assert 2_000 - 300 < used < 2_000 + 1_200
    assert point.desk.charges == []  # in payment mode the agent signs nothing about money
    assert point.desk.faults == []
@pytest.mark.slow
def test_payment_mode_lets_unsigned_use_stand_within_the_credit(make_point: MakePoint) -> None:
    point, payer = make_point(settings=CREDIT), Signer.create()
    point.start()
    session = point.session(
        lock_micro=PLENTY, metered=False, signer=payer.address, credit_micro=400_000, credit_milliwatt_hours=500
    )
    point.tell("mark")
    session.start()
    point.stopped()
    used = point.tell("state")["since_mark_milliwatt_hours"]
    assert used < 500 + 1_200  # the energy credit is reached before the money's
@pytest.mark.slow
def test_emergency_credit_goes_beyond_the_lock_but_is_not_charged_to_it(make_point: MakePoint) -> None:
    point = make_point(settings=CREDIT)
    point.start()
    session = point.session(lock_micro=400_000, policy={"cutOff": {"emergencyCreditMicro": 400_000}})
    point.tell("mark")
    session.start()
    point.stopped()
    assert point.tell("state")["since_mark_milliwatt_hours"] > 1_700
    assert last_charge(point)["amountMicro"] == 400_000
@pytest.mark.slow
def test_inside_protected_hours_the_end_of_credit_does_not_cut(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=100_000, policy={"protectedHours": [{"from": "00:00", "to": "00:00"}]})
    session.start()
    point.desk.wait(lambda: point.desk.charges and point.desk.charges[-1]["energyMilliwattHours"] > 800, "use beyond the lock")
    assert point.tell("state")["contact_closed"]
    assert point.desk.charges[-1]["amountMicro"] == 100_000
    point.desk.command(Action.DISCONNECT, session.id)
    point.stopped()
@pytest.mark.slow
def test_a_top_up_lets_it_run_on(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=400_000)
    point.tell("mark")
    session.start()
    session.grant(lock_micro=800_000)
    point.stopped()
    assert 1_700 < point.tell("state")["since_mark_milliwatt_hours"] < 2_000 + 1_200
    assert last_charge(point)["amountMicro"] <= 800_000


def test_silence_of_the_service_disconnects_by_policy(make_point: MakePoint) -> None:
    point = make_point(settings="[lostCommunication]\nafterS = 1\n")
    point.start()
    session = point.session(
        lock_micro=PLENTY, policy={"lostCommunication": {"action": "hold", "milliwattHours": 100_000, "seconds": 2}, "recordIntervalS": 1}
    )
    session.start()
    point.desk.up = False
    point.desk.drop_streams()
    until(lambda: not point.tell("state")["contact_closed"], "the contact", 20)
    point.desk.up = True
    stop = point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.LOST_COMMUNICATION
    # What was recorded unheard came in frames of several records, in order, each charge naming one.
    assert any(frame.frame.count > 1 for frame in point.desk.frames[2:])
    assert stop.sequence == len(point.desk.records)
    last_charge(point)
    assert point.desk.faults == []
@pytest.mark.slow
def test_the_points_own_stricter_policy_counts(make_point: MakePoint) -> None:
    point = make_point(settings='[lostCommunication]\nafterS = 1\naction = "disconnect"\n')
    point.start()
    point.session(lock_micro=PLENTY).start()
    point.desk.up = False
    point.desk.drop_streams()
    until(lambda: not point.tell("state")["contact_closed"], "the contact", 15)
@pytest.mark.slow
def test_a_session_that_never_starts_ends_with_its_grant(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY, valid_until_s=int(time.time()) + 4)
    session.grant()
    end = point.desk.wait(lambda: [c for c in point.desk.confirmations if c.session == session.id], "the end")[0]
    assert (end.state, end.cause) == (SupplyState.DISCONNECTED, Cause.NEVER_STARTED)
    assert Reason.START not in {r.reason for r in point.desk.records}
    point.session(lock_micro=PLENTY).start()
@pytest.mark.slow
def test_a_grant_that_is_not_renewed_ends_supply_and_a_renewed_one_does_not(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY, valid_until_s=int(time.time()) + 6)
    session.start()
    renewed_until_s = int(time.time()) + 9
    session.grant(valid_until_s=renewed_until_s)
    point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.OPERATOR
    assert session.valid_until_s < point.desk.records[-1].end_s <= renewed_until_s + 1
@pytest.mark.slow
def test_supply_ends_before_the_terms_do(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY, latest_end_s=int(time.time()) + 7)
    session.start()
    point.stopped()
    opened_s = time.time() - (time.monotonic_ns() - point.tell("state")["contact_opened_ns"]) / 1e9
    assert session.terms.latest_end_s - 1 < opened_s <= session.terms.latest_end_s
    assert last_charge(point)["elapsedS"] <= session.terms.latest_end_s - session.opened_at_s
@pytest.mark.slow
def test_the_payers_wish_to_close_ends_supply(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY)
    session.start()
    point.desk.say("close", {"session": "0x" + os.urandom(32).hex(), "requestedAtS": 1})
    point.desk.say("close", {"session": "0x" + session.id.hex(), "requestedAtS": int(time.time())})
    point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.PAYER_STOP
@pytest.mark.slow
def test_records_are_cut_where_prices_change(make_point: MakePoint) -> None:
    tariff = {
        **TARIFF,
        "elements": [
            {"priceComponents": [{"type": "ENERGY", "microPerKwh": 100_000_000, "taxPpm": 0}], "restrictions": {"maxDurationS": 7}},
            {"priceComponents": [{"type": "ENERGY", "microPerKwh": 400_000_000, "taxPpm": 0}]},
        ],
    }
    point = make_point()
    point.start()
    opened = int(time.time())
    session = point.session(lock_micro=PLENTY, tariff=tariff, opened_at_s=opened, policy={"recordIntervalS": 60})
    session.start()
    cut = point.wait_record(Reason.TARIFF_CHANGE)
    assert cut.end_s == opened + 7


def test_another_control_key_ends_the_session_and_voids_the_old_one(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY)
    session.start()
    old, new = point.desk.control, Signer.create()
    rotation = KeyRotation(point.device, KeyRole.CONTROL, old.address, new.address, bytes(32), int(time.time()) + 60)
    identity = digest(control_domain(CHAIN_ID, point.desk.registry), rotation)

    def say(*signers: Signer) -> None:
        signatures = ["0x" + signer.sign(identity).hex() for signer in signers]
        point.desk.say("rotation", {"rotation": to_json(rotation), "signatures": signatures})

    say(new, new)
    say(old, Signer.create())
    time.sleep(1)
    assert point.tell("state")["contact_closed"]
    say(old, new)
    point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.OPERATOR
    point.desk.command(Action.DISCONNECT, signer=old, number=100)  # ignored
    point.desk.control, point.desk.number = new, 0  # numbers start at 1
    second = point.session(lock_micro=PLENTY)
    second.start()
    assert point.confirmed(SupplyState.CONNECTED, after=2).highest_number == 2


@pytest.mark.slow
def test_steady_power_ends_at_the_lock_whatever_the_step(make_point: MakePoint) -> None:
    for step in ("10", "1000"):
        point = make_point(profile="full", rig=("--step", step))
        point.start()
        session = point.session(lock_micro=4_000_000)  # 10,000 mWh: 9.8 s
        point.tell("mark")
        session.start()
        point.stopped(40)
        assert abs(point.tell("state")["since_mark_milliwatt_hours"] - 10_000) < 400 + int(step)


@pytest.mark.slow
def test_what_the_old_meter_key_said_and_nobody_took_is_said_by_the_new_one(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=400_000)  # 3.6 s at 1 kW
    session.start()
    point.desk.up = False
    until(lambda: '"ended"' in point.agent_log(), "the end of the money")
    assert point.stop() == 0
    options = ("--state", str(point.state), "--config", str(point.config), "--passphrase-file", str(point.passphrase))
    point.command("rotate", *options)
    rotation = json.loads((point.state / "rotation.json").read_text())["rotation"]
    point.desk.former_key, point.desk.meter_key = point.meter_key, bytes.fromhex(rotation["newKey"][2:])
    point.desk.up = True
    point.start()
    end = point.confirmed(SupplyState.DISCONNECTED, after=1)
    assert (end.session, end.cause) == (session.id, Cause.CREDIT)
    point.stopped()  # its frame is still the old key's
    assert [c.state for c in point.desk.confirmations].count(SupplyState.DISCONNECTED) >= 1
    repeated = point.desk.command(Action.DISCONNECT, session.id)
    answer = point.desk.wait(lambda: [c for c in point.desk.confirmations if c.highest_number == repeated.number], "the answer")[0]
    assert answer.cause == Cause.CREDIT
    assert point.desk.faults == []


def test_a_load_that_has_finished_ends_the_session_by_the_rule_of_the_policy(make_point: MakePoint) -> None:
    point = make_point(profile="kettle")  # 2 kW for 8 s, then nothing for 4 s
    point.start()
    session = point.session(lock_micro=PLENTY, policy={"loadFinished": {"belowMilliwatts": 5_000, "forS": 2}})
    session.start()
    stop = point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED, after=1).cause == Cause.LOAD_FINISHED
    start = next(r for r in point.desk.records if r.reason == Reason.START)
    assert 8 <= stop.end_s - start.end_s <= 13
    assert 4_000 <= stop.import_milliwatt_hours - start.import_milliwatt_hours <= 4_500  # all of the 8 s
    assert last_charge(point)["energyMilliwattHours"] == stop.import_milliwatt_hours - start.import_milliwatt_hours
    assert point.desk.faults == []


@pytest.mark.slow
def test_a_pause_of_the_load_shorter_than_the_rule_says_ends_nothing(make_point: MakePoint) -> None:
    point = make_point(profile="kettle")
    point.start()
    session = point.session(lock_micro=PLENTY, policy={"loadFinished": {"belowMilliwatts": 5_000, "forS": 8}})
    session.start()
    started = point.desk.records[-1].end_s
    point.desk.wait(lambda: point.desk.records[-1].end_s - started > 16, "more than one pause", 30)
    assert not [r for r in point.desk.records if r.reason == Reason.STOP]
    point.desk.command(Action.DISCONNECT, session.id)
    assert point.stopped().reason == Reason.STOP
