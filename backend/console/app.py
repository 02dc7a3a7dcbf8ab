"""The console as an application of its own, mounted at /console: its errors are pages, its answers carry the browser's protections."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DataError, IntegrityError
from starlette.exceptions import HTTPException

from protocol.errors import Malformed

from ..context import Service
from ..errors import ServiceError, Unauthorized
from . import account_pages, log_in, market_pages, money_pages, rail_pages, supply_pages
from .guard import ConsoleGuard, own_hosts
from .pages import STATIC, bare_page

MAX_FORM_BYTES = 16 << 10
"""The longest form has a signature and a text of some hundred characters."""


def build_console(service: Service) -> FastAPI:
    """The console of one service. Mount it at /console."""
    app = FastAPI(title="Wattproof console", openapi_url=None, docs_url=None, redoc_url=None, max_body_size=MAX_FORM_BYTES)
    app.state.service = service
    app.add_middleware(ConsoleGuard, hosts=own_hosts(service.settings))
    for router in (
        log_in.router, supply_pages.router, market_pages.router, money_pages.router, rail_pages.router, account_pages.router
    ):  # fmt: skip
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(DataError, _data)
    app.add_exception_handler(IntegrityError, _integrity)
    app.add_exception_handler(Malformed, _malformed)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    return app


def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    wants_page = request.method == "GET" and not request.headers.get("hx-request")
    if isinstance(error, Unauthorized) and wants_page:
        return RedirectResponse("/console/log-in", 303)
    return _problem(request, error.status, error.title, f"{error.where}: {error.detail}" if error.where else error.detail)


def _data(request: Request, _error: Exception) -> Response:
    return _problem(request, 400, "The form is not what this page takes", "a value cannot be stored: a NUL in a text")


def _integrity(request: Request, _error: Exception) -> Response:
    return _problem(request, 409, "Somebody else did this at the same moment", "Go back and look: it may be done already.")


def _malformed(request: Request, error: Exception) -> Response:
    return _problem(request, 400, "The request is not what this page takes", str(error))


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _problem(request, 422, "The form is not what this page takes", f"{first['loc'][-1]}: {first['msg']}")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = "There is no such page" if error.status_code == 404 else str(error.detail)
    return _problem(request, error.status_code, title, "Follow a link from the overview." if error.status_code == 404 else title)


def _problem(request: Request, status: int, title: str, detail: str) -> Response:
    if request.headers.get("content-type", "").startswith("application/json"):
        return JSONResponse({"title": title, "status": status, "detail": detail}, status, media_type="application/problem+json")
    service: Service = request.app.state.service
    referer = request.headers.get("referer", "")
    back = referer if referer.startswith("http") else "/console/"
    return bare_page(request, service, "problem.html", status, title=title, detail=detail, back=back)
