"""The door for frames: any bytes are a frame whose contents agree, or Malformed; a changed, dropped or invented record is named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import evidence, wire
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Record
from protocol.keys import Signer
from protocol.wire import SignedFrame, decode_frame, encode_frame, frame_document

from .strategies import JSON_MAX, damaged, json_values, values, words

SIGNER = Signer(bytes(31) + b"\x07")
details = st.lists(st.tuples(st.text("0123456789.:-*", max_size=32), st.binary(max_size=256)), max_size=3).map(tuple)


@st.composite
def frames(draw: st.DrawFn, most: int = 6) -> SignedFrame:
    """A signed frame of any records."""
    device, first = draw(words), draw(st.integers(0, JSON_MAX - most))
    items: list[wire.Details] = draw(st.lists(details, min_size=1, max_size=most))
    records = tuple(
        draw(values(Record, most=JSON_MAX))._replace(device=device, sequence=first + i, details_hash=evidence.details_hash(item))
        for i, item in enumerate(items)
    )
    frame = evidence.make_frame(records, draw(words), draw(words), draw(words))
    return SignedFrame(frame, SIGNER.sign(evidence.frame_digest(frame)), records, tuple(items))


@given(frames())
def test_a_frame_comes_back_as_it_went(signed: SignedFrame) -> None:
    raw = encode_frame(signed)
    assert decode_frame(raw) == decode_frame(frame_document(signed)) == decode_frame(raw.decode()) == signed
    assert encode_frame(decode_frame(raw)) == raw
    wire.check_frame(decode_frame(raw), SIGNER.address)
    with pytest.raises(BadSignature):
        wire.check_frame(signed, Signer(b"\x01" * 32).address)


@given(st.binary(max_size=300) | json_values.map(orjson.dumps))
def test_any_bytes_are_a_frame_or_malformed(noise: bytes) -> None:
    with pytest.raises(Malformed):
        decode_frame(noise)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff", b'{"device":"\xff"}', b"[" * 100_000, b'{"a":' * 100_000, b"{}", b"[]", b"null", b'"0x"', b"1" * 5000],
    ids=lambda raw: str(raw[:12]),
)
def test_hostile_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed, match="frame"):
        decode_frame(raw)


@given(st.data())
def test_any_damage_to_the_json_is_malformed_or_no_damage(data: st.DataObject) -> None:
    signed = data.draw(frames())
    document = data.draw(damaged(frame_document(signed)))
    try:
        decoded = decode_frame(document)
    except Malformed:
        return
    assert frame_document(decoded) == document  # whatever was replaced, the records still hash to the root


@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    signed = data.draw(frames(most=3))
    raw = bytearray(encode_frame(signed))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << (bit % 8)
    try:
        decoded = decode_frame(bytes(raw))
        wire.check_frame(decoded, SIGNER.address)
    except (Malformed, BadSignature):
        return
    assert decoded == signed  # the case of a hexadecimal digit says nothing


@given(st.data())
def test_a_missing_record_is_named(data: st.DataObject) -> None:
    signed = data.draw(frames().filter(lambda s: s.frame.count > 1))
    document = frame_document(signed)
    gone = data.draw(st.integers(0, signed.frame.count - 1))
    sequence = document["records"].pop(gone)["sequence"]
    with pytest.raises(Malformed, match=f"record {sequence} is missing"):
        decode_frame(document)


@given(st.data())
def test_a_changed_record_is_refused(data: st.DataObject) -> None:
    signed = data.draw(frames())
    document = frame_document(signed)
    record = data.draw(st.sampled_from(document["records"]))
    name = data.draw(st.sampled_from(["importMilliwattHours", "endS", "flags", "reason", "stepMilliwattHours"]))
    record[name] ^= 1
    with pytest.raises(Malformed, match="at least one was changed"):
        decode_frame(document)


@given(frames())
def test_upper_case_hex_and_white_space_in_hex_are_not_canonical(signed: SignedFrame) -> None:
    document = frame_document(signed)
    text = document["device"]
    for bad in ("0x " + text[3:], text + " ", "0X" + text[2:], text[:-1] + "g", text[:-2], text + "00", text[2:]):
        with pytest.raises(Malformed, match=r"frame\.device"):
            decode_frame(document | {"device": bad})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"records": []}, "frame.records"),
        ({"records": "none"}, "frame.records"),
        ({"records": [{}] * 257}, "frame.records"),
        ({"records": [{}]}, "frame.records[0]"),
        ({"records": [7]}, "frame.records[0]"),
        ({"count": True}, "frame.count"),
        ({"count": 1.0}, "frame.count"),
        ({"count": 0}, "frame.records"),
        ({"firstSequence": -1}, "frame.firstSequence"),
        ({"firstSequence": 1 << 53}, "frame.firstSequence"),
        ({"recordsRoot": "0x" + "AB" * 32}, "frame.recordsRoot"),
        ({"signature": "0x" + "00" * 64}, "frame.signature"),
        ({"more": 1}, "frame"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], where: str) -> None:
    record = Record(bytes(32), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, bytes(32), evidence.details_hash(()), bytes(32))
    frame = evidence.make_frame([record], bytes(32), bytes(32), bytes(32))
    signed = SignedFrame(frame, SIGNER.sign(evidence.frame_digest(frame)), (record,), ((),))
    with pytest.raises(Malformed) as error:
        decode_frame(frame_document(signed) | change)
    assert error.value.where.startswith(where)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"voltageMillivolts": 1 << 32}, "voltageMillivolts"),
        ({"reason": 256}, "reason"),
        ({"reason": None}, "reason"),
        ({"flags": True}, "flags"),
        ({"startS": 1.0}, "startS"),
        ({"powerMilliwatts": -(1 << 53)}, "powerMilliwatts"),
        ({"importMilliwattHours": -1}, "importMilliwattHours"),
        ({"exportMilliwattHours": 1 << 53}, "exportMilliwattHours"),
        ({"sequence": "1"}, "sequence"),
        ({"salt": "0x" + "00" * 31}, "salt"),
        ({"meterHash": "0x" + "FF" * 32}, "meterHash"),
        ({"details": {}}, "details"),
        ({"details": [["1.8.0", "0x0"]]}, "details[0]"),
        ({"details": [["1.8.0", "0x"], ["1.8.0"]]}, "details[1]"),
        ({"details": [["1.8.0\u00e9", "0x"]]}, "details[0]"),
        ({"details": [["1" * 33, "0x"]]}, "details[0]"),
        ({"details": [["1.8.0", "0x" + "00" * 257]]}, "details[0]"),
        ({"details": [[1, "0x"]]}, "details[0]"),
        ({"details": [["1.8.0", "0x"]] * 65}, "details"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(change: dict[str, Any], where: str) -> None:
    record = Record(bytes(32), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, bytes(32), evidence.details_hash(()), bytes(32))
    frame = evidence.make_frame([record, record._replace(sequence=2)], bytes(32), bytes(32), bytes(32))
    document = frame_document(SignedFrame(frame, bytes(65), (record, record._replace(sequence=2)), ((), ())))
    document["records"][1] |= change
    for source in (document, orjson.dumps(document)):
        with pytest.raises(Malformed) as error:
            decode_frame(source)
        assert error.value.where.startswith(f"frame.records[1].{where}")
    with pytest.raises(Malformed) as error:
        wire.parse_record(bytes(32), document["records"][1], "here")
    assert error.value.where.startswith(f"here.{where}")


def test_a_frame_too_large_is_refused_before_work() -> None:
    with pytest.raises(Malformed, match="bytes"):
        decode_frame(b" " * (wire.MAX_FRAME_BYTES + 1))


def test_the_largest_frame_passes() -> None:
    details = (("1" * evidence.MAX_OBIS_BYTES, bytes(evidence.MAX_RAW_BYTES)),) * evidence.MAX_DETAILS
    record = Record(
        b"\xff" * 32, 2**32 - 1, 0, JSON_MAX, JSON_MAX, JSON_MAX, JSON_MAX, JSON_MAX, 2**32 - 1, 2**32 - 1, -JSON_MAX, 2**32 - 1, 255,
        bytes(32), evidence.details_hash(details), bytes(32),
    )  # fmt: skip
    first = JSON_MAX - evidence.MAX_FRAME_RECORDS
    records = tuple(record._replace(sequence=first + i) for i in range(evidence.MAX_FRAME_RECORDS))
    frame = evidence.make_frame(records, bytes(32), bytes(32), bytes(32))
    signed = SignedFrame(frame, SIGNER.sign(evidence.frame_digest(frame)), records, (details,) * len(records))
    raw = encode_frame(signed)
    assert len(raw) <= wire.MAX_FRAME_BYTES
    assert decode_frame(raw) == signed
