"""What the contracts said: events read with block hashes, rolled back when the chain reorganises.

The reader keeps nothing: it is given the blocks its caller knows (stored together with the events' effects) and answers what to
undo, what to do, and the new list to store. So a crash between reading and storing only means that the same is read again.

Guarantees: every event comes with the hash of its block; blocks above the final one are linked by parent hashes and read by hash,
so a batch is of one chain; an event is given once for each block it stands in. A chain that gives up blocks it called
final is an error, not a rollback.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from chain import event_types
from chain.abi import interface
from chain.client import ChainClient
from chain.errors import BadAnswer, ChainMoved, ReorganisedTooDeep
from chain.rpc import Block, BlockRef, Log
from protocol.eip712 import snake

MAX_BLOCKS = 1_000
"""Final blocks in one batch: what public nodes allow in one eth_getLogs."""
MAX_KNOWN = 256
"""Blocks remembered for going back; a chain whose finality takes longer needs another way to read."""


class ChainEvent(NamedTuple):
    """One event and where it stands. `body` is one of `event_types`; `time_s` the block's time."""

    block: BlockRef
    time_s: int
    transaction: bytes
    log_index: int
    address: bytes
    body: event_types.Body


class Batch(NamedTuple):
    """First undo what came from blocks above `rolled_back_to` (None: nothing), then apply `events` in order, then store `known`."""

    rolled_back_to: int | None
    events: tuple[ChainEvent, ...]
    known: tuple[BlockRef, ...]
    final: BlockRef
    head: BlockRef

    @property
    def caught_up(self) -> bool:
        """Whether the newest block has been read."""
        return self.known[-1:] == (self.head,)


class EventReader:
    """Reads all events of a deployment's contracts, and what looks like a wallet's: whoever stores it keeps that of known wallets only."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client
        deployment = client.deployment
        self._names = {address: name for name, address in deployment.contracts().items() if name in event_types.CONTRACTS}
        self._wallet_topics = _wallet_topics() if deployment.wallet_factory is not None else ()
        self._first = deployment.block_number

    def read(self, known: Sequence[BlockRef]) -> Batch:
        """What is new since `known` (empty: since the deployment, once that is final). Raises `Transient`, `ReorganisedTooDeep`."""
        final = self._client.final_head()
        head = self._client.head()
        if not known and final.number < self._first:
            return Batch(None, (), (), final.ref, head.ref)
        kept = self._still_there(known)
        rolled_back_to = None if len(kept) == len(known) else kept[-1].number
        start = kept[-1].number + 1 if kept else self._first
        if start > head.number:
            return Batch(rolled_back_to, (), tuple(kept), final.ref, head.ref)
        if start <= final.number:
            events, new = self._read_final(start, min(final.number, start + MAX_BLOCKS - 1))
            kept = []  # older blocks than a final one need not be remembered
        else:
            events, new = self._read_open(kept, start, head)
        return Batch(rolled_back_to, tuple(events), _worth_keeping([*kept, *new], final.number), final.ref, head.ref)

    def _still_there(self, known: Sequence[BlockRef]) -> list[BlockRef]:
        """The beginning of `known` that is on the present chain."""
        for count in range(len(known), 0, -1):
            ref = known[count - 1]
            block = self._client.block(ref.number)
            if block is not None and block.hash == ref.hash:
                return list(known[:count])
        if known:
            raise ReorganisedTooDeep(
                f"block {known[0].number} (0x{known[0].hash.hex()}) was final and is no longer on the chain: rebuild the books from "
                "the chain, and ask why this chain gives up final blocks"
            )
        return []

    def _read_final(self, start: int, end: int) -> tuple[list[ChainEvent], list[BlockRef]]:
        """Blocks that cannot change: by number, many at once."""
        logs = self._logs(first=start, last=end)
        times: dict[int, int] = {}
        for number in sorted({log.block.number for log in logs} | {end}):
            block = self._existing(number)
            if any(log.block.hash != block.hash for log in logs if log.block.number == number):
                raise ChainMoved(f"block {number} changed while it was read; read again")
            times[number] = block.time_s
            last = block
        return [event for log in logs if (event := self._decode(log, times[log.block.number]))], [last.ref]

    def _read_open(self, kept: Sequence[BlockRef], start: int, head: Block) -> tuple[list[ChainEvent], list[BlockRef]]:
        """Blocks that may still go: headers first, linked down from the head we saw, then each block's logs by its hash."""
        top = head if head.number < start + MAX_KNOWN else self._existing(start + MAX_KNOWN - 1)
        headers = [top]
        while headers[-1].number > start:
            parent = self._client.block_of(headers[-1].parent_hash)
            if parent is None or parent.number != headers[-1].number - 1:
                raise ChainMoved("the chain reorganised while it was read; read again")
            headers.append(parent)
        if kept and headers[-1].parent_hash != kept[-1].hash:
            raise ChainMoved("the chain reorganised while it was read; read again")
        events: list[ChainEvent] = []
        for header in reversed(headers):
            logs = self._logs(block=header.hash)
            events += [event for log in logs if (event := self._decode(log, header.time_s))]
        return events, [header.ref for header in reversed(headers)]

    def _logs(self, **where: Any) -> tuple[Log, ...]:
        """Logs of our contracts, and of everybody that speaks like a wallet: only the factory's events say which those are."""
        logs = self._client.logs(tuple(self._names), **where)
        if self._wallet_topics:
            said = self._client.logs((), topics=self._wallet_topics, **where)
            logs = tuple(sorted((*logs, *said), key=lambda log: (log.block.number, log.log_index)))
        return logs

    def _existing(self, number: int) -> Block:
        block = self._client.block(number)
        if block is None:
            raise ChainMoved(f"block {number} is gone while it was read; read again")
        return block

    def _decode(self, log: Log, time_s: int) -> ChainEvent | None:
        body = decode_log(self._names[log.address], log) if log.address in self._names else decode_wallet_log(log)
        return None if body is None else ChainEvent(log.block, time_s, log.transaction, log.log_index, log.address, body)


def decode_log(contract: str, log: Log) -> event_types.Body | None:
    """A log of this contract as one of `event_types`; None for events nobody here needs (roles, approvals). Raises `BadAnswer`."""
    event = interface(contract).events.get(log.topics[0]) if log.topics else None
    kind: Any = None if event is None else event_types.CONTRACTS[contract].get(event.name)
    if event is None or kind is None:
        return None
    values = event.decode(list(log.topics), log.data)
    body: event_types.Body = kind(**{_python_name(name): value for name, value in values.items()})
    return body


@cache
def _wallet_topics() -> tuple[bytes, ...]:
    events = interface("DeviceWallet").events
    return tuple(sorted(topic for topic, event in events.items() if event.name in event_types.WALLET))


def decode_wallet_log(log: Log) -> event_types.Body | None:
    """A log as one of `event_types.WALLET`, said by its address; None for what no wallet says, however much it looks so. Never raises."""
    event = interface("DeviceWallet").events.get(log.topics[0]) if log.topics else None
    kind: Any = None if event is None else event_types.WALLET.get(event.name)
    if event is None or kind is None:
        return None
    try:
        values = event.decode(list(log.topics), log.data)
    except BadAnswer:
        return None  # anybody can emit bytes under this topic: they must not stop the reading
    body: event_types.Body = kind(wallet=log.address, **{_python_name(name): value for name, value in values.items()})
    return body


def _python_name(solidity_name: str) -> str:
    return "sender" if solidity_name == "from" else snake(solidity_name)


def _worth_keeping(known: list[BlockRef], final_number: int) -> tuple[BlockRef, ...]:
    """The newest final block and everything after it: no reorganisation goes below."""
    final = [ref for ref in known if ref.number <= final_number]
    return tuple((final[-1:] + [ref for ref in known if ref.number > final_number])[-MAX_KNOWN:])
