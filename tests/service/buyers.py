"""A device's wallet on the world's chain, and providers with offers: what a buyer and a seller do, by hand."""

from __future__ import annotations

import os
import time
from typing import Any

from chain.calls import Call
from chain.oneshot import send
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets
from chain.wallet_views import WalletViews
from protocol.eip712 import digest, from_json, to_json
from protocol.hashing import document_hash
from protocol.keys import Signer
from protocol.money import Open, RequestClose, Terms, TopUp
from protocol.offer import Offer, offer_hash
from protocol.wallet import Policy, WalletNote, policy_document, wallet_domain
from tests.service.bench_agent import RATED_WATTS, TARIFF
from tests.service.world import World, eventually

CEILINGS = {"maxMicroPerKwh": 357_000, "maxMicroPerHour": 0, "maxFlatMicro": 0}
"""What TARIFF can ask, tax included."""


def signed_offer(
    book: bytes, provider: Signer, points: list[str], number: int, chain_id: int = 31_337, *, from_s: int | None = None,
    seconds: int = 3_600, **changes: Any
) -> dict[str, Any]:  # fmt: skip
    """The body of POST /offers. `changes` go into the document before it is signed."""
    start = int(time.time()) - 60 if from_s is None else from_s
    document = {
        "version": 1, "name": "Sunside", "provider": "0x" + provider.address.hex(), "tariff": TARIFF, "ceilings": CEILINGS,
        "points": points, "area": "the yard", "maxWatts": RATED_WATTS,
        "energySource": {"renewablePpm": 1_000_000, "mix": [{"source": "SOLAR", "sharePpm": 1_000_000}]},
    } | changes  # fmt: skip
    offer = Offer(provider.address, document_hash(document), number, start, start + seconds)
    signature = provider.sign(offer_hash(offer, chain_id, book))
    return {"offer": to_json(offer), "signature": "0x" + signature.hex(), "document": document}


def hash_of(body: dict[str, Any], book: bytes, chain_id: int = 31_337) -> str:
    return "0x" + offer_hash(from_json(Offer, body["offer"]), chain_id, book).hex()


class Wallet:
    """A wallet that exists, with a policy and free money; its owner pays for gas by itself."""

    def __init__(self, world: World, **policy: Any) -> None:
        self.world, self.pay_key, self.device = world, Signer.create(), os.urandom(32)
        self.owner = TransactionSigner(world.client, world.secrets[4])
        self.deployment = world.deployment
        self.calls = Wallets(self.deployment)
        self.address = WalletViews(world.client).address(self.device, self.owner.address)
        self.send(self.calls.create(self.device, self.owner.address))
        self.policy = Policy(
            self.pay_key.address, (), 400_000, 100_000, 50_000, 50_000, 100_000, int(time.time()) + 86_400
        )._replace(**policy)  # fmt: skip
        self.set_policy(self.policy)

    @property
    def hex(self) -> str:
        return "0x" + self.address.hex()

    def send(self, call: Call) -> None:
        send(self.world.client, self.owner, [call])

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.send(self.calls.set_policy(self.address, policy))

    def fund(self, amount_micro: int) -> None:
        calls, minter = self.world.client.calls, TransactionSigner(self.world.client, self.world.secrets[0])
        send(self.world.client, minter, [
            calls.mint(os.urandom(32), minter.address, amount_micro), calls.approve(self.deployment.escrow, amount_micro),
            calls.deposit_for(self.address, amount_micro),
        ])  # fmt: skip

    # --- what its agent does ---

    def sign(self, message: Any, signer: Signer | None = None) -> str:
        domain = wallet_domain(self.deployment.chain_id, self.address)
        return "0x" + (signer or self.pay_key).sign(digest(domain, message)).hex()

    def quote(self, point_id: str, lock_micro: int, **more: Any) -> dict[str, Any]:
        body = {"pointId": point_id, "payer": self.hex, "refundTo": self.hex, "metered": True, "lockMicro": lock_micro} | more
        quoted: dict[str, Any] = self.world.call("POST", "/api/v1/quotes", body)
        return quoted

    def opening(self, quoted: dict[str, Any], lock_micro: int, **changes: Any) -> dict[str, Any]:
        deadline_s = int(time.time()) + 600
        signature = self.sign(Open(bytes.fromhex(quoted["session"][2:]), lock_micro, deadline_s))
        body = {"quoteId": quoted["quoteId"], "lockMicro": lock_micro, "deadlineS": deadline_s, "signature": signature}
        return body | {"wallet": policy_document(self.policy)} | changes

    def open(self, quoted: dict[str, Any], lock_micro: int, expect: int = 201, **changes: Any) -> Any:
        return self.world.call("POST", "/api/v1/sessions", self.opening(quoted, lock_micro, **changes), expect=expect)

    def top_up(self, quoted: dict[str, Any], total_micro: int, expect: int = 200) -> Any:
        deadline_s = int(time.time()) + 600
        signature = self.sign(TopUp(bytes.fromhex(quoted["session"][2:]), total_micro, deadline_s))
        body = {"totalLockMicro": total_micro, "deadlineS": deadline_s, "signature": signature, "wallet": policy_document(self.policy)}
        return self.world.call("POST", f"/api/v1/sessions/{quoted['session']}/top-up", body, expect=expect)

    def stop(self, quoted: dict[str, Any], expect: int = 200) -> Any:
        deadline_s = int(time.time()) + 600
        signature = self.sign(RequestClose(bytes.fromhex(quoted["session"][2:]), deadline_s))
        body = {"deadlineS": deadline_s, "signature": signature, "wallet": policy_document(self.policy)}
        return self.world.call("POST", f"/api/v1/sessions/{quoted['session']}/stop", body, expect=expect)

    def note(self, document: dict[str, Any], expect: int = 201) -> Any:
        made_at_s = int(time.time())
        signature = self.sign(WalletNote(self.address, document_hash(document), made_at_s))
        body = {"document": document, "madeAtS": made_at_s, "signature": signature}
        return self.world.call("POST", f"/api/v1/wallets/{self.hex}/notes", body, expect=expect)

    def reaches(self, quoted: dict[str, Any], state: str, timeout_s: float = 60) -> dict[str, Any]:
        path, token = f"/api/v1/sessions/{quoted['session']}", quoted["accessToken"]
        eventually(f"session {state}", lambda: self.world.call("GET", path, token=token)["state"] == state, timeout_s)
        view: dict[str, Any] = self.world.call("GET", path, token=token)
        return view


def terms_of(quoted: dict[str, Any]) -> Terms:
    return from_json(Terms, quoted["terms"])
