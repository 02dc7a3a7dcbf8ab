"""Execution: genesis, blocks, calls and gas estimates on py-evm. No clock, no files, no network.

Guarantees: a block is a function of its parent, its timestamp and its transactions, so a replay gives the same hash. A
transaction that is not valid in its block raises `Rejected` and leaves no trace. The rules are those of *Paris* (the fork
our contracts are built for): code that needs a later fork fails here as it would on a Clique network.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.consensus.context import ConsensusContext
from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.db.chain import ChainDB
from eth.db.trie import make_trie_root_and_nodes
from eth.exceptions import Revert, VMError
from eth.rlp.headers import BlockHeader
from eth.vm.chain_context import ChainContext
from eth.vm.forks.paris import ParisVM
from eth.vm.spoof import SpoofTransaction
from eth_hash.auto import keccak
from eth_typing import Hash32
from eth_utils.exceptions import ValidationError

from wattproof_devchain import CHAIN_ID

GAS_LIMIT = 30_000_000
COINBASE = bytes(20)
MAX_PREVIOUS_HASHES = 256
"""BLOCKHASH sees this many ancestors (yellow paper)."""


class Rejected(Exception):
    """A transaction that cannot stand in this block (nonce, balance, fee, gas)."""


class CallFailed(Exception):
    """A call or estimate that ended in an error. `data` is what a revert returned; None if it was not a revert."""

    def __init__(self, message: str, data: bytes | None) -> None:
        self.data = data
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Block:
    """A mined block with its transactions and their receipts, in order."""

    header: BlockHeaderAPI
    transactions: tuple[SignedTransactionAPI, ...]
    receipts: tuple[ReceiptAPI, ...]

    @property
    def number(self) -> int:
        return int(self.header.block_number)

    @property
    def hash(self) -> bytes:
        return bytes(self.header.hash)

    @property
    def timestamp(self) -> int:
        return int(self.header.timestamp)


class Call(NamedTuple):
    """What eth_call and eth_estimateGas take. `to` empty means: create a contract."""

    sender: bytes
    to: bytes
    data: bytes
    value: int
    gas: int | None


Ancestors = Callable[[], Sequence[bytes]]
"""Gives the hashes of the blocks before one, newest first, at most 256; asked only when something is run."""


class _Vm(ParisVM):
    """ParisVM that takes ancestors' hashes from us, not from a chain database."""

    ancestors: Ancestors = tuple

    @property
    def previous_hashes(self) -> Iterable[Hash32]:
        return [Hash32(each) for each in self.ancestors()]


class Evm:
    """The state database and what can be run on it. Not thread-safe; the chain's lock guards it."""

    def __init__(self) -> None:
        self._db = AtomicDB()
        self._chaindb = ChainDB(self._db)
        self._context = ChainContext(CHAIN_ID)

    def genesis(self, timestamp: int, balances: dict[bytes, int]) -> Block:
        """Block 0, with these balances in wei."""
        empty = BlockHeader(difficulty=0, block_number=-1, gas_limit=0)
        state = _Vm.build_state(self._db, empty, self._context)
        for address, balance in balances.items():
            state.set_balance(address, balance)  # type: ignore[arg-type]
        state.persist()
        header = _Vm.create_genesis_header(
            difficulty=0,
            gas_limit=GAS_LIMIT,
            timestamp=timestamp,
            state_root=state.state_root,
            coinbase=COINBASE,
            transaction_root=BLANK_ROOT_HASH,
            receipt_root=BLANK_ROOT_HASH,
        )
        return Block(header, (), ())

    def next_header(self, parent: Block, timestamp: int) -> BlockHeaderAPI:
        """The header a block after `parent` starts from. The base fee follows EIP-1559; randomness is deterministic."""
        header: BlockHeaderAPI = _Vm.create_header_from_parent(
            parent.header,
            timestamp=timestamp,
            gas_limit=GAS_LIMIT,
            coinbase=COINBASE,
            mix_hash=keccak(parent.hash),
            extra_data=b"",
        )
        return header

    def builder(self, parent: Block, timestamp: int, ancestors: Ancestors) -> "BlockBuilder":
        """Start a block."""
        return BlockBuilder(self._vm(self.next_header(parent, timestamp), ancestors))

    def state_at(self, header: BlockHeaderAPI) -> StateAPI:
        """Balances, nonces, code and storage after the block of this header."""
        return self._vm(header, tuple).state

    def call(self, header: BlockHeaderAPI, ancestors: Ancestors, call: Call) -> bytes:
        """Run a call in the context of `header`, free of charge; nothing is kept. Raises `CallFailed`."""
        return self._run(header, ancestors, call, min(call.gas or GAS_LIMIT, GAS_LIMIT))[0]

    def estimate_gas(self, header: BlockHeaderAPI, ancestors: Ancestors, call: Call) -> int:
        """The least gas limit found to succeed, to within 1/64. Raises `CallFailed` if none does.

        What a run burned before refunds is nearly always enough; where a callee kept 1/64 back it is not, then we bisect.
        """
        ceiling = min(call.gas or GAS_LIMIT, GAS_LIMIT)
        _, low = self._run(header, ancestors, call, ceiling)
        high = ceiling
        trial = low
        while trial < high:
            try:
                self._run(header, ancestors, call, trial)
            except CallFailed:
                low = trial
                trial = low + max(1, low // 64) if high == ceiling else (low + high) // 2
            else:
                high = trial
                trial = high if high - low <= high // 64 else (low + high) // 2
        return high

    def _vm(self, header: BlockHeaderAPI, ancestors: Ancestors) -> _Vm:
        vm = _Vm(header, self._chaindb, self._context, ConsensusContext(self._db))
        vm.ancestors = ancestors
        return vm

    def _run(self, header: BlockHeaderAPI, ancestors: Ancestors, call: Call, gas: int) -> tuple[bytes, int]:
        # A base fee of 0 with a gas price of 0 is how geth runs calls too: the caller needs no ether.
        state = self._vm(header.copy(base_fee_per_gas=0), ancestors).state
        unsigned = _Vm.create_unsigned_transaction(
            nonce=state.get_nonce(call.sender),  # type: ignore[arg-type]
            gas_price=0,
            gas=gas,
            to=call.to,  # type: ignore[arg-type]
            value=call.value,
            data=call.data,
        )
        try:
            transaction = SpoofTransaction(unsigned, from_=call.sender)
            if unsigned.intrinsic_gas > gas:
                raise CallFailed(f"intrinsic gas too low: have {gas}, want {unsigned.intrinsic_gas}", None)
            computation = state.apply_transaction(transaction)  # type: ignore[arg-type]
        except ValidationError as error:
            raise CallFailed(_in_geth_words(str(error)), None) from error
        if computation.is_error:
            raise _failure(computation.error)
        return bytes(computation.output), gas - computation.get_gas_remaining()


class BlockBuilder:
    """A block under construction: add transactions, then seal."""

    def __init__(self, vm: _Vm) -> None:
        self._vm = vm
        self._header = vm.get_header()
        self._transactions: list[SignedTransactionAPI] = []
        self._receipts: list[ReceiptAPI] = []

    @property
    def count(self) -> int:
        return len(self._transactions)

    @property
    def gas_left(self) -> int:
        return int(self._header.gas_limit - self._header.gas_used)

    @property
    def base_fee(self) -> int:
        return base_fee(self._header)

    def nonce(self, address: bytes) -> int:
        """The sender's next nonce inside this block."""
        return int(self._vm.state.get_nonce(address))  # type: ignore[arg-type]

    def add(self, transaction: SignedTransactionAPI) -> None:
        """Run one transaction. Raises `Rejected`, changing nothing, if it is not valid here; a revert is not that."""
        try:  # py-evm checks everything before it touches the state, so there is nothing to undo
            receipt, _ = self._vm.apply_transaction(self._header, transaction)
        except ValidationError as error:
            raise Rejected(_in_geth_words(str(error))) from error
        self._header = self._vm.add_receipt_to_header(self._header, receipt)
        self._transactions.append(transaction)
        self._receipts.append(receipt)

    def seal(self) -> Block:
        """Write the state and close the block."""
        if not self._transactions:  # Paris pays no rewards: an empty block leaves the state as it was
            return Block(self._header, (), ())
        state = self._vm.state
        state.persist()
        header = self._header.copy(
            state_root=state.state_root,
            transaction_root=make_trie_root_and_nodes(tuple(self._transactions))[0],
            receipt_root=make_trie_root_and_nodes(tuple(self._receipts))[0],
        )
        return Block(header, tuple(self._transactions), tuple(self._receipts))


def base_fee(header: BlockHeaderAPI) -> int:
    """Wei a unit of gas costs before any tip."""
    assert header.base_fee_per_gas is not None, "every Paris header has a base fee"
    return int(header.base_fee_per_gas)


def decode_transaction(raw: bytes) -> SignedTransactionAPI:
    """Decode a signed transaction and recover its sender. Raises `Rejected`, whatever the bytes."""
    try:
        transaction = _Vm.get_transaction_builder().decode(raw)
        transaction.validate()
        transaction.check_signature_validity()
        _ = transaction.sender
    except Exception as error:  # the decoder raises many types on foreign bytes; all mean the same here
        raise Rejected(f"not a signed transaction of a type known here (0, 1, 2): {error}") from error
    if transaction.chain_id is None:
        raise Rejected("only replay-protected (EIP-155) transactions are accepted: sign with chain id 31337")
    if transaction.chain_id != CHAIN_ID:
        raise Rejected(f"invalid chain id for signer: have {transaction.chain_id} want {CHAIN_ID}")
    if transaction.encode() != raw:
        raise Rejected("not a canonical encoding of a transaction: encode it again with a usual library")
    return transaction


def _failure(error: VMError) -> CallFailed:
    if isinstance(error, Revert):
        data = bytes(error.args[0]) if error.args and isinstance(error.args[0], bytes) else b""
        return CallFailed("execution reverted" + _reason(data), data)
    words = str(error) or type(error).__name__
    return CallFailed(f"{type(error).__name__}: {words}"[:300], None)


def _reason(data: bytes) -> str:
    """The text of a Solidity Error(string), if it is one (offset, length, bytes after the selector)."""
    if data[:4] != b"\x08\xc3\x79\xa0" or len(data) < 68:
        return ""
    length = int.from_bytes(data[36:68], "big")
    return ": " + data[68 : 68 + min(length, 1000)].decode("utf-8", "replace")


def _in_geth_words(message: str) -> str:
    """Clients tell errors apart by geth's phrases, so put the phrase before py-evm's detail."""
    phrases = {
        "Invalid transaction nonce": "nonce too low or too high",
        "cannot afford txn gas": "insufficient funds for gas * price + value",
        "does not have enough balance": "insufficient funds for gas * price + value",
        "lower than block's base fee": "max fee per gas less than block base fee",
        "exceeds gas limit": "exceeds block gas limit",
    }
    for theirs, geths in phrases.items():
        if theirs in message:
            return f"{geths}: {message}"
    return message
