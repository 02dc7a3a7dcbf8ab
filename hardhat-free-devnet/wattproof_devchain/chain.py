"""The chain itself: blocks, the clock, the waiting transactions, and the thread that mines.

Guarantees: block times are the wall clock (plus what time helpers were asked to add), strictly rising, and never ahead of it; a
block is on disk before anyone can see it; a restart replays the journal to the same hashes. One lock covers everything, so
a call sees one state and mining never runs beside it.

Because time is strictly rising and never ahead there is at most one block a second. Instant mining (block time 0) mines the
moment the clock allows it, at the latest at the turn of the second; a test in a hurry calls `evm_mine` or `evm_increaseTime`,
which move the clock.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from eth.abc import BlockHeaderAPI, SignedTransactionAPI

from wattproof_devchain.accounts import BALANCE_WEI, Account, known_accounts
from wattproof_devchain.evm import (
    MAX_PREVIOUS_HASHES,
    Ancestors,
    Block,
    BlockBuilder,
    Call,
    Evm,
    Rejected,
    base_fee,
    decode_transaction,
)
from wattproof_devchain.journal import BlockLine, GenesisLine, Journal, JournalError, OffsetLine, RevertLine
from wattproof_devchain.pool import Pool

DEFAULT_ACCOUNTS = 10
MAX_TIME_S = 2**40
"""A timestamp beyond the year 36,000 is a mistake (milliseconds?), and would stop the clock for good."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """A helper was asked for something that the chain cannot do."""


class Chain:
    """A development chain in a journal. Every public method may be called from any thread."""

    def __init__(
        self,
        journal: Journal,
        block_time_s: int,
        accounts: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._block_time_s = block_time_s
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._evm = Evm()
        self._pool = Pool()
        self._blocks: list[Block] = []
        self._number_of: dict[bytes, int] = {}
        self._place_of: dict[bytes, tuple[int, int]] = {}
        self._offset_s = 0
        self._next_timestamp: int | None = None
        self._snapshots: dict[int, int] = {}
        self._stopping = False
        self._fresh = False  # instant mining: something came that no block has tried yet
        self.accounts: list[Account] = []
        self._replay(accounts)

    # --- reading ---

    @property
    def lock(self) -> threading.Condition:
        """Hold it to make several reads of one state."""
        return self._changed

    @property
    def head(self) -> Block:
        with self._changed:
            return self._blocks[-1]

    def now(self) -> int:
        """The chain's clock, in whole seconds."""
        return int(self._exact_now())

    def block(self, number: int) -> Block | None:
        with self._changed:
            return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def block_of_hash(self, block_hash: bytes) -> Block | None:
        with self._changed:
            number = self._number_of.get(block_hash)
            return None if number is None else self._blocks[number]

    def find(self, transaction_hash: bytes) -> tuple[Block, int] | SignedTransactionAPI | None:
        """Where a transaction was mined (block, index), or the transaction itself while it waits."""
        with self._changed:
            place = self._place_of.get(transaction_hash)
            if place is None:
                return self._pool.get(transaction_hash)
            return self._blocks[place[0]], place[1]

    def nonce(self, address: bytes, block: Block | None) -> int:
        """The next nonce after a block; with None, after everything that waits too."""
        with self._changed:
            state = self._evm.state_at((block or self.head).header)
            nonce = int(state.get_nonce(address))  # type: ignore[arg-type]
            return nonce if block is not None else self._pool.next_nonce(address, nonce)

    def balance(self, address: bytes, block: Block) -> int:
        with self._changed:
            return int(self._evm.state_at(block.header).get_balance(address))  # type: ignore[arg-type]

    def code(self, address: bytes, block: Block) -> bytes:
        with self._changed:
            return bytes(self._evm.state_at(block.header).get_code(address))  # type: ignore[arg-type]

    def storage(self, address: bytes, slot: int, block: Block) -> int:
        with self._changed:
            return int(self._evm.state_at(block.header).get_storage(address, slot))  # type: ignore[arg-type]

    def call(self, call: Call, block: Block | None) -> bytes:
        """Run a call after a block, in that block's own time; with None, as if mined now."""
        with self._changed:
            header, ancestors = self._context(block)
            return self._evm.call(header, ancestors, call)

    def estimate_gas(self, call: Call, block: Block | None) -> int:
        with self._changed:
            header, ancestors = self._context(block)
            return self._evm.estimate_gas(header, ancestors, call)

    def next_base_fee(self) -> int:
        """What the next block will charge, in wei."""
        with self._changed:
            return base_fee(self._evm.next_header(self.head, self.head.timestamp + 1))

    # --- writing ---

    def send(self, raw: bytes) -> bytes:
        """Take a signed transaction in; returns its hash. Raises `Rejected` in geth's words."""
        transaction = decode_transaction(raw)
        sender = bytes(transaction.sender)
        with self._changed:
            if bytes(transaction.hash) in self._place_of:
                raise Rejected("already known")
            self._pool.add(transaction, self.nonce(sender, self.head), self.balance(sender, self.head))
            self._fresh = True
            self._changed.notify_all()
        return bytes(transaction.hash)

    def mine(self, timestamp: int | None = None) -> Block:
        """Mine a block now, waiting for nothing. Moves the clock if this second already has a block."""
        with self._changed:
            if timestamp is not None:
                self.set_next_timestamp(timestamp)
            elif self._next_timestamp is None and self.now() <= self.head.timestamp:
                self._shift(self.head.timestamp + 1 - self.now())
            return self._mine()

    def increase_time(self, seconds: int) -> int:
        """Move the chain's clock ahead; returns the whole shift against the wall clock."""
        with self._changed:
            if seconds < 0 or self.now() + seconds > MAX_TIME_S:
                raise Refused(f"cannot move the clock by {seconds} s: give 0 or more, up to the year 36,000")
            self._shift(seconds)
            self._changed.notify_all()
            return self._offset_s

    def set_next_timestamp(self, timestamp: int) -> None:
        """Give the next block this time; the clock goes on from there."""
        with self._changed:
            if not self.head.timestamp < timestamp <= MAX_TIME_S:
                raise Refused(f"the next block's time must be later than {self.head.timestamp} (and in seconds)")
            self._next_timestamp = timestamp

    def snapshot(self) -> int:
        """Remember the present head; returns a number for `revert`. Not kept over a restart."""
        with self._changed:
            identity = max(self._snapshots, default=0) + 1
            self._snapshots[identity] = self.head.number
            return identity

    def revert(self, identity: int) -> bool:
        """Go back to a snapshot, which is used up with all later ones; what was mined since is dropped. False if unknown."""
        with self._changed:
            number = self._snapshots.get(identity)
            if number is None or number > self.head.number:
                return False
            self._snapshots = {key: value for key, value in self._snapshots.items() if key < identity}
            self._journal.append(RevertLine(number))
            self._drop_above(number)
            self._pool = Pool()
            return True

    # --- mining ---

    def run(self) -> None:
        """Mine until `stop`: the body of the mining thread."""
        with self._changed:
            while not self._stopping:
                wait_s = self._seconds_until_due()
                if wait_s is None or wait_s > 0:
                    # Half a second at most, so that a wall clock set forward is noticed.
                    self._changed.wait(None if wait_s is None else min(wait_s, 0.5))
                elif self._block_time_s > 0:
                    self._mine()
                else:
                    self._mine_if_useful()

    def stop(self) -> None:
        """End `run`, and let go of the journal. No block is half written: this waits for the lock."""
        with self._changed:
            if not self._stopping:
                self._stopping = True
                self._changed.notify_all()
                self._journal.close()

    def _seconds_until_due(self) -> float | None:
        if self._block_time_s > 0:
            return self.head.timestamp + self._block_time_s - self._exact_now()
        if not self._fresh:
            return None
        return 0.0 if self._next_timestamp is not None else self.head.timestamp + 1 - self._exact_now()

    def _mine_if_useful(self) -> None:
        before = len(self._pool)
        builder = self._fill(self._next_timestamp or self.now())
        self._fresh = builder.count > 0 and before > builder.count  # left over for lack of gas: go on next second
        if builder.count:
            self._publish(builder.seal())

    def _mine(self) -> Block:
        block = self._fill(self._next_timestamp or self.now()).seal()
        self._publish(block)
        return block

    def _fill(self, timestamp: int) -> BlockBuilder:
        """A block with every transaction that can stand in it; what can never stand is dropped from the pool."""
        while True:
            builder = self._evm.builder(self.head, timestamp, self._ancestors)
            for transaction in list(self._pool.in_turn()):
                if transaction.max_fee_per_gas < builder.base_fee or transaction.gas > builder.gas_left:
                    continue
                nonce = builder.nonce(bytes(transaction.sender))
                if transaction.nonce > nonce:
                    continue
                try:
                    builder.add(transaction)
                except Rejected:  # its nonce or money went elsewhere since it came in
                    self._pool.remove(transaction)
                except Exception:  # py-evm failed: leave that transaction out and build the block afresh
                    log.exception("transaction 0x%s broke the EVM and was dropped", transaction.hash.hex())
                    self._pool.remove(transaction)
                    break
            else:
                return builder

    def _publish(self, block: Block) -> None:
        """Disk first, then the world."""
        raw = tuple(transaction.encode() for transaction in block.transactions)
        self._journal.append(BlockLine(block.number, block.timestamp, block.hash, raw))
        self._append(block)
        for transaction in block.transactions:
            self._pool.remove(transaction)
        if self._next_timestamp is not None:
            self._next_timestamp = None
            self._shift(block.timestamp - self.now())
        self._changed.notify_all()

    # --- inner parts ---

    def _exact_now(self) -> float:
        return self._clock() + self._offset_s

    def _shift(self, seconds: int) -> None:
        if seconds:
            self._offset_s += seconds
            self._journal.append(OffsetLine(self._offset_s))

    def _ancestors(self) -> Sequence[bytes]:
        return [block.hash for block in self._blocks[: -MAX_PREVIOUS_HASHES - 1 : -1]]

    def _context(self, block: Block | None) -> tuple[BlockHeaderAPI, Ancestors]:
        if block is None:
            timestamp = max(self._next_timestamp or self.now(), self.head.timestamp + 1)
            return self._evm.next_header(self.head, timestamp), self._ancestors
        first = max(0, block.number - MAX_PREVIOUS_HASHES)
        return block.header, lambda: [each.hash for each in reversed(self._blocks[first : block.number])]

    def _append(self, block: Block) -> None:
        self._blocks.append(block)
        self._number_of[block.hash] = block.number
        for index, transaction in enumerate(block.transactions):
            self._place_of[bytes(transaction.hash)] = (block.number, index)

    def _drop_above(self, number: int) -> None:
        while self._blocks[-1].number > number:
            block = self._blocks.pop()
            del self._number_of[block.hash]
            for transaction in block.transactions:
                del self._place_of[bytes(transaction.hash)]

    def _replay(self, accounts: int | None) -> None:
        for line in self._journal.lines():
            match line:
                case GenesisLine(timestamp, count):
                    self._begin(timestamp, count)
                case _ if not self._blocks:
                    raise JournalError("the journal does not begin with a genesis; move it away to start a new chain")
                case BlockLine():
                    self._append(self._again(line))
                case OffsetLine(offset_s):
                    self._offset_s = offset_s
                case RevertLine(number):
                    self._drop_above(number)
        if not self._blocks:
            genesis = GenesisLine(int(self._clock()) - 1, accounts or DEFAULT_ACCOUNTS)
            self._journal.append(genesis)
            self._begin(*genesis)
        elif accounts not in (None, len(self.accounts)):
            raise JournalError(f"the chain in this folder was made with {len(self.accounts)} accounts, not {accounts}")

    def _begin(self, timestamp: int, count: int) -> None:
        self.accounts = known_accounts(count)
        balances = {account.address: BALANCE_WEI for account in self.accounts}
        self._append(self._evm.genesis(timestamp, balances))

    def _again(self, line: BlockLine) -> Block:
        builder = self._evm.builder(self._blocks[-1], line.timestamp, self._ancestors)
        try:
            for raw in line.transactions:
                builder.add(decode_transaction(raw))
        except Rejected as error:
            raise JournalError(f"block {line.number} of the journal cannot be replayed: {error}") from error
        block = builder.seal()
        if block.number != line.number or block.hash != line.hash:
            raise JournalError(
                f"block {line.number} of the journal comes out different when replayed; was it written by another "
                "version of py-evm? Move the folder away to start a new chain"
            )
        return block
