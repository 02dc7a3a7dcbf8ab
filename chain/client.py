"""`ChainClient`: a node together with our contracts on it. What the service and the auditor read a chain through.

Every view takes `at`, the hash of the block after which to look (None: the newest), so that several views agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chain.abi import interface
from chain.artifacts import check_code, load
from chain.calls import OPERATOR_ROLE, Calls
from chain.deployment import Deployment
from chain.errors import BadAnswer, Reverted, RpcRefused, WrongChain
from chain.rpc import Rpc
from protocol.money import Terms

MAX_KEYS = 10_000
"""Keys a device has had in one role: more than a change a day for 25 years. Bounds what a hostile node can make us ask."""
SIGNATURE_GAS = 1_000_000
"""For a stranger's ERC-1271 code: a passkey checked in Solidity takes 350,000; a million keeps a node busy for some milliseconds."""


class SessionState(NamedTuple):
    """A session on the chain; all zero if it was never opened. Money in micro-units, time in UTC seconds."""

    lock_micro: int
    claimed_micro: int
    opened_at_s: int
    close_requested_at_s: int
    close_requested_block: int
    closed: bool


class MintLimit(NamedTuple):
    """What the token lets be minted. `day` counts from 1970-01-01; `minted_micro` was minted on it."""

    minter: bytes
    cap_micro: int
    day: int
    minted_micro: int


class DeviceState(NamedTuple):
    """A device in the registry; status 0 unknown, 1 active, 2 suspended, 3 retired."""

    owner: bytes
    operator: bytes
    status: int
    enrolled_at_s: int


class KeySpan(NamedTuple):
    """One key's time; `until_block` 0 while it stands. At `until_block` itself it no longer does."""

    key: bytes
    from_block: int
    from_s: int
    until_block: int
    until_s: int
    last_frame: bytes


class PublishedOffer(NamedTuple):
    """An offer in the provider book; `withdrawn_at_s` 0: it was not taken back. UTC seconds."""

    provider: bytes
    valid_from_s: int
    valid_until_s: int
    withdrawn_at_s: int


class ChainClient(Rpc):
    """A node and a deployment. `calls` encodes what can be sent to it."""

    def __init__(self, url: str, deployment: Deployment, *, finality_depth: int | None = None, timeout_s: float = 10.0) -> None:
        super().__init__(url, finality_depth=finality_depth, timeout_s=timeout_s)
        self.deployment = deployment
        self.calls = Calls(deployment)

    def __enter__(self) -> ChainClient:
        return self

    def check(self) -> None:
        """Compare chain and code with the deployment file. Raises `WrongChain` or `CodeDiffers`; run it at every start."""
        chain_id = self.chain_id()
        if chain_id != self.deployment.chain_id:
            raise WrongChain(f"the node serves chain {chain_id}, the deployment is on chain {self.deployment.chain_id}")
        genesis = self._some_block(0)
        if genesis.hash != self.deployment.genesis_hash:
            raise WrongChain(
                f"the node's chain began with block 0x{genesis.hash.hex()}, the deployment's with "
                f"0x{self.deployment.genesis_hash.hex()}: another chain of the same id; deploy again or use the right node"
            )
        for name, address in self.deployment.contracts().items():
            check_code(load(name), address, self.code(address))

    # --- AnchorLog ---

    def anchor_head(self, anchorer: bytes, at: bytes | None = None) -> bytes:
        """The head of an anchorer's (or a meter key's) chain; 32 zero bytes before its first anchor."""
        return bytes(self._view("AnchorLog", "heads", anchorer, at=at)[0])

    # --- EnergyEscrow and token ---

    def session(self, terms: Terms, at: bytes | None = None) -> SessionState:
        return SessionState(*self._view("EnergyEscrow", "sessionOf", terms, at=at)[0])

    def free_micro(self, account: bytes, at: bytes | None = None) -> int:
        """An account's balance in the escrow that is in no session."""
        return int(self._view("EnergyEscrow", "freeMicroOf", account, at=at)[0])

    def withdraw_nonce(self, account: bytes, at: bytes | None = None) -> int:
        """The nonce the account's next `Withdraw` must carry."""
        return int(self._view("EnergyEscrow", "nonceOf", account, at=at)[0])

    def new_business_stopped(self, at: bytes | None = None) -> bool:
        """Whether the guardian refuses new deposits and sessions."""
        return bool(self._view("EnergyEscrow", "newBusinessStopped", at=at)[0])

    def token_micro(self, account: bytes, at: bytes | None = None) -> int:
        """An account's tokens. The escrow's own are what it holds in all."""
        return int(self._view("SettlementToken", "balanceOf", account, at=at)[0])

    def token_supply_micro(self, at: bytes | None = None) -> int:
        """Minted less paid out."""
        return int(self._view("SettlementToken", "totalSupply", at=at)[0])

    def mint_limit(self, at: bytes | None = None) -> MintLimit:
        """Who may mint and how much in a UTC day, and what was minted on the last day on which something was."""
        minter, cap = (self._view("SettlementToken", name, at=at)[0] for name in ("minter", "dailyCapMicro"))
        day, minted = self._view("SettlementToken", "lastDay", at=at)
        return MintLimit(bytes(minter), int(cap), int(day), int(minted))

    def allowance_micro(self, owner: bytes, spender: bytes, at: bytes | None = None) -> int:
        return int(self._view("SettlementToken", "allowance", owner, spender, at=at)[0])

    def permit_nonce(self, owner: bytes, at: bytes | None = None) -> int:
        """The nonce the owner's next ERC-2612 permit must carry."""
        return int(self._view("SettlementToken", "nonces", owner, at=at)[0])

    # --- accounts with code ---

    def is_valid_signature(self, account: bytes, digest: bytes, signature: bytes) -> bool | None:
        """Whether an account with code takes this signature (ERC-1271) within `SIGNATURE_GAS`; None where it has no code."""
        if not self.code(account):
            return None
        coded = interface("DeviceWallet").functions["isValidSignature"]
        try:
            answer = self.call(account, coded.encode(digest, signature), gas=SIGNATURE_GAS)
        except Reverted:
            return False
        except RpcRefused as error:
            if "gas" in error.reason.lower():  # how nodes say that a call ran out of it, which is no revert
                return False
            raise
        return answer == coded.selector.ljust(32, b"\0")

    # --- DeviceRegistry ---

    def device(self, device: bytes, at: bytes | None = None) -> DeviceState:
        return DeviceState(*self._view("DeviceRegistry", "devices", device, at=at))

    def channel(self, device: bytes, channel: int, at: bytes | None = None) -> tuple[int, bool]:
        """(rated watts, enabled) of a device's channel."""
        rated_watts, enabled = self._view("DeviceRegistry", "channels", device, channel, at=at)
        return int(rated_watts), bool(enabled)

    def standing_key(self, device: bytes, role: int, at: bytes | None = None) -> bytes | None:
        """The key that stands for a device in a role (1 meter, 2 control), None if none does."""
        key = bytes(self._view("DeviceRegistry", "standingKey", device, role, at=at)[0])
        return key if any(key) else None

    def keys(self, device: bytes, role: int, at: bytes | None = None) -> list[KeySpan]:
        """Every key the device ever had in a role, oldest first."""
        at = at or self.head().hash
        count = int(self._view("DeviceRegistry", "keyCount", device, role, at=at)[0])
        if count > MAX_KEYS:
            raise BadAnswer(f"the node says that device 0x{device.hex()} has had {count} keys in role {role}; ask another node")
        return [KeySpan(*self._view("DeviceRegistry", "keySpan", device, role, index, at=at)[0]) for index in range(count)]

    def key_head(self, device: bytes, at: bytes | None = None) -> bytes:
        """Head of the chain of the device's key events."""
        return bytes(self._view("DeviceRegistry", "keyHeads", device, at=at)[0])

    def is_operator(self, account: bytes, at: bytes | None = None) -> bool:
        """Whether the registry's admin has admitted this account."""
        return bool(self._view("DeviceRegistry", "hasRole", OPERATOR_ROLE, account, at=at)[0])

    # --- ProviderBook ---

    def is_provider(self, account: bytes, at: bytes | None = None) -> bool:
        """Whether the book's registrar has admitted this account as a provider."""
        return bool(self._view("ProviderBook", "isRegistered", account, at=at)[0])

    def offer(self, offer_hash: bytes, at: bytes | None = None) -> PublishedOffer | None:
        """What the book keeps of an offer, None if it was never published."""
        found = PublishedOffer(*self._view("ProviderBook", "offerOf", offer_hash, at=at))
        return found if any(found.provider) else None

    def _view(self, contract: str, function: str, *arguments: object, at: bytes | None) -> tuple[Any, ...]:
        coded = interface(contract).functions[function]
        return coded.decode(self.call(self.deployment.address_of(contract), coded.encode(*arguments), at=at))
