"""The service as an ASGI application: routers, errors, limits, and the loops beside it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import metrics
from .api import (
    accounts,
    acting,
    agents,
    events,
    exports,
    frames,
    health,
    offers,
    openapi,
    operators,
    payers,
    payments,
    problems,
    rails,
    reports,
    rulings,
    tasks,
    wallets,
    watching,
)
from .console.app import build_console
from .context import Service
from .store.migrate import migrate, seed_operators

MAX_BODY_BYTES = 256 << 10
"""Any body but an upload of frames: the largest tariff document is a tenth of it."""


class _Application(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        return problems.TooLargeAsProblem(super().build_middleware_stack())


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_api(lifespan: Lifespan | None = None) -> FastAPI:
    """The API's calls. What they work on is put into `app.state.service`; without it only the OpenAPI document can be made."""
    app = _Application(
        title="Wattproof", version="1", lifespan=lifespan, max_body_size=MAX_BODY_BYTES, docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        description="Prepaid electricity whose every watt-hour can be proven. Formats and signatures: docs/walls.md.",
    )  # fmt: skip
    problems.install(app)
    openapi.install(app)
    app.add_middleware(_Measure)
    money = (payers, payments, watching, rulings, offers, wallets, rails, tasks)
    for module in (frames, agents, *money, operators, acting, reports, events, exports, accounts, health):
        app.include_router(module.router)
    return app


def build(service: Service, *, with_loops: bool = True) -> FastAPI:
    """The application of one service. Its loops run from start-up to shut-down."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_start, service, with_loops)
        yield
        await run_in_threadpool(_stop, service)

    app = build_api(lifespan)
    app.state.service = service
    app.mount("/console", build_console(service))
    return app


def prepare(service: Service) -> None:
    """Everything before the first request: one process on SQLite, this program's schema, the operator's rows."""
    service.db.lock_process()
    migrate(service.db)
    seed_operators(service.db, service.settings.operator_name, service.payee, service.now_s())


def _start(service: Service, with_loops: bool) -> None:
    prepare(service)
    if with_loops:
        from chain.client import ChainClient

        from .loops import Loops

        chain = service.settings.chain
        client = ChainClient(chain.rpc_url, service.deployment, finality_depth=chain.confirmations)
        loops = Loops(service, client)
        service.caches["loops"] = loops
        loops.start()


def _stop(service: Service) -> None:
    loops = service.caches.get("loops")
    if loops is not None:
        loops.stop()
    service.close()


class _Measure:
    """Counts and times answers by route. Plain ASGI, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "(none)")
                metrics.REQUEST_SECONDS.labels(path, str(message["status"])).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, observed)
