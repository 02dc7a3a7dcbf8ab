"""Tasks, their descriptions and words, and energy proofs: every golden vector, good and bad, and what the vectors do not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol.eip712 import digest, from_json, hex_bytes, money_domain
from protocol.energy_proof import ProofRefused, Reading, Stretch, check_energy_proof
from protocol.errors import BadSignature, Malformed
from protocol.evidence import Frame, Record
from protocol.keys import check_signature
from protocol.money import Payment
from protocol.task import Completion, Description, GiveUp, Proof, Task, acceptance, earned_micro, task_id
from tests.vectors import generate, tasks

VECTORS: list[dict[str, Any]] = json.loads((Path(generate.__file__).parent / "tasks.json").read_text("utf-8"))["vectors"]
TYPES: dict[str, type[Any]] = {"Completion": Completion, "Payment": Payment, "GiveUp": GiveUp}


def of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", [v for v in VECTORS if v["kind"] == kind], ids=lambda vector: vector["name"])


def raw(text: str) -> bytes:
    return hex_bytes(text, None, "vector")


def reading(document: dict[str, Any]) -> Reading:
    path = [raw(sibling) for sibling in document["path"]]
    return Reading(from_json(Frame, document["frame"]), raw(document["signature"]), from_json(Record, document["record"]), path)


def proof_of(vector: dict[str, Any]) -> Stretch:
    return Stretch(reading(vector["start"]), reading(vector["end"]), vector["voucherMadeAtS"], raw(vector["voucherSignature"]))


def test_names_differ() -> None:
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS) >= 90


@of("task")
def test_ids(vector: dict[str, Any]) -> None:
    assert task_id(from_json(Task, vector["task"]), vector["chainId"], raw(vector["escrow"])) == raw(vector["id"])


@of("description")
def test_descriptions(vector: dict[str, Any]) -> None:
    if vector["good"]:
        description = Description.from_document(vector["document"])
        assert (description.to_document(), description.hash) == (vector["document"], raw(vector["hash"]))
        return
    with pytest.raises(Malformed) as raised:
        Description.from_document(vector["document"])
    assert raised.value.where == vector["where"]


@of("word")
def test_words(vector: dict[str, Any]) -> None:
    message = from_json(TYPES[vector["type"]], vector["message"])
    signed = digest(money_domain(vector["chainId"], raw(vector["escrow"])), message)
    if vector["good"]:
        check_signature(signed, raw(vector["signature"]), raw(vector["by"]))
        return
    with pytest.raises(BadSignature):
        check_signature(signed, raw(vector["signature"]), raw(vector["by"]))


@of("proof")
def test_proofs(vector: dict[str, Any]) -> None:
    task = from_json(Task, vector["task"])
    if vector["good"]:
        result = check_energy_proof(task, proof_of(vector), vector["openedAtS"], vector["endsAtS"])
        assert result == raw(vector["result"])
        return
    with pytest.raises(ProofRefused) as raised:
        check_energy_proof(task, proof_of(vector), vector["openedAtS"], vector["endsAtS"])
    assert raised.value.name == vector["refusal"]
    assert str(raised.value).startswith(vector["refusal"] + "(")


def test_an_acceptance_names_the_completion() -> None:
    done = Completion(bytes(32), 7, b"r" * 32)
    other = done._replace(result=b"s" * 32)
    assert acceptance(done, 1, tasks.ESCROW) != acceptance(other, 1, tasks.ESCROW)
    assert acceptance(done, 1, tasks.ESCROW).amount_micro == 7


def test_a_task_is_checked_against_its_description() -> None:
    task = tasks.task(Proof.COMPLETION)
    tasks.DESCRIPTION.check_task(task)
    with pytest.raises(Malformed, match="last milestone 'done' earns 800000"):
        tasks.DESCRIPTION.check_task(task._replace(price_micro=1))
    with pytest.raises(Malformed, match="another description"):
        tasks.DESCRIPTION.check_task(task._replace(description_hash=bytes(32)))


@pytest.mark.parametrize("document", [None, 7, "text", [], {"version": True}, {"milestones": {}}])
def test_foreign_documents_are_malformed(document: Any) -> None:
    with pytest.raises(Malformed):
        Description.from_document(document)


def test_energy_earns_by_its_share_and_never_more_than_the_price() -> None:
    task = tasks.task(Proof.ENERGY)
    assert [earned_micro(task, energy) for energy in (0, 1, 499_999, 500_000, 2**64)] == [0, 1, 799_998, 800_000, 800_000]
