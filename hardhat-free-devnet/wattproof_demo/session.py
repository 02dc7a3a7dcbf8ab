"""A payer's session, as its own program would drive it: quote, sign, open, watch, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from protocol.eip712 import digest, from_json, money_domain
from protocol.money import Open, RequestClose, Terms, session_id

from .processes import DemoFailed
from .stack import Stack

STATES = ("quoted", "opening", "open", "running", "ending", "ended", "settling", "settled")


class PayerSession:
    """One session of the stack's payer."""

    def __init__(self, stack: Stack, lock_micro: int) -> None:
        self.stack, self.lock_micro = stack, lock_micro
        self.id = self.token = ""
        self._domain = money_domain(stack.client.deployment.chain_id, stack.client.deployment.escrow)

    def quote(self) -> dict[str, Any]:
        """Ask for terms, and recompute the session's id from them: what is signed must be what was shown."""
        payer = "0x" + self.stack.payer.address.hex()
        body = {"pointId": self.stack.point["pointId"], "payer": payer, "refundTo": payer, "metered": True, "lockMicro": self.lock_micro}
        deadline = time.monotonic() + 30
        while True:
            try:
                quoted: dict[str, Any] = self.stack.call("POST", "/api/v1/quotes", body)
                break
            except DemoFailed:  # the agent's first charge key may still be under way
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        self.terms = from_json(Terms, quoted["terms"])
        deployment = self.stack.client.deployment
        if "0x" + session_id(self.terms, deployment.chain_id, deployment.escrow).hex() != quoted["session"]:
            raise DemoFailed("the quote's session id is not the hash of its terms")
        self.id, self.token, self._quote_id = quoted["session"], quoted["accessToken"], quoted["quoteId"]
        return quoted

    def open(self) -> None:
        """Sign `Open` and hand it to the service, which relays it."""
        deadline_s = int(time.time()) + 600
        order = Open(bytes.fromhex(self.id[2:]), self.lock_micro, deadline_s)
        signature = self.stack.payer.signer.sign(digest(self._domain, order))
        body = {"quoteId": self._quote_id, "lockMicro": self.lock_micro, "deadlineS": deadline_s, "signature": "0x" + signature.hex()}
        self.stack.call("POST", "/api/v1/sessions", body)

    def stop(self) -> None:
        """The payer's stop button, signed."""
        deadline_s = int(time.time()) + 600
        signature = self.stack.payer.signer.sign(digest(self._domain, RequestClose(bytes.fromhex(self.id[2:]), deadline_s)))
        self.stack.call("POST", f"/api/v1/sessions/{self.id}/stop", {"deadlineS": deadline_s, "signature": "0x" + signature.hex()})

    def view(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.stack.call("GET", f"/api/v1/sessions/{self.id}", token=self.token)
        return answer

    def watch(self, until: str, timeout_s: float, each: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """Follow the session until it has reached state `until` or passed it; `each` sees every view."""
        for view in self._views(timeout_s, until):
            if each:
                each(view)
            if STATES.index(view["state"]) >= STATES.index(until):
                return view
        raise AssertionError("unreachable")

    def _views(self, timeout_s: float, until: str) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + timeout_s
        while True:
            view = self.view()
            yield view
            if time.monotonic() > deadline:
                waits = f"it waits for: {view['waitingFor']}"
                raise DemoFailed(f"the session is {view['state']}, not {until}, after {timeout_s:.0f} s; {waits}")
            time.sleep(0.5)

    def bundle(self) -> bytes:
        raw: bytes = self.stack.call("GET", f"/api/v1/sessions/{self.id}/bundle", token=self.token)
        return raw
