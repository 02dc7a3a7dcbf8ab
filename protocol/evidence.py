"""The evidence structs: record, frame, receipt and what vouches for them (design: record → frame → epoch).

Energy in milliwatt-hours, power in milliwatts, time in UTC seconds. Registers are absolute, never differences: a difference can
hide a lost record, an absolute register cannot. Released versions are verified for ever; a change of a struct is a new version.
"""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import NamedTuple

from . import eip712, merkle
from .eip712 import EVIDENCE, struct
from .errors import Malformed
from .hashing import keccak, keccak_of

MAX_FRAME_RECORDS = 256
"""Records in one frame at most: an offline frame closes at 256, so a door need never take more."""
MAX_DETAILS = 64
"""Detail items in one record at most: three phases with twenty registers each fit."""
MAX_OBIS_BYTES = 32
MAX_RAW_BYTES = 256
"""Raw bytes of one detail: the longest IEC 62056-21 data set is far shorter."""


class Flag(IntFlag):
    """What was unusual about a reading; bits of `Record.flags`."""

    CLOCK_NOT_SYNCHRONISED = 1 << 0
    ESTIMATED = 1 << 1
    TAMPER = 1 << 2
    DOOR_OPEN = 1 << 3
    SEAL_BROKEN = 1 << 4
    OVERCURRENT = 1 << 5
    POWER_FAIL = 1 << 6
    DISCONNECTED = 1 << 7
    ROLLOVER = 1 << 8
    LOG_ROLLED_BACK = 1 << 9
    QUARANTINED_REGISTER = 1 << 10
    LOW_DISK = 1 << 11


class Reason(IntEnum):
    """Why a record was cut at its end."""

    START = 1
    PERIODIC = 2
    TARIFF_CHANGE = 3
    SUSPEND = 4
    STOP = 5
    SWAP = 6


RECORD_TYPE = (
    "Record(bytes32 device,uint32 channel,uint64 sequence,uint64 startS,uint64 endS,uint64 importMilliwattHours,"
    "uint64 exportMilliwattHours,uint64 stepMilliwattHours,uint32 voltageMillivolts,uint32 currentMilliamps,"
    "int64 powerMilliwatts,uint32 flags,uint8 reason,bytes32 meterHash,bytes32 detailsHash,bytes32 salt)"
)


@struct(RECORD_TYPE)
class Record(NamedTuple):
    """One reading interval. The registers are those at `end_s`; a START record has start_s = end_s."""

    device: bytes
    channel: int
    sequence: int
    start_s: int
    end_s: int
    import_milliwatt_hours: int
    export_milliwatt_hours: int
    step_milliwatt_hours: int
    voltage_millivolts: int
    current_milliamps: int
    power_milliwatts: int
    flags: int
    reason: int
    meter_hash: bytes
    details_hash: bytes
    salt: bytes


@struct(
    "Frame(bytes32 device,bytes32 incarnation,uint64 firstSequence,uint32 count,bytes32 recordsRoot,bytes32 previousFrame,"
    "bytes32 headSeen)"
)
class Frame(NamedTuple):
    """What the meter key signs. Its place is (device, incarnation, first_sequence)."""

    device: bytes
    incarnation: bytes
    first_sequence: int
    count: int  # type: ignore[assignment]  # the EIP-712 name; a tuple's own count() is not used
    records_root: bytes
    previous_frame: bytes
    head_seen: bytes


@struct(
    "Receipt(bytes32 device,bytes32 incarnation,uint64 throughSequence,bytes32 frame,uint64 receivedAtS,uint64 anchorByS)"
)
class Receipt(NamedTuple):
    """The service's promise: every frame of the device up to this one will be anchored by `anchor_by_s`."""

    device: bytes
    incarnation: bytes
    through_sequence: int
    frame: bytes
    received_at_s: int
    anchor_by_s: int


@struct("ChargeKeyVoucher(bytes32 device,uint32 channel,address chargeKey,uint64 madeAtS)")
class ChargeKeyVoucher(NamedTuple):
    """The meter key's word, kept off the chain, that `charge_key` signs charges for this point."""

    device: bytes
    channel: int
    charge_key: bytes
    made_at_s: int


@struct(
    "HandOver(bytes32 device,uint32 channel,uint64 sequence,uint64 atS,bytes32 oldMeterHash,uint64 oldImportMilliwattHours,"
    "uint64 oldExportMilliwattHours,bytes32 newMeterHash,uint64 newImportMilliwattHours,uint64 newExportMilliwattHours)"
)
class HandOver(NamedTuple):
    """A meter swap, signed by meter key and operator key: last of the old, first of the new."""

    device: bytes
    channel: int
    sequence: int
    at_s: int
    old_meter_hash: bytes
    old_import_milliwatt_hours: int
    old_export_milliwatt_hours: int
    new_meter_hash: bytes
    new_import_milliwatt_hours: int
    new_export_milliwatt_hours: int


@struct(
    "Ruling(bytes32 session,bytes32 device,bytes32 incarnation,uint64 firstSequence,uint64 lastSequence,bytes32 acceptedFrame,"
    "uint64 madeAtS)"
)
class Ruling(NamedTuple):
    """A ruling on a disputed stretch, signed by operator and payer or by the arbiter the agreement names."""

    session: bytes
    device: bytes
    incarnation: bytes
    first_sequence: int
    last_sequence: int
    accepted_frame: bytes
    made_at_s: int


_RECORD = _struct.Struct(">32s32s28xI24xQ24xQ24xQ24xQ24xQ24xQ28xI28xI24xq28xI31xB32s32s32s")
_RECORD_TYPE_HASH = eip712.type_of(Record).type_hash
_SIGN_AT = 32 * (1 + Record._fields.index("power_milliwatts"))
_SIGN = slice(_SIGN_AT, _SIGN_AT + 24)


def record_hash(record: Record) -> bytes:
    """hashStruct(record): the only hashed form of a record. Equal to `eip712.struct_hash`, several times faster.

    Raises `Malformed` naming a member out of range, but takes a bool where an integer belongs (no door lets one through).
    """
    if len(record.device) != 32 or len(record.meter_hash) != 32 or len(record.details_hash) != 32 or len(record.salt) != 32:
        return eip712.struct_hash(record)  # raises, naming the field (pack would pad in silence)
    return hash_sized_records([record])[0]


def hash_sized_records(records: Iterable[Record]) -> list[bytes]:
    """`record_hash` of each, where the caller knows that device, meter_hash, details_hash and salt have 32 bytes."""
    pack, type_hash = _RECORD.pack, _RECORD_TYPE_HASH
    try:
        return [keccak_of(pack(type_hash, *r) if r.power_milliwatts >= 0 else _pack_negative(r)).digest() for r in records]
    except (_struct.error, TypeError):
        return [eip712.struct_hash(record) for record in records]  # raises, naming the field


def _pack_negative(record: Record) -> bytes:
    word = bytearray(_RECORD.pack(_RECORD_TYPE_HASH, *record))
    word[_SIGN] = b"\xff" * 24  # int64 fills its word with the sign
    return bytes(word)


_RAW_LENGTH = tuple(n.to_bytes(2, "big") for n in range(MAX_RAW_BYTES + 1))


@lru_cache(maxsize=1024)  # a fleet reads the same few registers
def _packed_obis(obis: str) -> bytes:
    if not obis.isascii() or len(obis) > MAX_OBIS_BYTES:
        raise Malformed(f"an OBIS code is at most {MAX_OBIS_BYTES} ASCII characters, not {obis!r}", "details")
    return bytes((len(obis),)) + obis.encode("ascii")


def packed_detail(obis: str, raw: bytes) -> bytes:
    """uint8 length ‖ OBIS ascii ‖ uint16 length ‖ raw bytes. Raises `Malformed` for other than short ASCII and `MAX_RAW_BYTES` bytes."""
    if len(raw) > MAX_RAW_BYTES:
        raise Malformed(f"raw bytes are at most {MAX_RAW_BYTES}, not {len(raw)}", "details")
    return _packed_obis(obis) + _RAW_LENGTH[len(raw)] + raw


def details_hash(details: Iterable[tuple[str, bytes]]) -> bytes:
    """keccak of the packed details, in order; of nothing for no details. Raises `Malformed` as `packed_detail` does."""
    return keccak(b"".join([packed_detail(obis, raw) for obis, raw in details]))


def meter_hash(serial: str, placement: str) -> bytes:
    """The identity of a meter in a place: keccak(utf-8 serial ‖ 0x00 ‖ utf-8 placement)."""
    return keccak(serial.encode() + b"\x00" + placement.encode())


_FRAME = _struct.Struct(">32s32s32s24xQ28xI32s32s32s")
_FRAME_TYPE_HASH = eip712.type_of(Frame).type_hash
_EVIDENCE_PREFIX = b"\x19\x01" + EVIDENCE.separator()


def frame_digest(frame: Frame) -> bytes:
    """The 32 bytes the meter key signs: a frame's identity, and its leaf in the epoch tree. Raises `Malformed` as `record_hash` does."""
    try:
        packed = _FRAME.pack(_FRAME_TYPE_HASH, *frame)
    except (_struct.error, TypeError):
        return eip712.digest(EVIDENCE, frame)  # raises, naming the field
    device, incarnation, _, _, root, previous, seen = frame
    if len(device) != 32 or len(incarnation) != 32 or len(root) != 32 or len(previous) != 32 or len(seen) != 32:
        return eip712.digest(EVIDENCE, frame)
    return keccak(_EVIDENCE_PREFIX + keccak(packed))


def make_frame(records: Sequence[Record], incarnation: bytes, previous_frame: bytes, head_seen: bytes) -> Frame:
    """The frame over consecutive records of one device. Raises `Malformed` if they are not consecutive."""
    if not 1 <= len(records) <= MAX_FRAME_RECORDS:
        raise Malformed(f"a frame holds 1…{MAX_FRAME_RECORDS} records, not {len(records)}", "records")
    first = records[0]
    for i, record in enumerate(records):
        if record.sequence != first.sequence + i or record.device != first.device:
            raise Malformed("does not follow the record before it", f"records[{i}]")
    root = merkle.root([record_hash(record) for record in records])
    return Frame(first.device, incarnation, first.sequence, len(records), root, previous_frame, head_seen)


def anchor_link(head: bytes, root: bytes, block_time_s: int) -> bytes:
    """The next head of an anchorer's chain on `AnchorLog`: keccak(head ‖ root ‖ uint64 block time)."""
    return keccak(head + root + block_time_s.to_bytes(8, "big"))


def epoch_tree(frame_digests: Sequence[bytes]) -> merkle.Tree:
    """The tree of an epoch: leaves are frame digests, sorted, as SimpleMerkleTree does by default."""
    return merkle.Tree(frame_digests, sort=True)
