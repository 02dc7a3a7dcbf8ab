"""Packed encoders equal eth-account's generic EIP-712 encoding, for every struct and domain; JSON comes back as it went."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from protocol import evidence
from protocol.eip712 import EVIDENCE, digest, from_json, struct_hash, to_json, type_of, typed_data
from protocol.errors import Malformed
from protocol.hashing import keccak

from .strategies import JSON_MAX, STRUCTS, damaged, domains, json_values, values

every_struct = pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)


@every_struct
@given(data=st.data())
def test_the_packed_encoding_is_the_generic_one(cls: type, data: st.DataObject) -> None:
    value, domain = data.draw(values(cls)), data.draw(domains(cls))
    generic = encode_typed_data(full_message=typed_data(domain, value))
    assert generic.header == domain.separator()
    assert generic.body == struct_hash(value)
    assert keccak(b"\x19\x01" + generic.header + generic.body) == digest(domain, value)


@every_struct
@given(data=st.data())
def test_json_comes_back_as_it_went(cls: type, data: st.DataObject) -> None:
    value = data.draw(values(cls, most=JSON_MAX))
    assert from_json(cls, to_json(value)) == value


@every_struct
@given(data=st.data())
def test_any_json_is_a_value_or_malformed(cls: type, data: st.DataObject) -> None:
    good = to_json(data.draw(values(cls, most=JSON_MAX)))
    document = data.draw(json_values | damaged(good))
    try:
        value = from_json(cls, document)
    except Malformed:
        return
    assert lowered(to_json(value)) == lowered(document)


@every_struct
def test_integers_from_2_to_the_53_on_are_refused(cls: type) -> None:
    kind = type_of(cls)
    for field in kind.fields:
        if field.solidity_type in ("uint64", "uint128", "uint256"):
            good = to_json(cls(*(_zero(f.solidity_type) for f in kind.fields)))
            assert from_json(cls, good | {field.name: JSON_MAX})
            with pytest.raises(Malformed, match=field.name):
                from_json(cls, good | {field.name: JSON_MAX + 1})


def lowered(document: Any) -> Any:
    """Hexadecimal text in any case says the same outside evidence."""
    if isinstance(document, dict):
        return {name: lowered(value) for name, value in document.items()}
    return document.lower() if isinstance(document, str) else document


def _zero(kind: str) -> Any:
    nested = {type_of(cls).name: cls for cls in STRUCTS}.get(kind)
    if nested is not None:
        return nested(*(_zero(f.solidity_type) for f in type_of(nested).fields))
    if kind == "bool":
        return False
    if kind == "address":
        return bytes(20)
    return bytes(int(kind[5:])) if kind.startswith("bytes") else 0


@given(values(evidence.Record))
def test_the_fast_record_hash_is_the_struct_hash(record: evidence.Record) -> None:
    assert evidence.record_hash(record) == struct_hash(record)


@given(values(evidence.Frame))
def test_the_frame_digest_is_the_evidence_digest(frame: evidence.Frame) -> None:
    assert evidence.frame_digest(frame) == digest(EVIDENCE, frame) == keccak(b"\x19\x01" + EVIDENCE.separator() + struct_hash(frame))


@given(data=st.data())
def test_a_member_out_of_range_is_named(data: st.DataObject) -> None:
    record = data.draw(values(evidence.Record))
    field = data.draw(st.sampled_from(type_of(evidence.Record).fields))
    kind = field.solidity_type
    if kind.startswith("bytes"):
        wrong: Any = data.draw(st.binary(max_size=40).filter(lambda b: len(b) != 32))
    else:
        bits = int(kind.removeprefix("u").removeprefix("int"))
        wrong = data.draw(st.sampled_from([1 << bits, -(1 << bits) - 1, True, "1", None, 1.0, b"\x01"]))
    bad = record._replace(**{field.attribute: wrong})
    for hasher in (evidence.record_hash, struct_hash):
        if wrong is True and hasher is evidence.record_hash:
            continue  # stated in its docstring; no door lets one through
        with pytest.raises(Malformed, match=field.name):
            hasher(bad)


@given(st.lists(st.tuples(st.text("0123456789.:-*", max_size=32), st.binary(max_size=256)), max_size=6))
def test_details_hash_packs_lengths_and_bytes(details: list[tuple[str, bytes]]) -> None:
    packed = b"".join(len(c).to_bytes(1, "big") + c.encode() + len(r).to_bytes(2, "big") + r for c, r in details)
    assert evidence.details_hash(details) == keccak(packed)


def test_both_keccaks_agree() -> None:
    from Crypto.Hash import keccak as other

    for size in (0, 1, 31, 32, 135, 136, 137, 544, 1000):
        data = bytes(range(256)) * 4
        assert keccak(data[:size]) == other.new(digest_bits=256, data=data[:size]).digest()
