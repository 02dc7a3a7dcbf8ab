"""The thread that listens to one session: frames and states go into the buyer's inbox, in order, whatever breaks on the way."""

from __future__ import annotations

import queue
import threading
from typing import Any, NamedTuple

import structlog

from onsite.backoff import Backoff
from onsite.errors import ServiceFault, ServiceRefused
from onsite.http import parse_json
from protocol.errors import ProtocolError
from protocol.wire import decode_frame

from .service import Service

MAX_INBOX = 1_024
"""Frames waiting for the buyer: a session of days is taken again in parts after a restart."""
MOST_PAUSE_S = 10.0
"""A seller gives credit for so long: a stream is looked for sooner than other things."""

logger = structlog.get_logger("wattproof.buyer.stream")


class Heard(NamedTuple):
    """`name`: `frame` (raw bytes), `state` (the session's view), `failed` (an exception)."""

    session: bytes
    name: str
    data: Any


Inbox = queue.Queue[Heard]


class Listener(threading.Thread):
    """Listens from the session's first frame on, until stopped or the session is settled."""

    def __init__(self, service: Service, session: bytes, token: str, inbox: Inbox) -> None:
        super().__init__(name="listener", daemon=True)
        self._service, self._session, self._token, self._inbox = service, session, token, inbox
        self._after = 0
        self._settled = False  # then the stream ends when everything was told
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()

    def run(self) -> None:
        backoff = Backoff(most_s=MOST_PAUSE_S)
        try:
            while not self._over.is_set():
                try:
                    with self._service.stream(self._session, self._token, self._after) as events:
                        for name, data in events:
                            if self._over.is_set():
                                return
                            self._take(name, data)
                            backoff.reset()
                    if self._settled:
                        return
                    self._over.wait(backoff.next_s())
                except ServiceRefused as error:
                    logger.warning("session not shown", reason=str(error))
                    self._over.wait(MOST_PAUSE_S)
                except ServiceFault as error:
                    pause_s = backoff.next_s()
                    logger.warning("stream broken", reason=str(error), next_attempt_in_s=round(pause_s, 1))
                    self._over.wait(pause_s)
        except BaseException as error:
            self._inbox.put(Heard(self._session, "failed", error))

    def _take(self, name: str, data: str) -> None:
        if name == "frame":
            raw = data.encode()
            self._put("frame", raw)
            try:
                self._after = max(self._after, decode_frame(raw).last_sequence)
            except ProtocolError:
                return  # the payer says why it is refused
        elif name == "state":
            try:
                view = parse_json(data)
            except ValueError:
                return
            if isinstance(view, dict):
                self._put("state", view)
                self._settled = view.get("state") == "settled"

    def _put(self, name: str, data: Any) -> None:
        while not self._over.is_set():
            try:
                self._inbox.put(Heard(self._session, name, data), timeout=0.5)
                return
            except queue.Full:
                continue
