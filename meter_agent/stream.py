"""What the service has to say: the event stream the agent opens itself (it sits behind NAT), and small posts that
must arrive.

Both run in threads of their own. The stream puts events into the measuring loop's inbox and judges nothing. The
courier sends what the loop gives it (vouchers, nonces, confirmations), each until it is taken; a newer post of the
same key replaces an older one.
"""

from __future__ import annotations

import queue
import threading
from typing import Any

import orjson
import structlog

from onsite.backoff import Backoff
from onsite.errors import ServiceFault
from protocol.eip712 import hex_bytes
from protocol.errors import Malformed

from .clock import NANO, Clock
from .service import Service
from .uplink import Sender
from .worker import Inbox, Message, Worker

EVENTS = frozenset(("grant", "command", "payment", "close", "head", "rotation"))
STEADY_NS = 30 * NANO
"""A stream that lasted this long was a good one, and the pauses begin small again. One that opens and breaks sooner
is a service in trouble: it must not be called on without end.
"""

logger = structlog.get_logger("wattproof.agent.stream")


class Stream(Worker):
    """Keeps the stream open, reconnecting with growing pauses."""

    def __init__(self, service: Service, inbox: Inbox, sender: Sender, clock: Clock, backoff: Backoff | None = None) -> None:
        super().__init__("stream", inbox)
        self._service, self._sender, self._clock = service, sender, clock
        self._backoff = backoff or Backoff()
        self._broken_ns = clock.monotonic_ns()
        self._closing = threading.Event()
        self.connected = False

    def silent_s(self) -> float:
        """Seconds since the service was last heard; 0 while it is."""
        return 0.0 if self.connected else (self._clock.monotonic_ns() - self._broken_ns) / 1e9

    def stop(self) -> None:
        """Open no other stream."""
        self._closing.set()

    def work(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen()
            except ServiceFault as error:
                if not self._closing.is_set():
                    pause_s = self._backoff.next_s()
                    logger.warning("stream broken", reason=str(error), next_attempt_in_s=round(pause_s, 1))
                    self._closing.wait(pause_s)

    def _listen(self) -> None:
        """One connection, until it breaks. Always raises `ServiceFault`."""
        with self._service.stream() as events:
            up_ns = self._clock.monotonic_ns()
            self.connected = True
            self.inbox.put(Message("connected"))
            try:
                for name, data in events:
                    self._take(name, data)
            finally:
                self._broken_ns = self._clock.monotonic_ns()
                self.connected = False
                if self._broken_ns - up_ns >= STEADY_NS:
                    self._backoff.reset()
        raise ServiceFault("the service closed the stream")

    def _take(self, name: str, data: str) -> None:
        try:
            document = orjson.loads(data)
            if not isinstance(document, dict):
                raise ValueError("not an object")
            if name == "have":
                self._sender.service_has(hex_bytes(document.get("frame"), 32, "have.frame"))
                return
        except (ValueError, Malformed) as error:
            logger.warning("event ignored", event_name=name[:40], reason=str(error))
            return
        if name not in EVENTS:
            return  # of a newer service
        try:
            self.inbox.put(Message(name, document), timeout=1.0)
        except queue.Full:
            raise ServiceFault("more events than can be judged; the stream is dropped") from None


class Courier(Worker):
    """Posts documents in the order given, each until the service has taken it."""

    def __init__(self, service: Service, inbox: Inbox) -> None:
        super().__init__("courier", inbox)
        self._service = service
        self._jobs: dict[str, tuple[str, dict[str, Any]]] = {}
        self._changed = threading.Condition()
        self._heard = threading.Event()

    def post(self, key: str, name: str, document: dict[str, Any]) -> None:
        """Send `document` to `/agents/{device}/<name>`; replaces a waiting post with the same key."""
        with self._changed:
            self._jobs[key] = (name, document)
            self._changed.notify()

    def withdraw(self, key: str) -> None:
        """Forget a post that no longer matters."""
        with self._changed:
            self._jobs.pop(key, None)

    def hurry(self) -> None:
        """The service was just heard: try again now."""
        self._heard.set()

    @property
    def busy(self) -> bool:
        """Whether something waits to be taken."""
        with self._changed:
            return bool(self._jobs)

    def work(self) -> None:
        backoff = Backoff()
        while True:
            self._heard.clear()
            try:
                self._send_first()
                backoff.reset()
            except ServiceFault as error:
                pause_s = backoff.next_s()
                logger.warning("not taken yet", reason=str(error), next_attempt_in_s=round(pause_s, 1))
                self._heard.wait(pause_s)

    def _send_first(self) -> None:
        """Post what waits longest. Raises `ServiceFault` if it may be taken later; what never will be is given up."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs)
            key, job = next(iter(self._jobs.items()))
        try:
            self._service.send(*job)
        except ServiceFault as error:
            if error.transient:
                raise
            logger.warning("never taken", post=job[0], reason=str(error))
        with self._changed:
            if self._jobs.get(key) == job:  # not replaced meanwhile
                del self._jobs[key]
        self.inbox.put(Message("posted", {"key": key}))
