"""Frames as JSON on the wire: the one parser and the one writer.

`decode_frame` takes whatever bytes and either returns a `SignedFrame` whose records, root and count agree, or raises `Malformed`. It
does not check the signature (`check_frame` does), because who may sign is the reader's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
from msgspec.structs import astuple

from . import merkle
from .eip712 import MAX_JSON_INTEGER, camel, canonical_hex
from .errors import Malformed
from .evidence import MAX_DETAILS, MAX_FRAME_RECORDS, Frame, Record, frame_digest, hash_sized_records, packed_detail
from .hashing import keccak_of
from .keys import SIGNATURE_SIZE, check_signature

Details = tuple[tuple[str, bytes], ...]

MAX_FRAME_BYTES = 10 << 20
"""256 records with 64 details of 256 raw bytes, in hex, are 9.2 MB."""


class SignedFrame(NamedTuple):
    """A frame with everything its digest stands for. `details[i]` belongs to `records[i]`."""

    frame: Frame
    signature: bytes
    records: tuple[Record, ...]
    details: tuple[Details, ...]

    @property
    def digest(self) -> bytes:
        return frame_digest(self.frame)

    @property
    def last_sequence(self) -> int:
        return self.frame.first_sequence + self.frame.count - 1


_U8 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 8)]
_U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_U53 = Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)]
_I53 = Annotated[int, msgspec.Meta(ge=-MAX_JSON_INTEGER, le=MAX_JSON_INTEGER)]


class _WireRecord(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A record's JSON object, in the order of `Record`."""

    channel: _U32
    sequence: _U53
    start_s: _U53
    end_s: _U53
    import_milliwatt_hours: _U53
    export_milliwatt_hours: _U53
    step_milliwatt_hours: _U53
    voltage_millivolts: _U32
    current_milliamps: _U32
    power_milliwatts: _I53
    flags: _U32
    reason: _U8
    meter_hash: str
    salt: str
    details: Annotated[list[tuple[str, str]], msgspec.Meta(max_length=MAX_DETAILS)]


class _WireHead(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A frame's JSON object, in the order of `Frame`; its records as yet whatever they are."""

    device: str
    incarnation: str
    first_sequence: _U53
    count: _U32
    records_root: str
    previous_frame: str
    head_seen: str
    signature: str
    records: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_FRAME_RECORDS)]


class WireFrame(_WireHead):
    """A frame's JSON object."""

    records: Annotated[list[_WireRecord], msgspec.Meta(min_length=1, max_length=MAX_FRAME_RECORDS)]


_decode = msgspec.json.Decoder(WireFrame).decode
_fromhex = bytes.fromhex
_new = tuple.__new__  # a NamedTuple from a tuple, without its keyword handling


def _malformed(error: Exception, where: str) -> Malformed:
    """What msgspec found, in our words and with our place."""
    what, _, path = str(error).partition(" - at `$")
    return Malformed(what.replace("`", "").replace("Expected", "expected"), where + path.rstrip("`"))


def _canonical(text: str, size: int) -> bytes:
    """The one text of `size` bytes, or ValueError: whoever catches it names the field by `canonical_hex`."""
    raw = _fromhex(text[2:])
    if len(raw) != size or text != "0x" + raw.hex():
        raise ValueError
    return raw


@lru_cache(maxsize=1024)  # device, incarnation and meter are the same in frame after frame
def _repeated_word(text: str) -> bytes:
    return _canonical(text, 32)


def _record(device: bytes, wire: _WireRecord) -> tuple[Record, Details]:
    """A record and its details; ValueError for a text that is not canonical, `Malformed` for a detail. Runs for every reading there is."""
    values = astuple(wire)
    text = values[13]
    salt = _fromhex(text[2:])
    if len(salt) != 32 or text != "0x" + salt.hex():
        raise ValueError
    details, packed = [], b""
    for code, text in values[14]:
        raw = _fromhex(text[2:])
        if text != "0x" + raw.hex():
            raise ValueError
        details.append((code, raw))
        packed += packed_detail(code, raw)
    row = (device, *values[:12], _repeated_word(values[12]), keccak_of(packed).digest(), salt)
    return _new(Record, row), tuple(details)


def _named_record(device: bytes, wire: _WireRecord, where: str) -> tuple[Record, Details]:
    try:
        return _record(device, wire)
    except (ValueError, Malformed):
        canonical_hex(wire.meter_hash, 32, f"{where}.meterHash")
        canonical_hex(wire.salt, 32, f"{where}.salt")
        for i, (code, text) in enumerate(wire.details):
            try:
                packed_detail(code, canonical_hex(text, None, ""))
            except Malformed as error:
                raise Malformed(error.what, f"{where}.details[{i}]") from None
        raise


def parse_record(device: bytes, document: Any, where: str) -> tuple[Record, Details]:
    """A record and its details from their JSON object; `device` is the frame's. Raises `Malformed`."""
    try:
        wire = msgspec.convert(document, _WireRecord)
    except (msgspec.ValidationError, TypeError) as error:
        raise _malformed(error, where) from None
    return _named_record(device, wire, where)


def keys_problem(document: Any, expected: frozenset[str]) -> str:
    """A sentence for a JSON value that is not an object with exactly the keys `expected`."""
    if type(document) is not dict:
        return "must be an object"
    missing, unknown = sorted(expected - document.keys()), sorted(map(str, document.keys() - expected))
    return f"field {missing[0]!r} is missing" if missing else f"unknown field {unknown[0]!r}"


def _head(wire: _WireHead, where: str) -> tuple[Frame, bytes]:
    try:
        frame = Frame(
            _repeated_word(wire.device), _repeated_word(wire.incarnation), wire.first_sequence, wire.count,
            _canonical(wire.records_root, 32), _canonical(wire.previous_frame, 32), _repeated_word(wire.head_seen),
        )  # fmt: skip
        return frame, _canonical(wire.signature, SIGNATURE_SIZE)
    except ValueError:
        for name, size in (*dict.fromkeys(Frame._fields, 32).items(), ("signature", SIGNATURE_SIZE)):
            text = getattr(wire, name)
            if isinstance(text, str):
                canonical_hex(text, size, f"{where}.{camel(name)}")
        raise


def parse_frame_head(document: Any, where: str) -> tuple[Frame, bytes, list[Any]]:
    """What was signed, the signature, and the record documents, not yet looked into. Raises `Malformed`."""
    try:
        wire = msgspec.convert(document, _WireHead)
    except (msgspec.ValidationError, TypeError) as error:
        raise _malformed(error, where) from None
    return *_head(wire, where), wire.records


def decode_frame(source: bytes | str | dict[str, Any]) -> SignedFrame:
    """A wire frame as a `SignedFrame`; records rebuilt, hashed and compared with count, sequences and root."""
    try:
        if isinstance(source, dict):
            wire = msgspec.convert(source, WireFrame)
        elif len(source) > MAX_FRAME_BYTES:
            raise Malformed(f"a frame has at most {MAX_FRAME_BYTES} bytes, this one {len(source)}", "frame")
        else:
            wire = _decode(source)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError) as error:
        raise _malformed(error, "frame") from None
    signed = unchecked_frame(wire, "frame")
    check_contents(signed)
    return signed


def unchecked_frame(wire: WireFrame, where: str) -> SignedFrame:
    """A frame as it was written, whether or not its records are those it was signed over. Raises `Malformed` naming the field."""
    frame, signature = _head(wire, where)
    try:
        pairs = [_record(frame.device, record) for record in wire.records]
    except (ValueError, Malformed):
        pairs = [_named_record(frame.device, record, f"{where}.records[{i}]") for i, record in enumerate(wire.records)]
    records, details = zip(*pairs, strict=True)
    return SignedFrame(frame, signature, records, details)


def check_contents(signed: SignedFrame) -> None:
    """Raise `Malformed`, naming the first record, unless count, sequences and root agree with the records (of `parse_record`)."""
    frame, records = signed.frame, signed.records
    first = frame.first_sequence
    if [record.sequence for record in records] != list(range(first, first + len(records))):
        i, record = next((i, record) for i, record in enumerate(records) if record.sequence != first + i)
        raise Malformed(f"record {first + i} is missing (found {record.sequence})", f"frame.records[{i}]")
    if len(records) != frame.count:
        raise Malformed(f"record {first + len(records)} is missing: {frame.count} were signed", "frame.records")
    if merkle.root(hash_sized_records(records)) != frame.records_root:
        raise Malformed("the records do not hash to the signed root: at least one was changed", "frame.recordsRoot")


def check_frame(signed: SignedFrame, meter_key: bytes) -> None:
    """Raise `BadSignature` unless the 20-byte address `meter_key` signed this frame."""
    check_signature(signed.digest, signed.signature, meter_key)


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def record_document(record: Record, details: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """The wire form of a record as a JSON object."""
    return {
        "sequence": record.sequence, "channel": record.channel, "startS": record.start_s, "endS": record.end_s,
        "importMilliwattHours": record.import_milliwatt_hours, "exportMilliwattHours": record.export_milliwatt_hours,
        "stepMilliwattHours": record.step_milliwatt_hours, "voltageMillivolts": record.voltage_millivolts,
        "currentMilliamps": record.current_milliamps, "powerMilliwatts": record.power_milliwatts, "flags": record.flags,
        "reason": record.reason, "meterHash": _hex(record.meter_hash), "salt": _hex(record.salt),
        "details": [[obis, _hex(raw)] for obis, raw in details],
    }  # fmt: skip


def frame_document(signed: SignedFrame) -> dict[str, Any]:
    """The wire form of a frame as a JSON object."""
    records = [record_document(r, d) for r, d in zip(signed.records, signed.details, strict=True)]
    return frame_head_document(signed.frame, signed.signature) | {"records": records}


def frame_head_document(frame: Frame, signature: bytes) -> dict[str, Any]:
    """The wire form of a frame without its records."""
    return {
        "device": _hex(frame.device), "incarnation": _hex(frame.incarnation), "firstSequence": frame.first_sequence,
        "count": frame.count, "recordsRoot": _hex(frame.records_root), "previousFrame": _hex(frame.previous_frame),
        "headSeen": _hex(frame.head_seen), "signature": _hex(signature),
    }  # fmt: skip


def encode_frame(signed: SignedFrame) -> bytes:
    """The wire bytes of a frame; the same frame always gives the same bytes."""
    return orjson.dumps(frame_document(signed))
