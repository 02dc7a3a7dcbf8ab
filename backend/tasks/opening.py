"""Opening a task: on the requester's own word, or on the pay key's through a device wallet."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.calls import Call
from chain.errors import BadAnswer, ChainError, DeploymentError, Reverted
from chain.task_calls import TaskCalls, task_terms
from chain.wallet_calls import Wallets
from chain.wallet_views import WalletViews
from protocol.eip712 import Domain, digest, from_json, money_domain, to_json
from protocol.errors import BadSignature, Malformed
from protocol.keys import check_signature
from protocol.money import Open
from protocol.task import Description, Proof, Task, task_id
from protocol.wallet import OpenTask, parse_policy, wallet_domain

from .. import jsons
from ..context import Service
from ..errors import BadRequest, Conflict, NotFound, Refused, TooMany, Unavailable
from ..hexes import to_hex
from ..models import HOUSE, Device, Operator, TaskRow, TaskWord
from ..onchain.outbox import intend, tries_of

LEAST_DEADLINE_S = 15
"""A relayed signature that runs out sooner might reach the chain too late."""

MAX_OPENING = 256
"""Tasks that wait for the chain at once: anybody may ask, and each takes a place in the sender's queue."""


class Opening(NamedTuple):
    """What is asked for. `policy`: the wallet's standing policy document where the requester is a device wallet."""

    task: dict[str, Any]
    description: dict[str, Any]
    deadline_s: int
    signature: bytes
    policy: dict[str, Any] | None


def domain(service: Service) -> Domain:
    """The money domain of the task escrow. Raises `Unavailable` where this deployment has none."""
    return money_domain(service.deployment.chain_id, _escrow(service))


def _escrow(service: Service) -> bytes:
    try:
        return service.deployment.address_of("TaskEscrow")
    except DeploymentError as error:
        raise Unavailable(str(error), "task") from None


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


class Checked(NamedTuple):
    """An opening that holds, and that the chain takes."""

    identity: bytes
    task: Task
    description: Description
    order: Open | OpenTask
    domain: Domain
    signature: bytes
    call: Call


def check(service: Service, asked: Opening) -> Checked | TaskRow:
    """Check a task and its opening, the chain's own opinion included; the row where it is known already. Ask outside a transaction."""
    try:
        task = from_json(Task, asked.task, "task")
        description = Description.from_document(asked.description)
        description.check_task(task)
    except Malformed as error:
        raise BadRequest(str(error), "task") from None
    identity = task_id(task, service.deployment.chain_id, _escrow(service))
    with service.db.reading() as db:
        found = _known(db, identity)
        if found is not None:
            return found
        _check_room(db)
    _check_times(service, task, asked.deadline_s)
    if asked.policy is None:
        checked = _by_requester(service, identity, task, description, asked)
    else:
        checked = _by_wallet(service, identity, task, description, asked, asked.policy)
    _dry_run(service, checked)
    return checked


def open_task(db: Session, service: Service, checked: Checked) -> TaskRow:
    """Keep a checked task and its opening, relay it. The same again is a success; one that the chain refused may be opened again."""
    found = _known(db, checked.identity)
    if found is not None:
        return found
    _check_room(db)
    task = checked.task
    row = db.get(TaskRow, checked.identity)
    if row is None:
        row = TaskRow(
            operator_id=_operator_of(db, task), task=checked.identity, terms=jsons.dumps(to_json(task)),
            description=jsons.dumps(checked.description.to_document()), requester=task.requester, node=task.node, state="opening",
            created_at_s=service.now_s(), price_micro=task.price_micro,
        )  # fmt: skip
        db.add(row)
    row.state = "opening"
    db.flush()
    keep_word(db, service, row, "open", checked.order, checked.domain, checked.signature)
    cause = (row.task, tries_of(db, row.task, "open-task") or 0)
    intend(db, service, row.operator_id, checked.call, kind="open-task", cause=cause, reference=row.task)
    return row


def _known(db: Session, identity: bytes) -> TaskRow | None:
    """The task's row, unless its opening failed."""
    row = db.get(TaskRow, identity)
    failed = row is not None and (row.state == "refused" or (row.state == "opening" and tries_of(db, identity, "open-task") is not None))
    return None if failed else row


def _check_room(db: Session) -> None:
    waiting = db.scalar(select(func.count()).select_from(TaskRow).where(TaskRow.state == "opening")) or 0
    if waiting >= MAX_OPENING:
        raise TooMany(f"{waiting} tasks wait for the chain to open them; try again in a minute", "task")


def _dry_run(service: Service, checked: Checked) -> None:
    """Ask the chain before anybody pays gas. Raises `Refused` with the contract's own name, or `Unavailable`."""
    node, requester = service.node(), checked.task.requester
    try:
        if isinstance(checked.order, OpenTask):
            try:
                state = WalletViews(node).state(requester)
            except BadAnswer:
                state = None  # something else stands there: its code is not run at our expense
            if state is None:
                raise Refused("WalletWithoutPolicy", "no wallet of this deployment stands at the requester's address", "wallet")
        node.estimate_gas(checked.call, service.keys.sender.address)
    except Reverted as error:
        raise Refused(error.name or "refused", str(error), "task") from None
    except ChainError as error:
        raise Unavailable(f"whether the chain takes this opening cannot be asked now: {error}", "task") from None


def _by_requester(service: Service, identity: bytes, task: Task, description: Description, asked: Opening) -> Checked:
    order, own = Open(identity, task.price_micro, asked.deadline_s), domain(service)
    _check(own, order, asked.signature, task.requester, "the requester signs the opening")
    call = TaskCalls(service.deployment).open_by_signature(task, order, asked.signature)
    return Checked(identity, task, description, order, own, asked.signature, call)


def _by_wallet(
    service: Service, identity: bytes, task: Task, description: Description, asked: Opening, policy_document: dict[str, Any]
) -> Checked:  # fmt: skip
    try:
        policy = parse_policy(policy_document, "wallet")
    except Malformed as error:
        raise BadRequest(str(error), "wallet") from None
    if task.refund_to != task.requester:
        raise BadRequest("a wallet's task returns to the wallet", "task.refundTo")
    order = OpenTask(identity, task.price_micro, asked.deadline_s)
    own = wallet_domain(service.deployment.chain_id, task.requester)
    _check(own, order, asked.signature, policy.pay_key, "the pay key of the wallet's policy signs the opening")
    call = Wallets(service.deployment).open_task_by_signature(task.requester, task_terms(task), order, policy, asked.signature)
    return Checked(identity, task, description, order, own, asked.signature, call)


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
