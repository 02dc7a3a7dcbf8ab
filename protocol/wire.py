"""Frames as JSON on the wire: the one parser and the one writer.

`decode_frame` takes whatever bytes and either returns a `SignedFrame` whose records, root and count agree, or raises `Malformed`. It
does not check the signature (`check_frame` does), because who may sign is the reader's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from . import merkle
from .eip712 import MAX_JSON_INTEGER, canonical_hex
from .errors import Malformed
from .evidence import MAX_DETAILS, MAX_FRAME_RECORDS, MAX_OBIS_BYTES, MAX_RAW_BYTES, Frame, Record, frame_digest, record_hash
from .evidence import details_hash as hash_details
from .keys import SIGNATURE_SIZE, check_signature

Details = tuple[tuple[str, bytes], ...]

MAX_FRAME_BYTES = 8 << 20
"""256 records with 64 details of 256 raw bytes, in hex, stay below it."""


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


_RECORD_KEYS = frozenset((
    "sequence", "channel", "startS", "endS", "importMilliwattHours", "exportMilliwattHours", "stepMilliwattHours",
    "voltageMillivolts", "currentMilliamps", "powerMilliwatts", "flags", "reason", "meterHash", "salt", "details",
))  # fmt: skip
_FRAME_KEYS = frozenset((
    "device", "incarnation", "firstSequence", "count", "recordsRoot", "previousFrame", "headSeen", "signature", "records",
))  # fmt: skip


def _bounded(values: tuple[Any, ...], where: str) -> None:
    for value in values:
        if type(value) is not int or not -MAX_JSON_INTEGER <= value <= MAX_JSON_INTEGER:
            raise Malformed(f"numbers must be integers below 2^53, not {value!r}", where)


def _details(items: Any, where: str) -> Details:
    if type(items) is not list or len(items) > MAX_DETAILS:
        raise Malformed(f"must be a list of at most {MAX_DETAILS} items", where)
    details = []
    for i, item in enumerate(items):
        if type(item) is not list or len(item) != 2 or type(item[0]) is not str:
            raise Malformed('must be ["OBIS code", "0x…raw bytes"]', f"{where}[{i}]")
        code = item[0]
        if not code.isascii() or len(code) > MAX_OBIS_BYTES:
            raise Malformed(f"an OBIS code is at most {MAX_OBIS_BYTES} ASCII characters", f"{where}[{i}]")
        raw = canonical_hex(item[1], None, f"{where}[{i}]")
        if len(raw) > MAX_RAW_BYTES:
            raise Malformed(f"raw bytes are at most {MAX_RAW_BYTES}", f"{where}[{i}]")
        details.append((code, raw))
    return tuple(details)


def parse_record(device: bytes, document: Any, where: str) -> tuple[Record, Details]:
    """A record and its details from their JSON object; `device` is the frame's. Raises `Malformed`."""
    if type(document) is not dict or document.keys() != _RECORD_KEYS:
        raise Malformed(keys_problem(document, _RECORD_KEYS), where)
    get = document.__getitem__
    numbers = (
        get("channel"), get("sequence"), get("startS"), get("endS"), get("importMilliwattHours"), get("exportMilliwattHours"),
        get("stepMilliwattHours"), get("voltageMillivolts"), get("currentMilliamps"), get("powerMilliwatts"), get("flags"),
        get("reason"),
    )  # fmt: skip
    _bounded(numbers, where)
    details = _details(get("details"), where + ".details")
    meter = canonical_hex(get("meterHash"), 32, where + ".meterHash")
    salt = canonical_hex(get("salt"), 32, where + ".salt")
    return Record(device, *numbers, meter, hash_details(details), salt), details


def keys_problem(document: Any, expected: frozenset[str]) -> str:
    """A sentence for a JSON value that is not an object with exactly the keys `expected`."""
    if type(document) is not dict:
        return "must be an object"
    missing, unknown = sorted(expected - document.keys()), sorted(set(document) - expected)
    return f"field {missing[0]!r} is missing" if missing else f"unknown field {unknown[0]!r}"


def parse_frame_head(document: Any, where: str) -> tuple[Frame, bytes, list[Any]]:
    """What was signed, the signature, and the record documents, not yet looked into. Raises `Malformed`."""
    if type(document) is not dict or document.keys() != _FRAME_KEYS:
        raise Malformed(keys_problem(document, _FRAME_KEYS), where)
    _bounded((document["firstSequence"], document["count"]), where)
    device, incarnation, root, previous, seen = [
        canonical_hex(document[name], 32, f"{where}.{name}")
        for name in ("device", "incarnation", "recordsRoot", "previousFrame", "headSeen")
    ]
    frame = Frame(device, incarnation, document["firstSequence"], document["count"], root, previous, seen)
    signature = canonical_hex(document["signature"], SIGNATURE_SIZE, f"{where}.signature")
    items = document["records"]
    if type(items) is not list or not 1 <= len(items) <= MAX_FRAME_RECORDS:
        raise Malformed(f"must be a list of 1…{MAX_FRAME_RECORDS} records", f"{where}.records")
    return frame, signature, items


def decode_frame(source: bytes | str | dict[str, Any]) -> SignedFrame:
    """A wire frame as a `SignedFrame`; records rebuilt, hashed and compared with count, sequences and root."""
    document: Any = source
    if not isinstance(source, dict):
        if len(source) > MAX_FRAME_BYTES:
            raise Malformed(f"a frame has at most {MAX_FRAME_BYTES} bytes, this one {len(source)}", "frame")
        try:
            document = orjson.loads(source)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"is not JSON ({error})", "frame") from None
    frame, signature, items = parse_frame_head(document, "frame")
    pairs = [parse_record(frame.device, item, f"frame.records[{i}]") for i, item in enumerate(items)]
    signed = SignedFrame(frame, signature, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))
    check_contents(signed)
    return signed


def check_contents(signed: SignedFrame) -> None:
    """Raise `Malformed`, naming the first record, unless count, sequences and root agree with the records."""
    frame, records = signed.frame, signed.records
    for i, record in enumerate(records):
        if record.sequence != frame.first_sequence + i:
            expected = frame.first_sequence + i
            raise Malformed(f"record {expected} is missing (found {record.sequence})", f"frame.records[{i}]")
    if len(records) != frame.count:
        raise Malformed(f"record {frame.first_sequence + len(records)} is missing: {frame.count} were signed", "frame.records")
    if merkle.root([record_hash(record) for record in records]) != frame.records_root:
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
