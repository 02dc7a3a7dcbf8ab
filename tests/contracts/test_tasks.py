"""Tasks: opening, paying by each kind of proof, ending."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi import abi

from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.task import STOP_GRACE_S, Completion, Proof, Task
from tests.contracts.support import DAY_S, HOUR_S, person
from tests.contracts.task_support import ASKED, DEVICE, METER_KEY, NOBODY, NODE_KEY, PAY_KEY, PRICE, RESULT, TASK_TYPE, TaskWorld


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


# -------------------------------------------------------------------- opening

REFUSED_TASKS: list[tuple[Proof, dict[str, Any], str, tuple[object, ...]]] = [
    (Proof.RELEASE, {"node": NOBODY}, "NodeZero", ()),
    (Proof.RELEASE, {"refund_to": NOBODY}, "RefundToRefused", (NOBODY,)),
    (Proof.RELEASE, {"refund_to": person("payee").address}, "RefundToRefused", (person("payee").address,)),
    (Proof.RELEASE, {"requester_key": NOBODY}, "RequesterKeyZero", ()),
    (Proof.RELEASE, {"price_micro": 0}, "PriceZero", ()),
    (Proof.RELEASE, {"proof": 0}, "ProofKindRefused", (0,)),
    (Proof.RELEASE, {"proof": 4}, "ProofKindRefused", (4,)),
    (Proof.RELEASE, {"proof_grace_s": 7 * DAY_S + 1}, "ProofGraceRefused", (7 * DAY_S + 1, 7 * DAY_S)),
    (Proof.RELEASE, {"node_key": NODE_KEY.address}, "MembersRefused", (3,)),
    (Proof.COMPLETION, {"node_key": NOBODY}, "MembersRefused", (1,)),
    (Proof.COMPLETION, {"device": DEVICE}, "MembersRefused", (1,)),
    (Proof.COMPLETION, {"channel": 1}, "MembersRefused", (1,)),
    (Proof.COMPLETION, {"meter_key": METER_KEY.address}, "MembersRefused", (1,)),
    (Proof.COMPLETION, {"energy_milliwatt_hours": 1}, "MembersRefused", (1,)),
    (Proof.COMPLETION, {"start_from_s": 1}, "MembersRefused", (1,)),
    (Proof.ENERGY, {"node_key": NOBODY}, "MembersRefused", (2,)),
    (Proof.ENERGY, {"device": bytes(32)}, "MembersRefused", (2,)),
    (Proof.ENERGY, {"meter_key": NOBODY}, "MembersRefused", (2,)),
    (Proof.ENERGY, {"energy_milliwatt_hours": 0}, "MembersRefused", (2,)),
    (Proof.COMPLETION, {"node_key": PAY_KEY.address}, "KeyShared", (PAY_KEY.address,)),
    (Proof.ENERGY, {"meter_key": PAY_KEY.address}, "KeyShared", (PAY_KEY.address,)),
    (Proof.ENERGY, {"meter_key": NODE_KEY.address}, "KeyShared", (NODE_KEY.address,)),
]


@pytest.mark.parametrize(("proof", "changes", "error", "values"), REFUSED_TASKS)
def test_open_refuses(tasks: TaskWorld, proof: Proof, changes: dict[str, Any], error: str, values: tuple[object, ...]) -> None:
    task = tasks.task(proof)._replace(**changes)
    tasks.reverts(tasks.functions.openTask(task), "payer", error, *values)


def test_open_refuses_times_out_of_range(tasks: TaskWorld) -> None:
    now, longest = tasks.world.now(), 62 * DAY_S
    for deadline in (now, now + longest + 1):
        task = tasks.task(deadline_s=deadline)
        tasks.reverts(tasks.functions.openTask(task), "payer", "DeadlineRefused", deadline, now, now + longest)
    task = tasks.task(Proof.ENERGY, start_from_s=now + DAY_S)
    tasks.reverts(tasks.functions.openTask(task), "payer", "StartFromRefused", now + DAY_S, now + DAY_S)
    tasks.open(tasks.task(Proof.ENERGY, 1, start_from_s=now + DAY_S - 1, proof_grace_s=7 * DAY_S))
    tasks.world.at(now + 10)
    tasks.open(tasks.task(deadline_s=now + 10 + longest))
    tasks.world.at(now + 20)
    tasks.open(tasks.task(deadline_s=now + 21))


def test_only_the_requester_opens_with_its_own_money(tasks: TaskWorld) -> None:
    task = tasks.task()
    tasks.reverts(tasks.functions.openTask(task), "stranger", "NotRequester", tasks.world.address("stranger"), task.requester)
    rich = tasks.free("payer")
    task = tasks.task(price_micro=rich + 1)
    tasks.reverts(tasks.functions.openTask(task), "payer", "BalanceTooLow", task.requester, rich + 1, rich)


def test_an_id_is_used_once_for_ever(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    tasks.reverts(tasks.functions.openTask(task), "payer", "TaskIdUsed", tasks.id_of(task))
    tasks.pay(tasks.functions.close(task), "payee")
    tasks.reverts(tasks.functions.openTask(task), "payer", "TaskIdUsed", tasks.id_of(task))
    for call in (tasks.released(task, 1), tasks.functions.close(task)):
        tasks.reverts(call, "payee", "TaskIsClosed", tasks.id_of(task))
    tasks.reverts(tasks.functions.requestClose(task), "payer", "TaskIsClosed", tasks.id_of(task))


def test_open_by_signature(tasks: TaskWorld) -> None:
    task, deadline = tasks.task(), tasks.world.now() + HOUR_S
    stranger = tasks.world.signers["stranger"]
    call = tasks.functions.openTaskBySignature(task, deadline, tasks.open_signed(task, deadline, stranger))
    tasks.reverts(call, "stranger", "SignatureRefused", task.requester)
    dearer = task._replace(price_micro=2 * PRICE)
    call = tasks.functions.openTaskBySignature(dearer, deadline, tasks.open_signed(task, deadline))
    tasks.reverts(call, "stranger", "SignatureRefused", task.requester)
    late = tasks.world.now() - 1
    call = tasks.functions.openTaskBySignature(task, late, tasks.open_signed(task, late))
    tasks.reverts(call, "stranger", "DeadlinePassed", late)
    call = tasks.functions.openTaskBySignature(task, deadline, tasks.open_signed(task, deadline))
    tasks.pay(call)
    assert tasks.state(task)["endsAtS"] == task.deadline_s
    tasks.reverts(call, "stranger", "TaskIdUsed", tasks.id_of(task))


def test_an_account_with_code_requests(tasks: TaskWorld) -> None:
    owner = tasks.world.signers["owner"]
    account = tasks.world.double("SmartAccount", owner.address)
    place = bytes.fromhex(account.address[2:])
    tasks.world.send(tasks.world.token.functions.mint(RESULT, tasks.world.address("stranger"), PRICE), "minter")
    tasks.world.send(tasks.world.token.functions.approve(tasks.escrow.address, PRICE), "stranger")
    tasks.world.send(tasks.functions.depositFor(place, PRICE), "stranger")
    task, deadline = tasks.task(requester=place, requester_key=place), tasks.world.now() + HOUR_S
    tasks.pay(tasks.functions.openTaskBySignature(task, deadline, tasks.open_signed(task, deadline, owner)))
    tasks.pay(tasks.released(task, 10, owner))  # ERC-1271 for the requester's key too
    assert tasks.free("payee") == 10


def as_terms(task: Task) -> bytes:
    return abi.encode([TASK_TYPE], [task])


def test_a_wallet_opens_what_can_only_return_to_it(tasks: TaskWorld) -> None:
    own = tasks.task(refund_to=tasks.world.address("payer"))

    def opening(task: Task, lock: int = PRICE, terms: bytes | None = None) -> object:
        return tasks.functions.openAsRequester(as_terms(task) if terms is None else terms, lock)

    tasks.reverts(opening(own), "stranger", "NotRequester")
    tasks.reverts(opening(tasks.task()), "payer", "RefundToRefused", tasks.world.address("refund"))
    for lock in (PRICE - 1, PRICE + 1):
        tasks.reverts(opening(own, lock), "payer", "LockNotPrice", lock, PRICE)
    for terms in (b"", as_terms(own)[:-32], as_terms(own) + bytes(32)):
        tasks.reverts(opening(own, terms=terms), "payer", "TaskMalformed", len(terms), 512)
    answer = tasks.functions.openAsRequester(as_terms(own), PRICE).call({"from": tasks.world.signers["payer"].address})
    assert (bytes(answer[0]), answer[1].lower()) == (tasks.id_of(own), text(own.node))
    tasks.pay(opening(own), "payer")
    assert tasks.state(own)["openedAtS"]


# -------------------------------------------------------------------- paying


def test_release_needs_the_requesters_key(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    for signer in (NODE_KEY, METER_KEY, tasks.world.signers["payer"], tasks.world.signers["payee"]):
        tasks.reverts(tasks.released(task, 10, signer), "payee", "SignatureRefused", PAY_KEY.address)
    tasks.reverts(tasks.released(task, 10, signed_amount=9), "payee", "SignatureRefused")
    other = tasks.task(number=1)
    tasks.reverts(tasks.released(task, 10, session=tasks.id_of(other)), "payee", "SignatureRefused")


def test_amounts_only_rise_and_end_at_the_price(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    tasks.pay(tasks.released(task, 100))
    for amount in (0, 99, 100):
        tasks.reverts(tasks.released(task, amount), "payee", "NothingNew", tasks.id_of(task), amount, 100)
    tasks.reverts(tasks.released(task, PRICE + 1), "payee", "AbovePrice", tasks.id_of(task), PRICE + 1, PRICE)
    tasks.pay(tasks.released(task, PRICE))
    assert tasks.free("payee") == PRICE


def test_completion_needs_both_words_about_the_same(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task(Proof.COMPLETION))
    tasks.reverts(tasks.completed(task, 10, node=PAY_KEY), "payee", "SignatureRefused", NODE_KEY.address)
    tasks.reverts(tasks.completed(task, 10, accepter=NODE_KEY), "payee", "SignatureRefused", PAY_KEY.address)
    for accepted in (Completion(tasks.id_of(task), 10, keccak(b"other")), Completion(tasks.id_of(task), 9, RESULT)):
        tasks.reverts(tasks.completed(task, 10, accepted=accepted), "payee", "SignatureRefused", PAY_KEY.address)
    tasks.pay(tasks.completed(task, 10))
    tasks.reverts(tasks.completed(task, 10), "payee", "NothingNew", tasks.id_of(task), 10, 10)


def test_each_task_is_paid_by_its_own_proof_only(tasks: TaskWorld) -> None:
    opened = {proof: tasks.open(tasks.task(proof)) for proof in Proof}
    proof = tasks.sale(opened[Proof.ENERGY], 0, ASKED)
    for agreed, task in opened.items():
        calls = {
            Proof.RELEASE: tasks.released(task, 10),
            Proof.COMPLETION: tasks.completed(task, 10),
            Proof.ENERGY: tasks.delivered(task, 10, proof),
        }
        for given, call in calls.items():
            if given != agreed:
                tasks.reverts(call, "payee", "OtherProofAgreed", tasks.id_of(task), int(given), int(agreed))


def test_a_task_nobody_opened(tasks: TaskWorld) -> None:
    task = tasks.task()
    now = tasks.world.now()
    for call, sender in (
        (tasks.released(task, 10), "payee"),
        (tasks.functions.close(task), "payee"),
        (tasks.functions.close(task), "stranger"),
        (tasks.functions.requestClose(task), "payer"),
        (tasks.functions.closeBySignature(task, now, tasks.give_up_signed(task, now, tasks.world.signers["payee"])), "stranger"),
    ):
        tasks.reverts(call, sender, "TaskUnknown", tasks.id_of(task))
    assert set(tasks.state(task).values()) == {0}


def test_a_changed_task_is_another_one(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    for changed in (task._replace(node=tasks.world.address("stranger")), task._replace(refund_to=tasks.world.address("stranger"))):
        tasks.reverts(tasks.functions.close(changed), "stranger", "TaskUnknown", tasks.id_of(changed))


# -------------------------------------------------------------------- ending


def test_anyone_returns_the_rest_after_deadline_and_grace(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    due = task.deadline_s + task.proof_grace_s
    for at_s in (tasks.world.now(), due - 1):
        tasks.world.at(at_s)
        for sender in ("stranger", "payer", "refund"):
            tasks.reverts(tasks.functions.close(task), sender, "CloseNotDue", tasks.id_of(task), due)
    tasks.pay(tasks.released(task, 10))  # in the grace, signed in time or not: it is the requester's own word
    tasks.world.at(due)
    tasks.pay(tasks.functions.close(task), "stranger")
    assert tasks.free("refund") == PRICE - 10
    assert tasks.state(task)["closed"]


def test_a_request_to_close_brings_the_end_nearer(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    for sender in ("payee", "refund", "stranger"):
        call = tasks.functions.requestClose(task)
        tasks.reverts(call, sender, "MayNotRequestClose", tasks.world.address(sender), tasks.id_of(task))
    now = tasks.world.now()
    receipt = tasks.pay(tasks.functions.requestClose(task), "payer")
    (event,) = tasks.world.events(receipt, tasks.escrow, "TaskCloseRequested")
    assert (event["sender"], event["endsAtS"]) == (text(task.requester), now + STOP_GRACE_S)
    tasks.reverts(tasks.functions.requestClose(task), "payer", "EndsAlready", tasks.id_of(task), now + STOP_GRACE_S)
    due = now + STOP_GRACE_S + task.proof_grace_s
    tasks.world.at(due - 1)
    tasks.reverts(tasks.functions.close(task), "stranger", "CloseNotDue", tasks.id_of(task), due)
    tasks.world.at(due)
    tasks.pay(tasks.functions.close(task), "stranger")
    assert tasks.free("refund") == PRICE


def test_a_request_just_before_the_deadline_does_not_put_it_off(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    tasks.world.at(task.deadline_s - STOP_GRACE_S)
    tasks.reverts(tasks.functions.requestClose(task), "payer", "EndsAlready", tasks.id_of(task), task.deadline_s)
    tasks.world.at(task.deadline_s - STOP_GRACE_S - 1)
    tasks.pay(tasks.functions.requestClose(task), "payer")


@pytest.mark.parametrize("signer", [PAY_KEY, person("payer")])
def test_a_signed_request_to_close(tasks: TaskWorld, signer: Signer) -> None:
    task, deadline = tasks.open(tasks.task()), tasks.world.now() + HOUR_S
    for wrong in (NODE_KEY, person("payee"), person("refund")):
        call = tasks.functions.requestCloseBySignature(task, deadline, tasks.close_signed(task, deadline, wrong))
        tasks.reverts(call, "stranger", "SignatureRefused", task.requester)
    late = tasks.world.now() - 1
    call = tasks.functions.requestCloseBySignature(task, late, tasks.close_signed(task, late, signer))
    tasks.reverts(call, "stranger", "DeadlinePassed", late)
    call = tasks.functions.requestCloseBySignature(task, deadline, tasks.close_signed(task, deadline, signer))
    tasks.pay(call)
    assert tasks.state(task)["endsAtS"] < task.deadline_s


@pytest.mark.parametrize("signer", [NODE_KEY, person("payee")])
def test_a_node_gives_up_by_signature(tasks: TaskWorld, signer: Signer) -> None:
    task, deadline = tasks.open(tasks.task(Proof.COMPLETION)), tasks.world.now() + HOUR_S
    for wrong in (PAY_KEY, person("payer"), person("stranger")):
        call = tasks.functions.closeBySignature(task, deadline, tasks.give_up_signed(task, deadline, wrong))
        tasks.reverts(call, "stranger", "SignatureRefused", task.node)
    late = tasks.world.now() - 1
    call = tasks.functions.closeBySignature(task, late, tasks.give_up_signed(task, late, signer))
    tasks.reverts(call, "stranger", "DeadlinePassed", late)
    tasks.pay(tasks.functions.closeBySignature(task, deadline, tasks.give_up_signed(task, deadline, signer)))
    assert (tasks.free("refund"), tasks.state(task)["closed"]) == (PRICE, True)


def test_the_guardian_stops_new_tasks_only(tasks: TaskWorld) -> None:
    task = tasks.open(tasks.task())
    tasks.pay(tasks.functions.stopNewBusiness(), "guardian")
    tasks.reverts(tasks.functions.openTask(tasks.task(number=1)), "payer", "NewBusinessIsStopped")
    tasks.pay(tasks.released(task, 10))
    tasks.pay(tasks.functions.requestClose(task), "payer")
    tasks.pay(tasks.functions.close(task), "payee")
    tasks.pay(tasks.functions.withdraw(tasks.world.address("payee"), 10), "payee")
