"""Calls to device wallets, their factory and the provider book. Pure: no network.

`Wallets` is `chain.calls.Calls` for the contracts a buyer owns: the pay key's signed intents and the owner's word are relayed by anyone,
the owner's own calls are sent by the owner. What is signed is used once, so sending it again reverts and changes nothing; the plain
`withdraw…` calls of the owner rely on their sender alone.
"""

from __future__ import annotations

from chain.abi import interface
from chain.calls import Call
from chain.deployment import Deployment
from protocol.hashing import keccak
from protocol.money import Open, RequestClose, Terms, TopUp
from protocol.offer import Offer
from protocol.wallet import OpenTask, OwnerCall, Policy, check_policy


class Wallets:
    """Calls to the wallets of one deployment. `wallet` is always the wallet's 20-byte address."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    # --- anyone's ---

    def create(self, device: bytes, owner: bytes) -> Call:
        """Make the wallet of this device and owner. Its address is known before: `protocol.wallet.wallet_address`."""
        return self._factory("create", device, owner)

    def create_and_call(self, device: bytes, owner: bytes, call: Call, order: OwnerCall, signature: bytes) -> Call:
        """Make the wallet if it is not there, and relay its owner's signed call."""
        return self._factory("createAndCall", device, owner, call.data, order.nonce, order.deadline_s, signature)

    def owner_call(self, wallet: bytes, call: Call, order: OwnerCall, signature: bytes) -> Call:
        """Relay the owner's signed call; the nonce makes it once."""
        return _to(wallet, "ownerCall", call.data, order.nonce, order.deadline_s, signature)

    def deposit(self, wallet: bytes) -> Call:
        """Move the tokens that lie at the wallet's address into its free balance in the escrow."""
        return _to(wallet, "deposit")

    def return_from_tasks(self, wallet: bytes) -> Call:
        """Bring what tasks gave back into the free balance in the escrow."""
        return _to(wallet, "returnFromTasks")

    # --- the pay key's intents ---

    def open_by_signature(self, terms: Terms, order: Open, policy: Policy, signature: bytes) -> Call:
        """Open a session of the wallet that the terms name as payer."""
        return _to(terms.payer, "openBySignature", terms, order.lock_micro, order.deadline_s, policy, signature)

    def top_up_by_signature(self, terms: Terms, order: TopUp, policy: Policy, signature: bytes) -> Call:
        return _to(terms.payer, "topUpBySignature", terms, order.total_lock_micro, order.deadline_s, policy, signature)

    def request_close_by_signature(self, terms: Terms, order: RequestClose, policy: Policy, signature: bytes) -> Call:
        return _to(terms.payer, "requestCloseBySignature", terms, order.deadline_s, policy, signature)

    def open_task_by_signature(self, wallet: bytes, terms: bytes, order: OpenTask, policy: Policy, signature: bytes) -> Call:
        """`terms`: the task's, ABI-encoded as the task escrow takes them."""
        return _to(wallet, "openTaskBySignature", terms, *order, policy, signature)

    # --- the owner's ---

    def set_policy(self, wallet: bytes, policy: Policy) -> Call:
        """What the pay key may do from now on. Raises `Malformed` for a policy no wallet takes."""
        check_policy(policy)
        return _to(wallet, "setPolicy", policy)

    def freeze(self, wallet: bytes) -> Call:
        return _to(wallet, "freeze")

    def unfreeze(self, wallet: bytes) -> Call:
        return _to(wallet, "unfreeze")

    def withdraw(self, wallet: bytes, to: bytes, amount_micro: int) -> Call:
        """Pay out of the free balance in the escrow."""
        return _to(wallet, "withdraw", to, amount_micro)

    def withdraw_from_tasks(self, wallet: bytes, to: bytes, amount_micro: int) -> Call:
        """Pay out of the free balance in the task escrow."""
        return _to(wallet, "withdrawFromTasks", to, amount_micro)

    def withdraw_tokens(self, wallet: bytes, to: bytes, amount_micro: int) -> Call:
        """Send settlement tokens that lie at the wallet's address itself."""
        return _to(wallet, "withdrawTokens", self._deployment.token, to, amount_micro)

    def request_close(self, terms: Terms) -> Call:
        """Ask to close a session of the wallet that the terms name as payer."""
        return _to(terms.payer, "requestClose", terms)

    # --- the provider book ---

    def admit_provider(self, provider: bytes) -> Call:
        """By the book's registrar. A second time reverts."""
        return self._book("admit", provider)

    def dismiss_provider(self, provider: bytes) -> Call:
        """By the book's registrar. A second time reverts."""
        return self._book("dismiss", provider)

    def publish_offer(self, offer: Offer, signature: bytes) -> Call:
        """On the provider's signature of the offer hash. Anyone may send it; the number makes it once."""
        return self._book("publish", offer, signature)

    def withdraw_offer(self, offer_hash: bytes) -> Call:
        """By the provider itself. A second time reverts."""
        return self._book("withdraw", offer_hash)

    def withdraw_offer_by_signature(self, offer_hash: bytes, signature: bytes) -> Call:
        """On the provider's signed `WithdrawOffer`. Anyone may send it."""
        return self._book("withdrawBySignature", offer_hash, signature)

    def _book(self, function: str, *arguments: object) -> Call:
        name = "ProviderBook"
        return Call(self._deployment.address_of(name), interface(name).functions[function].encode(*arguments), f"{name}.{function}")

    def _factory(self, function: str, *arguments: object) -> Call:
        name = "DeviceWalletFactory"
        return Call(self._deployment.address_of(name), interface(name).functions[function].encode(*arguments), f"{name}.{function}")


def owner_order(call: Call, nonce: int, deadline_s: int) -> OwnerCall:
    """What the owner signs, in the wallet's domain, so that anyone may relay `call`."""
    return OwnerCall(keccak(call.data), nonce, deadline_s)


def _to(wallet: bytes, function: str, *arguments: object) -> Call:
    return Call(wallet, interface("DeviceWallet").functions[function].encode(*arguments), f"DeviceWallet.{function}")
