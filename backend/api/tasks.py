"""Tasks between nodes: open, prove, accept, release, stop, give up; and how one stands. Whoever signed is who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field

from protocol.money import Payment, RequestClose
from protocol.task import Completion, GiveUp

from ..hexes import hash_in, id_in_path, signature_in
from ..tasks import opening, proofs
from .answers import Answer
from .bodies import MAX_JSON_INTEGER, Amount, Body, Hex32, Hex65, Seconds
from .depends import Db, ReadDb, TaskReader, TheService

router = APIRouter(prefix="/api/v1", tags=["tasks"])
Sequence = Annotated[int, Field(ge=1, le=MAX_JSON_INTEGER)]


class OpenTaskBody(Body):
    """`wallet`: the standing policy document, where the requester is a device wallet and its pay key signed."""

    task: dict[str, Any]
    description: dict[str, Any]
    deadlineS: Seconds
    signature: Hex65
    wallet: dict[str, Any] | None = None


class EnergyBody(Body):
    startSequence: Sequence
    endSequence: Sequence
    voucherMadeAtS: Seconds
    voucherSignature: Hex65


class CompletionBody(Body):
    amountMicro: Amount
    result: Hex32
    signature: Hex65
    energy: EnergyBody | None = None


class TaskPaymentBody(Body):
    amountMicro: Amount
    frame: Hex32
    signature: Hex65


class TaskEndBody(Body):
    deadlineS: Seconds
    signature: Hex65


class TaskAnswer(Answer):
    """`accessToken` opens the task to whoever opened it; amounts are cumulative and final on the chain."""

    task: str
    state: str
    terms: dict[str, Any]
    description: dict[str, Any]
    paidMicro: int
    returnedMicro: int
    openedAtS: int | None
    endsAtS: int | None
    closedAtS: int | None


class TaskOpenedAnswer(TaskAnswer):
    accessToken: str


@router.post("/tasks", status_code=201, response_model=TaskOpenedAnswer, responses={200: {"model": TaskOpenedAnswer}})
def post_task(body: OpenTaskBody, service: TheService, db: Db) -> JSONResponse:
    """Open a task on the requester's signed word; the service relays it. The same again is a success."""
    asked = opening.Opening(body.task, body.description, body.deadlineS, signature_in(body.signature, "signature"), body.wallet)
    checked = opening.check(service, asked)
    row = opening.open_task(db, service, checked) if isinstance(checked, opening.Checked) else checked
    shown = opening.describe(row) | {"accessToken": service.access_token(row.task)}
    return JSONResponse(shown, 201 if row.state == "opening" else 200)


@router.post("/tasks/{task}/completions", response_model=TaskAnswer)
def post_completion(task: str, body: CompletionBody, service: TheService, db: Db) -> dict[str, Any]:
    """The node's signed completion; for an ENERGY task with the two records that prove it."""
    task_id, energy = id_in_path(task, "task"), None
    if body.energy is not None:
        stated = body.energy
        energy = proofs.Energy(
            stated.startSequence, stated.endSequence, stated.voucherMadeAtS, signature_in(stated.voucherSignature, "voucherSignature")
        )
    sold = None if energy is None else proofs.look_at_sold(service, task_id, energy)
    row = opening.get_task(db, task_id, lock=True)
    completion = Completion(row.task, body.amountMicro, hash_in(body.result, "result"))
    proofs.complete(db, service, row, completion, signature_in(body.signature, "signature"), energy, sold)
    return opening.describe(row)


@router.post("/tasks/{task}/payments", response_model=TaskAnswer)
def post_task_payment(task: str, body: TaskPaymentBody, service: TheService, db: Db) -> dict[str, Any]:
    """The requester key's signed payment, cumulative: a release, or the acceptance of a completion (`frame` names it)."""
    row = opening.get_task(db, id_in_path(task, "task"), lock=True)
    payment = Payment(row.task, body.amountMicro, hash_in(body.frame, "frame"))
    proofs.pay(db, service, row, payment, signature_in(body.signature, "signature"))
    return opening.describe(row)


@router.post("/tasks/{task}/stop", response_model=TaskAnswer)
def post_task_stop(task: str, body: TaskEndBody, service: TheService, db: Db) -> dict[str, Any]:
    """The requester's signed request to close."""
    row = opening.get_task(db, id_in_path(task, "task"), lock=True)
    proofs.stop(db, service, row, RequestClose(row.task, body.deadlineS), signature_in(body.signature, "signature"))
    return opening.describe(row)


@router.post("/tasks/{task}/give-up", response_model=TaskAnswer)
def post_task_give_up(task: str, body: TaskEndBody, service: TheService, db: Db) -> dict[str, Any]:
    """The node's signed word that it wants no more: the rest goes back at once."""
    row = opening.get_task(db, id_in_path(task, "task"), lock=True)
    proofs.give_up(db, service, row, GiveUp(row.task, body.deadlineS), signature_in(body.signature, "signature"))
    return opening.describe(row)


@router.get("/tasks/{task}", response_model=TaskAnswer)
def get_task(task: TaskReader, db: ReadDb) -> dict[str, Any]:
    """A task as it stands: for whoever opened it (its access token), and callers of its operator."""
    return opening.describe(opening.get_task(db, task))
