"""tasks.json: tasks and their ids, descriptions, both sides' words, and energy proofs, each good or bad for one named reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.eip712 import EVIDENCE, digest, money_domain, to_json
from protocol.energy_proof import Reading, Stretch, stretch
from protocol.evidence import ChargeKeyVoucher, Flag, Reason, Record, frame_digest, make_frame
from protocol.keys import Signer
from protocol.money import Payment
from protocol.task import Completion, Description, GiveUp, Milestone, Proof, Task, acceptance, energy_result, task_id
from protocol.wire import SignedFrame

from .signed import hexed, signer, word, wrong_signatures

CHAIN_ID, FOREIGN_CHAIN_ID = 31_337, 1
ESCROW, FOREIGN_ESCROW = word("task escrow")[:20], word("another task escrow")[:20]
OPENED_AT_S = 1_900_010_000
ENDS_AT_S = OPENED_AT_S + 7_200
REQUESTER, PAY_KEY, NODE_KEY = signer("requester of a task"), signer("pay key of a task"), signer("node key of a task")
METER_KEY, THIEF = signer("meter key of a task"), signer("a thief")
DEVICE, METER_HASH, SWAPPED = word("a charger"), word("its meter"), word("another meter")
DESCRIPTION = Description("500 Wh at bay 4", "charging", (Milestone("half", 400_000), Milestone("done", 800_000)))


def task(proof: Proof) -> Task:
    """A task of this kind; members it does not use are zero."""
    energy = proof == Proof.ENERGY
    return Task(
        requester=REQUESTER.address, node=word("a node")[:20], refund_to=REQUESTER.address, requester_key=PAY_KEY.address,
        node_key=bytes(20) if proof == Proof.RELEASE else NODE_KEY.address, description_hash=DESCRIPTION.hash, price_micro=800_000,
        deadline_s=ENDS_AT_S, proof_grace_s=900, proof=int(proof), device=DEVICE if energy else bytes(32), channel=int(energy),
        meter_key=METER_KEY.address if energy else bytes(20), energy_milliwatt_hours=500_000 if energy else 0, start_from_s=0,
        salt=word(f"salt of a task with {proof.name}"),
    )  # fmt: skip


ENERGY = task(Proof.ENERGY)


def document() -> list[dict[str, Any]]:
    """The whole file."""
    return [*_ids(), *_descriptions(), *_words(), *_proofs()]


def _ids() -> list[dict[str, Any]]:
    places = ((CHAIN_ID, ESCROW), (FOREIGN_CHAIN_ID, ESCROW), (CHAIN_ID, FOREIGN_ESCROW))
    return [
        {"name": f"{proof.name} task on chain {chain} at 0x{escrow.hex()[:8]}", "kind": "task", "task": to_json(task(proof)),
         "chainId": chain, "escrow": hexed(escrow), "id": hexed(task_id(task(proof), chain, escrow)), "good": True, "fault": ""}
        for proof in Proof for chain, escrow in places
    ]  # fmt: skip


def _descriptions() -> list[dict[str, Any]]:
    good = DESCRIPTION.to_document()
    half, done = good["milestones"]
    bad: dict[str, tuple[dict[str, Any], str]] = {
        "another version": (good | {"version": 2}, "description.version"),
        "an empty title": (good | {"title": ""}, "description.title"),
        "a line break in the service": (good | {"service": "char\nging"}, "description.service"),
        "an unknown field": (good | {"price": 1}, "description"),
        "no milestones field": ({k: v for k, v in good.items() if k != "milestones"}, "description"),
        "amounts that fall": (good | {"milestones": [done, half]}, "description.milestones[1].amountMicro"),
        "an amount twice": (good | {"milestones": [half, half | {"name": "x"}]}, "description.milestones[1].amountMicro"),
        "a name twice": (good | {"milestones": [half, done | {"name": "half"}]}, "description.milestones[1].name"),
        "an amount of nothing": (good | {"milestones": [half | {"amountMicro": 0}]}, "description.milestones[0].amountMicro"),
        "an amount beyond JSON": (good | {"milestones": [half | {"amountMicro": 1 << 53}]}, "description.milestones[0].amountMicro"),
        "an amount in words": (good | {"milestones": [half | {"amountMicro": "1"}]}, "description.milestones[0].amountMicro"),
        "too many milestones": (
            good | {"milestones": [{"name": str(n), "amountMicro": n} for n in range(1, 102)]}, "description.milestones"),
    }  # fmt: skip
    kind = {"kind": "description"}
    entries = [kind | {"name": "description: good", "document": good, "hash": hexed(DESCRIPTION.hash), "good": True, "fault": ""}]
    for name, (spoilt, where) in bad.items():
        entries.append(kind | {"name": f"description: {name}", "document": spoilt, "where": where, "good": False, "fault": name})
    return entries


def _words() -> list[dict[str, Any]]:
    """Words about the COMPLETION task; `by` is who must have signed."""
    identity = task_id(task(Proof.COMPLETION), CHAIN_ID, ESCROW)
    done = Completion(identity, 400_000, word("what was done"))
    twin = Payment(*done)
    accepted = acceptance(done, CHAIN_ID, ESCROW)
    entries = []
    for message, key, other in ((done, NODE_KEY, PAY_KEY), (accepted, PAY_KEY, NODE_KEY), (GiveUp(identity, 1), NODE_KEY, PAY_KEY)):
        good = key.sign(digest(money_domain(CHAIN_ID, ESCROW), message))
        signatures = {
            "": good,
            "signed by the other's key": other.sign(digest(money_domain(CHAIN_ID, ESCROW), message)),
            "signed for a foreign chain": key.sign(digest(money_domain(FOREIGN_CHAIN_ID, ESCROW), message)),
            "signed for a foreign escrow": key.sign(digest(money_domain(CHAIN_ID, FOREIGN_ESCROW), message)),
            "signed in the evidence domain": key.sign(digest(EVIDENCE, message)),
            "changed after signing": key.sign(digest(money_domain(CHAIN_ID, ESCROW), message._replace(**{message._fields[1]: 7}))),
            "signed as a payment of the same members": key.sign(digest(money_domain(CHAIN_ID, ESCROW), twin)),
        } | (wrong_signatures(good) if isinstance(message, Completion) else {})
        if isinstance(message, Payment):  # an acceptance is a payment; what it may not be is one that names the bare result
            signatures["names the result, not the completion"] = signatures.pop("signed as a payment of the same members")
        for fault, signature in signatures.items():
            kind = type(message).__name__
            entries.append({
                "name": f"{kind}: {fault or 'good'}", "kind": "word", "type": kind, "chainId": CHAIN_ID, "escrow": hexed(ESCROW),
                "message": to_json(message), "signature": hexed(signature), "by": hexed(key.address), "good": not fault, "fault": fault,
            })  # fmt: skip
    return entries


def _record(sequence: int, end_s: int, register: int, **changes: Any) -> Record:
    return Record(
        DEVICE, 1, sequence, end_s - 60, end_s, register, 0, 1_000, 230_000, 16_000, 3_680_000, 0, int(Reason.PERIODIC), METER_HASH,
        word("no details"), word(f"salt of record {sequence}"),
    )._replace(**changes)  # fmt: skip


LIVE = [_record(40 + n, OPENED_AT_S + 60 * n, 7_000_000 + 62_500 * n) for n in range(9)]


def _stretch(
    records: Sequence[Record],
    size: int = 1,
    key: Signer = METER_KEY,
    voucher: ChargeKeyVoucher | None = None,
    vouched_by: Signer = METER_KEY,
) -> Stretch:
    frames = []
    for at in range(0, len(records), size):
        part = list(records[at : at + size])
        frame = make_frame(part, word("incarnation"), word("the frame before"), word("a head"))
        frames.append(SignedFrame(frame, key.sign(frame_digest(frame)), tuple(part), ((),) * len(part)))
    voucher = voucher or ChargeKeyVoucher(DEVICE, 1, NODE_KEY.address, OPENED_AT_S)
    signature = vouched_by.sign(digest(EVIDENCE, voucher))
    return stretch(frames, records[0].sequence, records[-1].sequence, voucher, signature)._replace(voucher_made_at_s=OPENED_AT_S)


def _last(**changes: Any) -> Stretch:
    return _stretch([*LIVE[:8], LIVE[8]._replace(**changes)])


def _end(proof: Stretch, **changes: Any) -> Stretch:
    return proof._replace(end=proof.end._replace(**changes))


def _proofs() -> list[dict[str, Any]]:
    good = _stretch(LIVE)
    whole = _stretch(LIVE, size=9)
    frame = good.end.frame
    early, since = _record(40, OPENED_AT_S - 121, 0), _record(40, OPENED_AT_S - 120, 0)
    late, last = _record(41, ENDS_AT_S + 1, 500_000), _record(41, ENDS_AT_S, 500_000)
    later_start = ENERGY._replace(start_from_s=OPENED_AT_S + 1)
    cases: list[tuple[str, str, Task, Stretch]] = [
        ("records in frames of one", "", ENERGY, good),
        ("records in one frame, with paths", "", ENERGY, whole),
        ("first record exactly at the tolerance, last at the end", "", ENERGY, _stretch([since, last])),
        ("flags that say nothing against the register", "", ENERGY, _last(flags=int(Flag.DISCONNECTED | Flag.OVERCURRENT))),
        ("first record older than the tolerance", "StartTooEarly", ENERGY, _stretch([early, last])),
        ("first record before the requester's own start", "StartTooEarly", later_start, good),
        ("last record after the end", "EndTooLate", ENERGY, _stretch([since, late])),
        ("records exchanged", "RecordsOutOfOrder", ENERGY, good._replace(start=good.end, end=good.start)),
        ("one record twice", "RecordsOutOfOrder", ENERGY, good._replace(end=good.start)),
        ("a falling register", "RegisterFell", ENERGY, _last(import_milliwatt_hours=6_999_999)),
        ("a swapped meter", "MeterDiffers", ENERGY, _last(meter_hash=SWAPPED)),
        ("another channel", "PointRefused", ENERGY, _last(channel=2)),
        ("another device in the frame", "PointRefused", ENERGY, _end(good, frame=frame._replace(device=word("x")))),
        ("another device in the task", "PointRefused", ENERGY._replace(device=word("x")),
         good._replace(voucher_signature=METER_KEY.sign(digest(EVIDENCE, ChargeKeyVoucher(word("x"), 1, NODE_KEY.address, OPENED_AT_S))))),
        ("a frame that ends before the record", "RecordNotInFrame", ENERGY, _end(whole, frame=whole.end.frame._replace(count=8))),
        ("a frame that begins after the record", "RecordNotInFrame", ENERGY, _end(good, frame=frame._replace(first_sequence=49))),
        ("a record changed after signing", "PathRefused", ENERGY, _end(good, record=good.end.record._replace(voltage_millivolts=0))),
        ("a path cut short", "PathRefused", ENERGY, _end(whole, path=whole.end.path[:-1])),
        ("a path with a hash too many", "PathRefused", ENERGY, _end(whole, path=[*whole.end.path, bytes(32)])),
        ("another record's path", "PathRefused", ENERGY, _end(whole, path=whole.start.path)),
        ("a frame changed after signing", "MeterSignatureRefused", ENERGY, _end(good, frame=frame._replace(head_seen=word("x")))),
        ("frames of another key", "MeterSignatureRefused", ENERGY, _stretch(LIVE, key=THIEF)),
        ("frames of the node's key", "MeterSignatureRefused", ENERGY, _stretch(LIVE, key=NODE_KEY)),
        ("a voucher for another key", "MeterSignatureRefused", ENERGY,
         _stretch(LIVE, voucher=ChargeKeyVoucher(DEVICE, 1, THIEF.address, OPENED_AT_S))),
        ("a voucher for another channel", "MeterSignatureRefused", ENERGY,
         _stretch(LIVE, voucher=ChargeKeyVoucher(DEVICE, 2, NODE_KEY.address, OPENED_AT_S))),
        ("a voucher made at another time", "MeterSignatureRefused", ENERGY,
         _stretch(LIVE, voucher=ChargeKeyVoucher(DEVICE, 1, NODE_KEY.address, OPENED_AT_S + 1))),
        ("a voucher by a thief", "MeterSignatureRefused", ENERGY, _stretch(LIVE, vouched_by=THIEF)),
    ]  # fmt: skip
    for flag in (Flag.CLOCK_NOT_SYNCHRONISED, Flag.ESTIMATED, Flag.TAMPER, Flag.DOOR_OPEN, Flag.SEAL_BROKEN, Flag.QUARANTINED_REGISTER):
        cases.append((f"a record flagged {flag.name}", "RecordFlagged", ENERGY, _last(flags=int(flag))))
    for fault, signature in wrong_signatures(good.end.signature).items():
        cases.append((f"frame signature: {fault}", "MeterSignatureRefused", ENERGY, _end(good, signature=signature)))
    return [_proof(*case) for case in cases]


def _reading(read: Reading) -> dict[str, Any]:
    path = [hexed(sibling) for sibling in read.path]
    return {"frame": to_json(read.frame), "signature": hexed(read.signature), "record": to_json(read.record), "path": path}


def _proof(name: str, refusal: str, agreed: Task, proof: Stretch) -> dict[str, Any]:
    result = "" if refusal else hexed(energy_result(proof.start.record, proof.end.record))
    return {
        "name": f"proof: {name}", "kind": "proof", "task": to_json(agreed), "openedAtS": OPENED_AT_S, "endsAtS": ENDS_AT_S,
        "start": _reading(proof.start), "end": _reading(proof.end), "voucherMadeAtS": proof.voucher_made_at_s,
        "voucherSignature": hexed(proof.voucher_signature), "result": result,
        "good": not refusal, "fault": name if refusal else "", "refusal": refusal,
    }  # fmt: skip
