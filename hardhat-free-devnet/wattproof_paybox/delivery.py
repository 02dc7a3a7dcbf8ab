"""Webhooks: each event to each endpoint, signed, tried again until it is taken; and on demand as they must never be trusted.

On demand an event is sent late (an old timestamp), again, before its elder, or forged (a signature of another key, another body).
"""

from __future__ import annotations

import json
import threading
import time
from typing import NamedTuple

import httpx2

from .provider import Provider
from .signing import header
from .store import Document

RETRY_S = (0.5, 1, 2, 5, 10, 30)
"""Pauses between tries, the last for ever: a sandbox's hour is a minute. (Stripe goes on for three days.)"""
TIMEOUT_S = 10
ROUND_S = 0.1


class Sending(NamedTuple):
    """How one event is sent by hand."""

    age_s: int = 0
    secret: str | None = None  # sign with this instead of the endpoint's
    body: bytes | None = None  # send this under the signature of the true body


class Deliverer(threading.Thread):
    """Sends what is due until told to stop. `held`: nothing goes by itself."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._provider, self._store = provider, provider.store
        self.stopping = threading.Event()
        self._client = httpx2.Client(timeout=TIMEOUT_S)

    def run(self) -> None:
        while not self.stopping.wait(ROUND_S):
            for event_id, endpoint_id, tries in self._due():
                status = self.send(event_id, endpoint_id, Sending())
                taken = status is not None and 200 <= status < 300
                due = time.time() + RETRY_S[min(tries, len(RETRY_S) - 1)]
                with self._store.changing():
                    self._store.db.execute(
                        "UPDATE deliveries SET tries = tries + 1, due = ?, done = ? WHERE event = ? AND endpoint = ?",
                        (due, int(taken), event_id, endpoint_id),
                    )  # fmt: skip
                if self.stopping.is_set():
                    break
        self._client.close()

    def _due(self) -> list[tuple[str, str, int]]:
        with self._store.changing():
            held = self._store.get("switch", "held")
            if held is not None and held["on"]:
                return []
            query = "SELECT event, endpoint, tries FROM deliveries WHERE done = 0 AND due <= ? ORDER BY rowid LIMIT 50"
            return self._store.db.execute(query, (time.time(),)).fetchall()

    def send(self, event_id: str, endpoint_id: str, how: Sending) -> int | None:
        """One try. The status answered; None: nobody answered."""
        with self._store.changing():
            event, endpoint = self._store.get("event", event_id), self._store.get("webhook_endpoint", endpoint_id)
        if event is None or endpoint is None:
            return None
        body, at_s = body_of(event), int(time.time()) - how.age_s
        signed = header(body, at_s, live_secrets(endpoint) if how.secret is None else [how.secret])
        headers = {"Stripe-Signature": signed, "Content-Type": "application/json; charset=utf-8"}
        try:
            return self._client.post(endpoint["url"], content=how.body or body, headers=headers).status_code
        except httpx2.HTTPError:
            return None


def body_of(event: Document) -> bytes:
    """What is signed and sent: the same bytes each time."""
    return json.dumps(event, indent=2).encode()


def live_secrets(endpoint: Document) -> list[str]:
    """The present secret first, and the one before it while it still counts."""
    old = [each["secret"] for each in endpoint["old_secrets"] if each["until"] > time.time()]
    return [endpoint["secret"], *old]
