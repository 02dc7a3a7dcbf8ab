"""What pays a task: energy proven by two records of a meter, a completion that was accepted, a release. Checked here as the contract will
check it, so that nobody pays gas for a proof that is refused; the contract is what decides.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain.calls import Call
from chain.errors import ChainError
from chain.outbox import Outcome
from chain.task_calls import TaskCalls
from chain.task_views import TaskViews
from protocol.eip712 import digest, from_json
from protocol.energy_proof import ProofRefused, Stretch, check_energy_proof, stretch
from protocol.errors import BadSignature, Malformed
from protocol.evidence import ChargeKeyVoucher
from protocol.keys import check_signature
from protocol.money import Payment, RequestClose
from protocol.task import Completion, GiveUp, Proof, Task, earned_micro

from .. import jsons
from ..context import Service
from ..errors import BadRequest, Conflict, Refused, ServiceError
from ..evidence.frames import decode
from ..hexes import to_hex
from ..models import FrameRow, TaskRow, TaskWord
from ..onchain.outbox import OPEN, intend, intents_of, rests, tries_of
from ..store.facts import chain_status
from .opening import LEAST_DEADLINE_S, domain, get_task, keep_word, terms_of

WORTH_PARTS = 20
"""A word is sent once it pays a twentieth of the price more: a stream of micro-units must not cost us a transaction each."""
SOON_S = 300
"""Before the end every word that is kept is worth sending: afterwards only the grace is left."""
MAX_FAILED = 3
"""So often the same word is tried by itself; then the next lower one is."""
WORDS_LOOKED_AT = 20
"""The highest words of a task, among which one that the chain takes is looked for."""


class Energy(NamedTuple):
    """Which records prove an ENERGY task, and the meter key's word for the node key."""

    start_sequence: int
    end_sequence: int
    voucher_made_at_s: int
    voucher_signature: bytes


class Sold(NamedTuple):
    """Of the chain: the register up to which the meter's energy is sold, and how much of it to this task, in milliwatt-hours."""

    through: int
    of_task: int


def complete(
    db: Session, service: Service, row: TaskRow, completion: Completion, signature: bytes, energy: Energy | None, sold: Sold | None
) -> None:  # fmt: skip
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
    _check_energy(row, task, completion, proof, sold)
    word = keep_word(db, service, row, "completion", completion, domain(service), signature)
    word.energy = jsons.dumps([energy.start_sequence, energy.end_sequence, energy.voucher_made_at_s, to_hex(energy.voucher_signature)])
    _pays(db, service, row, word, completion.amount_micro)


def pay(db: Session, service: Service, row: TaskRow, payment: Payment, signature: bytes) -> None:
    """The requester's word: a release, or the acceptance of a completion that is kept here. Cumulative."""
    task = _open(row)
    _same(row, payment.session)
    _check(service, payment, signature, (task.requester_key,), "the requester's key of the task signs payments")
    if payment.amount_micro > task.price_micro:
        raise BadRequest(f"is above the price, {task.price_micro}", "amountMicro")
    if task.proof == Proof.COMPLETION:
        word = db.scalar(select(TaskWord).where(
            TaskWord.task == row.task, TaskWord.kind == "completion", TaskWord.digest == payment.frame
        ))  # fmt: skip
        if word is None:
            raise Conflict("names no completion that the node has handed in here", "frame")
        completion = from_json(Completion, jsons.loads(word.document))
        if completion.amount_micro != payment.amount_micro:
            raise BadRequest(f"accepts another amount than the completion's, {completion.amount_micro}", "amountMicro")
    elif task.proof == Proof.ENERGY:
        raise BadRequest("this task is paid by energy; it takes the node's completion with its records", "task")
    _pays(db, service, row, keep_word(db, service, row, "payment", payment, domain(service), signature), payment.amount_micro)


def stop(db: Session, service: Service, row: TaskRow, order: RequestClose, signature: bytes) -> None:
    """The requester wants no more: the task ends soon, and what was not earned goes back."""
    task = _open(row)
    _same(row, order.session)
    _in_time(service, order.deadline_s)
    _check(service, order, signature, (task.requester, task.requester_key), "the requester or its key asks to close")
    keep_word(db, service, row, "request-close", order, domain(service), signature)
    call = TaskCalls(service.deployment).request_close_by_signature(task, order, signature)
    tries = tries_of(db, row.task, "stop-task")
    if tries is not None:
        intend(db, service, row.operator_id, call, kind="stop-task", cause=(row.task, tries), reference=row.task)


def give_up(db: Session, service: Service, row: TaskRow, order: GiveUp, signature: bytes) -> None:
    """The node wants no more of the price: the rest goes back at once."""
    task = _open(row)
    _same(row, order.task)
    _in_time(service, order.deadline_s)
    _check(service, order, signature, tuple(key for key in (task.node, task.node_key) if any(key)), "the node or its key gives up")
    keep_word(db, service, row, "give-up", order, domain(service), signature)
    relay(db, service, row, last=True)  # what was earned first: closed is closed
    call = TaskCalls(service.deployment).close_by_signature(task, order, signature)
    tries = tries_of(db, row.task, "close-task")
    if tries is not None:
        intend(db, service, row.operator_id, call, kind="close-task", cause=(row.task, tries), reference=row.task)


def _open(row: TaskRow) -> Task:
    if row.state != "open":
        raise Conflict(f"the task is {row.state}", "task")
    return terms_of(row)


def _same(row: TaskRow, named: bytes) -> None:
    if named != row.task:
        raise BadRequest("names another task than the path", "task")


def _in_time(service: Service, deadline_s: int) -> None:
    if deadline_s < service.now_s() + LEAST_DEADLINE_S:
        raise BadRequest(f"must be at least {LEAST_DEADLINE_S} s ahead, so that it reaches the chain in time", "deadlineS")


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


def _check_energy(row: TaskRow, task: Task, completion: Completion, proof: Stretch, sold: Sold | None) -> None:
    assert row.opened_at_s is not None
    assert row.ends_at_s is not None
    try:
        result = check_energy_proof(task, proof, row.opened_at_s, row.ends_at_s)
    except ProofRefused as error:
        raise BadRequest(f"the contract would refuse this proof: {error}", "energy") from None
    if completion.result != result:
        raise BadRequest("is not the hash of these two records (protocol.task.energy_result)", "result")
    start, end = (read.record.import_milliwatt_hours for read in (proof.start, proof.end))
    delivered = end - start if sold is None else sold.of_task + max(0, end - max(start, sold.through))
    most = earned_micro(task, delivered)
    if completion.amount_micro > most:
        if sold is not None and sold.through > start:
            detail = f"the meter's energy is sold up to {sold.through} mWh; with what this task bought, {delivered} mWh earn {most}"
            raise Refused("AmountBeyondEnergy", detail, "amountMicro")
        raise BadRequest(f"{delivered} mWh earn {most}", "amountMicro")


def look_at_sold(service: Service, identity: bytes, energy: Energy) -> Sold | None:
    """What was sold already; None if the chain cannot be asked now: it then decides by itself. Ask outside a transaction."""
    with service.db.reading() as db:
        task = terms_of(get_task(db, identity))
        if task.proof != Proof.ENERGY:
            return None
        meter_hash = _stretch(db, task, energy).end.record.meter_hash
    try:
        node = service.node()
        views, at = TaskViews(node), node.head().hash
        through = views.sold_through(task.device, task.channel, task.meter_key, meter_hash, at)
        return Sold(through, views.state(task, at).sold_milliwatt_hours)
    except ChainError:
        return None


def _pays(db: Session, service: Service, row: TaskRow, word: TaskWord, amount_micro: int) -> None:
    word.amount_micro = amount_micro
    row.word_micro = max(row.word_micro, amount_micro)
    db.flush()
    relay(db, service, row, asked=word)


def worth(row: TaskRow, amount_micro: int, now_s: int) -> bool:
    """Whether a word is worth a transaction: it pays a good part more, or all, or there is not much time left."""
    more = amount_micro - row.paid_micro
    good = more * WORTH_PARTS >= row.price_micro or amount_micro >= row.price_micro
    return more > 0 and (good or (row.ends_at_s is not None and row.ends_at_s <= now_s + SOON_S))


def relay(db: Session, service: Service, row: TaskRow, *, asked: TaskWord | None = None, last: bool = False) -> None:
    """Want the highest word on the chain, one at a time. `asked`: a word that was just given counts even if it was refused before.
    `last`: nothing can be paid after it.
    """
    tries, status = intents_of(db, row.task, "pay-task"), chain_status(db)
    if tries and not last:
        read_through = -1 if status is None else min(status.final_number, status.head_number)
        unread = tries[-1].state == Outcome.SUCCEEDED.value and (tries[-1].mined_block_number or 0) > read_through
        if tries[-1].state == OPEN or unread or (tries[-1].state != Outcome.SUCCEEDED.value and rests(service, tries[-1])):
            return
    words = db.scalars(
        select(TaskWord).where(TaskWord.task == row.task, TaskWord.amount_micro > row.paid_micro)
        .order_by(TaskWord.amount_micro.desc()).limit(WORDS_LOOKED_AT)
    )  # fmt: skip
    failed = Counter(bytes(each.data) for each in tries if each.state not in (OPEN, Outcome.SUCCEEDED.value))
    now_s = service.now_s() if status is None else status.head_time_s
    for word in words:
        if not last and not worth(row, word.amount_micro or 0, now_s):
            return
        call = _call(db, service, row, word)
        if call is None or (failed[call.data] >= MAX_FAILED and word is not asked):
            continue
        if not any(each.data == call.data for each in tries if each.state in (OPEN, Outcome.SUCCEEDED.value)):
            intend(db, service, row.operator_id, call, kind="pay-task", cause=(row.task, len(tries)), reference=row.task)
        return


def _call(db: Session, service: Service, row: TaskRow, word: TaskWord) -> Call | None:
    """The call that brings a kept word to the chain; None where what it names is not kept any more."""
    task, calls, said = terms_of(row), TaskCalls(service.deployment), jsons.loads(word.document)
    if word.kind == "completion":
        if word.energy is None:
            return None
        start, end, made_at_s, signature = jsons.loads(word.energy)
        try:
            proof = _stretch(db, task, Energy(start, end, made_at_s, bytes.fromhex(signature[2:])))
        except ServiceError:
            return None
        return calls.pay_delivered(task, from_json(Completion, said), word.signature, proof)
    payment = from_json(Payment, said)
    if task.proof == Proof.RELEASE:
        return calls.pay_released(task, payment, word.signature)
    named = db.scalar(select(TaskWord).where(
        TaskWord.task == row.task, TaskWord.kind == "completion", TaskWord.digest == payment.frame
    ))  # fmt: skip
    if named is None:
        return None
    return calls.pay_completed(task, from_json(Completion, jsons.loads(named.document)), named.signature, word.signature)
