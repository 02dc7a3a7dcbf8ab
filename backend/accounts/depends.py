"""Who is calling, as FastAPI dependencies. Routes of people and their programs name the permission: `Reader`, `Auditor`, `Actor`, `Admin`.

A cookie alone changes nothing: a request that may change something and comes with a cookie carries the CSRF token of its log-in too, in the
header `X-CSRF-Token` or the form field `csrf`. Requests with a bearer token need none: no browser sends those by itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request

from ..context import Service
from ..errors import Forbidden, Unauthorized
from ..store.keyring import read_secret
from . import log_ins
from .callers import Caller, by_bearer, by_cookie
from .log_ins import COOKIE
from .roles import Permission

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_CREDENTIAL = 300
"""Characters of a token or cookie worth looking up; ours are shorter."""
FORM = "application/x-www-form-urlencoded"


def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def bearer_of(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def operator_token(service: Service) -> str:
    """The bootstrap administrator's token, read once from its 0600 file."""
    known: str | None = service.caches.get("operator_token")
    if known is None:
        known = read_secret(service.settings.path(service.settings.keys.operator_token_file), "keys.operator_token_file")
        service.caches["operator_token"] = known
    return known


async def sent_csrf(request: Request, x_csrf_token: Annotated[str | None, Header(include_in_schema=False)] = None) -> str:
    """The CSRF token a request carries, from its header or its form."""
    if x_csrf_token is not None:
        return x_csrf_token
    if request.method in SAFE_METHODS or not request.headers.get("content-type", "").startswith(FORM):
        return ""
    field = (await request.form()).get("csrf")
    return field if isinstance(field, str) else ""


def find_caller(request: Request, service: Service, authorization: str | None) -> Caller:
    """Who sent this. Raises `Unauthorized`."""
    now, bearer, cookie = service.now_s(), bearer_of(authorization), request.cookies.get(COOKIE)
    if bearer is not None and len(bearer) <= MAX_CREDENTIAL:
        with service.db.reading() as db:
            return by_bearer(db, operator_token(service), bearer, now)
    if authorization is None and cookie is not None and len(cookie) <= MAX_CREDENTIAL:
        with service.db.reading() as db:
            caller, stale = by_cookie(db, cookie, now)
        if stale and caller.login is not None and _is_by_hand(request):
            with service.db.writing() as db:
                log_ins.seen(db, caller.login, now)
        return caller
    raise Unauthorized("this call takes `Authorization: Bearer <token>`, of an account or the operator token's file", "Authorization")


def _is_by_hand(request: Request) -> bool:
    """Whether a person asked for this: pages that draw themselves again, and their streams, do not keep a log-in alive."""
    return request.url.path.startswith("/console") and "hx-request" not in request.headers


def require_caller(
    request: Request,
    service: Annotated[Service, Depends(get_service)],
    csrf: Annotated[str, Depends(sent_csrf)],
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Caller:
    """A proven caller. Raises `Unauthorized`, or `Forbidden` where a cookie came without its CSRF token."""
    caller = find_caller(request, service, authorization)
    if caller.login is not None and request.method not in SAFE_METHODS and not hmac.compare_digest(csrf.encode(), caller.csrf.encode()):
        raise Forbidden("the form's token is missing or of another log-in; reload the page and try again", "X-CSRF-Token")
    return caller


def may(permission: Permission) -> Callable[[Caller], Caller]:
    """A dependency: a caller whose role grants this."""

    def allowed(caller: Annotated[Caller, Depends(require_caller)]) -> Caller:
        caller.require(permission)
        return caller

    allowed.permission = permission  # type: ignore[attr-defined]  # what the test of the role matrix reads
    return allowed


Reader = Annotated[Caller, Depends(may(Permission.READ))]
Auditor = Annotated[Caller, Depends(may(Permission.AUDIT))]
Actor = Annotated[Caller, Depends(may(Permission.ACT))]
Admin = Annotated[Caller, Depends(may(Permission.ADMINISTER))]
