"""Send a few calls and wait: for tools, tests and demonstrations, whose user can simply run them again.

The same `Sender` as the service's, on a store in memory; a crash forgets what was sent, so this is not for a service.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from chain.calls import Call
from chain.errors import ChainError, Permanent, Reverted, Transient
from chain.outbox import Intent, Mined, Outcome, Sender
from chain.rpc import Rpc
from chain.transactions import SignedTransaction, TransactionSigner

POLL_S = 0.1


class MemoryStore:
    """A `Store` for as long as the process lives."""

    def __init__(self) -> None:
        self._intents: dict[str, Intent] = {}
        self.outcomes: dict[str, tuple[Outcome, Mined | None, Reverted | None]] = {}

    def add(self, intent_id: str, call: Call) -> None:
        self._intents[intent_id] = Intent(intent_id, call, (), None)

    def open_intents(self, sender: bytes) -> Sequence[Intent]:
        return tuple(self._intents.values())

    def save_attempt(self, intent_id: str, attempt: SignedTransaction) -> None:
        intent = self._intents[intent_id]
        self._intents[intent_id] = intent._replace(attempts=(*intent.attempts, attempt))

    def save_mined(self, intent_id: str, mined: Mined | None) -> None:
        self._intents[intent_id] = self._intents[intent_id]._replace(mined=mined)

    def release(self, intent_id: str) -> None:
        self._intents[intent_id] = self._intents[intent_id]._replace(attempts=(), mined=None)

    def settle(self, intent_id: str, outcome: Outcome, mined: Mined | None, reason: Reverted | None) -> None:
        del self._intents[intent_id]
        self.outcomes[intent_id] = (outcome, mined, reason)


def send(rpc: Rpc, signer: TransactionSigner, calls: Sequence[Call], timeout_s: float = 60.0) -> list[Mined]:
    """Send calls in order and wait until all are final. Raises `Reverted` for the first that failed, `Transient` after the time."""
    store = MemoryStore()
    for index, call in enumerate(calls):
        store.add(str(index), call)
    sender = Sender(rpc, signer, store)
    deadline = time.monotonic() + timeout_s
    while len(store.outcomes) < len(calls):
        report = sender.step()
        if time.monotonic() > deadline:
            raise Transient(f"after {timeout_s:.0f} s {report.waiting} of {len(calls)} calls are not final: {'; '.join(report.troubles)}")
        if not report.changed:
            time.sleep(POLL_S)
    done: list[Mined] = []
    for index, call in enumerate(calls):
        outcome, mined, reason = store.outcomes[str(index)]
        if outcome is not Outcome.SUCCEEDED or mined is None:
            failure: ChainError = reason or Permanent(f"{call.what}: its transaction was mined without effect")
            raise failure
        done.append(mined)
    return done
