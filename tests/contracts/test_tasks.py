"""Tasks: opening, paying by each kind of proof, ending."""

from __future__ import annotations

import pytest

from protocol.task import Proof
from tests.contracts.support import World
from tests.contracts.task_support import ASKED, NODE_KEY, PRICE, RESULT, TaskWorld


@pytest.fixture
def tasks(world: World) -> TaskWorld:
    return TaskWorld(world)


def text(address: bytes) -> str:
    return "0x" + address.hex()


# -------------------------------------------------------------------- whole lives


def test_the_id_is_the_protocols(tasks: TaskWorld) -> None:
    for proof in Proof:
        task = tasks.task(proof)
        assert tasks.functions.taskIdOf(task).call() == tasks.id_of(task)


def test_a_released_task(tasks: TaskWorld) -> None:
    task = tasks.task()
    before = tasks.free("payer")
    receipt = tasks.pay(tasks.functions.openTask(task), "payer")
    (opened,) = tasks.world.events(receipt, tasks.escrow, "TaskOpened")
    assert opened == {
        "task": tasks.id_of(task), "requester": text(task.requester), "node": text(task.node), "priceMicro": PRICE,
    }  # fmt: skip
    assert tasks.free("payer") == before - PRICE
    tasks.pay(tasks.released(task, 300))
    receipt = tasks.pay(tasks.released(task, 1_000))
    (paid,) = tasks.world.events(receipt, tasks.escrow, "TaskPaid")
    assert paid == {"task": tasks.id_of(task), "node": text(task.node), "amountMicro": 1_000, "result": RESULT}
    assert tasks.free("payee") == 1_000
    receipt = tasks.pay(tasks.functions.close(task), "payee")
    (closed,) = tasks.world.events(receipt, tasks.escrow, "TaskClosed")
    assert closed == {"task": tasks.id_of(task), "paidMicro": 1_000, "returnedMicro": PRICE - 1_000}
    assert tasks.free("refund") == PRICE - 1_000


def test_a_completed_task(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task(Proof.COMPLETION))
    tasks.pay(tasks.completed(task, 400_000))
    tasks.pay(tasks.completed(task, PRICE))
    assert tasks.free("payee") == PRICE


def test_a_delivered_task(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task(Proof.ENERGY))
    proof = tasks.sale(task, 7_000, 7_000 + ASKED // 4)
    receipt = tasks.pay(tasks.delivered(task, PRICE // 4, proof))
    (sold,) = tasks.world.events(receipt, tasks.escrow, "EnergySold")
    assert (sold["fromMilliwattHours"], sold["throughMilliwattHours"]) == (7_000, 7_000 + ASKED // 4)
    assert tasks.free("payee") == PRICE // 4
    assert tasks.state(task)["soldMilliwattHours"] == ASKED // 4
    assert tasks.sold() == 7_000 + ASKED // 4
    tasks.pay(tasks.functions.closeBySignature(task, tasks.world.now(), tasks.give_up_signed(task, tasks.world.now(), NODE_KEY)))
    assert tasks.free("refund") == PRICE - PRICE // 4
