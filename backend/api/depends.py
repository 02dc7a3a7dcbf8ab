"""What routes depend on: the service, a transaction that commits *before* the answer, and who is calling."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Annotated, NamedTuple

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from ..context import Service
from ..errors import Forbidden, Unauthorized
from ..hello import check_hello
from ..hexes import id_in_path
from ..keyring import read_secret
from ..models import Device
from ..points import get_device

FIRST_OPERATOR = 1


def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


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


class Caller(NamedTuple):
    """A proven operator. (Accounts and roles extend this in one place.)"""

    operator_id: int
    name: str


def require_operator(service: TheService, authorization: Annotated[str | None, Header()] = None) -> Caller:
    """The holder of the operator token. Raises `Unauthorized`."""
    if not is_operator(service, authorization):
        raise Unauthorized("this call takes `Authorization: Bearer <operator token>`", "Authorization")
    return Caller(FIRST_OPERATOR, service.settings.operator_name)


def is_operator(service: Service, authorization: str | None) -> bool:
    token = _bearer(authorization)
    if token is None:
        return False
    known = service.caches.get("operator_token")
    if known is None:
        known = read_secret(service.settings.path(service.settings.keys.operator_token_file), "keys.operator_token_file")
        service.caches["operator_token"] = known
    return hmac.compare_digest(token.encode(), str(known).encode())


OperatorCaller = Annotated[Caller, Depends(require_operator)]


def require_reader(session: str, service: TheService, authorization: Annotated[str | None, Header()] = None) -> bytes:
    """Whoever may read a session: its payer by the access token, or the operator. Returns the session's id."""
    session_id = id_in_path(session, "session")
    if is_operator(service, authorization):
        return session_id
    token = _bearer(authorization)
    if token is None:
        raise Unauthorized(
            "reading a session takes `Authorization: Bearer <accessToken of the quote>` or the operator's token", "Authorization"
        )
    if not hmac.compare_digest(token.encode(), service.access_token(session_id).encode()):
        raise Forbidden("this token does not open this session", "Authorization")
    return session_id


SessionReader = Annotated[bytes, Depends(require_reader)]


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def require_agent(
    device: str, service: TheService, db: Db, authorization: Annotated[str | None, Header()] = None
) -> Device:  # fmt: skip
    """The agent of the device in the path, by its signed hello. The nonce is used up in this request's transaction."""
    found = get_device(db, id_in_path(device, "device"))
    return check_hello(db, service, found, authorization)


AgentCaller = Annotated[Device, Depends(require_agent, scope="function")]
