"""Tasks from a wallet: the same policy, the same limits; what comes back can be brought home by anyone."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi import encode

from protocol.task import Proof, Task, task_id
from tests.contracts.support import DAY_S, World, person
from tests.contracts.task_support import TaskWorld
from tests.contracts.wallets import DAY_MICRO, PAY_KEY, SESSION_MICRO, WalletWorld

PRICE = 2_000_000
KINDS = (
    "(address,address,address,address,address,bytes32,uint64,uint64,uint32,uint8,bytes32,uint32,address,uint64,uint64,bytes32)"
)


class Tasks:
    def __init__(self, wallets: WalletWorld) -> None:
        self.wallets, self.world = wallets, wallets.world
        self.tasks = TaskWorld(wallets.world)
        self.tasks.escrow = wallets.task_escrow
        self.tasks.functions = wallets.task_escrow.functions

    def task(self, number: int = 0, **changes: Any) -> Task:
        wallet = self.wallets.address
        base = {"requester": wallet, "refund_to": wallet, "requester_key": PAY_KEY.address, "price_micro": PRICE}
        return self.tasks.task(Proof.RELEASE, number, **{**base, **changes})

    def id_of(self, task: Task) -> bytes:
        return task_id(task, self.world.chain_id, bytes.fromhex(self.wallets.task_escrow.address[2:]))

    def open(self, task: Task, lock: int = PRICE, **changes: Any) -> Any:
        members = tuple("0x" + each.hex() if isinstance(each, bytes) and len(each) == 20 else each for each in task)
        return self.wallets.open_task(encode([KINDS], [members]), changes.pop("task_id", self.id_of(task)), lock, **changes)

    def free(self) -> int:
        return int(self.wallets.task_escrow.functions.freeMicroOf(self.wallets.address).call())


@pytest.fixture
def tasks(world: World) -> Tasks:
    return Tasks(WalletWorld(world))


def test_a_task_is_paid_and_its_rest_comes_home(tasks: Tasks) -> None:
    world, wallets, task = tasks.world, tasks.wallets, tasks.task()
    before = wallets.free()
    world.send(tasks.open(task), "stranger")
    assert wallets.free() == before - PRICE
    assert wallets.wallet.functions.lockedTodayMicro().call() == PRICE
    world.send(tasks.tasks.released(task, 600_000, PAY_KEY), "stranger")
    world.send(wallets.task_escrow.functions.close(task), "payee")
    assert tasks.free() == PRICE - 600_000
    world.send(wallets.wallet.functions.returnFromTasks(), "stranger")
    assert (tasks.free(), wallets.free()) == (0, before - 600_000)
    world.reverts(wallets.wallet.functions.returnFromTasks(), "stranger", "NothingToDeposit")


def test_the_owner_takes_money_straight_from_the_task_escrow(tasks: Tasks) -> None:
    world, wallets, task = tasks.world, tasks.wallets, tasks.task()
    world.send(tasks.open(task), "stranger")
    world.send(wallets.task_escrow.functions.close(task), "payee")
    world.send(world.escrow.functions.stopNewBusiness(), "guardian")
    world.reverts(wallets.wallet.functions.returnFromTasks(), "stranger", "NewBusinessIsStopped")
    world.send(wallets.wallet.functions.withdrawFromTasks(world.address("refund"), PRICE), "owner")
    assert world.token.functions.balanceOf(world.address("refund")).call() == PRICE


def test_the_policy_holds_for_tasks(tasks: Tasks) -> None:
    world, wallets = tasks.world, tasks.wallets
    deadline = world.now() + 10 * DAY_S
    elsewhere = tasks.task(node=world.address("stranger"))
    world.reverts(tasks.open(elsewhere), "stranger", "ProviderNotListed", world.address("stranger"))
    dear = tasks.task(price_micro=SESSION_MICRO + 1)
    world.reverts(tasks.open(dear, SESSION_MICRO + 1), "stranger", "AboveSessionLimit", SESSION_MICRO + 1)
    for number in range(2):
        world.send(wallets.open(wallets.terms(number), SESSION_MICRO), "stranger")
    rest = DAY_MICRO - 2 * SESSION_MICRO
    world.reverts(tasks.open(tasks.task(price_micro=rest + 1), rest + 1), "stranger", "AboveDayLimit", DAY_MICRO + 1)
    task = tasks.task(deadline_s=deadline)
    world.reverts(tasks.open(task, signer=person("a thief")), "stranger", "SignatureRefused", PAY_KEY.address)
    world.reverts(tasks.open(task, domain=world.money), "stranger", "SignatureRefused", PAY_KEY.address)
    world.reverts(tasks.open(task, task_id=b"\x01" * 32), "stranger", "TaskIsAnother", tasks.id_of(task), b"\x01" * 32)
    world.reverts(tasks.open(task, PRICE - 1), "stranger", "LockNotPrice")
    world.reverts(tasks.open(tasks.task(requester=world.address("payer"))), "stranger", "NotRequester", wallets.address)
    world.reverts(tasks.open(tasks.task(refund_to=world.address("payer"))), "stranger", "RefundToRefused")
    once = tasks.open(task, deadline=deadline)
    world.send(once, "stranger")
    world.at(world.now() + DAY_S)  # the day has room again: what refuses is the tombstone
    world.reverts(once, "stranger", "TaskIdUsed")
    world.at(deadline + 1)
    world.reverts(once, "stranger", "DeadlinePassed", deadline)
    world.send(wallets.wallet.functions.freeze(), "owner")
    world.reverts(tasks.open(tasks.task(1)), "stranger", "WalletFrozen")
