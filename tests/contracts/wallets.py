"""A wallet of a device on the world of `support`: its owner, its pay key, its policy, and what they sign."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address
from web3.contract import Contract
from web3.types import TxReceipt

from protocol.eip712 import Domain
from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.money import Open, RequestClose, Terms, TopUp
from protocol.wallet import Approval, OpenTask, OwnerCall, Policy, wallet_domain
from tests.contracts.support import ARTIFACTS, DAY_S, HOUR_S, World, load_artifact, person

DEVICE = keccak(b"a vehicle")
PAY_KEY = person("the device's pay key")
SESSION_MICRO, DAY_MICRO = 5_000_000, 12_000_000


class WalletWorld:
    """The contracts around wallets, and one wallet that exists, has a policy and 10^9 micro-units of free money."""

    def __init__(self, world: World, owner: bytes | None = None) -> None:
        self.world = world
        admin = world.address("admin")
        self.book = world.deploy("ProviderBook", admin)
        self.task_escrow = world.deploy("TaskEscrow", world.token.address, world.address("guardian"))
        self.implementation = world.deploy("DeviceWallet", world.escrow.address, self.task_escrow.address, self.book.address)
        self.factory = world.deploy("DeviceWalletFactory", self.implementation.address)
        self.owner = owner or world.address("owner")
        self.ends_at_s = world.now() + 2 * DAY_S
        self.wallet = self.create(DEVICE, self.owner)
        self.policy = self.policy_of()
        if owner is None:
            self.set_policy(self.policy)
        world.send(world.token.functions.mint(keccak(b"for the wallet"), world.address("stranger"), 10**9), "minter")
        world.send(world.token.functions.approve(world.escrow.address, 10**9), "stranger")
        world.send(world.escrow.functions.depositFor(self.wallet.address, 10**9), "stranger")

    # ---------------------------------------------------------------- wallets

    @property
    def address(self) -> bytes:
        return bytes.fromhex(self.wallet.address[2:])

    @property
    def domain(self) -> Domain:
        return wallet_domain(self.world.chain_id, self.address)

    def create(self, device: bytes, owner: bytes) -> Contract:
        self.world.send(self.factory.functions.create(device, owner), "stranger")
        return self.at(self.factory.functions.walletOf(device, owner).call())

    def at(self, address: Any) -> Contract:
        return self.world.contract(to_checksum_address(address), load_artifact("DeviceWallet", ARTIFACTS)["abi"])

    def policy_of(self, **changes: Any) -> Policy:
        base = Policy(
            pay_key=PAY_KEY.address,
            providers=(self.world.address("operator"), self.world.address("payee")),
            max_micro_per_kwh=300_000,
            max_micro_per_hour=100_000,
            max_flat_micro=50_000,
            max_session_micro=SESSION_MICRO,
            max_day_micro=DAY_MICRO,
            expires_at_s=self.world.now() + 30 * DAY_S,
        )
        return base._replace(**changes)

    def set_policy(self, policy: Policy) -> TxReceipt:
        self.policy = policy
        return self.world.send(self.wallet.functions.setPolicy(policy), "owner")

    def free(self) -> int:
        return self.world.free(self.address)

    # ---------------------------------------------------------------- what the pay key signs

    def terms(self, number: int = 0, **changes: Any) -> Terms:
        """Terms of the wallet with the payee; payment mode by the wallet's pay key unless `metered=True`."""
        named: dict[str, Any] = {"payer": self.address, "refund_to": self.address, "latest_end_s": self.ends_at_s}
        if not changes.get("metered"):
            named["signer"] = PAY_KEY.address
        return self.world.terms(number, **{**named, **changes})

    def open(self, terms: Terms, lock_micro: int = 1_000_000, **changes: Any) -> Any:
        """The relayed call that opens; `signer=`, `deadline=`, `policy=`, `domain=`, `signed=` put something else in."""
        deadline = changes.get("deadline", self.world.now() + HOUR_S)
        message = changes.get("signed", Open(self.world.id_of(terms), lock_micro, deadline))
        policy, signature = changes.get("policy", self.policy), self._sign(message, changes)
        return self.wallet.functions.openBySignature(terms, lock_micro, deadline, policy, signature)

    def top_up(self, terms: Terms, total_micro: int, **changes: Any) -> Any:
        deadline = changes.get("deadline", self.world.now() + HOUR_S)
        message = changes.get("signed", TopUp(self.world.id_of(terms), total_micro, deadline))
        policy, signature = changes.get("policy", self.policy), self._sign(message, changes)
        return self.wallet.functions.topUpBySignature(terms, total_micro, deadline, policy, signature)

    def request_close(self, terms: Terms, **changes: Any) -> Any:
        deadline = changes.get("deadline", self.world.now() + HOUR_S)
        message = changes.get("signed", RequestClose(self.world.id_of(terms), deadline))
        policy, signature = changes.get("policy", self.policy), self._sign(message, changes)
        return self.wallet.functions.requestCloseBySignature(terms, deadline, policy, signature)

    def open_task(self, terms: bytes, task: bytes, lock_micro: int, **changes: Any) -> Any:
        deadline = changes.get("deadline", self.world.now() + HOUR_S)
        message = changes.get("signed", OpenTask(task, lock_micro, deadline))
        signature = self._sign(message, changes)
        return self.wallet.functions.openTaskBySignature(terms, task, lock_micro, deadline, changes.get("policy", self.policy), signature)

    def _sign(self, message: Any, changes: dict[str, Any]) -> bytes:
        if "signature" in changes:
            return bytes(changes["signature"])
        return self.world.sign(changes.get("domain", self.domain), message, changes.get("signer", PAY_KEY))

    # ---------------------------------------------------------------- what the owner signs

    def call_of(self, name: str, *arguments: Any) -> bytes:
        """The calldata of one of the wallet's functions."""
        return bytes.fromhex(self.wallet.encode_abi(name, list(arguments))[2:])

    def owner_call(self, call: bytes, *, signer: Signer | None = None, nonce: int | None = None, **changes: Any) -> Any:
        deadline = changes.get("deadline", self.world.now() + HOUR_S)
        standing = int(self.wallet.functions.ownerNonce().call()) if nonce is None else nonce
        domain = changes.get("domain", self.domain)
        signature = self.world.sign(domain, OwnerCall(keccak(call), standing, deadline), signer or self.world.signers["owner"])
        return self.wallet.functions.ownerCall(call, standing, deadline, signature)

    def approval(self, digest: bytes, signer: Signer | None = None, domain: Domain | None = None) -> bytes:
        return self.world.sign(domain or self.domain, Approval(digest), signer or self.world.signers["owner"])
