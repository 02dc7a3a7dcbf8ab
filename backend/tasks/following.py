"""What the chain says of tasks, once it is final; and the return of what nobody earned."""

from __future__ import annotations

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from chain import event_types as events
from chain.outbox import Outcome
from chain.task_calls import TaskCalls

from ..context import Service
from ..models import ChainEventRow, IntentRow, TaskRow
from ..onchain.outbox import OPEN, Writing, intend, intents_of, rests, tries_of
from ..store.facts import chain_status
from .opening import terms_of
from .proofs import SOON_S, WORTH_PARTS, relay

AT_ONCE = 100
"""Tasks returned in one round."""


def apply(db: Session, service: Service, row: ChainEventRow, body: events.Body) -> bool:
    """Apply an event of the task escrow. False if it is none, or of a task nobody opened here."""
    task = getattr(body, "task", None)
    found = None if task is None else db.get(TaskRow, task)
    if found is None:
        return False
    match body:
        case events.TaskOpened():
            found.state, found.opened_at_s = "open", row.time_s
            _ends(found, terms_of(found).deadline_s)
        case events.TaskPaid():
            found.paid_micro = body.amount_micro
        case events.TaskCloseRequested():
            _ends(found, body.ends_at_s)
        case events.TaskClosed():
            found.state, found.closed_at_s = "closed", row.time_s
            found.paid_micro, found.returned_micro = body.paid_micro, body.returned_micro
        case _:
            return False
    return True


def _ends(row: TaskRow, ends_at_s: int) -> None:
    row.ends_at_s, row.due_at_s = ends_at_s, ends_at_s + terms_of(row).proof_grace_s


def round_(service: Service, writing: Writing) -> None:
    """Give back what was not earned of tasks that are over: anyone may, so nobody's money waits for somebody to remember it. Send the words
    that have become worth it, and end the tasks that the chain would not open.
    """
    with service.db.reading() as db:
        status = chain_status(db)
        if status is None:
            return
        over, unpaid, refused = _due(db, status.final_time_s), _unpaid(db, status.head_time_s), _not_opened(db)
    if not (over or unpaid or refused):
        return
    with writing() as db:
        for row in db.scalars(select(TaskRow).where(TaskRow.task.in_({*over, *unpaid, *refused})).with_for_update()).all():
            if row.state == "opening" and row.task in refused and tries_of(db, row.task, "open-task"):
                row.state = "refused"
            elif row.state == "open" and row.task in over:
                _close(db, service, row)
            elif row.state == "open":
                relay(db, service, row)


def _due(db: Session, now_s: int) -> list[bytes]:
    """Tasks whose end and grace have passed and whose return is not on its way."""
    wanted = select(IntentRow.id).where(
        IntentRow.reference == TaskRow.task, IntentRow.kind == "close-task", IntentRow.state.in_((OPEN, Outcome.SUCCEEDED.value))
    )  # fmt: skip
    query = select(TaskRow.task).where(TaskRow.state == "open", TaskRow.due_at_s <= now_s, ~wanted.exists())
    return list(db.scalars(query.order_by(TaskRow.due_at_s).limit(AT_ONCE)))


def _unpaid(db: Session, now_s: int) -> list[bytes]:
    """Tasks with a word worth sending, as `proofs.worth` has it; by chance, so that none whose word is refused stands before the others."""
    more = TaskRow.word_micro - TaskRow.paid_micro
    good = or_(more * WORTH_PARTS >= TaskRow.price_micro, TaskRow.word_micro >= TaskRow.price_micro, TaskRow.ends_at_s <= now_s + SOON_S)
    query = select(TaskRow.task).where(TaskRow.state == "open", TaskRow.word_micro > TaskRow.paid_micro, good)
    return list(db.scalars(query.order_by(func.random()).limit(AT_ONCE)))


def _not_opened(db: Session) -> list[bytes]:
    """Tasks whose opening failed, and no other try is on its way."""
    wanted = select(IntentRow.id).where(
        IntentRow.reference == TaskRow.task, IntentRow.kind == "open-task", IntentRow.state.in_((OPEN, Outcome.SUCCEEDED.value))
    )  # fmt: skip
    return list(db.scalars(select(TaskRow.task).where(TaskRow.state == "opening", ~wanted.exists()).limit(AT_ONCE)))


def _close(db: Session, service: Service, row: TaskRow) -> None:
    tries = intents_of(db, row.task, "close-task")
    if tries and (tries[-1].state in (OPEN, Outcome.SUCCEEDED.value) or rests(service, tries[-1])):
        return
    relay(db, service, row, last=True)  # what was earned first: closed is closed
    call = TaskCalls(service.deployment).close(terms_of(row))
    intend(db, service, row.operator_id, call, kind="close-task", cause=(row.task, len(tries)), reference=row.task)
