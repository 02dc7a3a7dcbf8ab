"""What routes depend on: the service, a transaction that commits *before* the answer, and who is calling."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..accounts.depends import bearer_of, find_caller, get_service
from ..accounts.roles import Permission
from ..context import Service
from ..devices.hello import check_hello
from ..devices.points import get_device
from ..errors import NotFound
from ..hexes import id_in_path
from ..models import Device, SessionRow, TaskRow

TheService = Annotated[Service, Depends(get_service)]


def get_session(service: TheService) -> Iterator[Session]:
    with service.db.writing() as session:
        yield session


def get_reading_session(service: TheService) -> Iterator[Session]:
    with service.db.reading() as session:
        yield session


# scope="function": the code after `yield`, and with it the commit, runs before the answer leaves. A failed commit is an error, not a 200.
Db = Annotated[Session, Depends(get_session, scope="function")]
ReadDb = Annotated[Session, Depends(get_reading_session, scope="function")]


async def raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(raw_body)]


def require_reader(
    session: str, request: Request, service: TheService, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> bytes:
    """Whoever may read how a session stands: its payer by the access token, or a caller of its operator. Returns the session's id."""
    return _session_reader(session, request, service, authorization, Permission.READ)


def require_bill_reader(
    session: str, request: Request, service: TheService, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> bytes:
    """Whoever may see a session's bill and evidence: its payer, or a caller of its operator who may audit."""
    return _session_reader(session, request, service, authorization, Permission.AUDIT)


def require_task_reader(
    task: str, request: Request, service: TheService, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> bytes:
    """Whoever may read how a task stands: who opened it, by its access token, or a caller of its operator. Returns the task's id."""
    task_id = id_in_path(task, "task")
    token = bearer_of(authorization)
    if token is not None and hmac.compare_digest(token.encode(), service.access_token(task_id).encode()):
        return task_id
    caller = find_caller(request, service, authorization)
    caller.require(Permission.READ)
    with service.db.reading() as db:
        known = db.scalar(select(TaskRow.operator_id).where(TaskRow.task == task_id))
    if known != caller.operator_id:
        raise NotFound("there is no such task here", "task")
    return task_id


SessionReader = Annotated[bytes, Depends(require_reader)]
TaskReader = Annotated[bytes, Depends(require_task_reader)]
BillReader = Annotated[bytes, Depends(require_bill_reader)]


def _session_reader(session: str, request: Request, service: Service, authorization: str | None, permission: Permission) -> bytes:
    session_id = id_in_path(session, "session")
    token = bearer_of(authorization)
    if token is not None and hmac.compare_digest(token.encode(), service.access_token(session_id).encode()):
        return session_id
    caller = find_caller(request, service, authorization)
    caller.require(permission)
    with service.db.reading() as db:
        known = db.scalar(select(SessionRow.operator_id).where(SessionRow.session == session_id))
    if known != caller.operator_id:
        raise NotFound("there is no such session here", "session")
    return session_id


def require_agent(
    device: str, service: TheService, db: Db, authorization: Annotated[str | None, Header()] = None
) -> Device:  # fmt: skip
    """The agent of the device in the path, by its signed hello. The nonce is used up in this request's transaction."""
    found = get_device(db, id_in_path(device, "device"))
    return check_hello(db, service, found, authorization)


AgentCaller = Annotated[Device, Depends(require_agent, scope="function")]
