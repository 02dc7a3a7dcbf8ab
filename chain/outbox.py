"""The chain half of the outbox: intents become transactions, exactly once, whatever dies when.

What is promised, given a store whose methods have committed when they return:
- signed bytes are in the store before anyone else sees them, so after a crash the *same bytes* are sent again;
- all transactions of an intent carry one nonce, so at most one of them can ever be mined. The nonce is given up only when it is
  proven dead: a final block has used it, and none of the intent's transactions is in the chain;
- nothing is settled before its block is final; a reorganisation that drops it makes it pending again, and it is sent again;
- intents go out in the order they were made, but one that the contract refuses now is passed over and tried again: no stranger's
  intent holds up the others. An intent may build on older ones; it must not undo what an older one needs.

One `Sender` a key, and one process at a time that runs it (the service's lease): two would fight over nonces, and though no
intent would be mined twice, they would hold each other up.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from chain.calls import Call
from chain.errors import FeeTooHigh, Reverted, RpcRefused
from chain.rpc import Block, BlockRef, Receipt, Rpc
from chain.transactions import SignedTransaction, TransactionSigner

MAX_IN_FLIGHT = 16
"""Transactions of one sender that wait at once: what geth keeps for each account whatever happens."""
REFUSED_AT_ONCE = 32
"""Refused intents tried again in one step, in turn: each costs a question to the node, and they must not keep the others waiting."""
REBROADCAST_S = 15.0
"""A transaction that a node has forgotten (restart, full pool) is sent again after this."""
BUMP_AFTER_S = 60.0
"""One that has waited so long, the first in its line, is helped: priced again, or freed from a gap before it."""


class Outcome(Enum):
    """How an intent ended."""

    SUCCEEDED = "succeeded"
    REVERTED = "reverted"  # mined, in a final block, without effect
    REFUSED = "refused"  # the contract refuses it, after the newest block and the final one; nothing was sent


class Mined(NamedTuple):
    """Where an intent's transaction was found. It counts once `block` is final."""

    transaction: bytes
    block: BlockRef
    succeeded: bool
    gas_used: int
    price_wei: int


class Intent(NamedTuple):
    """What a store keeps of an unsettled intent. `attempts`, oldest first, all carry one nonce; none: nothing was signed yet."""

    id: str
    call: Call
    attempts: tuple[SignedTransaction, ...]
    mined: Mined | None


class Store(Protocol):
    """The database's half. Every method has committed when it returns."""

    def open_intents(self, sender: bytes) -> Sequence[Intent]:
        """All unsettled intents of this sender that have attempts, and the oldest of the others, in the order they were made."""

    def save_attempt(self, intent_id: str, attempt: SignedTransaction) -> None:
        """Keep signed bytes: they are broadcast right after."""

    def save_mined(self, intent_id: str, mined: Mined | None) -> None:
        """Seen in a block that is not final yet; None: no longer, the chain reorganised."""

    def release(self, intent_id: str) -> None:
        """The nonce is proven dead: put the attempts away as history; the intent is as if never signed."""

    def settle(self, intent_id: str, outcome: Outcome, mined: Mined | None, reason: Reverted | None) -> None:
        """Final. `mined` is None and `reason` says why for REFUSED."""


class Report(NamedTuple):
    """What one step did. `troubles` are sentences for people: what is waiting, and for what."""

    changed: bool
    waiting: int
    troubles: tuple[str, ...]


class Sender:
    """The sending loop of one key: call `step` again and again, every second or whenever there is something new."""

    def __init__(self, rpc: Rpc, signer: TransactionSigner, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rpc = rpc
        self._signer = signer
        self._store = store
        self._clock = clock
        self._sent_at: dict[bytes, float] = {}  # transaction hash → when we last sent it; forgotten at a restart: sent again
        self._first_sent_at: dict[bytes, float] = {}
        self._used_elsewhere: set[str] = set()  # intents whose nonce seemed used by another, one step ago
        self._steps = 0
        self._refused_in: dict[str, int] = {}  # intent that could not be signed → the step in which it was last tried
        self._troubles: list[str] = []
        self._changed = False

    def step(self) -> Report:
        """Look at every unsettled intent once, and do what can be done. Raises `Transient` if the node is away."""
        self._troubles, self._changed = [], False
        self._steps += 1
        final = self._rpc.final_head()
        intents = self._store.open_intents(self._signer.address)
        signed = [intent for intent in intents if intent.attempts]
        waiting = [intent for intent in signed if not self._check(intent, final)]
        if waiting:
            self._unblock(min(waiting, key=lambda intent: intent.attempts[0].nonce))
        fresh = len(intents) - len(signed)
        # A nonce that was settled in this very step is in the chain's count already.
        done = self._sign_next(intents, waiting, final) if fresh else 0
        return Report(self._changed, len(waiting) + fresh - done, tuple(self._troubles))

    # --- what was signed before ---

    def _check(self, intent: Intent, final: Block) -> bool:
        """Follow up one signed intent. True if it is in a block (final or not) or given up; False if it still waits."""
        nonce = intent.attempts[0].nonce
        # The count is read before the receipts: a transaction mined in between is then found, not taken for dead.
        nonce_is_used = self._rpc.nonce(self._signer.address, final.hash) > nonce
        receipt = self._find(intent)
        if receipt is not None:
            self._used_elsewhere.discard(intent.id)
            self._found(intent, receipt, final)
            return True
        if intent.mined is not None:
            self._store.save_mined(intent.id, None)
            self._changed = True
            self._sent_at.clear()  # the chain reorganised: whatever it dropped is to be sent again now
        if nonce_is_used:
            return self._release_if_sure(intent, nonce)
        self._used_elsewhere.discard(intent.id)
        self._send_again(intent)
        return False

    def _find(self, intent: Intent) -> Receipt | None:
        for attempt in reversed(intent.attempts):
            receipt = self._rpc.receipt(attempt.hash)
            if receipt is not None:
                return receipt
        return None

    def _found(self, intent: Intent, receipt: Receipt, final: Block) -> None:
        mined = Mined(receipt.transaction, receipt.block, receipt.succeeded, receipt.gas_used, receipt.price_wei)
        if receipt.block.number <= final.number:
            outcome = Outcome.SUCCEEDED if receipt.succeeded else Outcome.REVERTED
            self._store.settle(intent.id, outcome, mined, None)
            self._changed = True
            for attempt in intent.attempts:
                self._sent_at.pop(attempt.hash, None)
                self._first_sent_at.pop(attempt.hash, None)
        elif mined != intent.mined:
            self._store.save_mined(intent.id, mined)
            self._changed = True

    def _release_if_sure(self, intent: Intent, nonce: int) -> bool:
        """Give a nonce up that another transaction has used; looked at in two steps, in case the node was behind itself."""
        if intent.id not in self._used_elsewhere:
            self._used_elsewhere.add(intent.id)
            return False
        self._used_elsewhere.discard(intent.id)
        self._store.release(intent.id)
        self._changed = True
        self._troubles.append(
            f"{intent.call.what}: nonce {nonce} was used by a transaction that is not ours; does another program send with this key?"
        )
        return True

    def _send_again(self, intent: Intent) -> None:
        last = intent.attempts[-1]
        sent_at = self._sent_at.get(last.hash)
        if sent_at is None or self._clock() - sent_at >= REBROADCAST_S:
            self._broadcast(intent.call, last)

    def _unblock(self, first: Intent) -> None:
        """After a while, help the first in line, for which all behind it wait: close a gap before it, or price it again."""
        last = first.attempts[-1]
        if self._clock() - self._first_sent_at.get(last.hash, self._clock()) < BUMP_AFTER_S:
            return
        missing = self._rpc.nonce(self._signer.address)
        if missing < last.nonce:
            self._fill(missing)
            return
        bumped = self._signer.bump(first.call, last)
        if bumped is None:
            self._troubles.append(f"{first.call.what}: has waited {BUMP_AFTER_S:.0f} s for a block; its price cannot be raised further")
            return
        self._store.save_attempt(first.id, bumped)
        self._changed = True
        self._broadcast(first.call, bumped)

    def _fill(self, nonce: int) -> None:
        """Use up a nonce that nobody fills: another program's transaction, or one from before a restored backup, was reorganised away.

        Not saved: if it is forgotten, the next one for this nonce does as well.
        """
        filler = self._signer.sign_nothing(nonce)
        self._troubles.append(f"nonce {nonce} was used by nobody, and all later ones wait for it: an empty transaction fills it")
        self._broadcast(Call(self._signer.address, b"", "filler"), filler)

    # --- what is new ---

    def _sign_next(self, intents: Sequence[Intent], waiting: Sequence[Intent], final: Block) -> int:
        """Sign and send new intents in their order; returns how many are dealt with. One that is refused keeps no other waiting."""
        fresh = [intent for intent in intents if not intent.attempts]
        taken = {intent.attempts[0].nonce for intent in intents if intent.attempts}
        free = (nonce for nonce in itertools.count(self._rpc.nonce(self._signer.address)) if nonce not in taken)
        nonce, refused = next(free), dict[str, Reverted]()
        in_flight = {intent.id for intent in waiting}
        for intent in self._in_turn(fresh):
            if len(in_flight) >= MAX_IN_FLIGHT or len(refused) >= 2 * REFUSED_AT_ONCE:
                break
            try:
                attempt = self._signer.sign(intent.call, nonce)
            except Reverted as error:
                refused[intent.id] = error
                self._refused_in[intent.id] = self._steps
                continue
            except RpcRefused as error:
                self._troubles.append(f"{intent.call.what}: {error}")
                self._refused_in[intent.id] = self._steps
                continue
            except FeeTooHigh as error:
                self._troubles.append(f"{intent.call.what}: {error}")
                break
            self._store.save_attempt(intent.id, attempt)
            self._changed = True
            self._broadcast(intent.call, attempt)
            in_flight.add(intent.id)
            nonce = next(free)
        return len(in_flight) - len(waiting) + self._settle_refused(intents, refused, in_flight, final)

    def _in_turn(self, fresh: Sequence[Intent]) -> list[Intent]:
        """In their order: the new ones, and of those that were refused before the ones that were not tried for longest."""
        known = {intent.id for intent in fresh}
        self._refused_in = {each: step for each, step in self._refused_in.items() if each in known}
        again = sorted(self._refused_in, key=lambda each: self._refused_in[each])[:REFUSED_AT_ONCE]
        turn = known - self._refused_in.keys() | set(again)
        return [intent for intent in fresh if intent.id in turn]

    def _settle_refused(self, intents: Sequence[Intent], refused: dict[str, Reverted], in_flight: set[str], final: Block) -> int:
        """Give up what is refused for good; returns how many.

        Not what may build on an older one that is not mined yet (a deposit on its approval), nor what was made void by a block that is
        not final yet: those are looked at again then.
        """
        settled = 0
        for intent in intents:
            if intent.id in in_flight:
                break
            error = refused.get(intent.id)
            if error is not None and self._is_refused_after(final, intent.call):
                self._store.settle(intent.id, Outcome.REFUSED, None, error)
                self._changed = True
                settled += 1
        return settled

    def _is_refused_after(self, final: Block, call: Call) -> bool:
        try:
            self._rpc.call(call.to, call.data, sender=self._signer.address, at=final.hash)
        except Reverted:
            return True
        return False

    def _broadcast(self, call: Call, attempt: SignedTransaction) -> None:
        """Send saved bytes. What the node says decides nothing: the chain alone does, in a later step."""
        self._sent_at[attempt.hash] = self._clock()
        self._first_sent_at.setdefault(attempt.hash, self._clock())
        try:
            self._rpc.send(attempt.raw)
        except RpcRefused as error:
            if not _means_it_is_there(error.reason):
                self._troubles.append(f"{call.what} (nonce {attempt.nonce}): {error}")


def _means_it_is_there(reason: str) -> bool:
    """Whether a refusal says that these bytes, or others of their nonce, are in the pool or the chain already."""
    words = reason.lower()
    known = ("already known", "already imported", "known transaction", "already in mempool", "nonce too low")
    return any(each in words for each in known)
