"""Live events for people and their programs, over SSE: hints to look again, and readings for charts.

The stream ends when the service stops, when its caller's log-in or token ends, and after `LONGEST_S`; whoever listens opens it again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from .. import jsons
from ..accounts.callers import Caller
from ..accounts.depends import Reader, find_caller, may
from ..accounts.roles import Permission
from ..context import Service
from ..errors import ServiceError, TooMany
from ..reports import feed
from .depends import TheService

router = APIRouter(prefix="/api/v1", tags=["reports"])
LOOK_EACH_S = 1.0
"""As often as a point makes a record in the fastest setting."""
COMMENT_EACH_S = 15
CHECK_CALLER_EACH_S = 30
LONGEST_S = 3_600
MAX_LISTENERS = 200
"""Streams of one process: each costs a look at the database a second."""


def _listener(request: Request, service: TheService) -> None:
    if service.caches.get("listeners", 0) >= MAX_LISTENERS:
        raise TooMany(f"{MAX_LISTENERS} streams are open; close one", "events")


@router.get("/events", response_class=EventSourceResponse, dependencies=[Depends(may(Permission.READ)), Depends(_listener)])
async def get_events(request: Request, caller: Reader, service: TheService) -> AsyncIterator[ServerSentEvent]:
    """`hello` first, then `reading`, `session`, `supply`, `money`, `alarm`, `anchor` of the caller's operator as they happen."""
    service.caches["listeners"] = service.caches.get("listeners", 0) + 1
    subscription = service.hub.subscribe(b"people")
    try:
        cursor = await run_in_threadpool(_now, service, caller)
        yield ServerSentEvent(event="hello", raw_data=jsons.dumps({"operatorId": caller.operator_id, "atS": service.now_s()}))
        opened = told = checked = time.monotonic()
        while not service.hub.stopping.is_set() and time.monotonic() - opened < LONGEST_S:
            await subscription.wait(LOOK_EACH_S)
            now = time.monotonic()
            if now - checked > CHECK_CALLER_EACH_S:
                checked = now
                if not await run_in_threadpool(_still, request, service, caller):
                    return
            news, cursor = await run_in_threadpool(_since, service, caller, cursor)
            for item in news:
                yield ServerSentEvent(event=item.kind, raw_data=jsons.dumps(item.data))
            if news:
                told = now
            elif now - told > COMMENT_EACH_S:
                told = now
                yield ServerSentEvent(comment="here")
    finally:
        service.caches["listeners"] -= 1
        service.hub.unsubscribe(b"people", subscription)


def _now(service: Service, caller: Caller) -> feed.Cursor:
    with service.db.reading() as db:
        return feed.now(db, caller.scope)


def _since(service: Service, caller: Caller, cursor: feed.Cursor) -> tuple[list[feed.News], feed.Cursor]:
    with service.db.reading() as db:
        return feed.since(db, caller.scope, cursor)


def _still(request: Request, service: Service, caller: Caller) -> bool:
    """Whether the caller is still who it was when the stream was opened."""
    try:
        return find_caller(request, service, request.headers.get("authorization")).operator_id == caller.operator_id
    except ServiceError:
        return False
