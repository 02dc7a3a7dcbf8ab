"""Tasks between nodes against a real chain: opened through a device wallet or by the requester, paid by each kind of proof, returned."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from chain.oneshot import send
from chain.task_calls import TaskCalls
from chain.task_views import TaskViews
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets, owner_order
from chain.wallet_views import WalletViews
from protocol.eip712 import digest, money_domain, to_json
from protocol.evidence import Reason
from protocol.keys import Signer
from protocol.money import Open, Payment
from protocol.task import Completion, Description, GiveUp, Milestone, Proof, Task, acceptance, energy_result, task_id
from protocol.wallet import OpenTask, Policy, policy_document, wallet_domain
from tests.service.bench_agent import BenchAgent
from tests.service.world import World, eventually

pytestmark = pytest.mark.timeout(400)  # starts a chain and the programs; a loaded machine takes its time
NODE, OWNER, REQUESTER = 5, 6, 7
"""Development accounts that play them."""


def hexed(raw: bytes) -> str:
    return "0x" + raw.hex()


class Tasks:
    """Somebody who opens tasks at the service."""

    def __init__(self, world: World) -> None:
        self.world, self.escrow = world, world.deployment.address_of("TaskEscrow")
        self.domain = money_domain(world.deployment.chain_id, self.escrow)
        self.calls, self.views = TaskCalls(world.deployment), TaskViews(world.client)
        self.requester_key, self.node_key = Signer.create(), Signer.create()
        self.node = Signer(world.secrets[NODE]).address

    def id_of(self, task: Task) -> bytes:
        return task_id(task, self.world.deployment.chain_id, self.escrow)

    def task(self, requester: bytes, description: Description, price_micro: int, proof: Proof, **changes: Any) -> Task:
        node_key = self.node_key.address if proof != Proof.RELEASE else bytes(20)
        return Task(
            requester, self.node, requester, self.requester_key.address, node_key, description.hash, price_micro, int(time.time()) + 600,
            0, int(proof), bytes(32), 0, bytes(20), 0, 0, os.urandom(32),
        )._replace(**changes)  # fmt: skip

    def fund(self, account: int, amount_micro: int) -> Signer:
        """Tokens of a development account into its free balance for tasks."""
        world, key = self.world, Signer(self.world.secrets[account])
        minter = TransactionSigner(world.client, world.secrets[0])
        send(world.client, minter, [world.client.calls.mint(os.urandom(32), key.address, amount_micro)])
        own = TransactionSigner(world.client, key.secret)
        send(world.client, own, [world.client.calls.approve(self.escrow, amount_micro), self.calls.deposit(amount_micro)])
        return key

    def open(self, task: Task, description: Description, requester: Signer) -> str:
        order = Open(self.id_of(task), task.price_micro, int(time.time()) + 300)
        signature = requester.sign(digest(self.domain, order))
        return self.post(task, description, order.deadline_s, signature)

    def post(self, task: Task, description: Description, deadline_s: int, signature: bytes, **more: Any) -> str:
        body = {
            "task": to_json(task),
            "description": description.to_document(),
            "deadlineS": deadline_s,
            "signature": hexed(signature),
        } | more
        opened = self.world.call("POST", "/api/v1/tasks", body)
        assert self.world.call("POST", "/api/v1/tasks", body)["task"] == opened["task"]  # again: the same
        self.token = opened["accessToken"]
        path = f"/api/v1/tasks/{opened['task']}"
        eventually("the task is open", lambda: self.view(path)["state"] == "open")
        return path

    def view(self, path: str) -> dict[str, Any]:
        view: dict[str, Any] = self.world.call("GET", path, token=self.token)
        return view

    def complete(self, path: str, completion: Completion, expect: int = 200, **more: Any) -> dict[str, Any]:
        signature = self.node_key.sign(digest(self.domain, completion))
        body = {"amountMicro": completion.amount_micro, "result": hexed(completion.result), "signature": hexed(signature)} | more
        answer: dict[str, Any] = self.world.call("POST", path + "/completions", body, expect=expect)
        return answer

    def pay(self, path: str, payment: Payment, expect: int = 200) -> dict[str, Any]:
        signature = self.requester_key.sign(digest(self.domain, payment))
        body = {"amountMicro": payment.amount_micro, "frame": hexed(payment.frame), "signature": hexed(signature)}
        answer: dict[str, Any] = self.world.call("POST", path + "/payments", body, expect=expect)
        return answer


@pytest.fixture(scope="module")
def tasks(world: World) -> Tasks:
    return Tasks(world)


def test_a_wallet_pays_a_node_for_energy_that_two_records_prove(world: World, tasks: Tasks) -> None:
    agent = BenchAgent(world)
    agent.enrol()
    voucher, vouched = agent.voucher()
    tasks.node_key = agent.charge_keys[voucher.charge_key]
    pay_key = tasks.requester_key
    wallet, policy = made_wallet(world, tasks, pay_key, 1_000_000)
    description = Description("500 Wh for a vehicle", "charging", ())
    task = tasks.task(
        wallet, description, 400_000, Proof.ENERGY, device=agent.device, channel=agent.channel, meter_key=agent.meter_key.address,
        energy_milliwatt_hours=500_000,
    )  # fmt: skip
    order = OpenTask(tasks.id_of(task), task.price_micro, int(time.time()) + 300)
    signature = pay_key.sign(digest(wallet_domain(world.deployment.chain_id, wallet), order))
    path = tasks.post(task, description, order.deadline_s, signature, wallet=policy_document(policy))

    agent.clock = int(time.time())
    start = agent.record(Reason.START)
    middle, end = agent.record(rise=200_000, seconds=1), agent.record(rise=300_000, seconds=1)
    for record in (start, middle, end):
        agent.send(agent.frame(record))
    proof = {
        "startSequence": start.sequence,
        "endSequence": middle.sequence,
        "voucherMadeAtS": voucher.made_at_s,
        "voucherSignature": hexed(vouched),
    }
    half = Completion(tasks.id_of(task), 160_000, energy_result(start, middle))
    refused = tasks.complete(path, half._replace(amount_micro=160_001), expect=400, energy=proof)
    assert "200000 mWh earn 160000" in refused["detail"]
    refused = tasks.complete(path, half, expect=400, energy=proof | {"endSequence": end.sequence})
    assert "not the hash of these two records" in refused["detail"]
    refused = tasks.complete(path, half, expect=400, energy=proof | {"startSequence": middle.sequence, "endSequence": start.sequence})
    assert "RecordsOutOfOrder" in refused["detail"]
    refused = tasks.complete(path, half, expect=409, energy=proof | {"endSequence": end.sequence + 9})
    assert "holds no frame" in refused["detail"]
    tasks.complete(path, half, energy=proof)
    tasks.complete(path, half, energy=proof)  # again: nothing more
    eventually("the first 200 Wh are paid", lambda: tasks.view(path)["paidMicro"] == 160_000)
    whole = Completion(tasks.id_of(task), 400_000, energy_result(start, end))
    tasks.complete(path, whole, energy=proof | {"endSequence": end.sequence})
    eventually("all is paid", lambda: tasks.view(path)["paidMicro"] == 400_000)
    assert tasks.views.free_micro(tasks.node) >= 400_000
    assert tasks.views.sold_through(agent.device, agent.channel, agent.meter_key.address, agent.meter_hash) == end.import_milliwatt_hours
    state = WalletViews(world.client).state(wallet)
    assert state is not None
    assert (state.free_micro, state.locked_today_micro) == (600_000, 400_000)
    agent.close()


def made_wallet(world: World, tasks: Tasks, pay_key: Signer, amount_micro: int) -> tuple[bytes, Policy]:
    """A device's wallet with money and a policy that allows the node."""
    calls, owner = Wallets(world.deployment), Signer(world.secrets[OWNER])
    device = os.urandom(32)
    wallet = WalletViews(world.client).address(device, owner.address)
    policy = Policy(pay_key.address, (tasks.node,), 500_000, 0, 0, 500_000, 1_000_000, int(time.time()) + 86_400)
    first = calls.set_policy(wallet, policy)
    order = owner_order(first, 0, int(time.time()) + 300)
    signature = owner.sign(digest(wallet_domain(world.deployment.chain_id, wallet), order))
    minter, chain_calls = TransactionSigner(world.client, world.secrets[0]), world.client.calls
    made = calls.create_and_call(device, owner.address, first, order, signature)
    send(world.client, minter, [made, chain_calls.mint(os.urandom(32), wallet, amount_micro)])
    send(world.client, minter, [calls.deposit(wallet)])  # its gas is estimated against the wallet, which must be there
    return wallet, policy


def test_a_completion_is_paid_when_it_is_accepted_milestone_by_milestone(world: World, tasks: Tasks) -> None:
    requester = tasks.fund(REQUESTER, 1_000_000)
    description = Description("survey", "inspection", (Milestone("pictures", 300_000), Milestone("report", 1_000_000)))
    task = tasks.task(requester.address, description, 1_000_000, Proof.COMPLETION)
    path = tasks.open(task, description, requester)
    pictures = Completion(tasks.id_of(task), 300_000, b"\1" * 32)
    accepted = acceptance(pictures, world.deployment.chain_id, tasks.escrow)
    assert "no completion" in tasks.pay(path, accepted, expect=409)["detail"]
    tasks.complete(path, pictures)
    assert "another amount" in tasks.pay(path, accepted._replace(amount_micro=300_001), expect=400)["detail"]
    tasks.pay(path, accepted)
    eventually("the pictures are paid", lambda: tasks.view(path)["paidMicro"] == 300_000)
    before = tasks.views.free_micro(requester.address)
    give_up = GiveUp(tasks.id_of(task), int(time.time()) + 300)
    signature = tasks.node_key.sign(digest(tasks.domain, give_up))
    world.call("POST", path + "/give-up", {"deadlineS": give_up.deadline_s, "signature": hexed(signature)})
    eventually("the rest is back", lambda: tasks.view(path)["state"] == "closed")
    assert tasks.view(path)["returnedMicro"] == 700_000 == tasks.views.free_micro(requester.address) - before
    assert "closed" in tasks.pay(path, accepted, expect=409)["detail"]


def test_a_stream_of_releases_ends_by_itself_and_what_is_left_goes_back(world: World, tasks: Tasks) -> None:
    requester = tasks.fund(REQUESTER, 500_000)
    description = Description("a minute of air", "compressor", ())
    task = tasks.task(requester.address, description, 500_000, Proof.RELEASE, deadline_s=int(time.time()) + 25)
    path = tasks.open(task, description, requester)
    for amount in (50_000, 100_000, 150_000):
        tasks.pay(path, Payment(tasks.id_of(task), amount, bytes(32)))
    tasks.pay(path, Payment(tasks.id_of(task), 100_000, bytes(32)))  # an older word changes nothing
    assert "above the price" in tasks.pay(path, Payment(tasks.id_of(task), 500_001, bytes(32)), expect=400)["detail"]
    stranger = {"amountMicro": 200_000, "frame": hexed(bytes(32)), "signature": hexed(Signer.create().sign(b"\2" * 32))}
    assert "requester's key" in world.call("POST", path + "/payments", stranger, expect=400)["detail"]
    eventually("the stream is paid", lambda: tasks.view(path)["paidMicro"] == 150_000)
    eventually("what was not earned is back", lambda: tasks.view(path)["state"] == "closed", 90)
    assert tasks.view(path)["returnedMicro"] == 350_000


def test_what_is_no_task_is_refused_by_name(world: World, tasks: Tasks) -> None:
    requester = Signer(world.secrets[REQUESTER])
    description = Description("nothing", "nothing", ())
    task = tasks.task(requester.address, description, 1_000, Proof.RELEASE)
    signature = hexed(requester.sign(b"\3" * 32))
    body = {"task": to_json(task), "description": description.to_document(), "deadlineS": int(time.time()) + 300, "signature": signature}

    def refused(**changes: Any) -> str:
        detail: str = world.call("POST", "/api/v1/tasks", body | changes, expect=400)["detail"]
        return detail

    assert "requester signs" in refused()
    assert "another description" in refused(description=Description("else", "nothing", ()).to_document())
    assert "priceMicro" in refused(task=to_json(task) | {"priceMicro": -1})
    assert "15 s ahead" in refused(deadlineS=int(time.time()) + 2)
    assert "wallet" in refused(wallet={"payKey": "0x00"})
    assert world.call("GET", f"/api/v1/tasks/0x{'77' * 32}", expect=404)["status"] == 404
