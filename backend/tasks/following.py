"""What the chain says of tasks, once it is final; and the return of what nobody earned."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain import event_types as events
from chain.task_calls import TaskCalls

from ..context import Service
from ..models import ChainEventRow, TaskRow
from ..onchain.outbox import Writing, intend
from .opening import terms_of

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
            found.state, found.opened_at_s, found.ends_at_s = "open", row.time_s, terms_of(found).deadline_s
        case events.TaskPaid():
            found.paid_micro = body.amount_micro
        case events.TaskCloseRequested():
            found.ends_at_s = body.ends_at_s
        case events.TaskClosed():
            found.state, found.closed_at_s = "closed", row.time_s
            found.paid_micro, found.returned_micro = body.paid_micro, body.returned_micro
        case _:
            return False
    return True


def round_(service: Service, writing: Writing) -> None:
    """Give back what was not earned of tasks that are over: anyone may, so nobody's money waits for somebody to remember it."""
    now = service.now_s()
    with service.db.reading() as db:
        waiting = db.scalars(select(TaskRow.task).where(TaskRow.state == "open", TaskRow.ends_at_s < now).limit(AT_ONCE)).all()
    if not waiting:
        return
    with writing() as db:
        for row in db.scalars(select(TaskRow).where(TaskRow.task.in_(waiting), TaskRow.state == "open")).all():
            task = terms_of(row)
            assert row.ends_at_s is not None
            if now > row.ends_at_s + task.proof_grace_s:
                call = TaskCalls(service.deployment).close(task)
                intend(db, service, row.operator_id, call, kind="close-task", cause=(row.task, row.ends_at_s), reference=row.task)
