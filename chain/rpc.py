"""A node's blocks, accounts and transactions, in our own types. The only module that touches web3's objects.

Guarantees: every method returns what its type says or raises a `ChainError`, whatever the node answers. Reads are tried a few
times where that can help; sending is not, its caller knows better. May be used from many threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import stamina

from chain.calls import Call
from chain.errors import BadAnswer, ChainError, Transient

T = TypeVar("T")

READ_ATTEMPTS = 3
READ_PATIENCE_S = 5.0
"""Bridges a lost connection; whoever can wait longer has a loop of his own."""


class BlockRef(NamedTuple):
    """A block as events and receipts name it: a number means something only together with the hash."""

    number: int
    hash: bytes


class Block(NamedTuple):
    """A block's header. `time_s` UTC seconds; `base_fee_wei` None where the chain has none."""

    number: int
    hash: bytes
    parent_hash: bytes
    time_s: int
    base_fee_wei: int | None

    @property
    def ref(self) -> BlockRef:
        return BlockRef(self.number, self.hash)


class Log(NamedTuple):
    """An event as the chain keeps it, undecoded."""

    block: BlockRef
    transaction: bytes
    log_index: int
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class Receipt(NamedTuple):
    """What became of a mined transaction."""

    transaction: bytes
    block: BlockRef
    succeeded: bool
    gas_used: int
    price_wei: int
    logs: tuple[Log, ...]
    created: bytes | None


class Rpc:
    """One node. `finality_depth`: a block so many blocks below the head is final; None asks the node (tag `finalized`)."""

    def __init__(self, url: str, *, finality_depth: int | None = None, timeout_s: float = 10.0) -> None:
        # Here, not above: web3 takes a second to import, and --help and key tools should not.
        from web3 import Web3
        from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception
        from web3.middleware import ExtraDataToPOAMiddleware

        from chain.transport import HttpProvider

        self._provider = HttpProvider(url, timeout_s)
        # Clique puts its signatures where other chains have 32 bytes of extra data; the others pass through unchanged.
        self._eth = Web3(self._provider, middleware=[ExtraDataToPOAMiddleware], ens=None).eth
        self._absent: tuple[type[Exception], ...] = (BlockNotFound, TransactionNotFound)
        self._strange: tuple[type[Exception], ...] = (Web3Exception, ValueError, TypeError, KeyError, AttributeError, OverflowError)
        self._finality_depth = finality_depth

    def close(self) -> None:
        """Close the connections."""
        self._provider.close()

    def __enter__(self) -> Rpc:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- blocks ---

    def chain_id(self) -> int:
        return self.read("chain id", lambda: int(self._eth.chain_id))

    def head(self) -> Block:
        """The newest block; it may be reorganised away."""
        return self._some_block("latest")

    def final_head(self) -> Block:
        """The newest block that cannot be reorganised away, as far as depth or the node's word go."""
        if self._finality_depth is None:
            return self._some_block("finalized")
        return self._some_block(max(0, self.head().number - self._finality_depth))

    def block(self, number: int) -> Block | None:
        """The block of this number on the present chain, None if it has none yet."""
        return self._block(number)

    def block_of(self, block_hash: bytes) -> Block | None:
        """A block by its hash. It may have left the chain; nodes remember such blocks for a while."""
        return self._block(block_hash)

    def _some_block(self, which: str | int) -> Block:
        found = self._block(which)
        if found is None:
            raise BadAnswer(f"the node knows no {which} block; set a finality depth if it does not support the tag")
        return found

    def _block(self, which: Any) -> Block | None:
        def ask() -> Block:
            answer: Any = self._eth.get_block(which)
            base_fee = answer.get("baseFeePerGas")
            block = Block(
                int(answer["number"]),
                _bytes(answer["hash"], 32),
                _bytes(answer["parentHash"], 32),
                int(answer["timestamp"]),
                None if base_fee is None else int(base_fee),
            )
            if (isinstance(which, int) and block.number != which) or (isinstance(which, bytes) and block.hash != which):
                raise BadAnswer(f"the node was asked for block {_shown(which)} and gave block {block.number} (0x{block.hash.hex()})")
            return block

        return self.read_or_none(f"block {_shown(which)}", ask)

    # --- accounts and code ---

    def nonce(self, account: bytes, at: bytes | None = None) -> int:
        """How many transactions of an account are in the chain, up to the block of this hash (the newest if None)."""
        return self.read("nonce", lambda: int(self._eth.get_transaction_count(_address(account), _at(at))))

    def wei(self, account: bytes) -> int:
        """An account's balance of the chain's own coin."""
        return self.read("balance", lambda: int(self._eth.get_balance(_address(account))))

    def code(self, address: bytes) -> bytes:
        """The code at an address; empty if there is none."""
        return self.read("code", lambda: bytes(self._eth.get_code(_address(address))))

    def call(self, to: bytes, data: bytes, *, sender: bytes | None = None, at: bytes | None = None, gas: int | None = None) -> bytes:
        """Run a read-only call, in the state after the block of this hash (the newest if None). Raises `Reverted`.

        `gas`: its limit where it runs a stranger's code; None: as much as the node gives.
        """
        transaction: Any = {"to": _address(to), "data": data}
        if gas is not None:
            transaction["gas"] = gas
        if sender is not None:
            transaction["from"] = _address(sender)
        return self.read("call", lambda: bytes(self._eth.call(transaction, _at(at))))

    def estimate_gas(self, call: Call, sender: bytes) -> int:
        """Gas the call would use if sent now. Raises `Reverted` with the contract's reason if it would fail."""
        transaction: Any = {"to": _address(call.to), "data": call.data, "from": _address(sender)}
        return self.read("gas estimate", lambda: int(self._eth.estimate_gas(transaction)))

    def gas_price_wei(self) -> int:
        """What the node suggests to pay for a unit of gas, base fee included."""
        return self.read("gas price", lambda: int(self._eth.gas_price))

    # --- transactions ---

    def send(self, raw: bytes) -> bytes:
        """Broadcast signed bytes; returns their hash. Raises `RpcRefused` in the node's words."""
        return self._translate("sending", lambda: bytes(self._eth.send_raw_transaction(raw)))

    def is_known(self, transaction: bytes) -> bool:
        """Whether the node knows a transaction, waiting or mined."""
        return self.read_or_none("transaction", lambda: self._eth.get_transaction(transaction)) is not None  # type: ignore[arg-type]

    def receipt(self, transaction: bytes) -> Receipt | None:
        """What became of a transaction; None while it is in no block of the present chain."""

        def ask() -> Receipt:
            answer: Any = self._eth.get_transaction_receipt(transaction)  # type: ignore[arg-type]
            if _bytes(answer["transactionHash"], 32) != transaction:
                raise BadAnswer(f"the node gave another receipt than that of transaction 0x{transaction.hex()}")
            return Receipt(
                transaction,
                BlockRef(int(answer["blockNumber"]), _bytes(answer["blockHash"], 32)),
                bool(int(answer["status"])),
                int(answer["gasUsed"]),
                int(answer.get("effectiveGasPrice") or 0),
                tuple(_log(each) for each in answer["logs"]),
                _optional_address(answer.get("contractAddress")),
            )

        return self.read_or_none("receipt", ask)

    def logs(
        self, addresses: tuple[bytes, ...], *, topics: tuple[bytes, ...] = (), block: bytes | None = None, first: int = 0, last: int = 0
    ) -> tuple[Log, ...]:  # fmt: skip
        """Logs of these contracts (none named: of anybody), in order, that begin with one of `topics` (none named: with any), in the block
        of this hash or in the blocks `first` to `last`.
        """
        where: Any = {"blockHash": "0x" + block.hex()} if block is not None else {"fromBlock": first, "toBlock": last}
        if addresses:
            where["address"] = [_address(each) for each in addresses]
        if topics:
            where["topics"] = [["0x" + topic.hex() for topic in topics]]

        def ask() -> tuple[Log, ...]:
            answer: Any = self._eth.get_logs(where)
            found = tuple(_log(each) for each in answer if not each.get("removed"))
            for log in found:
                inside = log.block.hash == block if block is not None else first <= log.block.number <= last
                wanted = (not addresses or log.address in addresses) and (not topics or log.topics[:1] in [(each,) for each in topics])
                if not inside or not wanted:
                    raise BadAnswer(f"the node gave a log that was not asked for (block {log.block.number}, 0x{log.address.hex()})")
            return tuple(sorted(found, key=lambda log: (log.block.number, log.log_index)))

        return self.read("logs", ask)

    # --- how every read is made ---

    def read(self, what: str, ask: Callable[[], T]) -> T:
        """Ask, again where that can help. Raises `ChainError` only."""
        for attempt in stamina.retry_context(on=Transient, attempts=READ_ATTEMPTS, timeout=READ_PATIENCE_S, wait_max=2.0):
            with attempt:
                return self._translate(what, ask)
        raise AssertionError("stamina raises after its last attempt")

    def read_or_none(self, what: str, ask: Callable[[], T]) -> T | None:
        """As `read`; None where the node says that there is no such thing."""

        def ask_or_none() -> T | None:
            try:
                return ask()
            except self._absent:
                return None

        return self.read(what, ask_or_none)

    def _translate(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except ChainError:
            raise
        except self._strange as error:
            raise BadAnswer(f"{what}: the node's answer cannot be read ({type(error).__name__}: {str(error)[:200]})") from error


def _at(block_hash: bytes | None) -> Any:
    return "latest" if block_hash is None else block_hash


def _address(address: bytes) -> Any:
    from eth_utils.address import to_checksum_address

    return to_checksum_address(address)


def _optional_address(value: Any) -> bytes | None:
    return None if value is None else _bytes(bytes.fromhex(str(value).removeprefix("0x")), 20)


def _bytes(value: Any, length: int) -> bytes:
    raw = bytes(value)
    if len(raw) != length:
        raise ValueError(f"{len(raw)} bytes where {length} belong")
    return raw


def _log(answer: Any) -> Log:
    return Log(
        BlockRef(int(answer["blockNumber"]), _bytes(answer["blockHash"], 32)),
        _bytes(answer["transactionHash"], 32),
        int(answer["logIndex"]),
        _bytes(bytes.fromhex(str(answer["address"]).removeprefix("0x")), 20),
        tuple(_bytes(topic, 32) for topic in answer["topics"]),
        bytes(answer["data"]),
    )


def _shown(which: Any) -> str:
    return "0x" + which.hex() if isinstance(which, bytes) else str(which)
