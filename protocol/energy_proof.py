"""The proof that a meter measured energy: two records, each with its Merkle path in a frame the meter key signed.

`check_energy_proof` applies the rules of `EnergyProof.sol`, in its order and under its names, so that whoever builds a proof knows before
it is sent what the chain will say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .eip712 import EVIDENCE, digest
from .errors import BadSignature, Malformed, ProtocolError
from .evidence import ChargeKeyVoucher, Flag, Frame, Record, frame_digest, record_hash
from .keys import check_signature
from .merkle import Tree, root_from_path
from .task import START_TOLERANCE_S, Task, energy_result
from .wire import SignedFrame

REFUSED_FLAGS = int(
    Flag.CLOCK_NOT_SYNCHRONISED | Flag.ESTIMATED | Flag.TAMPER | Flag.DOOR_OPEN | Flag.SEAL_BROKEN | Flag.QUARANTINED_REGISTER
)
"""The meter's own word that a register or its time cannot be trusted."""


class ProofRefused(ProtocolError):
    """An energy proof that the contract would refuse; `name` is the contract's error, `values` what it carries first."""

    def __init__(self, name: str, *values: int | bytes) -> None:
        self.name, self.values = name, values
        shown = ", ".join("0x" + value.hex() if isinstance(value, bytes) else str(value) for value in values)
        super().__init__(f"{name}({shown})")


class Reading(NamedTuple):
    """A record and the way from it to the meter key's signature, in the order of the contract's struct."""

    frame: Frame
    signature: bytes
    record: Record
    path: list[bytes]


class Stretch(NamedTuple):
    """The stretch between two readings, and the meter key's voucher for the task's node key; the contract's struct."""

    start: Reading
    end: Reading
    voucher_made_at_s: int
    voucher_signature: bytes


def reading(signed: SignedFrame, sequence: int) -> Reading:
    """One record of a frame with its path. Raises `Malformed` if the frame does not hold it."""
    index = sequence - signed.frame.first_sequence
    if not 0 <= index < len(signed.records):
        raise Malformed(f"holds records {signed.frame.first_sequence}…{signed.last_sequence}, not {sequence}", "frame")
    hashes = [record_hash(record) for record in signed.records]
    return Reading(signed.frame, signed.signature, signed.records[index], Tree(hashes).path(hashes[index]))


def stretch(frames: Iterable[SignedFrame], start_sequence: int, end_sequence: int, voucher: ChargeKeyVoucher, signature: bytes) -> Stretch:
    """The proof from these frames, which must hold both records. `signature` is the meter key's over `voucher`. Raises `Malformed`."""
    found: dict[int, Reading] = {}
    for signed in frames:
        for sequence in (start_sequence, end_sequence):
            if signed.frame.first_sequence <= sequence <= signed.last_sequence:
                found[sequence] = reading(signed, sequence)
    for sequence in (start_sequence, end_sequence):
        if sequence not in found:
            raise Malformed(f"none holds record {sequence}", "frames")
    return Stretch(found[start_sequence], found[end_sequence], voucher.made_at_s, signature)


def check_energy_proof(task: Task, proof: Stretch, opened_at_s: int, ends_at_s: int) -> bytes:
    """The `result` a `Completion` for this proof must name. Raises `ProofRefused` as the contract does.

    `opened_at_s` is the time of the block that opened the task, `ends_at_s` its deadline or what a request to close made of it.
    """
    voucher = ChargeKeyVoucher(task.device, task.channel, task.node_key, proof.voucher_made_at_s)
    _check_meter_key(task, digest(EVIDENCE, voucher), proof.voucher_signature)
    _check_reading(task, proof.start)
    _check_reading(task, proof.end)
    _check_order(proof.start.record, proof.end.record, max(opened_at_s - START_TOLERANCE_S, task.start_from_s), ends_at_s)
    return energy_result(proof.start.record, proof.end.record)


def _check_reading(task: Task, read: Reading) -> None:
    frame, record = read.frame, read.record
    if record.device != task.device or frame.device != task.device or record.channel != task.channel:
        raise ProofRefused("PointRefused", record.device, record.channel)
    if not frame.first_sequence <= record.sequence < frame.first_sequence + frame.count:
        raise ProofRefused("RecordNotInFrame", record.sequence, frame.first_sequence, frame.count)
    if record.flags & REFUSED_FLAGS:
        raise ProofRefused("RecordFlagged", record.sequence, record.flags)
    leaf = record_hash(record)
    if root_from_path(leaf, read.path) != frame.records_root:
        raise ProofRefused("PathRefused", leaf, frame.records_root)
    _check_meter_key(task, frame_digest(frame), read.signature)


def _check_order(start: Record, end: Record, not_before_s: int, not_after_s: int) -> None:
    if start.meter_hash != end.meter_hash:
        raise ProofRefused("MeterDiffers", start.meter_hash, end.meter_hash)
    if start.sequence >= end.sequence:
        raise ProofRefused("RecordsOutOfOrder", start.sequence, end.sequence)
    if start.import_milliwatt_hours > end.import_milliwatt_hours:
        raise ProofRefused("RegisterFell", start.import_milliwatt_hours, end.import_milliwatt_hours)
    if start.end_s < not_before_s:
        raise ProofRefused("StartTooEarly", start.end_s, not_before_s)
    if end.end_s > not_after_s:
        raise ProofRefused("EndTooLate", end.end_s, not_after_s)


def _check_meter_key(task: Task, signed_digest: bytes, signature: bytes) -> None:
    try:
        check_signature(signed_digest, signature, task.meter_key)
    except BadSignature:
        raise ProofRefused("MeterSignatureRefused", task.meter_key, signed_digest) from None
