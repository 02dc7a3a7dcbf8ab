"""Tasks through the client on a real chain: opened by signature, paid by completion and by a meter's records, given up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from chain.errors import Reverted
from chain.event_types import EnergySold, TaskOpened, TaskPaid
from chain.events import decode_log
from chain.oneshot import send
from chain.task_calls import TaskCalls, task_terms
from chain.task_views import TaskViews
from protocol.eip712 import EVIDENCE, digest, money_domain
from protocol.energy_proof import Stretch, stretch
from protocol.evidence import ChargeKeyVoucher, Reason, Record, frame_digest, make_frame
from protocol.keys import Signer
from protocol.money import Open, Payment, RequestClose
from protocol.task import Completion, GiveUp, Proof, Task, acceptance, energy_result, task_id
from protocol.wire import SignedFrame

from .conftest import DEPLOYER, PAYEE, PAYER, STRANGER, Stage

PRICE, ASKED = 800_000, 500_000
PAY_KEY, NODE_KEY, METER_KEY = Signer.create(), Signer.create(), Signer.create()
DEVICE = os.urandom(32)


class Desk:
    """The task escrow of a stage, and who signs there."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.client = stage, stage.client
        self.calls, self.views = TaskCalls(stage.deployment), TaskViews(stage.client)
        self.place = stage.deployment.address_of("TaskEscrow")
        self.requester = Signer(stage.node.key(PAYER))

    def task(self, proof: Proof) -> Task:
        energy = proof == Proof.ENERGY
        return Task(
            requester=self.requester.address, node=self.stage.address(PAYEE), refund_to=self.requester.address,
            requester_key=PAY_KEY.address, node_key=bytes(20) if proof == Proof.RELEASE else NODE_KEY.address,
            description_hash=os.urandom(32), price_micro=PRICE, deadline_s=int(time.time()) + 3_600, proof_grace_s=60, proof=int(proof),
            device=DEVICE if energy else bytes(32), channel=1 if energy else 0, meter_key=METER_KEY.address if energy else bytes(20),
            energy_milliwatt_hours=ASKED if energy else 0, start_from_s=0, salt=os.urandom(32),
        )  # fmt: skip

    def id_of(self, task: Task) -> bytes:
        return task_id(task, self.stage.deployment.chain_id, self.place)

    def sign(self, signer: Signer, message: Any) -> bytes:
        return signer.sign(digest(money_domain(self.stage.deployment.chain_id, self.place), message))

    def fund(self, amount_micro: int) -> None:
        calls = self.stage.calls
        send(self.client, self.stage.signer(DEPLOYER), [calls.mint(os.urandom(32), self.requester.address, amount_micro)])
        payer = self.stage.signer(PAYER)
        send(self.client, payer, [calls.approve(self.place, amount_micro)])
        send(self.client, payer, [self.calls.deposit(amount_micro)])

    def events(self, call: Any, sender: int = STRANGER) -> list[Any]:
        (mined,) = send(self.client, self.stage.signer(sender), [call])
        receipt = self.client.receipt(mined.transaction)
        assert receipt is not None
        return [body for log in receipt.logs if (body := decode_log("TaskEscrow", log))]

    def open(self, proof: Proof) -> Task:
        task = self.task(proof)
        order = Open(self.id_of(task), PRICE, int(time.time()) + 3_600)
        events = self.events(self.calls.open_by_signature(task, order, self.sign(self.requester, order)))
        assert events == [TaskOpened(self.id_of(task), task.requester, task.node, PRICE)]
        return task

    def stretch(self) -> tuple[Stretch, bytes]:
        now = int(time.time())
        records = [
            Record(DEVICE, 1, n, now, now, n * ASKED, 0, 1, 0, 0, -1, 0, int(Reason.PERIODIC), os.urandom(32), os.urandom(32), bytes(32))
            for n in (0, 1)
        ]
        records[1] = records[1]._replace(meter_hash=records[0].meter_hash)
        frame = make_frame(records, os.urandom(32), bytes(32), bytes(32))
        signed = SignedFrame(frame, METER_KEY.sign(frame_digest(frame)), tuple(records), ((), ()))
        voucher = ChargeKeyVoucher(DEVICE, 1, NODE_KEY.address, now)
        return stretch([signed], 0, 1, voucher, METER_KEY.sign(digest(EVIDENCE, voucher))), records[0].meter_hash


def test_tasks_through_the_client(stage: Callable[..., Stage]) -> None:
    desk = Desk(stage(None))
    desk.fund(3 * PRICE)
    assert len(task_terms(desk.task(Proof.RELEASE))) == 512
    released, completed, delivered = (desk.open(proof) for proof in (Proof.RELEASE, Proof.COMPLETION, Proof.ENERGY))
    assert desk.views.free_micro(desk.requester.address) == 0

    payment = Payment(desk.id_of(released), 300, os.urandom(32))
    events = desk.events(desk.calls.pay_released(released, payment, desk.sign(PAY_KEY, payment)))
    assert events == [TaskPaid(payment.session, released.node, 300, payment.frame)]

    done = Completion(desk.id_of(completed), PRICE, os.urandom(32))
    accepted = desk.sign(PAY_KEY, acceptance(done, desk.stage.deployment.chain_id, desk.place))
    desk.events(desk.calls.pay_completed(completed, done, desk.sign(NODE_KEY, done), accepted))
    assert desk.views.state(completed).paid_micro == PRICE

    proof, meter = desk.stretch()
    sold = Completion(desk.id_of(delivered), PRICE, energy_result(proof.start.record, proof.end.record))
    call = desk.calls.pay_delivered(delivered, sold, desk.sign(NODE_KEY, sold), proof)
    events = desk.events(call)
    assert events[0] == EnergySold(sold.task, METER_KEY.address, 0, ASKED)
    assert desk.views.sold_through(DEVICE, 1, METER_KEY.address, meter) == ASKED
    with pytest.raises(Reverted) as again:
        desk.client.estimate_gas(call, desk.stage.address(STRANGER))
    assert again.value.name == "EnergyAlreadySold"

    deadline = int(time.time()) + 3_600
    close, give_up = RequestClose(desk.id_of(released), deadline), GiveUp(desk.id_of(released), deadline)
    desk.events(desk.calls.request_close_by_signature(released, close, desk.sign(PAY_KEY, close)))
    assert desk.views.state(released).ends_at_s < released.deadline_s
    desk.events(desk.calls.close_by_signature(released, give_up, desk.sign(Signer(desk.stage.node.key(PAYEE)), give_up)))
    assert desk.views.state(released).closed
    assert desk.views.free_micro(desk.requester.address) == PRICE - 300
    desk.events(desk.calls.withdraw(desk.requester.address, 100), PAYER)
    assert desk.stage.client.token_micro(desk.requester.address) == 100
