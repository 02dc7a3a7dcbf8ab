"""Switching on real lines, with everything that can break: contacts, relays, meters, doors, power."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from meter_agent.journal import Journal
from meter_agent.state import State
from protocol.control import Action, Cause, SupplyState
from protocol.evidence import Flag, Reason, meter_hash
from tests.agent.point import AgentPoint, Session, until

MakePoint = Callable[..., AgentPoint]
PLENTY = 10**9


def supplying(point: AgentPoint, **options: Any) -> Session:
    point.start()
    session = point.session(lock_micro=PLENTY, **options)
    session.start()
    return session


def test_a_disconnect_is_measured_confirmed_and_repeated_without_effect(make_point: MakePoint) -> None:
    point = make_point()
    session = supplying(point)
    given_ns = time.monotonic_ns()
    command = point.desk.command(Action.DISCONNECT, session.id, expires_at_s=0)  # long expired: obeyed all the same
    confirmation = point.confirmed(SupplyState.DISCONNECTED)
    assert confirmation.highest_number == command.number
    assert (confirmation.cause, confirmation.session) == (Cause.OPERATOR, session.id)
    opened_s = (point.tell("state")["contact_opened_ns"] - given_ns) / 1e9
    assert 0 < opened_s < 1
    point.stopped()
    seen = len(point.desk.confirmations)
    point.desk.send_command(command)
    again = point.confirmed(SupplyState.DISCONNECTED, after=seen)
    assert again == confirmation
    # An older number does nothing any more: the next session is not touched by it.
    second = point.session(lock_micro=PLENTY)
    second.start()
    point.desk.send_command(command._replace(session=second.id))
    point.desk.send_command(command)
    point.desk.command(Action.DISCONNECT, session.id)  # a retry for the session that is over
    answer = point.desk.wait(lambda: [c for c in point.desk.confirmations if c.highest_number == point.desk.number], "the answer")[-1]
    assert (answer.session, answer.state) == (session.id, SupplyState.CONNECTED)
    assert point.tell("state")["contact_closed"]
    assert point.desk.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["weld", "leak"])
def test_supply_that_does_not_end_is_reported_failed_metered_and_tried_until_measured(make_point: MakePoint, fault: str) -> None:
    point = make_point()
    session = supplying(point)
    point.tell(fault)
    if fault == "weld":
        point.tell("lie")  # and the auxiliary contact says open
    point.desk.command(Action.DISCONNECT, session.id)
    failed = point.confirmed(SupplyState.FAILED)
    assert failed.auxiliary_open
    assert failed.power_milliwatts > 5_000
    seen = len(point.desk.records)
    point.desk.wait(lambda: len(point.desk.records) > seen, "records while it fails")
    assert not point.desk.records[-1].flags & Flag.DISCONNECTED
    point.tell("clear")
    measured = point.confirmed(SupplyState.DISCONNECTED)
    assert (measured.session, measured.cause) == (session.id, Cause.OPERATOR)
    stop = point.stopped()
    assert stop.import_milliwatt_hours == point.tell("state")["meter"]["import_milliwatt_hours"]
    assert point.desk.faults == []
@pytest.mark.slow
def test_a_contact_that_does_not_close_ends_the_session_as_a_fault(make_point: MakePoint) -> None:
    point = make_point(rig=("--fault", "jam"))
    point.start()
    session = point.session(lock_micro=PLENTY)
    session.grant()
    command = session.reconnect()
    end = point.confirmed(SupplyState.DISCONNECTED)
    assert (end.cause, end.highest_number) == (Cause.FAULT, command.number)
    assert point.stopped().reason == Reason.STOP
    assert not point.tell("state")["coil"]  # it would close by itself once it is free


def test_supply_without_a_session_is_disconnected(make_point: MakePoint) -> None:
    point = make_point(rig=("--closed",))
    point.start()
    confirmation = point.confirmed(SupplyState.DISCONNECTED)
    assert (confirmation.session, confirmation.cause) == (bytes(32), Cause.FAULT)
    assert not point.tell("state")["contact_closed"]


@pytest.mark.slow
def test_supply_without_a_session_is_disconnected_by_the_contact_alone_while_the_meter_is_silent(make_point: MakePoint) -> None:
    point = make_point(rig=("--closed",))
    point.tell("meter", mode="silent")
    point.start()
    until(lambda: not point.tell("state")["contact_closed"], "the contact", 40)
    failed = point.confirmed(SupplyState.FAILED)  # open, but nobody could measure it
    assert (failed.session, failed.cause) == (bytes(32), Cause.FAULT)
    assert point.desk.records == []
    point.tell("meter", mode="normal")
    point.confirmed(SupplyState.DISCONNECTED, 30)
    point.session(lock_micro=PLENTY).start()
    assert point.desk.faults == []


def test_a_door_and_a_lock_out_refuse_reconnect_until_they_are_gone(make_point: MakePoint) -> None:
    point = make_point(rig=("--fault", "open_cover"))
    point.start()
    session = point.session(lock_micro=PLENTY)
    session.grant()
    refused = session.reconnect()
    answer = point.desk.wait(lambda: [c for c in point.desk.confirmations if c.highest_number == refused.number], "the refusal")[0]
    assert answer.state == SupplyState.DISCONNECTED
    assert point.desk.records[0].flags & Flag.TAMPER
    point.tell("clear")
    (point.state / "lock-out").touch()
    nonces = point.desk.wait(lambda: len(point.desk.ready) > 1 and list(point.desk.ready), "a fresh nonce")
    assert nonces[-1][1] != nonces[0][1]
    refused = session.reconnect()
    point.desk.wait(lambda: [c for c in point.desk.confirmations if c.highest_number == refused.number], "the second refusal")
    assert not point.tell("state")["coil"]
@pytest.mark.slow
def test_a_lost_contact_is_suspended_and_only_reconnect_brings_it_back(make_point: MakePoint) -> None:
    point = make_point()
    session = supplying(point)
    point.tell("lose_power")
    time.sleep(2.5)
    point.tell("lose_power", on=False)
    point.wait_record(Reason.SUSPEND)
    assert not point.tell("state")["coil"]
    assert not point.tell("state")["contact_closed"]
    nonces = len([1 for s, _ in point.desk.ready if s == session.id])
    assert nonces >= 1
    until(lambda: len(point.desk.ready) > 1, "a fresh nonce")
    seen = len(point.desk.confirmations)
    session.reconnect()
    point.confirmed(SupplyState.CONNECTED, after=seen)
    reasons = [r.reason for r in point.desk.records]
    assert reasons.count(Reason.START) == 1
    point.desk.command(Action.DISCONNECT, session.id)
    point.stopped()
    assert point.desk.faults == []


def test_a_command_is_obeyed_at_once_while_the_meter_is_silent(make_point: MakePoint) -> None:
    point = make_point()
    session = supplying(point)
    point.tell("meter", mode="silent")
    time.sleep(2)
    given_ns = time.monotonic_ns()
    point.desk.command(Action.DISCONNECT, session.id)
    until(lambda: not point.tell("state")["contact_closed"], "the contact", 5)
    assert (point.tell("state")["contact_opened_ns"] - given_ns) / 1e9 < 1
    failed = point.confirmed(SupplyState.FAILED)  # open, but nobody could measure it
    assert failed.auxiliary_open or failed.voltage_millivolts == 2**32 - 1
    point.tell("meter", mode="normal")
    point.confirmed(SupplyState.DISCONNECTED)
    point.stopped(30)
    assert point.desk.faults == []


@pytest.mark.slow
def test_a_supply_that_cannot_be_measured_ends(make_point: MakePoint) -> None:
    point = make_point()
    supplying(point)
    point.tell("meter", mode="silent")
    until(lambda: not point.tell("state")["contact_closed"], "the contact", 45)
    point.tell("meter", mode="normal")
    end = point.confirmed(SupplyState.DISCONNECTED, 30)
    assert end.cause == Cause.FAULT
    point.stopped(30)


def test_a_swap_is_handed_over_before_the_new_meter_speaks(make_point: MakePoint) -> None:
    point = make_point()
    session = supplying(point)
    time.sleep(2)
    point.tell("swap_meter", serial="NEW1", import_milliwatt_hours=77_000_000)
    stop = point.stopped()
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.FAULT
    point.desk.wait(lambda: point.desk.hand_overs, "the hand-over")
    hand_over, frames = point.desk.hand_overs[0]
    swap = next(r for r in point.desk.records if r.reason == Reason.SWAP)
    assert (hand_over.sequence, hand_over.old_meter_hash) == (swap.sequence, swap.meter_hash)
    assert hand_over.old_import_milliwatt_hours == swap.import_milliwatt_hours
    assert hand_over.new_meter_hash == meter_hash("NEW1", "bench") == stop.meter_hash
    assert hand_over.new_import_milliwatt_hours >= 77_000_000
    assert point.desk.frames[frames - 1].records[-1].reason == Reason.SWAP  # sent before any frame of the new meter
    assert swap.flags & Flag.ESTIMATED
    # The old meter's energy is charged, the new one's register is not.
    assert point.desk.charges[-1]["energyMilliwattHours"] < 5_000
    assert point.desk.charges[-1]["session"] == "0x" + session.id.hex()
    second = point.session(lock_micro=PLENTY)
    second.start()
    assert point.desk.faults == []
@pytest.mark.slow
def test_a_rollover_is_flagged_and_billed_right(make_point: MakePoint) -> None:
    point = make_point(rig=("--digits", "7"))
    point.tell("roll_over", remaining_milliwatt_hours=500)
    session = supplying(point)
    rolled = point.desk.wait(lambda: [r for r in point.desk.records if r.flags & Flag.ROLLOVER], "the rollover", 30)[0]
    assert rolled.import_milliwatt_hours < 10_000
    point.desk.command(Action.DISCONNECT, session.id)
    stop = point.stopped()
    start = next(r for r in point.desk.records if r.reason == Reason.START)
    used = stop.import_milliwatt_hours + 10**7 * 100 - start.import_milliwatt_hours
    point.desk.wait(lambda: point.desk.charges[-1]["frame"] == "0x" + point.desk.frames[-1].digest.hex(), "the last charge")
    assert point.desk.charges[-1]["energyMilliwattHours"] == used
    assert not any(r.flags & Flag.QUARANTINED_REGISTER for r in point.desk.records)
@pytest.mark.slow
def test_a_zero_reading_is_shown_in_quarantine_and_never_billed(make_point: MakePoint) -> None:
    point = make_point(rig=("--fault", "roll_over=500000000"))
    session = supplying(point, policy={"recordIntervalS": 1})

    def glitched() -> list[Any]:
        """The rig counts questions: seven running hold one for the import register. A sample may swallow it; then once more."""
        if not (found := [r for r in point.desk.records if r.flags & Flag.QUARANTINED_REGISTER]):
            point.tell("glitch_zero", readings=7)
            time.sleep(2.5)
        return found

    bad = until(glitched, "the quarantine")[0]
    point.desk.wait(lambda: point.desk.records[-1].sequence >= bad.sequence + 2, "records after it")
    assert not point.desk.records[-1].flags & Flag.QUARANTINED_REGISTER
    point.desk.command(Action.DISCONNECT, session.id)
    stop = point.stopped()
    start = next(r for r in point.desk.records if r.reason == Reason.START)
    point.desk.wait(lambda: point.desk.charges[-1]["frame"] == "0x" + point.desk.frames[-1].digest.hex(), "the last charge")
    assert point.desk.charges[-1]["energyMilliwattHours"] == stop.import_milliwatt_hours - start.import_milliwatt_hours
    assert bad.sequence
@pytest.mark.slow
def test_a_register_that_jumps_ends_the_session_and_bills_nothing_of_it(make_point: MakePoint) -> None:
    point = make_point()
    supplying(point, policy={"recordIntervalS": 1})
    time.sleep(1.5)
    point.tell("jump", milliwatt_hours=5_000_000)
    stop = point.stopped(30)
    assert stop.flags & Flag.QUARANTINED_REGISTER
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.FAULT
    point.desk.wait(lambda: point.desk.charges[-1]["frame"] == "0x" + point.desk.frames[-1].digest.hex(), "the last charge")
    assert point.desk.charges[-1]["energyMilliwattHours"] < 2_000


def test_a_disconnect_for_a_session_that_ended_without_a_measured_end_is_still_tried(make_point: MakePoint) -> None:
    point = make_point()
    session = supplying(point, stop_grace_s=1)
    point.tell("weld")
    point.desk.command(Action.DISCONNECT, session.id)
    point.confirmed(SupplyState.FAILED)
    point.stopped()  # the terms' grace is over
    retried = point.desk.command(Action.DISCONNECT, session.id)
    answer = point.desk.wait(lambda: [c for c in point.desk.confirmations if c.highest_number == retried.number], "the answer")[0]
    assert answer.state == SupplyState.FAILED  # not CONNECTED, which would say that somebody is supplied
    assert point.desk.faults == []


def test_a_switching_that_a_crash_kept_from_being_reported_is_reported_after_it(make_point: MakePoint) -> None:
    point = make_point()
    session = supplying(point)
    point.kill()
    journal = Journal(point.state / "log", State(control_key=bytes(20), enrolled_key=bytes(20)))
    live = journal.state.live
    assert live is not None
    journal.save(journal.state.with_(live=live.model_copy(update={"confirmation": None}), unsent=()))
    journal.close()
    seen = len(point.desk.confirmations)
    point.start()
    said = point.confirmed(SupplyState.CONNECTED, after=seen)
    assert said.session == session.id
    point.desk.command(Action.DISCONNECT, session.id)
    point.stopped()
    assert point.desk.faults == []
