"""What pays a task: energy proven by two records of a meter, a completion that was accepted, a release. Checked here as the contract will
check it, so that nobody pays gas for a proof that is refused; the contract is what decides.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain.calls import Call
from chain.task_calls import TaskCalls
from protocol.eip712 import digest, from_json
from protocol.energy_proof import ProofRefused, Stretch, check_energy_proof, stretch
from protocol.errors import BadSignature, Malformed
from protocol.evidence import ChargeKeyVoucher
from protocol.keys import check_signature
from protocol.money import Payment, RequestClose
from protocol.task import Completion, GiveUp, Proof, Task, earned_micro

from .. import jsons
from ..context import Service
from ..errors import BadRequest, Conflict
from ..evidence.frames import decode
from ..models import FrameRow, TaskRow, TaskWord
from ..onchain.outbox import intend
from .opening import domain, keep_word, terms_of


class Energy(NamedTuple):
    """Which records prove an ENERGY task, and the meter key's word for the node key."""

    start_sequence: int
    end_sequence: int
    voucher_made_at_s: int
    voucher_signature: bytes


def complete(db: Session, service: Service, row: TaskRow, completion: Completion, signature: bytes, energy: Energy | None) -> None:
    """The node's word that it is done, up to an amount. ENERGY: with its records, relayed at once; COMPLETION: kept until accepted."""
    task = _open(row)
    _same(row, completion.task)
    if task.proof == Proof.RELEASE:
        raise BadRequest("this task is paid by release: the requester's payments alone", "task")
    _check(service, completion, signature, (task.node_key,), "the node key of the task signs completions")
    if completion.amount_micro > task.price_micro:
        raise BadRequest(f"is above the price, {task.price_micro}", "amountMicro")
    if task.proof == Proof.COMPLETION:
        if energy is not None:
            raise BadRequest("this task is paid by completion and acceptance, not by records", "energy")
        keep_word(db, service, row, "completion", completion, domain(service), signature)
        return
    if energy is None:
        raise BadRequest("this task is paid by energy: name the two records and the meter key's voucher", "energy")
    proof = _stretch(db, task, energy)
    _check_energy(row, task, completion, proof)
    keep_word(db, service, row, "completion", completion, domain(service), signature)
    _relay(db, service, row, TaskCalls(service.deployment).pay_delivered(task, completion, signature, proof), completion.amount_micro)


def pay(db: Session, service: Service, row: TaskRow, payment: Payment, signature: bytes) -> None:
    """The requester's word: a release, or the acceptance of a completion that is kept here. Cumulative."""
    task = _open(row)
    _same(row, payment.session)
    _check(service, payment, signature, (task.requester_key,), "the requester's key of the task signs payments")
    if payment.amount_micro > task.price_micro:
        raise BadRequest(f"is above the price, {task.price_micro}", "amountMicro")
    calls = TaskCalls(service.deployment)
    if task.proof == Proof.RELEASE:
        call = calls.pay_released(task, payment, signature)
    elif task.proof == Proof.COMPLETION:
        word = db.scalar(select(TaskWord).where(
            TaskWord.task == row.task, TaskWord.kind == "completion", TaskWord.digest == payment.frame
        ))  # fmt: skip
        if word is None:
            raise Conflict("names no completion that the node has handed in here", "frame")
        completion = from_json(Completion, jsons.loads(word.document))
        if completion.amount_micro != payment.amount_micro:
            raise BadRequest(f"accepts another amount than the completion's, {completion.amount_micro}", "amountMicro")
        call = calls.pay_completed(task, completion, word.signature, signature)
    else:
        raise BadRequest("this task is paid by energy; it takes the node's completion with its records", "task")
    keep_word(db, service, row, "payment", payment, domain(service), signature)
    _relay(db, service, row, call, payment.amount_micro)


def stop(db: Session, service: Service, row: TaskRow, order: RequestClose, signature: bytes) -> None:
    """The requester wants no more: the task ends soon, and what was not earned goes back."""
    task = _open(row)
    _same(row, order.session)
    _in_time(service, order.deadline_s)
    _check(service, order, signature, (task.requester, task.requester_key), "the requester or its key asks to close")
    keep_word(db, service, row, "request-close", order, domain(service), signature)
    call = TaskCalls(service.deployment).request_close_by_signature(task, order, signature)
    intend(db, service, row.operator_id, call, kind="stop-task", cause=(row.task,), reference=row.task)


def give_up(db: Session, service: Service, row: TaskRow, order: GiveUp, signature: bytes) -> None:
    """The node wants no more of the price: the rest goes back at once."""
    task = _open(row)
    _same(row, order.task)
    _in_time(service, order.deadline_s)
    _check(service, order, signature, tuple(key for key in (task.node, task.node_key) if any(key)), "the node or its key gives up")
    keep_word(db, service, row, "give-up", order, domain(service), signature)
    call = TaskCalls(service.deployment).close_by_signature(task, order, signature)
    intend(db, service, row.operator_id, call, kind="close-task", cause=(row.task,), reference=row.task)


def _open(row: TaskRow) -> Task:
    if row.state != "open":
        raise Conflict(f"the task is {row.state}", "task")
    return terms_of(row)


def _same(row: TaskRow, named: bytes) -> None:
    if named != row.task:
        raise BadRequest("names another task than the path", "task")


def _in_time(service: Service, deadline_s: int) -> None:
    if deadline_s < service.now_s():
        raise BadRequest("has passed", "deadlineS")


def _check(service: Service, message: Any, signature: bytes, signers: tuple[bytes, ...], who: str) -> None:
    said = digest(domain(service), message)
    for signer in signers:
        try:
            check_signature(said, signature, signer)
            return
        except BadSignature as error:
            why = error
    raise BadRequest(f"{why}; {who}", "signature")


def _stretch(db: Session, task: Task, energy: Energy) -> Stretch:
    """The proof from the frames that are held here."""
    frames = []
    for sequence in dict.fromkeys((energy.start_sequence, energy.end_sequence)):
        found = db.scalar(select(FrameRow).where(
            FrameRow.device == task.device, FrameRow.first_sequence <= sequence, FrameRow.last_sequence >= sequence,
        ).order_by(FrameRow.id.desc()).limit(1))  # fmt: skip
        if found is None:
            raise Conflict(f"the service holds no frame with record {sequence} of this meter", "energy")
        frames.append(decode(found))
    voucher = ChargeKeyVoucher(task.device, task.channel, task.node_key, energy.voucher_made_at_s)
    try:
        return stretch(frames, energy.start_sequence, energy.end_sequence, voucher, energy.voucher_signature)
    except Malformed as error:
        raise BadRequest(str(error), "energy") from None


def _check_energy(row: TaskRow, task: Task, completion: Completion, proof: Stretch) -> None:
    assert row.opened_at_s is not None
    assert row.ends_at_s is not None
    try:
        result = check_energy_proof(task, proof, row.opened_at_s, row.ends_at_s)
    except ProofRefused as error:
        raise BadRequest(f"the contract would refuse this proof: {error}", "energy") from None
    if completion.result != result:
        raise BadRequest("is not the hash of these two records (protocol.task.energy_result)", "result")
    delivered = proof.end.record.import_milliwatt_hours - proof.start.record.import_milliwatt_hours
    most = earned_micro(task, delivered)
    if completion.amount_micro > most:
        raise BadRequest(f"{delivered} mWh earn {most}", "amountMicro")


def _relay(db: Session, service: Service, row: TaskRow, call: Call, amount_micro: int) -> None:
    if amount_micro > row.paid_micro:  # an older word changes nothing
        intend(db, service, row.operator_id, call, kind="pay-task", cause=(row.task, amount_micro), reference=row.task)
