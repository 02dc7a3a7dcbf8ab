"""What anybody may send to the chain at the worst moment, and what is claimed then: the chain is read on, nothing is lost."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import select

from backend.devices.points import add_hand_over, add_voucher, get_device
from backend.errors import BadRequest, Unavailable
from backend.models import AttemptRow, Command, IntentRow, OcmfText, SignedAmount
from backend.money.settlement import _batch, _opening_failed, _settle, last_claimable
from backend.money.signed_amounts import OCMF_GOOD, take_ocmf
from backend.sessions.life import end, get_session
from backend.sessions.quotes import Wish, quote
from backend.supply.commands import retry
from chain import event_types
from protocol import ocmf
from protocol.control import Action, Cause, SupplyState
from protocol.eip712 import EVIDENCE, digest
from protocol.evidence import HandOver, Reason
from protocol.keys import Signer
from tests.service.bench_agent import RATED_WATTS, Meter
from tests.service.inside import LOCK_MICRO, Inside


def quoted(inside: Inside, point: str) -> bytes:
    with inside.service.db.writing() as db:
        return quote(db, inside.service, Wish(point, inside.payer.address, inside.payer.address, True, None, LOCK_MICRO)).session


def opened_by_the_payer(inside: Inside, session: bytes) -> tuple[str, str]:
    inside.final(event_types.SessionOpened(session, inside.payer.address, inside.service.payee, LOCK_MICRO))
    with inside.service.db.reading() as db:
        row = get_session(db, session)
        return row.state, row.end_detail


def returned(inside: Inside, session: bytes) -> str:
    """The service closes it and the lock goes back: the state it comes to."""
    inside.final(event_types.SessionClosed(session, 0, LOCK_MICRO))
    with inside.service.db.writing() as db:
        row = get_session(db, session, lock=True)
        row.state = "settling"
        _settle(db, inside.service, row)
        return row.state


def test_two_quotes_on_one_charge_key_sent_to_the_chain_by_the_payer(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter, vouchers=1)
    first, second = quoted(inside, point), quoted(inside, point)
    assert opened_by_the_payer(inside, first)[0] == "open"
    with inside.service.db.writing() as db:
        end(db, inside.service, get_session(db, first, lock=True), Cause.PAYER_STOP, "at once")
    state, why = opened_by_the_payer(inside, second)
    assert (state, why) == ("ended", "opened on the chain when its charge key served another session")
    assert returned(inside, second) == "settled"


def test_an_opening_the_chain_refused_to_us_and_took_from_the_payer_later(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter)
    session = inside.session(meter, point, open_on_chain=False).session
    with inside.service.db.writing() as db:
        intent = db.scalars(select(IntentRow).where(IntentRow.reference == session)).one()
        intent.state, intent.reason, intent.reason_name = "refused", "BalanceTooLow", "BalanceTooLow"
        row = get_session(db, session, lock=True)
        _opening_failed(db, inside.service, row)
        assert row.state == "settled"
    state, why = opened_by_the_payer(inside, session)
    assert (state, why) == ("ended", "opened on the chain when our own transaction had been refused for good")
    assert returned(inside, session) == "settled"


def test_a_charge_beyond_the_payers_request_to_close_does_not_keep_the_ones_before_it_from_being_claimed(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    good = session.row().charge_micro
    grace = session.terms.stop_grace_s
    inside.final(event_types.CloseRequested(session.session, os.urandom(20)), time_s=meter.clock)
    inside.at(grace + 10)
    session.use(meter.frame(meter.record(rise=1_000, seconds=grace)))  # the agent heard of it too late
    session.use(meter.frame(meter.record(rise=1_000)))
    with inside.service.db.reading() as db:
        row = get_session(db, session.session)
        amounts = list(db.scalars(select(SignedAmount).order_by(SignedAmount.amount_micro)))
        assert [a.claimable for a in amounts] == [True, True, True]
        found = last_claimable(db, row)
        assert found is not None
        assert found.amount_micro == amounts[1].amount_micro > good
        assert found.elapsed_s == (row.close_requested_at_s or 0) + grace - session.opened_at_s


def test_a_charge_of_more_energy_than_a_request_to_close_leaves_time_for_is_passed_over(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    good = session.row().charge_micro
    inside.final(event_types.CloseRequested(session.session, os.urandom(20)), time_s=meter.clock)
    left_s = session.terms.stop_grace_s + 1
    assert session.pricer is not None
    session.use(meter.frame(meter.record(rise=10_000, seconds=10)), charge=False)
    much = session.charge(session.meter.frames[-1].digest, energy_milliwatt_hours=RATED_WATTS * left_s * 1_000 // 3_600 + 1)
    assert inside.upload(charges=[much])["refused"] == []
    with inside.service.db.reading() as db:
        found = last_claimable(db, get_session(db, session.session))
        assert found is not None
        assert found.amount_micro == good


def test_a_strangers_claim_that_is_bound_to_fail_does_not_hold_up_ours(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    ours = os.urandom(32)
    with inside.service.db.writing() as db:
        row = get_session(db, session.session, lock=True)
        amount = last_claimable(db, row)
        assert amount is not None
        _batch(db, inside.service, 1, True, inside.service.payee, [(row, amount)])
        intent = db.scalars(select(IntentRow).where(IntentRow.kind == "claim")).one()
        db.add(AttemptRow(
            operator_id=1, intent_id=intent.id, transaction_hash=ours, nonce=0, raw=b"", gas_limit=0, fee_wei="0", tip_wei="0",
            created_at_s=0,
        ))  # fmt: skip
    skipped = event_types.ClaimSkipped(session.session, 1, 0, 0)
    inside.final(skipped)
    assert (session.row().claim_not_before_s, inside.alarms()) == (0, [])
    inside.final(skipped, transaction=ours)
    assert session.row().claim_not_before_s > inside.service.now_s()
    assert inside.alarms() == ["claim-refused"]


def test_what_was_signed_for_frames_disputed_later_is_not_claimed(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    undisputed = session.row().charge_micro
    before = (meter.previous, meter.sequence, meter.register, meter.clock)
    session.use(meter.frame(meter.record(rise=2_000, seconds=3)))
    assert session.row().charge_micro > undisputed
    meter.previous, meter.sequence, meter.register, meter.clock = before
    inside.upload(meter.frame(meter.record(rise=1_000)))
    with inside.service.db.reading() as db:
        row = get_session(db, session.session)
        found = last_claimable(db, row)
        assert found is not None
        assert found.amount_micro == row.charge_micro == undisputed > 0


def rotated(inside: Inside, meter: Meter, last_frame: bytes) -> Signer:
    """The registry gives the device another meter key; returns the old one."""
    old, meter.meter_key = meter.meter_key, Signer.create()
    event = event_types.KeyChanged(meter.device, 1, old.address, meter.meter_key.address, last_frame, os.urandom(32))
    inside.final(event, time_s=inside.service.now_s() + 1)  # blocks are a second apart
    return old


def test_a_key_revoked_without_a_last_frame_signs_nothing_any_more(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    inside.upload(meter.frame(meter.record()))
    stolen, fresh = rotated(inside, meter, bytes(32)), meter.meter_key
    meter.meter_key = stolen
    forged = meter.frame(meter.record(rise=1_000))
    assert [item["code"] for item in inside.upload(forged)["refused"]] == ["bad_signature"]
    meter.previous, meter.sequence, meter.meter_key = forged.frame.previous_frame, forged.frame.first_sequence, fresh
    assert inside.upload(meter.frame(meter.record()))["accepted"] == 1


def test_charge_keys_vouched_for_by_a_key_that_ended_are_not_given_to_a_new_session(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter, vouchers=1)
    first = meter.frame(meter.record())
    inside.upload(first)
    rotated(inside, meter, first.digest)
    with pytest.raises(Unavailable):
        quoted(inside, point)
    voucher, signature = meter.voucher()
    with inside.service.db.writing() as db:
        add_voucher(db, inside.service, get_device(db, meter.device), voucher, signature)
    quoted(inside, point)


def test_what_the_old_key_signed_about_its_own_frames_counts_after_the_rotation(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    swap = meter.frame(meter.record(Reason.SWAP))
    session.use(swap)
    number = swap.records[0].sequence
    hand_over = HandOver(meter.device, 1, number, 1, bytes(32), 1, 0, b"\1" * 32, 2, 0)
    text = ocmf.make(meter.meter_key, swap.records[0], ocmf.Transaction.BEGIN, session.session, "1ESY1160000001", 1)
    old = rotated(inside, meter, swap.digest)
    later = hand_over._replace(sequence=number + 1)
    with inside.service.db.writing() as db:
        device = get_device(db, meter.device)
        kept = add_hand_over(db, inside.service, device, hand_over, old.sign(digest(EVIDENCE, hand_over)))
        assert kept.sequence == number
        with pytest.raises(BadRequest):
            add_hand_over(db, inside.service, device, later, old.sign(digest(EVIDENCE, later)))
        add_hand_over(db, inside.service, device, later, meter.meter_key.sign(digest(EVIDENCE, later)))
        take_ocmf(db, inside.service, {"session": "0x" + session.session.hex(), "text": text}, "ocmf[0]")
        assert db.scalars(select(OcmfText.verdict)).all() == [OCMF_GOOD]


def test_an_agent_whose_clock_is_behind_by_what_it_takes_itself_is_billed(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter))
    meter.clock = session.opened_at_s - 60
    session.connect()
    session.use(meter.frame(meter.record(rise=10_000, seconds=90)))
    assert session.row().bill_micro > 0


def test_the_answer_to_a_late_command_for_the_session_before_does_not_end_the_one_that_pays(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter)
    first = inside.session(meter, point)
    with inside.service.db.writing() as db:
        end(db, inside.service, get_session(db, first.session, lock=True), Cause.PAYER_STOP, "at once")
    late = first.commands()[-1]
    second = inside.session(meter, point).connect()
    first.highest = second.highest
    first.confirm(SupplyState.CONNECTED, command=late.digest)
    assert inside.alarms() == []
    assert [order.number for order in first.commands()] == [late.number]
    assert second.state == "running"


def test_an_agent_whose_supply_dropped_out_is_told_that_the_session_is_over(inside: Inside) -> None:
    """Else it would hold the session, and refuse the next one, until the grant runs out."""
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.NONE)
    assert session.state == "ending"
    order = session.commands()[-1]
    assert (order.action, order.state) == (Action.DISCONNECT, "sent")
    with inside.service.db.writing() as db:
        retry(db, inside.service, db.get_one(Command, order.id), get_session(db, session.session, lock=True))
    assert inside.alarms() == []  # it is measured off
