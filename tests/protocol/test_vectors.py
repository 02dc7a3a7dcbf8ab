"""Every golden vector, good and bad, and the answers of the JavaScript reference to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol import merkle
from protocol.eip712 import EVIDENCE, Domain, digest, from_json, hex_bytes, struct_hash, type_of
from protocol.errors import BadSignature, Malformed, ProtocolError
from protocol.evidence import HandOver, Record, anchor_link, epoch_tree
from protocol.keys import check_signature, recover_address
from protocol.money import Terms
from protocol.pricing import price
from protocol.tariff import Tariff
from protocol.wire import check_frame, decode_frame, frame_document
from tests.vectors import generate, structs
from tests.vectors.random_sessions import answer_of, reference_bill

FOLDER = Path(generate.__file__).parent
CLASSES = {cls.__name__: cls for cls in structs.STRUCTS}


def load(name: str) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads((FOLDER / name).read_text("utf-8"))["vectors"]
    assert len({entry["name"] for entry in document}) == len(document)
    return document


def each(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", load(name), ids=lambda vector: vector["name"])


def raw(text: str) -> bytes:
    return hex_bytes(text, None, "vector")


def domain_of(fields: dict[str, Any]) -> Domain:
    if "chainId" not in fields:
        return EVIDENCE
    return Domain(fields["name"], fields["version"], fields["chainId"], raw(fields["verifyingContract"]))


def test_the_generators_still_make_the_same_bytes() -> None:
    for name, content in generate.files().items():
        assert (FOLDER / name).read_bytes() == content, f"{name}: run python -m tests.vectors.generate and look at the difference"


# --- structs ---


def test_every_struct_of_the_walls_has_vectors() -> None:
    walls = (FOLDER.parent.parent / "docs" / "walls.md").read_text("utf-8")
    for cls in CLASSES.values():
        assert type_of(cls).encode_type.removesuffix(type_of(Terms).encode_type if cls.__name__ == "SessionGrant" else "") in walls
    assert {vector["type"] for vector in load("structs.json")} == set(CLASSES)


@each("structs.json")
def test_struct(vector: dict[str, Any]) -> None:
    cls, domain = CLASSES[vector["type"]], domain_of(vector["domain"])
    message = from_json(cls, vector["message"])
    assert type_of(cls).encode_type == vector["encodeType"]
    assert type_of(cls).type_hash == raw(vector["typeHash"])
    assert domain.separator() == raw(vector["domainSeparator"])
    assert struct_hash(message) == raw(vector["structHash"])
    assert digest(domain, message) == raw(vector["digest"])
    if vector["good"]:
        check_signature(raw(vector["digest"]), raw(vector["signature"]), raw(vector["signer"]))
        return
    with pytest.raises(BadSignature):
        check_signature(raw(vector["digest"]), raw(vector["signature"]), raw(vector["signer"]))


# --- frames, logs, epochs, trees ---


@each("frames.json")
def test_frame(vector: dict[str, Any]) -> None:
    key = raw(vector["meterKey"])
    for source in (vector["frame"], json.dumps(vector["frame"])):
        if vector["refusal"] == "malformed":
            with pytest.raises(Malformed) as error:
                decode_frame(source)
            assert error.value.where == vector["where"]
            continue
        signed = decode_frame(source)
        assert frame_document(signed) == vector["frame"]
        if vector["refusal"]:
            with pytest.raises(BadSignature):
                check_frame(signed, key)
        else:
            check_frame(signed, key)


@each("epochs.json")
def test_epoch(vector: dict[str, Any]) -> None:
    frames, root = [raw(leaf) for leaf in vector["frames"]], raw(vector["root"])
    fits = (
        epoch_tree(frames).root == root
        and anchor_link(raw(vector["previousHead"]), root, vector["timeS"]) == raw(vector["head"])
        and all(raw(p["leaf"]) in frames for p in vector["paths"])
        and all(merkle.root_from_path(raw(p["leaf"]), [raw(node) for node in p["path"]]) == root for p in vector["paths"])
    )
    assert fits == vector["good"]


@each("merkle.json")
def test_tree_of_openzeppelin(vector: dict[str, Any]) -> None:
    leaves, root = [raw(leaf) for leaf in vector["leaves"]], raw(vector["root"])
    tree = merkle.Tree(leaves, sort=vector["sorted"])
    paths = {raw(p["leaf"]): [raw(node) for node in p["path"]] for p in vector["paths"]}
    if not vector["good"]:
        assert tree.root != root or all(merkle.root_from_path(leaf, path) != root for leaf, path in paths.items())
        return
    assert tree.root == root == merkle.root(tree.leaves)
    for leaf, path in paths.items():
        assert tree.path(leaf) == path
        assert merkle.root_from_path(leaf, path) == root
    with pytest.raises(Malformed):
        tree.path(bytes(32))


# --- pricing ---


@each("pricing.json")
def test_price(vector: dict[str, Any]) -> None:
    blank = dict.fromkeys((field.name for field in type_of(Record).fields), 0) | {"detailsHash": "0x" + "00" * 32, "salt": "0x" + "00" * 32}
    records = [from_json(Record, blank | vector["common"] | record) for record in vector["records"]]
    hand_overs = [from_json(HandOver, hand_over) for hand_over in vector["handOvers"]]
    arguments = vector["openedAtS"], records, hand_overs, vector["registerModulusMilliwattHours"]
    if not vector["good"] and vector["refusal"] != "tariff hash":
        with pytest.raises(ProtocolError) as error:
            price(Tariff.from_document(vector["tariff"]), *arguments)
        assert (type(error.value).__name__, getattr(error.value, "where", "")) == (vector["refusal"], vector["where"])
        return
    tariff = Tariff.from_document(vector["tariff"])
    assert price(tariff, *arguments).to_document() == vector["bill"]
    assert (tariff.hash == raw(vector["tariffHash"])) == vector["good"]


# --- what the JavaScript reference answered ---


def answers(file: str) -> dict[str, dict[str, Any]]:
    return {answer["name"]: answer for answer in load_answers() if answer["file"] == file}


def load_answers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "reference_answers.json").read_text("utf-8"))["vectors"]
    return found


@pytest.mark.parametrize("file", ["structs.json", "frames.json", "logs.json", "epochs.json", "pricing.json"])
def test_the_reference_answered_every_vector(file: str) -> None:
    assert list(answers(file)) == [vector["name"] for vector in load(file)]


def test_the_reference_hashes_and_recovers_as_we_do() -> None:
    found = answers("structs.json")
    for vector in load("structs.json"):
        answer = found[vector["name"]]
        for name in ("encodeType", "domainSeparator", "structHash", "digest"):
            assert answer[name] == vector[name], vector["name"]
        assert (answer.get("recovered") == vector["signer"]) == vector["good"], vector["name"]
        try:
            recovered = "0x" + recover_address(raw(vector["digest"]), raw(vector["signature"])).hex()
        except BadSignature:
            assert answer["refusal"] == "bad signature"
        else:
            assert answer["recovered"] == recovered


def test_the_reference_takes_and_refuses_the_same_frames_logs_and_epochs() -> None:
    found = answers("frames.json")
    for vector in load("frames.json"):
        assert found[vector["name"]].get("refusal", "") == vector["refusal"], vector["name"]
        if vector["good"]:
            assert found[vector["name"]]["digest"] == "0x" + decode_frame(vector["frame"]).digest.hex()
    found = answers("logs.json")
    for vector in load("logs.json"):
        answer = found[vector["name"]]
        assert (answer["problems"], answer["rolledBack"]) == (vector["problems"], vector["rolledBack"]), vector["name"]
    found = answers("epochs.json")
    for vector in load("epochs.json"):
        assert found[vector["name"]]["good"] == vector["good"], vector["name"]


def test_the_reference_makes_the_same_bills() -> None:
    found = answers("pricing.json")
    for vector in load("pricing.json"):
        answer = found[vector["name"]]
        if vector["good"]:
            assert answer["bill"] == reference_bill(vector["bill"]), vector["name"]
        else:
            assert answer["refusal"] == vector["refusal"], vector["name"]


def test_the_reference_verified_and_priced_random_sessions_as_we_do() -> None:
    sessions: list[dict[str, Any]] = json.loads((FOLDER / "reference_sessions.json").read_text("utf-8"))["vectors"]
    assert len(sessions) >= 100
    for answer in sessions:
        assert answer == answer_of(answer["seed"]), f"session {answer['seed']}"
