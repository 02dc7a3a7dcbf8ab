"""Frames at the door: repeats, gaps, conflicts kept as proof, incarnations, plausibility, rollover; nothing half done."""

from __future__ import annotations

import json
import os

from sqlalchemy import func, select

from backend.models import ConflictRow, FrameRow, Reading, ReceiptRow
from protocol.control import Cause, SupplyState
from protocol.eip712 import EVIDENCE, digest, from_json
from protocol.evidence import Flag, Reason, Receipt, frame_digest
from protocol.keys import Signer, check_signature
from protocol.wire import SignedFrame, frame_document
from tests.service.bench_agent import DIGITS, STEP, Meter
from tests.service.inside import Inside


def codes(answer: dict[str, object]) -> list[str]:
    return [item["code"] for item in answer["refused"]]  # type: ignore[attr-defined]


def running(inside: Inside, **more: object):  # type: ignore[no-untyped-def]
    meter = Meter()
    point = inside.enrol(meter)
    return inside.session(meter, point, **more).connect()


def count(inside: Inside, table: type) -> int:
    with inside.service.db.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


def test_bytes_are_kept_exactly_as_received(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    signed = meter.frame(meter.record())
    body = json.dumps(frame_document(signed), indent=3).encode()
    assert inside.upload(raw=[body])["accepted"] == 1
    with inside.service.db.reading() as db:
        assert db.scalar(select(FrameRow.body)) == body


def test_a_repeat_is_a_success_and_changes_nothing(inside: Inside) -> None:
    session = running(inside)
    signed = session.meter.frame(session.meter.record(rise=1_000))
    first = session.use(signed)
    bill = session.row().bill_micro
    again = inside.upload(signed, charges=[session.charge(signed.digest)])
    assert (again["accepted"], again["repeated"], again["refused"]) == (0, 1, [])
    assert again["receipts"] == first["receipts"]
    assert session.row().bill_micro == bill > 0


def test_the_receipt_is_signed_and_names_the_last_frame(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    frames = [meter.frame(meter.record()) for _ in range(3)]
    receipt = dict(inside.upload(*frames)["receipts"][0])
    signature = bytes.fromhex(receipt.pop("signature")[2:])
    value = from_json(Receipt, receipt)
    check_signature(digest(EVIDENCE, value), signature, inside.service.keys.service.address)
    assert value.frame == frames[-1].digest
    assert value.through_sequence == 3
    assert value.anchor_by_s > value.received_at_s


def test_after_a_gap_nothing_is_taken_until_it_is_filled(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    frames = [meter.frame(meter.record()) for _ in range(4)]
    answer = inside.upload(frames[0], frames[2], frames[3])
    assert answer["accepted"] == 1
    assert codes(answer) == ["gap", "gap"]
    assert all(item["transient"] for item in answer["refused"])
    assert inside.upload(*frames)["accepted"] == 3


def test_a_stranger_leaves_nothing_behind(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    signed = meter.frame(meter.record())
    forged = signed._replace(signature=Signer.create().sign(signed.digest))
    assert codes(inside.upload(forged)) == ["bad_signature"]
    stranger = Meter()
    assert codes(inside.upload(stranger.frame(stranger.record()))) == ["unknown_device"]
    flipped = frame_document(signed)
    flipped["records"][0]["importMilliwattHours"] += 1
    assert codes(inside.upload(raw=[json.dumps(flipped).encode()])) == ["malformed"]
    assert count(inside, FrameRow) == count(inside, ConflictRow) == 0


def test_two_frames_for_one_place_are_both_kept_and_nothing_after_is_billed(inside: Inside) -> None:
    session = running(inside)
    meter = session.meter
    session.use(meter.frame(meter.record(rise=1_000)))
    undisputed = session.row().charge_micro
    before = (meter.previous, meter.sequence, meter.register, meter.clock)
    session.use(meter.frame(meter.record(rise=2_000)))
    meter.previous, meter.sequence, meter.register, meter.clock = before
    other = meter.frame(meter.record(rise=1_000))
    answer = inside.upload(other)
    assert codes(answer) == ["equivocation"]
    assert inside.upload(other)["refused"][0]["code"] == "equivocation"
    with inside.service.db.reading() as db:
        proof = db.scalars(select(ConflictRow)).all()
        assert len(proof) == 1
        assert proof[0].kind == "same-place"
        assert frame_digest(other.frame) == proof[0].digest
    row = session.row()
    assert row.disputed_from_s is not None
    assert row.end_cause == Cause.FAULT
    assert "equivocation" in inside.alarms()
    assert row.state == "ending"
    assert undisputed > 0


def test_a_restarted_agent_goes_on_in_a_new_incarnation(inside: Inside) -> None:
    session = running(inside)
    meter = session.meter
    session.use(meter.frame(meter.record(rise=1_000)))
    meter.restart()
    assert session.use(meter.frame(meter.record(rise=1_000)))["accepted"] == 1
    assert session.row().energy_milliwatt_hours == 2_000
    assert inside.alarms() == []


def test_a_log_that_was_rolled_back_is_accepted_and_named_where_no_time_overlaps(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    first, second = meter.frame(meter.record()), meter.frame(meter.record())
    inside.upload(first, second)
    meter.restart(previous=first.digest)
    meter.sequence = 2
    assert inside.upload(meter.frame(meter.record()))["accepted"] == 1
    assert inside.alarms() == ["log-rolled-back"]


def test_a_branch_that_leaves_records_out_after_the_frame_it_goes_on_from_is_refused(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    first, second = meter.frame(meter.record()), meter.frame(meter.record())
    inside.upload(first, second)
    for sequence in (1, 3, 4):
        meter.restart(previous=first.digest)
        meter.sequence = sequence
        assert codes(inside.upload(meter.frame(meter.record()))) == ["malformed"]


def test_branches_that_overlap_in_time_are_equivocation(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    first, second = meter.frame(meter.record()), meter.frame(meter.record(seconds=10))
    inside.upload(first, second)
    meter.restart(previous=first.digest)
    meter.sequence, meter.clock = 2, meter.clock - 5
    answer = inside.upload(meter.frame(meter.record()))
    assert codes(answer) == ["equivocation"]
    with inside.service.db.reading() as db:
        assert [row.kind for row in db.scalars(select(ConflictRow))] == ["overlap-in-time"]


def test_a_sequence_that_jumps_contradicts_its_own_previous_frame(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    inside.upload(meter.frame(meter.record()))
    meter.sequence += 5
    assert codes(inside.upload(meter.frame(meter.record()))) == ["malformed"]


def test_an_implausible_jump_is_kept_never_billed_and_ends_the_session(inside: Inside) -> None:
    session = running(inside)
    meter = session.meter
    session.use(meter.frame(meter.record(rise=1_000)))
    bill = session.row().bill_micro
    assert session.use(meter.frame(meter.record(rise=10_000_000)), charge=False)["accepted"] == 1
    row = session.row()
    assert row.bill_micro == bill
    assert row.blocked
    assert row.end_cause == Cause.FAULT
    assert "implausible-register" in inside.alarms()
    # However much time passes, what goes on from the jump stays quarantined.
    meter.clock += 10_000_000
    inside.at(10_000_000)
    inside.upload(meter.frame(meter.record(rise=0)))
    with inside.service.db.reading() as db:
        reading = db.scalars(select(Reading)).one()
        assert reading.quarantined_since_s is not None


def test_a_zero_for_one_reading_is_not_billed_when_the_agent_flags_it(inside: Inside) -> None:
    session = running(inside)
    meter = session.meter
    session.use(meter.frame(meter.record(rise=1_000)))
    true_register = meter.register
    glitch = meter.record(import_milliwatt_hours=0, flags=int(Flag.QUARANTINED_REGISTER))
    session.use(meter.frame(glitch), charge=False)
    meter.register = true_register
    session.use(meter.frame(meter.record(rise=1_000)))
    row = session.row()
    assert row.energy_milliwatt_hours == 2_000
    assert row.state == "running"
    assert inside.alarms() == []


def test_a_rollover_is_accepted_and_flagged(inside: Inside) -> None:
    meter = Meter()
    meter.register = 10**DIGITS * STEP - 1_000
    point = inside.enrol(meter)
    session = inside.session(meter, point).connect()
    meter.register = 0
    session.use(meter.frame(meter.record(flags=int(Flag.ROLLOVER))))
    assert session.row().energy_milliwatt_hours == 1_000
    with inside.service.db.reading() as db:
        assert db.scalars(select(FrameRow.flagged).order_by(FrameRow.id.desc())).first() == "rollover:1"


def test_a_frame_from_the_future_is_not_billed(inside: Inside) -> None:
    session = running(inside)
    session.meter.clock += 100_000
    session.use(session.meter.frame(session.meter.record(rise=1_000)), charge=False)
    assert session.row().bill_micro == 0
    assert "implausible-register" in inside.alarms()


def test_charges_are_compared_with_our_own_price(inside: Inside) -> None:
    session = running(inside)
    signed = session.meter.frame(session.meter.record(rise=1_000))
    session.use(signed, charge=False)
    total = session.row().bill_micro
    answer = inside.upload(charges=[session.charge(signed.digest, amount_micro=total + 1)])
    assert answer["refused"] == []  # kept as evidence …
    assert session.row().charge_micro == 0  # … and not claimed
    assert inside.alarms() == ["charge-differs"]
    assert inside.upload(charges=[session.charge(signed.digest)])["refused"] == []
    assert session.row().charge_micro == total
    unknown = session.charge(os.urandom(32))
    assert codes(inside.upload(charges=[unknown])) == ["charge"]
    foreign = session.charge(signed.digest) | {"signature": "0x" + Signer.create().sign(bytes(32)).hex()}
    foreign["amountMicro"] -= 1
    assert codes(inside.upload(charges=[foreign])) == ["charge"]


def test_many_devices_in_one_request_each_get_their_receipt(inside: Inside) -> None:
    meters = [Meter() for _ in range(3)]
    for meter in meters:
        inside.enrol(meter)
    frames: list[SignedFrame] = [meter.frame(meter.record()) for meter in meters]
    assert len(inside.upload(*frames)["receipts"]) == 3
    assert count(inside, ReceiptRow) == 3


def test_a_late_last_record_still_completes_the_bill(inside: Inside) -> None:
    session = running(inside)
    meter = session.meter
    session.use(meter.frame(meter.record(rise=1_000)))
    kept = meter.frame(meter.record(rise=1_000)), meter.frame(meter.record(Reason.STOP))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.CREDIT)
    assert session.state == "ending"
    session.use(*kept)
    row = session.row()
    assert row.state == "ended"
    assert row.stop_record_seen
    assert row.energy_milliwatt_hours == 2_000
