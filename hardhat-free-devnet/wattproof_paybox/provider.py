"""The provider's side of the money: payments, refunds, disputes, payouts, and what each does to the balance.

Every movement of money is one *balance transaction*; the balance is their sum. What has not settled yet counts as pending. Amounts are in
the currency's minor units. Each method runs inside one transaction of the store, with the events it causes.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from .errors import Refused
from .store import Document, Store

MAX_AMOUNT = 99_999_999
"""Stripe's largest charge in minor units (eight digits)."""
MAX_METADATA = 50
"""Keys on one object, as Stripe allows."""
SESSION_VALID_S = 86_400
"""A checkout session can be paid for a day."""


class Rules(NamedTuple):
    """What a provider sets: when money settles and what it charges."""

    currency: str
    settle_s: int
    fee_ppm: int
    dispute_fee: int


class Provider:
    """All objects of one account."""

    def __init__(self, store: Store, rules: Rules, base_url: str) -> None:
        self.store, self.rules, self.base_url = store, rules, base_url

    # --- payments ---

    def create_checkout(self, amount: int, currency: str, metadata: dict[str, str], success_url: str) -> Document:
        if not 1 <= amount <= MAX_AMOUNT:
            raise Refused(400, "parameter_invalid_integer", f"an amount has 1 to {MAX_AMOUNT} minor units", "line_items")
        if currency != self.rules.currency:
            raise Refused(400, "currency_not_supported", f"this account takes {self.rules.currency}", "currency")
        if len(metadata) > MAX_METADATA:
            raise Refused(400, "too_much_metadata", f"at most {MAX_METADATA} keys", "metadata")
        intent = self.store.add("payment_intent", self._new(
            "pi", "payment_intent", amount=amount, amount_received=0, currency=currency, status="requires_payment_method",
            metadata=metadata, latest_charge=None, last_payment_error=None,
        ))  # fmt: skip
        made = self._new(
            "cs_test", "checkout.session", amount_total=amount, currency=currency, status="open", payment_status="unpaid",
            payment_intent=intent["id"], success_url=success_url, metadata=metadata, mode="payment",
        )  # fmt: skip
        made |= {"url": f"{self.base_url}/pay/{made['id']}", "expires_at": made["created"] + SESSION_VALID_S}
        return self.store.add("checkout.session", made)

    def checkout(self, identity: str) -> Document:
        found = self._get("checkout.session", identity)
        if found["status"] == "open" and found["expires_at"] <= time.time():
            found["status"] = "expired"
            self.store.put(found)
            self._event("checkout.session.expired", found)
        return found

    def pay(self, identity: str, *, declined: bool = False) -> Document:
        """What the payer does on the pay page. Paid twice is paid once."""
        session = self.checkout(identity)
        if session["status"] != "open":
            return session
        intent = self._get("payment_intent", session["payment_intent"])
        if declined:
            intent["last_payment_error"] = {"code": "card_declined", "message": "The card was declined."}
            self.store.put(intent)
            self._event("payment_intent.payment_failed", intent)
            return session
        charge = self.charge(intent["amount"], intent["metadata"], intent["id"])
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "latest_charge": charge["id"]}
        session |= {"status": "complete", "payment_status": "paid"}
        self.store.put(intent)
        self.store.put(session)
        self._event("payment_intent.succeeded", intent)
        self._event("charge.succeeded", charge)
        self._event("checkout.session.completed", session)
        return session

    def charge(self, amount: int, metadata: dict[str, str], intent: str | None) -> Document:
        """A charge without a pay page too (intent None): somebody paid this account for something else."""
        charge = self._new(
            "ch", "charge", amount=amount, amount_refunded=0, currency=self.rules.currency, status="succeeded", paid=True, disputed=False,
            refunded=False, payment_intent=intent, metadata=metadata,
        )  # fmt: skip
        moved = self._move("charge", amount, charge["id"], amount * self.rules.fee_ppm // 1_000_000)
        return self.store.add("charge", charge | {"balance_transaction": moved["id"]})

    # --- refunds ---

    def refund(self, charge_id: str, amount: int | None, metadata: dict[str, str]) -> Document:
        charge = self._get("charge", charge_id)
        left = charge["amount"] - charge["amount_refunded"]
        if charge["disputed"]:
            raise Refused(400, "charge_disputed", f"{charge_id} is disputed and cannot be refunded", "charge")
        if left == 0:
            raise Refused(400, "charge_already_refunded", f"{charge_id} is refunded already", "charge")
        wanted = left if amount is None else amount
        if not 1 <= wanted <= left:
            raise Refused(400, "amount_too_large", f"refund {wanted}: {left} of {charge_id} are left", "amount")
        refund = self._new(
            "re", "refund", amount=wanted, currency=charge["currency"], charge=charge_id, payment_intent=charge["payment_intent"],
            status="succeeded", metadata=metadata,
        )  # fmt: skip
        refund["balance_transaction"] = self._move("refund", -wanted, refund["id"])["id"]
        charge["amount_refunded"] += wanted
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.store.put(charge)
        self.store.add("refund", refund)
        self._event("charge.refunded", charge)
        self._event("refund.created", refund)
        return refund

    def fail_refund(self, identity: str) -> Document:
        """The payer's bank sends a refund back (card closed): the money is in the balance again."""
        refund = self._get("refund", identity)
        if refund["status"] != "failed":
            refund["status"] = "failed"
            refund["failure_reason"] = "expired_or_canceled_card"
            charge = self._get("charge", refund["charge"])
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self.store.put(charge)
            self.store.put(refund)
            self._move("refund_failure", refund["amount"], identity)
            self._event("refund.failed", refund)
        return refund

    # --- disputes ---

    def dispute(self, charge_id: str, amount: int | None) -> Document:
        charge = self._get("charge", charge_id)
        left = charge["amount"] - charge["amount_refunded"]
        wanted = left if amount is None else amount
        if charge["disputed"] or not 1 <= wanted <= left:
            raise Refused(400, "dispute_refused", f"{left} of {charge_id} can be disputed, once", "amount")
        dispute = self._new(
            "dp", "dispute", amount=wanted, currency=charge["currency"], charge=charge_id, payment_intent=charge["payment_intent"],
            status="needs_response", reason="fraudulent", metadata={},
        )  # fmt: skip
        charge["disputed"] = True
        self.store.put(charge)
        self.store.add("dispute", dispute)
        self._move("adjustment", -wanted, dispute["id"], self.rules.dispute_fee)
        self._event("charge.dispute.created", dispute)
        self._event("charge.dispute.funds_withdrawn", dispute)
        return dispute

    def close_dispute(self, identity: str, status: str) -> Document:
        dispute = self._get("dispute", identity)
        if status not in ("won", "lost"):
            raise Refused(400, "parameter_invalid", "a dispute is won or lost", "status")
        if dispute["status"] == "needs_response":
            dispute["status"] = status
            self.store.put(dispute)
            if status == "won":
                charge = self._get("charge", dispute["charge"])
                charge["disputed"] = False
                self.store.put(charge)
                self._move("adjustment", dispute["amount"], identity)
                self._event("charge.dispute.funds_reinstated", dispute)
            self._event("charge.dispute.closed", dispute)
        return dispute

    # --- balance ---

    def payout(self, amount: int) -> Document:
        """To the bank account of whoever holds this account."""
        if not 1 <= amount <= self.balance()["available"][0]["amount"]:
            raise Refused(400, "balance_insufficient", f"{amount} is more than is available", "amount")
        payout = self.store.add("payout", self._new("po", "payout", amount=amount, currency=self.rules.currency, status="paid"))
        self._move("payout", -amount, payout["id"])
        self._event("payout.paid", payout)
        return payout

    def top_up(self, amount: int) -> Document:
        """Own money of whoever holds this account, paid into it."""
        if not 1 <= amount <= MAX_AMOUNT:
            raise Refused(400, "parameter_invalid_integer", f"an amount has 1 to {MAX_AMOUNT} minor units", "amount")
        made = self.store.add("topup", self._new("tu", "topup", amount=amount, currency=self.rules.currency, status="succeeded"))
        self._move("topup", amount, made["id"])
        self._event("topup.succeeded", made)
        return made

    def balance(self) -> Document:
        now, sums = time.time(), {"available": 0, "pending": 0}
        for moved in self.store.all("balance_transaction"):
            sums["available" if moved["available_on"] <= now else "pending"] += moved["net"]
        shown = {name: [{"amount": amount, "currency": self.rules.currency}] for name, amount in sums.items()}
        return {"object": "balance", "livemode": False} | shown

    def movements(self, since_s: int) -> list[Document]:
        """Newest first, each with its source in full (as with `expand[]=data.source`)."""
        found = [moved for moved in reversed(self.store.all("balance_transaction")) if moved["created"] >= since_s]
        return [moved | {"source": self._anything(moved["source"])} for moved in found]

    # --- inside ---

    def _anything(self, identity: str) -> Document:
        kinds = {"ch": "charge", "re": "refund", "dp": "dispute", "po": "payout", "tu": "topup"}
        return self._get(kinds[identity.partition("_")[0]], identity)

    def _get(self, kind: str, identity: str) -> Document:
        found = self.store.get(kind, identity)
        if found is None:
            raise Refused(404, "resource_missing", f"no such {kind}: {identity}", "id")
        return found

    def _new(self, prefix: str, kind: str, **values: Any) -> Document:
        return {"id": self.store.new_id(prefix), "object": kind, "created": int(time.time()), "livemode": False} | values

    def _move(self, kind: str, amount: int, source: str, fee: int = 0) -> Document:
        now = int(time.time())
        later = kind in ("charge", "topup")
        return self.store.add("balance_transaction", self._new(
            "txn", "balance_transaction", type=kind, amount=amount, fee=fee, net=amount - fee, currency=self.rules.currency, source=source,
            available_on=now + self.rules.settle_s if later else now,
        ))  # fmt: skip

    def _event(self, kind: str, about: Document) -> None:
        event = self._new("evt", "event", type=kind, data={"object": about}, api_version="2022-08-01", pending_webhooks=1)
        self.store.add("event", event)
        for endpoint in self.store.all("webhook_endpoint"):
            self.store.db.execute("INSERT INTO deliveries VALUES (?, ?, 0, 0, 0)", (event["id"], endpoint["id"]))
