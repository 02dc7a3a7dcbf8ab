"""What TaskEscrow does, in plain Python: dictionaries, no chain, no signatures but those of a meter.

A call returns the events it makes, in order, or raises `Refused` with the contract's own error. Whoever drives the model says who
signed exactly the message a call is about (`signed_by`). What an energy proof must satisfy is `protocol.energy_proof`'s, so that
these are proven equal too. There are no relayed withdrawals: the model of the other escrow has them. Amounts are micro-units,
energy milliwatt-hours, time UTC seconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from protocol.energy_proof import ProofRefused, Stretch, check_energy_proof
from protocol.task import Proof, Task, earned_micro
from tests.contracts.escrow_model import DAY_S, Event, Refused

ZERO = bytes(20)
Signed = bytes | None  # who signed, None: nobody


@dataclass
class Kept:
    """One task as the contract keeps it."""

    opened_at: int
    ends_at: int
    paid: int = 0
    sold: int = 0
    closed: bool = False


@dataclass
class TaskModel:
    """The whole task escrow and the token balances of the people who use it. Approvals are unlimited."""

    escrow: bytes
    guardian: bytes
    now: int = 0
    stopped: bool = False
    outside: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    free: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    kept: dict[bytes, Kept] = field(default_factory=dict)
    nonces: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    prices: dict[bytes, int] = field(default_factory=dict)
    sold_through: dict[tuple[bytes, int, bytes, bytes], int] = field(default_factory=lambda: defaultdict(int))

    def held(self) -> int:
        """The conservation law's right side: what the contract must hold."""
        return sum(self.free.values()) + sum(self.prices[task] - k.paid for task, k in self.kept.items() if not k.closed)

    # ---------------------------------------------------------------- balances

    def deposit_for(self, sender: bytes, account: bytes, amount: int) -> list[Event]:
        self._new_business()
        if amount > self.outside[sender]:
            raise Refused("ERC20InsufficientBalance", sender, self.outside[sender], amount)
        self.outside[sender] -= amount
        self.free[account] += amount
        return [("Deposited", (account, sender, amount))]

    def withdraw(self, account: bytes, to: bytes, amount: int) -> list[Event]:
        self._debit(account, amount)
        self.outside[to] += amount
        return [("Withdrawn", (account, to, amount))]

    def stop(self, sender: bytes, stopped: bool) -> list[Event]:
        if sender != self.guardian:
            raise Refused("NotGuardian", sender, self.guardian)
        self.stopped = stopped
        return [("NewBusinessStopped" if stopped else "NewBusinessResumed", (sender,))]

    # ---------------------------------------------------------------- opening

    def open(self, sender: bytes, name: bytes, task: Task) -> list[Event]:
        if sender != task.requester:
            raise Refused("NotRequester", sender, task.requester)
        return self._open(name, task)

    def open_as_requester(self, sender: bytes, name: bytes, task: Task, lock: int) -> list[Event]:
        if sender != task.requester:
            raise Refused("NotRequester", sender, task.requester)
        if task.refund_to != task.requester:
            raise Refused("RefundToRefused", task.refund_to)
        if lock != task.price_micro:
            raise Refused("LockNotPrice", lock, task.price_micro)
        return self._open(name, task)

    def open_by_signature(self, name: bytes, task: Task, deadline: int, signed_by: Signed) -> list[Event]:
        self._signed((task.requester,), signed_by, deadline)
        return self._open(name, task)

    # ---------------------------------------------------------------- paying

    def pay_released(self, name: bytes, task: Task, amount: int, frame: bytes, signed_by: Signed) -> list[Event]:
        kept = self._payable(name, task, Proof.RELEASE)
        self._word_of(task.requester_key, signed_by)
        return self._pay(kept, name, task, amount, frame)

    def pay_completed(self, name: bytes, task: Task, amount: int, result: bytes, done_by: Signed, accepted_by: Signed) -> list[Event]:
        kept = self._payable(name, task, Proof.COMPLETION)
        self._word_of(task.node_key, done_by)
        self._word_of(task.requester_key, accepted_by)
        return self._pay(kept, name, task, amount, result)

    def pay_delivered(self, name: bytes, task: Task, amount: int, proof: Stretch, done_by: Signed) -> list[Event]:
        """`done_by`: who signed a completion that names these two records."""
        kept = self._payable(name, task, Proof.ENERGY)
        try:
            result = check_energy_proof(task, proof, kept.opened_at, kept.ends_at)
        except ProofRefused as refused:
            raise Refused(refused.name, *refused.values) from None
        self._word_of(task.node_key, done_by)
        start, end = proof.start.record, proof.end.record
        meter = (task.device, task.channel, task.meter_key, end.meter_hash)
        through, begin = end.import_milliwatt_hours, max(start.import_milliwatt_hours, self.sold_through[meter])
        if through <= begin:
            raise Refused("EnergyAlreadySold", name, through, begin)
        sold = min(kept.sold + through - begin, task.energy_milliwatt_hours)
        most = earned_micro(task, sold)
        if amount > most:
            raise Refused("AmountBeyondEnergy", name, amount, most)
        events = self._pay(kept, name, task, amount, result)
        self.sold_through[meter], kept.sold = through, sold
        return [("EnergySold", (name, task.meter_key, begin, through)), *events]

    # ---------------------------------------------------------------- ending

    def request_close(self, sender: bytes, name: bytes, task: Task) -> list[Event]:
        if sender not in (task.requester, task.requester_key):
            raise Refused("MayNotRequestClose", sender, name)
        return self._request(sender, name)

    def request_close_by_signature(self, sender: bytes, name: bytes, task: Task, deadline: int, signed_by: Signed) -> list[Event]:
        self._signed((task.requester, task.requester_key), signed_by, deadline)
        return self._request(sender, name)

    def close(self, sender: bytes, name: bytes, task: Task) -> list[Event]:
        if sender != task.node:
            due = self._standing(name).ends_at + task.proof_grace_s
            if self.now < due:
                raise Refused("CloseNotDue", name, due)
        return self._close(name, task)

    def close_by_signature(self, name: bytes, task: Task, deadline: int, signed_by: Signed) -> list[Event]:
        self._signed((task.node, task.node_key), signed_by, deadline)
        return self._close(name, task)

    # ---------------------------------------------------------------- inside

    def _new_business(self) -> None:
        if self.stopped:
            raise Refused("NewBusinessIsStopped")

    def _debit(self, account: bytes, amount: int) -> None:
        if amount > self.free[account]:
            raise Refused("BalanceTooLow", account, amount, self.free[account])
        self.free[account] -= amount

    def _signed(self, accounts: tuple[bytes, ...], signed_by: Signed, deadline: int) -> None:
        """By one of the accounts; the first is the one that an error names."""
        if self.now > deadline:
            raise Refused("DeadlinePassed", deadline, self.now)
        self._word_of(signed_by if signed_by in accounts and signed_by is not None else accounts[0], signed_by)

    @staticmethod
    def _word_of(key: bytes, signed_by: Signed) -> None:
        if signed_by != key or key == ZERO:
            raise Refused("SignatureRefused", key)

    def _open(self, name: bytes, task: Task) -> list[Event]:
        self._new_business()
        _check_parties(task)
        last = self.now + 62 * DAY_S
        if not self.now < task.deadline_s <= last:
            raise Refused("DeadlineRefused", task.deadline_s, self.now, last)
        if task.proof_grace_s > 7 * DAY_S:
            raise Refused("ProofGraceRefused", task.proof_grace_s, 7 * DAY_S)
        if task.start_from_s >= task.deadline_s:
            raise Refused("StartFromRefused", task.start_from_s, task.deadline_s)
        _check_proof(task)
        if name in self.kept:
            raise Refused("TaskIdUsed", name)
        self._debit(task.requester, task.price_micro)
        self.kept[name], self.prices[name] = Kept(self.now, task.deadline_s), task.price_micro
        return [("TaskOpened", (name, task.requester, task.node, task.price_micro))]

    def _standing(self, name: bytes) -> Kept:
        kept = self.kept.get(name)
        if kept is None:
            raise Refused("TaskUnknown", name)
        if kept.closed:
            raise Refused("TaskIsClosed", name)
        return kept

    def _payable(self, name: bytes, task: Task, proof: Proof) -> Kept:
        kept = self._standing(name)
        if task.proof != proof:
            raise Refused("OtherProofAgreed", name, int(proof), task.proof)
        return kept

    def _pay(self, kept: Kept, name: bytes, task: Task, amount: int, result: bytes) -> list[Event]:
        if amount <= kept.paid:
            raise Refused("NothingNew", name, amount, kept.paid)
        if amount > task.price_micro:
            raise Refused("AbovePrice", name, amount, task.price_micro)
        self.free[task.node] += amount - kept.paid
        kept.paid = amount
        return [("TaskPaid", (name, task.node, amount, result))]

    def _request(self, sender: bytes, name: bytes) -> list[Event]:
        kept = self._standing(name)
        if self.now + 120 >= kept.ends_at:
            raise Refused("EndsAlready", name, kept.ends_at)
        kept.ends_at = self.now + 120
        return [("TaskCloseRequested", (name, sender, kept.ends_at))]

    def _close(self, name: bytes, task: Task) -> list[Event]:
        kept = self._standing(name)
        kept.closed = True
        self.free[task.refund_to] += task.price_micro - kept.paid
        return [("TaskClosed", (name, kept.paid, task.price_micro - kept.paid))]


def _check_parties(task: Task) -> None:
    if task.node == ZERO:
        raise Refused("NodeZero")
    if task.refund_to in (ZERO, task.node):
        raise Refused("RefundToRefused", task.refund_to)
    if task.requester_key == ZERO:
        raise Refused("RequesterKeyZero")
    if task.price_micro == 0:
        raise Refused("PriceZero")


def _check_proof(task: Task) -> None:
    if task.proof not in tuple(Proof):
        raise Refused("ProofKindRefused", task.proof)
    meter = (task.meter_key != ZERO, task.energy_milliwatt_hours > 0, task.device != bytes(32))
    unused = not any((*meter, task.channel, task.start_from_s))
    if (task.node_key == ZERO) != (task.proof == Proof.RELEASE) or not (all(meter) if task.proof == Proof.ENERGY else unused):
        raise Refused("MembersRefused", task.proof)
    for shared in (task.node_key, task.meter_key):
        if shared == task.requester_key:
            raise Refused("KeyShared", shared)
    if task.proof == Proof.ENERGY and task.meter_key == task.node_key:
        raise Refused("KeyShared", task.meter_key)
