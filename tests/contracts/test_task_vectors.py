"""The golden vectors of tasks on the shipped contract: it refuses each bad proof by the name the vector gives, and pays each good one."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.eip712 import digest, from_json
from protocol.hashing import keccak
from protocol.money import Open
from protocol.task import Completion, Task, energy_result
from tests.contracts.task_support import TaskWorld
from tests.protocol.test_task import VECTORS, proof_of
from tests.vectors.tasks import NODE_KEY, OPENED_AT_S, REQUESTER

PROOFS = [vector for vector in VECTORS if vector["kind"] == "proof"]


@pytest.fixture
def funded(tasks: TaskWorld) -> TaskWorld:
    tasks.world.at(OPENED_AT_S - 100)
    tasks.pay(tasks.world.token.functions.mint(keccak(b"for vectors"), tasks.world.address("stranger"), 10**9), "minter")
    tasks.pay(tasks.world.token.functions.approve(tasks.escrow.address, 10**9))
    tasks.pay(tasks.functions.depositFor(REQUESTER.address, 10**9))
    return tasks


@pytest.mark.parametrize("vector", PROOFS, ids=[vector["name"] for vector in PROOFS])
def test_proofs_on_the_contract(funded: TaskWorld, vector: dict[str, Any]) -> None:
    task = from_json(Task, vector["task"])
    opening = REQUESTER.sign(digest(funded.domain, Open(funded.id_of(task), task.price_micro, OPENED_AT_S)))
    funded.world.at(OPENED_AT_S)
    funded.pay(funded.functions.openTaskBySignature(task, OPENED_AT_S, opening))
    assert (funded.state(task)["openedAtS"], funded.state(task)["endsAtS"]) == (vector["openedAtS"], vector["endsAtS"])
    proof = proof_of(vector)
    completion = Completion(funded.id_of(task), task.price_micro, energy_result(proof.start.record, proof.end.record))
    call = funded.functions.payDelivered(task, task.price_micro, NODE_KEY.sign(digest(funded.domain, completion)), proof)
    if vector["good"]:
        funded.pay(call)
        assert funded.state(task)["paidMicro"] == task.price_micro
    else:
        funded.reverts(call, "stranger", vector["refusal"])
