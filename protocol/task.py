"""A task between nodes: what a requester and a node agree on, its description, and the node's word.

Amounts are micro-units of the settlement token (6 decimals), energy milliwatt-hours, time UTC seconds. Everything is signed in the
money domain of TaskEscrow. The requester's word is `protocol.money`'s own `Open`, `Payment` and `RequestClose` with the task's id in place
of the session's, so whatever streams payments for energy streams them for a service.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from .documents import check_fields, integer
from .eip712 import MAX_JSON_INTEGER, digest, money_domain, struct
from .errors import Malformed
from .evidence import Record, record_hash
from .hashing import document_hash, keccak
from .money import Payment

START_TOLERANCE_S = 120
"""How much older than the opening the first record may be, as in TaskEscrow."""
STOP_GRACE_S = 120
"""Seconds after a request to close that still count, as in TaskEscrow."""
MAX_TASK_S = 62 * 86_400
MAX_PROOF_GRACE_S = 7 * 86_400
MAX_MILESTONES = 100
"""Milestones in one description at most: each is a claim on the chain, and no task of a few cents is worth more of them."""
MAX_TEXT = 200
"""Characters of a name or a title at most: what one line on a page holds."""


class Proof(IntEnum):
    """What pays a task."""

    COMPLETION = 1
    ENERGY = 2
    RELEASE = 3


@struct(
    "Task(address requester,address node,address refundTo,address requesterKey,address nodeKey,bytes32 descriptionHash,"
    "uint64 priceMicro,uint64 deadlineS,uint32 proofGraceS,uint8 proof,bytes32 device,uint32 channel,address meterKey,"
    "uint64 energyMilliwattHours,uint64 startFromS,bytes32 salt)"
)
class Task(NamedTuple):
    """What was agreed. Members that the proof has no use for are zero: the node key for RELEASE, the meter's except for ENERGY."""

    requester: bytes
    node: bytes
    refund_to: bytes
    requester_key: bytes
    node_key: bytes
    description_hash: bytes
    price_micro: int
    deadline_s: int
    proof_grace_s: int
    proof: int
    device: bytes
    channel: int
    meter_key: bytes
    energy_milliwatt_hours: int
    start_from_s: int
    salt: bytes


@struct("Completion(bytes32 task,uint64 amountMicro,bytes32 result)")
class Completion(NamedTuple):
    """The node key's word: done, up to `amount_micro` in all. `result` for ENERGY: `energy_result` of the two records."""

    task: bytes
    amount_micro: int
    result: bytes


@struct("GiveUp(bytes32 task,uint64 deadlineS)")
class GiveUp(NamedTuple):
    """The node's word, or its key's, that it wants no more of the price: the rest goes back at once."""

    task: bytes
    deadline_s: int


def task_id(task: Task, chain_id: int, escrow: bytes) -> bytes:
    """A task's id: its digest in the money domain of the 20-byte TaskEscrow `escrow`, so that chain and contract are part of it."""
    return digest(money_domain(chain_id, escrow), task)


def acceptance(completion: Completion, chain_id: int, escrow: bytes) -> Payment:
    """What the requester's key signs to accept a completion: a payment of its amount that names its digest."""
    return Payment(completion.task, completion.amount_micro, digest(money_domain(chain_id, escrow), completion))


def energy_result(start: Record, end: Record) -> bytes:
    """What an ENERGY task's `Completion` names: keccak(start record's struct hash ‖ end record's)."""
    return keccak(record_hash(start) + record_hash(end))


def earned_micro(task: Task, sold_milliwatt_hours: int) -> int:
    """The most an ENERGY task pays for so much energy: price × delivered / asked, rounded down, at most the price."""
    sold = min(sold_milliwatt_hours, task.energy_milliwatt_hours)
    return task.price_micro * sold // task.energy_milliwatt_hours


class Milestone(NamedTuple):
    """A named step. `amount_micro` is cumulative: what has been earned in all when it is reached."""

    name: str
    amount_micro: int


class Description(NamedTuple):
    """What the work is, in words. The last milestone earns the whole price; without milestones the whole is one step."""

    title: str
    service: str
    milestones: tuple[Milestone, ...]

    @classmethod
    def from_document(cls, document: Any) -> Description:
        """Parse `{"version":1,"title","service","milestones":[{"name","amountMicro"}…]}`. Raises `Malformed` naming the place."""
        check_fields(document, "description", ("version", "title", "service", "milestones"))
        fields: dict[str, Any] = document
        if fields["version"] != 1 or isinstance(fields["version"], bool):
            raise Malformed("must be 1", "description.version")
        steps = fields["milestones"]
        if not isinstance(steps, list) or len(steps) > MAX_MILESTONES:
            raise Malformed(f"must be a list of at most {MAX_MILESTONES}", "description.milestones")
        title, service = _text(fields["title"], "description.title"), _text(fields["service"], "description.service")
        milestones = tuple(_milestone(step, f"description.milestones[{i}]") for i, step in enumerate(steps))
        _check_rising(milestones)
        return cls(title, service, milestones)

    def to_document(self) -> dict[str, Any]:
        """The JSON object whose RFC 8785 form is hashed."""
        steps = [{"name": step.name, "amountMicro": step.amount_micro} for step in self.milestones]
        return {"version": 1, "title": self.title, "service": self.service, "milestones": steps}

    @property
    def hash(self) -> bytes:
        """`Task.description_hash`, 32 bytes."""
        return document_hash(self.to_document())

    def check_task(self, task: Task) -> None:
        """Raise `Malformed` unless `task` names this description and the last milestone is its price."""
        if task.description_hash != self.hash:
            raise Malformed("is the hash of another description", "Task.descriptionHash")
        if self.milestones and self.milestones[-1].amount_micro != task.price_micro:
            last = self.milestones[-1]
            raise Malformed(f"is {task.price_micro}, but the last milestone {last.name!r} earns {last.amount_micro}", "Task.priceMicro")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise Malformed(f"must be 1…{MAX_TEXT} printable characters", where)
    return value


def _milestone(document: Any, where: str) -> Milestone:
    check_fields(document, where, ("name", "amountMicro"))
    amount = integer(document["amountMicro"], 1, MAX_JSON_INTEGER, f"{where}.amountMicro")
    return Milestone(_text(document["name"], f"{where}.name"), amount)


def _check_rising(milestones: tuple[Milestone, ...]) -> None:
    """Amounts rise and names differ: a milestone is then one amount, and an amount one milestone."""
    names: set[str] = set()
    standing = 0
    for i, step in enumerate(milestones):
        if step.amount_micro <= standing:
            raise Malformed(f"must be above the {standing} of the milestone before", f"description.milestones[{i}].amountMicro")
        if step.name in names:
            raise Malformed(f"the name {step.name!r} stands twice", f"description.milestones[{i}].name")
        names.add(step.name)
        standing = step.amount_micro
