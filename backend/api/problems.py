"""Errors as RFC 9457 problem documents: type, title, status, detail, where. No stack trace ever leaves."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protocol.errors import BadSignature, Malformed

from ..errors import ServiceError

log = structlog.get_logger()
RETRY_AFTER_S = "1"


def problem(status: int, code: str, title: str, detail: str, where: str = "", *, transient: bool = False) -> JSONResponse:
    """One problem document."""
    kind = f"urn:wattproof:problem:{code}"
    body = {"type": kind, "title": title, "status": status, "detail": detail, "where": where, "transient": transient}
    headers = {"Retry-After": RETRY_AFTER_S} if transient else None
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def _service_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    if error.status >= 500 and not error.transient:
        log.error("service error", code=error.code, detail=error.detail, where=error.where)
    return problem(error.status, error.code, error.title, error.detail, error.where, transient=error.transient)


def _malformed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Malformed)
    return problem(400, "malformed", "The request is not what this call takes", error.what, error.where)


def _bad_signature(_request: Request, error: Exception) -> JSONResponse:
    return problem(400, "bad-signature", "A signature does not hold", str(error), "signature")


def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem(422, "malformed", "The request is not what this call takes", str(first["msg"]), where)


def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status_code, "http")
    return problem(error.status_code, code, str(error.detail), str(error.detail))


def _integrity(_request: Request, error: Exception) -> JSONResponse:
    """Two requests wanted the same row at once; the loser of the race finds it there when it asks again."""
    log.info("integrity", error=str(getattr(error, "orig", error)))
    return problem(
        409, "conflict", "This contradicts what is already so", "another request did this at the same moment; ask again", transient=True
    )


def _data(_request: Request, error: Exception) -> JSONResponse:
    """A value that the database's types cannot hold, such as a text with a NUL."""
    log.info("data", error=str(getattr(error, "orig", error)))
    detail = "a value cannot be stored: a NUL in a text, or a number too large"
    return problem(400, "malformed", "The request is not what this call takes", detail)


def _operational(_request: Request, error: Exception) -> JSONResponse:
    log.error("database", error=str(getattr(error, "orig", error)))
    return problem(503, "unavailable", "The database cannot take this now", "nothing was kept; try again", transient=True)


def _anything(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected", path=request.url.path, exc_info=error)
    return problem(500, "internal", "The service failed", "this is a fault of the service; it is in its log")


class TooLargeAsProblem:
    """The body limit answers in plain text, before any handler of ours; here it becomes a problem document like every other error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def rewritten(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                replaced = True
                detail = "the body is larger than this call takes; send it in parts"
                await problem(413, "too-large", "Content Too Large", detail, "body")(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, rewritten)


def install(app: FastAPI) -> None:
    """Answer every error as a problem document."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(Malformed, _malformed)
    app.add_exception_handler(BadSignature, _bad_signature)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(IntegrityError, _integrity)
    app.add_exception_handler(DataError, _data)
    app.add_exception_handler(OperationalError, _operational)
    app.add_exception_handler(Exception, _anything)
