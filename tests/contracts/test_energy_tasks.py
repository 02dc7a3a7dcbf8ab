"""ENERGY tasks: what the meter's records prove, what they do not, and that no energy is sold twice.

Wherever the contract refuses, `protocol.energy_proof.check_energy_proof` refuses by the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.energy_proof import ProofRefused, Reading, Stretch, check_energy_proof, reading, stretch
from protocol.errors import Malformed
from protocol.evidence import Flag, Record, frame_digest
from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.task import START_TOLERANCE_S, STOP_GRACE_S, Completion, Proof, Task, earned_micro, energy_result
from tests.contracts.support import person
from tests.contracts.task_support import (
    ASKED,
    CHANNEL,
    DEVICE,
    METER_HASH,
    METER_KEY,
    NODE_KEY,
    PAY_KEY,
    PRICE,
    TaskWorld,
    record,
    signed_frame,
)

HIGH_S_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def opened(tasks: TaskWorld) -> Task:
    return tasks.open(tasks.task(Proof.ENERGY))


def refused(tasks: TaskWorld, task: Task, proof: Stretch, error: str, *values: Any) -> None:
    """By the contract and, before it is asked, by the pure check."""
    tasks.reverts(tasks.delivered(task, 1, proof), "payee", error, *values)
    state = tasks.state(task)
    with pytest.raises(ProofRefused) as raised:
        check_energy_proof(task, proof, state["openedAtS"], state["endsAtS"])
    assert (raised.value.name, raised.value.values[: len(values)]) == (error, values)


# -------------------------------------------------------------------- what is paid


def test_pays_for_what_was_delivered_rounded_down(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task(Proof.ENERGY, price_micro=1_000, energy_milliwatt_hours=7))
    proof = tasks.sale(task, 100, 103)
    most = 1_000 * 3 // 7
    tasks.reverts(tasks.delivered(task, most + 1, proof), "payee", "AmountBeyondEnergy", tasks.id_of(task), most + 1, most)
    assert earned_micro(task, 3) == most
    tasks.pay(tasks.delivered(task, most, proof))
    assert tasks.free("payee") == most


def test_more_than_was_asked_pays_the_price(tasks: TaskWorld, opened: Task) -> None:
    proof = tasks.sale(opened, 0, 3 * ASKED)
    tasks.reverts(tasks.delivered(opened, PRICE + 1, proof), "payee", "AmountBeyondEnergy", tasks.id_of(opened), PRICE + 1, PRICE)
    tasks.pay(tasks.delivered(opened, PRICE, proof))
    assert tasks.state(opened)["soldMilliwattHours"] == ASKED
    assert earned_micro(opened, 3 * ASKED) == PRICE


def test_the_largest_figures_do_not_overflow(tasks: TaskWorld) -> None:
    most = 2**64 - 1
    asked = tasks.open(tasks.task(Proof.ENERGY, energy_milliwatt_hours=most))
    proof = tasks.sale(asked, 0, most)
    tasks.pay(tasks.delivered(asked, PRICE, proof))
    assert (tasks.sold(), tasks.state(asked)["soldMilliwattHours"]) == (most, most)
    # another meter of the same key: the sum would not fit, and is not asked for
    swapped = {"meter_hash": keccak(b"swapped")}
    other = tasks.proof([record(1, tasks.world.now(), 0, **swapped), record(2, tasks.world.now(), most, **swapped)])
    tasks.reverts(tasks.delivered(asked, PRICE, other), "payee", "NothingNew")


def test_a_rising_proof_pays_the_difference(tasks: TaskWorld, opened: Task) -> None:
    """The same first record each time: what was sold before counts once."""
    now = tasks.world.now()
    records = [record(n, now + n, 1_000 + n * ASKED // 4) for n in range(5)]
    for step in range(1, 5):
        proof = tasks.proof(records[: step + 1], frame_size=1 if step % 2 else 5)
        tasks.pay(tasks.delivered(opened, step * PRICE // 4, proof))
        assert tasks.free("payee") == step * PRICE // 4
        call = tasks.delivered(opened, PRICE, proof)
        tasks.reverts(call, "payee", "EnergyAlreadySold", tasks.id_of(opened), records[step].import_milliwatt_hours, tasks.sold())


def test_a_path_through_a_full_frame(tasks: TaskWorld, opened: Task) -> None:
    now = tasks.world.now()
    records = [record(n, now + n // 4, n * 100) for n in range(256)]
    proof = tasks.proof(records)
    assert len(proof.start.path) >= 8
    tasks.pay(tasks.delivered(opened, 255 * 100 * PRICE // ASKED, proof))


# -------------------------------------------------------------------- no energy twice


def test_no_energy_is_sold_in_two_tasks(tasks: TaskWorld, opened: Task) -> None:
    other = tasks.open(tasks.task(Proof.ENERGY, 1, node=tasks.world.address("stranger")))
    proof = tasks.sale(opened, 0, ASKED)
    tasks.pay(tasks.delivered(opened, PRICE, proof))
    tasks.reverts(tasks.delivered(other, 1, proof), "stranger", "EnergyAlreadySold", tasks.id_of(other), ASKED, ASKED)
    more = tasks.sale(other, 0, ASKED + ASKED // 2)  # overlaps: only what is new counts
    half = PRICE // 2
    tasks.reverts(tasks.delivered(other, half + 1, more), "stranger", "AmountBeyondEnergy", tasks.id_of(other), half + 1, half)
    tasks.pay(tasks.delivered(other, half, more))


def test_another_meter_channel_or_key_has_energy_of_its_own(tasks: TaskWorld) -> None:
    now, other_key = tasks.world.now(), person("another meter key")
    tasks.pay(tasks.delivered(task := tasks.open(tasks.task(Proof.ENERGY)), PRICE, tasks.sale(task, 0, ASKED)))
    for number, (changes, in_task, signer) in enumerate(
        (
            ({"meter_hash": keccak(b"swapped")}, {}, METER_KEY),
            ({"channel": 2}, {"channel": 2}, METER_KEY),
            ({"device": keccak(b"another")}, {"device": keccak(b"another")}, METER_KEY),
            ({}, {"meter_key": other_key.address}, other_key),
        ),
        start=1,
    ):
        task = tasks.open(tasks.task(Proof.ENERGY, number, **in_task))
        voucher = tasks.voucher(signer=signer, **in_task if "meter_key" not in in_task else {})
        records = [record(1, now, 0, **changes), record(2, now, ASKED, **changes)]
        tasks.pay(tasks.delivered(task, PRICE, tasks.proof(records, signer, voucher=voucher)))


def test_a_stranger_cannot_spend_a_meters_energy(tasks: TaskWorld, opened: Task) -> None:
    """Who has the frames (every buyer does) opens a task for the same meter and sells itself the energy, so that the node's
    own proof finds nothing left. The node key's word for exactly these records is what it lacks."""
    attacker = tasks.world.signers["stranger"]
    proof = tasks.sale(opened, 0, ASKED)
    own_key = tasks.open(tasks.task(Proof.ENERGY, 1, node=attacker.address, node_key=attacker.address, price_micro=1))
    tasks.reverts(tasks.delivered(own_key, 1, proof, attacker), "stranger", "MeterSignatureRefused", METER_KEY.address)
    forged = proof._replace(voucher_signature=tasks.voucher(attacker, attacker)[1])
    tasks.reverts(tasks.delivered(own_key, 1, forged, attacker), "stranger", "MeterSignatureRefused", METER_KEY.address)
    nodes_key = tasks.open(tasks.task(Proof.ENERGY, 2, node=attacker.address, price_micro=1))
    tasks.reverts(tasks.delivered(nodes_key, 1, proof, attacker), "stranger", "SignatureRefused", NODE_KEY.address)
    assert tasks.sold() == 0
    tasks.pay(tasks.delivered(opened, PRICE, proof))


def test_nobody_else_chooses_the_records(tasks: TaskWorld, opened: Task) -> None:
    """A relayer with the node's completion and later frames cannot take more energy off the market, nor fewer into account."""
    now = tasks.world.now()
    records = [record(n, now + n, n * ASKED // 2) for n in range(4)]
    meant = energy_result(records[0], records[1])
    for other in (records[:3], records[:4], records[1:3]):
        call = tasks.delivered(opened, 1, tasks.proof(other), result=meant)
        tasks.reverts(call, "stranger", "SignatureRefused", NODE_KEY.address)


# -------------------------------------------------------------------- which records count


def replaced(proof: Stretch, which: str, **changes: Any) -> Stretch:
    part: Reading = getattr(proof, which)
    return proof._replace(**{which: part._replace(**changes)})


def test_old_records_do_not_count(tasks: TaskWorld, opened: Task) -> None:
    since = tasks.state(opened)["openedAtS"] - START_TOLERANCE_S
    old = tasks.proof([record(1, since - 1, 0), record(2, since + 60, ASKED)])
    refused(tasks, opened, old, "StartTooEarly", since - 1, since)
    tasks.pay(tasks.delivered(opened, PRICE, tasks.proof([record(1, since, 0), record(2, since + 60, ASKED)])))


def test_the_requester_may_set_a_later_start(tasks: TaskWorld) -> None:
    start = tasks.world.now() + 3_600
    task = tasks.open(tasks.task(Proof.ENERGY, start_from_s=start))
    early = tasks.proof([record(1, start - 1, 0), record(2, start + 60, ASKED)])
    refused(tasks, task, early, "StartTooEarly", start - 1, start)
    tasks.pay(tasks.delivered(task, PRICE, tasks.proof([record(1, start, 0), record(2, start + 60, ASKED)])))


def test_records_after_the_end_do_not_count(tasks: TaskWorld, opened: Task) -> None:
    late = tasks.proof([record(1, tasks.world.now(), 0), record(2, opened.deadline_s + 1, ASKED)])
    refused(tasks, opened, late, "EndTooLate", opened.deadline_s + 1, opened.deadline_s)
    good = tasks.proof([record(1, tasks.world.now(), 0), record(2, opened.deadline_s, ASKED)])
    tasks.world.at(opened.deadline_s + opened.proof_grace_s - 1)  # proven in the grace
    tasks.pay(tasks.delivered(opened, PRICE, good))


def test_a_requester_that_leaves_pays_no_longer(tasks: TaskWorld, opened: Task) -> None:
    now = tasks.world.now()
    tasks.pay(tasks.functions.requestClose(opened), "payer")
    end = now + STOP_GRACE_S
    beyond = tasks.proof([record(1, now, 0), record(2, end + 1, ASKED)])
    refused(tasks, opened, beyond, "EndTooLate", end + 1, end)
    tasks.pay(tasks.delivered(opened, PRICE, tasks.proof([record(1, now, 0), record(2, end, ASKED)])))


BAD_RECORDS: list[tuple[str, Callable[[list[Record]], list[Record]], str]] = [
    ("another device", lambda r: [x._replace(device=keccak(b"x")) for x in r], "PointRefused"),
    ("another channel", lambda r: [x._replace(channel=CHANNEL + 1) for x in r], "PointRefused"),
    ("another meter at the end", lambda r: [r[0], r[1]._replace(meter_hash=keccak(b"x"))], "MeterDiffers"),
    ("a fallen register", lambda r: [r[0]._replace(import_milliwatt_hours=ASKED + 1), r[1]], "RegisterFell"),
    *[
        (f"{flag.name} at {at}", lambda r, flag=flag, at=at: [*r[:at], r[at]._replace(flags=int(flag)), *r[at + 1 :]], "RecordFlagged")
        for flag in (Flag.CLOCK_NOT_SYNCHRONISED, Flag.ESTIMATED, Flag.TAMPER, Flag.DOOR_OPEN, Flag.SEAL_BROKEN, Flag.QUARANTINED_REGISTER)
        for at in (0, 1)
    ],
]  # fmt: skip


@pytest.mark.parametrize(("change", "error"), [item[1:] for item in BAD_RECORDS], ids=[item[0] for item in BAD_RECORDS])
def test_records_that_prove_nothing(tasks: TaskWorld, opened: Task, change: Any, error: str) -> None:
    now = tasks.world.now()
    refused(tasks, opened, tasks.proof(change([record(1, now, 0), record(2, now + 1, ASKED)])), error)


def test_flags_that_say_nothing_against_the_register(tasks: TaskWorld, opened: Task) -> None:
    harmless = int(Flag.OVERCURRENT | Flag.POWER_FAIL | Flag.DISCONNECTED | Flag.ROLLOVER | Flag.LOG_ROLLED_BACK | Flag.LOW_DISK)
    now = tasks.world.now()
    tasks.pay(tasks.delivered(opened, PRICE, tasks.proof([record(1, now, 0, flags=harmless), record(2, now, ASKED, flags=harmless)])))


def test_order_frames_and_paths(tasks: TaskWorld, opened: Task) -> None:
    now = tasks.world.now()
    good = tasks.proof([record(n, now + n, n * 1_000) for n in range(1, 5)])
    backwards = Stretch(good.end, good.start, good.voucher_made_at_s, good.voucher_signature)
    refused(tasks, opened, backwards, "RecordsOutOfOrder", 4, 1)
    same = good._replace(end=good.start)
    refused(tasks, opened, same, "RecordsOutOfOrder", 1, 1)
    for which in ("start", "end"):
        part: Reading = getattr(good, which)
        changed = part.record._replace(import_milliwatt_hours=part.record.import_milliwatt_hours + 1)
        refused(tasks, opened, replaced(good, which, record=changed), "PathRefused")
        refused(tasks, opened, replaced(good, which, path=part.path[:-1]), "PathRefused")
        refused(tasks, opened, replaced(good, which, path=[]), "PathRefused")
        refused(tasks, opened, replaced(good, which, path=[*part.path, bytes(32)]), "PathRefused")
    outside = good.end.record._replace(sequence=5)
    refused(tasks, opened, replaced(good, "end", record=outside), "RecordNotInFrame", 5, 1, 4)
    before = good.start.record._replace(sequence=0)
    refused(tasks, opened, replaced(good, "start", record=before), "RecordNotInFrame", 0, 1, 4)
    other_frame = good.end.frame._replace(device=keccak(b"x"))
    refused(tasks, opened, replaced(good, "end", frame=other_frame), "PointRefused")


def high_s(signature: bytes) -> bytes:
    s = HIGH_S_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


def test_only_the_named_meter_key_counts(tasks: TaskWorld, opened: Task) -> None:
    now = tasks.world.now()
    records = [record(1, now, 0), record(2, now + 1, ASKED)]
    good = tasks.proof(records)
    for which in ("start", "end"):
        part: Reading = getattr(good, which)
        signed = frame_digest(part.frame)
        bad: list[bytes] = [key.sign(signed) for key in (NODE_KEY, PAY_KEY)]
        bad += [b"", bytes(65), bytes(64) + b"\x1b", part.signature[:64], part.signature + b"\0", high_s(part.signature)]
        bad += [part.signature[:64] + bytes((55 - part.signature[64],)), part.signature[:64] + bytes((part.signature[64] - 27,))]
        for signature in bad:
            refused(tasks, opened, replaced(good, which, signature=signature), "MeterSignatureRefused", METER_KEY.address)
        signature = part.signature
        other = part.frame._replace(head_seen=keccak(b"x"))
        refused(tasks, opened, replaced(good, which, frame=other, signature=signature), "MeterSignatureRefused", METER_KEY.address)


def test_the_voucher_is_for_this_key_and_point(tasks: TaskWorld, opened: Task) -> None:
    good = tasks.sale(opened, 0, ASKED)
    stranger: Signer = person("stranger")
    for voucher in (tasks.voucher(stranger), tasks.voucher(signer=stranger), tasks.voucher(channel=2), tasks.voucher(device=keccak(b"x"))):
        bad = good._replace(voucher_signature=voucher[1])
        refused(tasks, opened, bad, "MeterSignatureRefused", METER_KEY.address)
    refused(tasks, opened, good._replace(voucher_made_at_s=2), "MeterSignatureRefused", METER_KEY.address)


def test_the_node_key_names_task_amount_and_records(tasks: TaskWorld, opened: Task) -> None:
    proof = tasks.sale(opened, 0, ASKED)
    other = tasks.open(tasks.task(Proof.ENERGY, 1))
    for call in (
        tasks.delivered(opened, 1, proof, METER_KEY),
        tasks.delivered(opened, 1, proof, PAY_KEY),
        tasks.delivered(opened, 1, proof, result=keccak(b"x")),
        tasks.functions.payDelivered(opened, 2, tasks.sign(_completion(tasks, opened, 1, proof), NODE_KEY), proof),
        tasks.functions.payDelivered(opened, 1, tasks.sign(_completion(tasks, other, 1, proof), NODE_KEY), proof),
    ):
        tasks.reverts(call, "payee", "SignatureRefused", NODE_KEY.address)


def _completion(tasks: TaskWorld, task: Task, amount: int, proof: Stretch) -> Any:
    return Completion(tasks.id_of(task), amount, energy_result(proof.start.record, proof.end.record))


# -------------------------------------------------------------------- building


def test_a_stretch_needs_frames_that_hold_the_records(tasks: TaskWorld) -> None:
    signed = signed_frame([record(n, 60 * n, n) for n in range(1, 4)])
    voucher, signature = tasks.voucher()
    with pytest.raises(Malformed, match="none holds record 4"):
        stretch([signed], 1, 4, voucher, signature)
    with pytest.raises(Malformed, match="holds records 1…3, not 0"):
        reading(signed, 0)
    built = stretch([signed], 1, 3, voucher, signature)
    assert (built.start.record.sequence, built.end.record.sequence) == (1, 3)
    assert tasks.functions.soldThrough(DEVICE, CHANNEL, METER_KEY.address, METER_HASH).call() == 0
