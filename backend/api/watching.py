"""A payer's stream of one session, over SSE: its frames and its state."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from ..errors import TooMany
from ..hexes import id_in_path
from ..hub import payers_of
from ..sessions.life import get_session
from ..sessions.watch import Watch
from .depends import TheService, require_bill_reader

router = APIRouter(prefix="/api/v1", tags=["payers"])
LOOK_EACH_S = 0.5
"""Frames wake the stream at once; what else changes is seen this soon."""
COMMENT_EACH_S = 5
"""A payer that hears nothing for longer knows that the line is dead."""
MAX_WATCHERS = 500
"""Streams of one process: each costs two small looks at the database a second."""


def _watcher(service: TheService) -> None:
    if service.caches.get("watchers", 0) >= MAX_WATCHERS:
        raise TooMany(f"{MAX_WATCHERS} streams are open; try again", "stream")


@router.get(
    "/sessions/{session}/stream", response_class=EventSourceResponse,
    dependencies=[Depends(require_bill_reader), Depends(_watcher)],
)  # fmt: skip
async def get_session_stream(
    session: str, service: TheService, after: Annotated[int, Query(ge=0, le=2**53 - 1, description="the last sequence that is at hand")] = 0
) -> AsyncIterator[ServerSentEvent]:
    """`frame` (a wire frame of this session, in order, none left out) and `state` (the session); ends after the state `settled`."""
    watch = Watch(id_in_path(session, "session"), after)
    key = await run_in_threadpool(_key, service, watch.session)
    subscription = service.hub.subscribe(key)
    service.caches["watchers"] = service.caches.get("watchers", 0) + 1
    try:
        told_at = time.monotonic()
        while not service.hub.stopping.is_set():
            told = await run_in_threadpool(watch.look, service)
            for item in told:
                yield ServerSentEvent(event=item.event, raw_data=item.data, id=item.id)
            if watch.over:
                return
            now = time.monotonic()
            if told:
                told_at = now
            elif now - told_at > COMMENT_EACH_S:
                told_at = now
                yield ServerSentEvent(comment="here")
            if not watch.more:
                await subscription.wait(LOOK_EACH_S)
    finally:
        service.caches["watchers"] -= 1
        service.hub.unsubscribe(key, subscription)


def _key(service: TheService, session: bytes) -> bytes:
    with service.db.reading() as db:
        return payers_of(get_session(db, session).device)
