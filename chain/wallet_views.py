"""What the chain says of a device wallet: its state at a block, its standing policy, its history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from chain.abi import interface
from chain.client import ChainClient
from chain.errors import BadAnswer, ChainMoved
from chain.events import MAX_BLOCKS
from chain.rpc import BlockRef, Log
from protocol.wallet import Policy, policy_hash, wallet_address

CLONE_BYTES = 45
"""EIP-1167's minimal proxy; behind it stand the wallet's owner and device (`protocol.wallet.wallet_address`)."""


class WalletState(NamedTuple):
    """A wallet at one block; None in its place: no contract stands there yet. Money in micro-units."""

    owner: bytes
    device: bytes
    policy_hash: bytes  # 32 zero bytes: no policy yet
    frozen: bool
    locked_today_micro: int  # newly locked on the UTC day of the block
    owner_nonce: int
    free_micro: int  # in the escrow
    task_free_micro: int  # in the task escrow
    token_micro: int  # at the wallet's own address


class Entry(NamedTuple):
    """One event that concerns a wallet. `values` by Solidity name."""

    block: BlockRef
    transaction: bytes
    contract: str
    name: str
    values: dict[str, Any]


class WalletViews:
    """Reads wallets through a node."""

    def __init__(self, client: ChainClient) -> None:
        self._client, self._deployment = client, client.deployment

    def address(self, device: bytes, owner: bytes) -> bytes:
        """Where this device's and owner's wallet is or will be; computed here, no node is asked."""
        factory, implementation = (self._deployment.address_of(name) for name in ("DeviceWalletFactory", "DeviceWallet"))
        return wallet_address(factory, implementation, device, owner)

    def state(self, wallet: bytes, at: bytes | None = None) -> WalletState | None:
        """None where no wallet stands. Raises `BadAnswer` where something stands that this deployment's factory did not make.

        A wallet is known by its code before any of it runs: strangers' code is not for our node.
        """
        code = self._client.code(wallet)
        if not code:
            return None
        owner, device = code[CLONE_BYTES : CLONE_BYTES + 20], code[CLONE_BYTES + 20 :]
        if len(device) != 32 or self.address(device, owner) != wallet:
            raise BadAnswer(f"0x{wallet.hex()} is no wallet of this deployment's factory")
        at = at or self._client.head().hash
        return WalletState(
            owner, device, bytes(self._ask(wallet, "policyHash", at)), bool(self._ask(wallet, "frozen", at)),
            int(self._ask(wallet, "lockedTodayMicro", at)), int(self._ask(wallet, "ownerNonce", at)),
            self._client.free_micro(wallet, at), self.task_free_micro(wallet, at), self._client.token_micro(wallet, at),
        )  # fmt: skip

    def task_free_micro(self, account: bytes, at: bytes | None = None) -> int:
        """An account's free balance in the task escrow."""
        coded = interface("TaskEscrow").functions["freeMicroOf"]
        return int(coded.decode(self._client.call(self._deployment.address_of("TaskEscrow"), coded.encode(account), at=at))[0])

    def policy(self, wallet: bytes, at: bytes | None = None) -> Policy | None:
        """The standing policy, found among the wallet's events and held against its hash; None: none was set.

        Raises `BadAnswer` if the node knows the hash and not the event.
        """
        standing = bytes(self._ask(wallet, "policyHash", at or self._client.head().hash))
        if not any(standing):
            return None
        for entry in self.entries(wallet, own_only=True, newest_first=True):
            if entry.name == "PolicySet":
                fields = entry.values["policy"]
                policy = Policy(fields[0], tuple(fields[1]), *fields[2:])
                if policy_hash(policy) == standing:
                    return policy
        raise BadAnswer(f"the node has no PolicySet event for the standing policy of 0x{wallet.hex()}; ask a node with all logs")

    def entries(self, wallet: bytes, *, own_only: bool = False, newest_first: bool = False) -> Iterator[Entry]:
        """Every event of the wallet itself and, unless `own_only`, those of the escrows and the token that concern it."""
        sources = {wallet: "DeviceWallet"}
        if not own_only:
            sources |= {self._deployment.address_of(name): name for name in ("EnergyEscrow", "TaskEscrow", "DeviceWalletFactory")}
        mine: set[bytes] = set()
        for first, last in _spans(self._deployment.block_number, self._client.head().number, newest_first):
            logs = self._client.logs(tuple(sources), first=first, last=last)
            for log in reversed(logs) if newest_first else logs:
                entry = _entry(sources[log.address], log)
                if entry is not None and (log.address == wallet or _concerns(entry, wallet, mine)):
                    yield entry

    def time_s(self, entry: Entry) -> int:
        """When the entry's block was made."""
        block = self._client.block_of(entry.block.hash)
        if block is None:
            raise ChainMoved(f"block {entry.block.number} is gone while it was read; ask again")
        return block.time_s

    def _ask(self, wallet: bytes, function: str, at: bytes) -> Any:
        coded = interface("DeviceWallet").functions[function]
        return coded.decode(self._client.call(wallet, coded.encode(), at=at))[0]


def _entry(contract: str, log: Log) -> Entry | None:
    event = interface(contract).events.get(log.topics[0]) if log.topics else None
    if event is None:
        return None
    return Entry(log.block, log.transaction, contract, event.name, event.decode(list(log.topics), log.data))


def _concerns(entry: Entry, wallet: bytes, mine: set[bytes]) -> bool:
    """Whether an escrow's event is about the wallet: it names it, or a session or task that it opened (kept in `mine`)."""
    of = [entry.values[name] for name in ("session", "task") if name in entry.values]
    named = wallet in entry.values.values()
    if named:
        mine.update(of)
    return named or any(each in mine for each in of)


def _spans(first: int, last: int, newest_first: bool) -> Iterator[tuple[int, int]]:
    starts = range(first, last + 1, MAX_BLOCKS)
    for start in reversed(starts) if newest_first else starts:
        yield start, min(last, start + MAX_BLOCKS - 1)
