"""Transactions waiting for a block, kept by geth's rules so that clients meet the refusals they will meet elsewhere.

Kept in memory only, like any node's: whoever sent one sends the same bytes again after a restart.
"""

import itertools
from collections.abc import Iterator

from eth.abc import SignedTransactionAPI

from wattproof_devchain.evm import GAS_LIMIT, Rejected

MAX_PENDING = 10_000
"""Keeps a runaway sender from eating the machine's memory; a block holds at most 1,428 bare transfers."""
MAX_NONCE_GAP = 1_000
"""A nonce further ahead is a mistake, and would wait for ever."""
REPLACEMENT_BUMP_PERCENT = 10
"""What geth asks of a replacement, on the fee cap and on the tip."""


class Pool:
    """Pending transactions by sender and nonce. Not thread-safe; the chain's lock guards it."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[bytes, int], SignedTransactionAPI] = {}
        self._arrival: dict[tuple[bytes, int], int] = {}
        self._by_hash: dict[bytes, tuple[bytes, int]] = {}
        self._counter = itertools.count()

    def __len__(self) -> int:
        return len(self._by_place)

    def get(self, transaction_hash: bytes) -> SignedTransactionAPI | None:
        """The pending transaction of this hash, if it waits here."""
        place = self._by_hash.get(transaction_hash)
        return self._by_place[place] if place is not None else None

    def add(self, transaction: SignedTransactionAPI, next_nonce: int, balance_wei: int) -> None:
        """Take one in, or raise `Rejected` in geth's words. A replacement keeps its predecessor's turn."""
        place = (bytes(transaction.sender), int(transaction.nonce))
        if bytes(transaction.hash) in self._by_hash:
            raise Rejected("already known")
        if transaction.nonce < next_nonce:
            raise Rejected(f"nonce too low: next nonce {next_nonce}, tx nonce {transaction.nonce}")
        if transaction.nonce > next_nonce + MAX_NONCE_GAP:
            raise Rejected(f"nonce too high: next nonce {next_nonce}, tx nonce {transaction.nonce}")
        if transaction.gas > GAS_LIMIT:
            raise Rejected(f"exceeds block gas limit: {transaction.gas} > {GAS_LIMIT}")
        if transaction.gas < transaction.intrinsic_gas:
            raise Rejected(f"intrinsic gas too low: have {transaction.gas}, want {transaction.intrinsic_gas}")
        if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
            raise Rejected("max priority fee per gas higher than max fee per gas")
        cost = transaction.value + transaction.gas * transaction.max_fee_per_gas
        if cost > balance_wei:
            raise Rejected(f"insufficient funds for gas * price + value: have {balance_wei} want {cost}")
        old = self._by_place.get(place)
        if old is not None:
            _check_replacement(old, transaction)
            del self._by_hash[bytes(old.hash)]
        elif len(self._by_place) >= MAX_PENDING:
            raise Rejected(f"txpool is full: {MAX_PENDING} transactions wait for a block")
        self._by_place[place] = transaction
        self._by_hash[bytes(transaction.hash)] = place
        self._arrival.setdefault(place, next(self._counter))

    def in_turn(self) -> Iterator[SignedTransactionAPI]:
        """First come, first served; the nonces of one sender in order whatever order they came in."""
        nonces: dict[bytes, list[int]] = {}
        for sender, nonce in self._by_place:
            nonces.setdefault(sender, []).append(nonce)
        waiting = {sender: iter(sorted(of_sender)) for sender, of_sender in nonces.items()}
        for sender, _ in sorted(self._arrival, key=self._arrival.__getitem__):
            yield self._by_place[(sender, next(waiting[sender]))]

    def next_nonce(self, sender: bytes, next_nonce: int) -> int:
        """The first nonce with no transaction, mined or pending (what `pending` means in eth_getTransactionCount)."""
        while (sender, next_nonce) in self._by_place:
            next_nonce += 1
        return next_nonce

    def remove(self, transaction: SignedTransactionAPI) -> None:
        """Forget what was mined or turned out to be unusable, and whatever else claimed its place."""
        place = (bytes(transaction.sender), int(transaction.nonce))
        held = self._by_place.pop(place, None)
        if held is not None:
            del self._by_hash[bytes(held.hash)]
            del self._arrival[place]


def _check_replacement(old: SignedTransactionAPI, new: SignedTransactionAPI) -> None:
    def enough(before: int, after: int) -> bool:
        return after * 100 >= before * (100 + REPLACEMENT_BUMP_PERCENT)

    if not enough(old.max_fee_per_gas, new.max_fee_per_gas) or not enough(old.max_priority_fee_per_gas, new.max_priority_fee_per_gas):
        raise Rejected(f"replacement transaction underpriced: raise both fees by {REPLACEMENT_BUMP_PERCENT} %")
