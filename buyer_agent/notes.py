"""What the buyer says for people to see: signed notes beside its wallet, on the service's pages. Best effort; the journal has it all."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import structlog

from onsite.errors import ServiceFault, ServiceRefused
from protocol.hashing import document_hash
from protocol.wallet import WalletNote

from .orders import Orders
from .service import Service

MAX_WAITING = 100
RETRY_S = 10.0

logger = structlog.get_logger("wattproof.buyer.notes")


class Notes:
    """Notes not yet taken by the service, oldest first. Without a wallet there is no page, and they are only logged."""

    def __init__(self, service: Service, orders: Orders, wallet: bytes | None) -> None:
        self._service, self._orders, self._wallet = service, orders, wallet
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._not_before = 0.0

    def say(self, document: dict[str, Any]) -> None:
        """Log it, and have it on the wallet's page."""
        logger.warning("note", **{("note" if name == "kind" else name): value for name, value in document.items() if name != "offers"})
        if self._wallet is None:
            return
        made_at_s = int(time.time())
        note = WalletNote(self._wallet, document_hash(document), made_at_s)
        self._waiting.append({"document": document, "madeAtS": made_at_s, "signature": self._orders.sign(note)})

    def send(self) -> None:
        """Try to be rid of what waits."""
        while self._waiting and self._wallet is not None and time.monotonic() >= self._not_before:
            try:
                self._service.note(self._wallet, self._waiting[0])
            except ServiceRefused as error:
                logger.warning("note never taken", reason=str(error))
            except ServiceFault:
                self._not_before = time.monotonic() + RETRY_S
                return
            self._waiting.popleft()
