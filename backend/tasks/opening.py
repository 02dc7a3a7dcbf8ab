"""Opening a task: on the requester's own word, or on the pay key's through a device wallet."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain.task_calls import TaskCalls, task_terms
from chain.wallet_calls import Wallets
from protocol.eip712 import Domain, digest, from_json, money_domain, to_json
from protocol.errors import BadSignature, Malformed
from protocol.keys import check_signature
from protocol.money import Open
from protocol.task import Description, Proof, Task, task_id
from protocol.wallet import OpenTask, parse_policy, wallet_domain

from .. import jsons
from ..context import Service
from ..errors import BadRequest, Conflict, NotFound
from ..hexes import to_hex
from ..models import HOUSE, Device, Operator, TaskRow, TaskWord
from ..onchain.outbox import intend

LEAST_DEADLINE_S = 15
"""A relayed signature that runs out sooner might reach the chain too late."""


class Opening(NamedTuple):
    """What is asked for. `policy`: the wallet's standing policy document where the requester is a device wallet."""

    task: dict[str, Any]
    description: dict[str, Any]
    deadline_s: int
    signature: bytes
    policy: dict[str, Any] | None


def domain(service: Service) -> Domain:
    """The money domain of the task escrow."""
    return money_domain(service.deployment.chain_id, service.deployment.address_of("TaskEscrow"))


def get_task(db: Session, task: bytes, *, lock: bool = False) -> TaskRow:
    query = select(TaskRow).where(TaskRow.task == task)
    row = db.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFound("there is no such task here", "task")
    return row


def terms_of(row: TaskRow) -> Task:
    return from_json(Task, jsons.loads(row.terms))


def keep_word(db: Session, service: Service, row: TaskRow, kind: str, message: Any, message_domain: Domain, signature: bytes) -> TaskWord:
    """Keep a signed message. The same again returns the one that is kept."""
    said = digest(message_domain, message)
    found = db.scalar(select(TaskWord).where(TaskWord.task == row.task, TaskWord.kind == kind, TaskWord.digest == said))
    if found is not None:
        return found
    word = TaskWord(
        operator_id=row.operator_id, task=row.task, kind=kind, digest=said, document=jsons.dumps(to_json(message)), signature=signature,
        received_at_s=service.now_s(),
    )  # fmt: skip
    db.add(word)
    db.flush()
    return word


def open_task(db: Session, service: Service, asked: Opening) -> TaskRow:
    """Check a task and its opening, keep both, relay it. The same again is a success."""
    try:
        task = from_json(Task, asked.task, "task")
        description = Description.from_document(asked.description)
        description.check_task(task)
    except Malformed as error:
        raise BadRequest(str(error), "task") from None
    identity = task_id(task, service.deployment.chain_id, service.deployment.address_of("TaskEscrow"))
    found = db.get(TaskRow, identity)
    if found is not None:
        return found
    _check_times(service, task, asked.deadline_s)
    row = TaskRow(
        operator_id=_operator_of(db, task), task=identity, terms=jsons.dumps(to_json(task)),
        description=jsons.dumps(description.to_document()), requester=task.requester, node=task.node, state="opening",
        created_at_s=service.now_s(),
    )  # fmt: skip
    db.add(row)
    db.flush()
    if asked.policy is None:
        _by_requester(db, service, row, task, asked)
    else:
        _by_wallet(db, service, row, task, asked, asked.policy)
    return row


def _by_requester(db: Session, service: Service, row: TaskRow, task: Task, asked: Opening) -> None:
    order = Open(row.task, task.price_micro, asked.deadline_s)
    _check(domain(service), order, asked.signature, task.requester, "the requester signs the opening")
    keep_word(db, service, row, "open", order, domain(service), asked.signature)
    call = TaskCalls(service.deployment).open_by_signature(task, order, asked.signature)
    intend(db, service, row.operator_id, call, kind="open-task", cause=(row.task,), reference=row.task)


def _by_wallet(db: Session, service: Service, row: TaskRow, task: Task, asked: Opening, policy_document: dict[str, Any]) -> None:
    try:
        policy = parse_policy(policy_document, "wallet")
    except Malformed as error:
        raise BadRequest(str(error), "wallet") from None
    if task.refund_to != task.requester:
        raise BadRequest("a wallet's task returns to the wallet", "task.refundTo")
    order = OpenTask(row.task, task.price_micro, asked.deadline_s)
    own = wallet_domain(service.deployment.chain_id, task.requester)
    _check(own, order, asked.signature, policy.pay_key, "the pay key of the wallet's policy signs the opening")
    keep_word(db, service, row, "open", order, own, asked.signature)
    call = Wallets(service.deployment).open_task_by_signature(task.requester, task_terms(task), order, policy, asked.signature)
    intend(db, service, row.operator_id, call, kind="open-task", cause=(row.task,), reference=row.task)


def _check_times(service: Service, task: Task, deadline_s: int) -> None:
    now = service.now_s()
    if deadline_s < now + LEAST_DEADLINE_S:
        raise BadRequest(f"must be at least {LEAST_DEADLINE_S} s ahead, so that the opening reaches the chain in time", "deadlineS")
    if task.deadline_s <= now:
        raise Conflict("the task's own deadline has passed", "task.deadlineS")


def _check(message_domain: Domain, message: Any, signature: bytes, signer: bytes, who: str) -> None:
    try:
        check_signature(digest(message_domain, message), signature, signer)
    except BadSignature as error:
        raise BadRequest(f"{error}; {who}", "signature") from None


def _operator_of(db: Session, task: Task) -> int:
    """Whose task it is here: the meter's operator, the operator that is paid, else the installation's."""
    device = db.get(Device, task.device) if task.proof == Proof.ENERGY else None
    if device is not None:
        return device.operator_id
    paid = db.scalar(select(Operator.id).where(Operator.payee == task.node).limit(1))
    return HOUSE if paid is None else paid


def describe(row: TaskRow) -> dict[str, Any]:
    """The task as the API shows it."""
    return {
        "task": to_hex(row.task), "state": row.state, "terms": jsons.loads(row.terms), "description": jsons.loads(row.description),
        "paidMicro": row.paid_micro, "returnedMicro": row.returned_micro, "openedAtS": row.opened_at_s, "endsAtS": row.ends_at_s,
        "closedAtS": row.closed_at_s,
    }  # fmt: skip
