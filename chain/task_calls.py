"""Calls to the task escrow. Pure: no network.

All but the plain `deposit` and `withdraw` can be sent again without harm: ids are used once, amounts are cumulative, energy is sold once.
"""

from __future__ import annotations

from chain.abi import CODEC, interface
from chain.calls import Call
from chain.deployment import Deployment
from protocol.energy_proof import Stretch
from protocol.money import Open, Payment, RequestClose, Withdraw
from protocol.task import Completion, GiveUp, Task

CONTRACT = "TaskEscrow"


def task_terms(task: Task) -> bytes:
    """The ABI encoding of a task, as a wallet's `openTaskBySignature` takes it."""
    return bytes(CODEC.encode(interface(CONTRACT).functions["taskIdOf"].inputs, [task]))


class TaskCalls:
    """Calls to the task escrow of one deployment. Signatures are 65 bytes, or what an ERC-1271 account takes."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def _call(self, function: str, *arguments: object) -> Call:
        data = interface(CONTRACT).functions[function].encode(*arguments)
        return Call(self._deployment.address_of(CONTRACT), data, f"{CONTRACT}.{function}")

    # --- tasks ---

    def open(self, task: Task) -> Call:
        """By the requester, whose free balance in the task escrow holds the price."""
        return self._call("openTask", task)

    def open_by_signature(self, task: Task, order: Open, signature: bytes) -> Call:
        """On the requester's signed `Open` (session: the task's id, lock: its price). Anyone may send it."""
        return self._call("openTaskBySignature", task, order.deadline_s, signature)

    def pay_released(self, task: Task, payment: Payment, signature: bytes) -> Call:
        """RELEASE: on the requester key's payment. Anyone may send it."""
        return self._call("payReleased", task, payment.amount_micro, payment.frame, signature)

    def pay_completed(self, task: Task, completion: Completion, signature: bytes, acceptance_signature: bytes) -> Call:
        """COMPLETION: on the node key's completion and the requester key's `protocol.task.acceptance` of it. Anyone may send it."""
        return self._call("payCompleted", task, completion.amount_micro, completion.result, signature, acceptance_signature)

    def pay_delivered(self, task: Task, completion: Completion, signature: bytes, stretch: Stretch) -> Call:
        """ENERGY: on the meter's records and the node key's completion that names them. Anyone may send it."""
        return self._call("payDelivered", task, completion.amount_micro, signature, stretch)

    def request_close(self, task: Task) -> Call:
        """By the requester or its key: the task ends sooner."""
        return self._call("requestClose", task)

    def request_close_by_signature(self, task: Task, order: RequestClose, signature: bytes) -> Call:
        return self._call("requestCloseBySignature", task, order.deadline_s, signature)

    def close(self, task: Task) -> Call:
        """Return what was not earned. By the node at once, by anyone after end and grace."""
        return self._call("close", task)

    def close_by_signature(self, task: Task, order: GiveUp, signature: bytes) -> Call:
        """On the word of the node or its key. Anyone may send it."""
        return self._call("closeBySignature", task, order.deadline_s, signature)

    # --- balances ---

    def deposit(self, amount_micro: int) -> Call:
        """Needs an allowance. Sent twice it pays in twice: the outbox must not."""
        return self._call("deposit", amount_micro)

    def deposit_for(self, account: bytes, amount_micro: int) -> Call:
        """Pay in for another account. Needs an allowance. Sent twice it pays in twice: the outbox must not."""
        return self._call("depositFor", account, amount_micro)

    def withdraw(self, to: bytes, amount_micro: int) -> Call:
        """Pay the sender's free balance out. Sent twice it pays out twice, if there is enough: the outbox must not."""
        return self._call("withdraw", to, amount_micro)

    def withdraw_by_signature(self, order: Withdraw, signature: bytes) -> Call:
        """Pay a free balance out on its account's signature. Anyone may send it; the nonce makes it once."""
        return self._call("withdrawBySignature", *order, signature)
