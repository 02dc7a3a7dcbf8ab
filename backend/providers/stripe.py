"""A rail over Stripe's API: checkout sessions, refunds, disputes, balance and balance transactions, by Stripe's documentation.

Source: docs.stripe.com/api, version `API_VERSION`. The sandbox in this repository speaks the same calls. The key travels in a header only;
no error text carries it, nor any answer's body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2

from .. import jsons
from ..hexes import to_hex
from .rail import Movement, MovementKind, Payment, PaymentState, RailAway, RailRefused

API_VERSION = "2022-08-01"
"""Sent with each call, so that the provider's newer versions change nothing here."""
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 4 << 20
"""A page of 100 balance transactions with their sources has some 300 kB."""
PAGE = 100
MAX_PAGES = 1_000
LATEST_CHARGE = "payment_intent.latest_charge"


class StripeRail:
    """One account. Thread-safe."""

    def __init__(self, url: str, api_key: str, currency: str, return_url: str) -> None:
        self._currency, self._return_url = currency, return_url
        headers = {"Authorization": f"Bearer {api_key}", "Stripe-Version": API_VERSION}
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, follow_redirects=False)

    def create_payment(self, deposit: bytes, amount_minor: int) -> Payment:
        made = self._ask("POST", "/v1/checkout/sessions", {
            "mode": "payment", "client_reference_id": to_hex(deposit), "payment_intent_data[metadata][deposit]": to_hex(deposit),
            "line_items[0][quantity]": 1, "line_items[0][price_data][currency]": self._currency,
            "line_items[0][price_data][unit_amount]": amount_minor, "line_items[0][price_data][product_data][name]": "Prepaid electricity",
            "success_url": self._return_url,
        }, key=f"deposit-{deposit.hex()}")  # fmt: skip
        return Payment(_text(made, "id"), _text(made, "url"), _whole(made, "expires_at"))

    def read_payment(self, payment_id: str) -> PaymentState:
        found = self._ask("GET", f"/v1/checkout/sessions/{payment_id}", {"expand[]": LATEST_CHARGE})
        intent = found.get("payment_intent")
        charge = intent.get("latest_charge") if isinstance(intent, dict) else None
        if not isinstance(charge, dict) or charge.get("status") != "succeeded":
            return PaymentState(False, found.get("status") == "expired", None, 0, 0, "")
        if charge.get("currency") != self._currency:
            raise RailRefused(f"{payment_id} was paid in another currency than this rail's {self._currency}", "currency")
        charge_id = _text(charge, "id")  # whether it is marked as disputed says too little: a dispute that was won no longer is
        return PaymentState(
            True, False, charge_id, _whole(charge, "amount"), _whole(charge, "amount_refunded"), self._dispute(charge_id)
        )  # fmt: skip

    def refund(self, charge_id: str, amount_minor: int, part: bytes) -> str:
        form = {"charge": charge_id, "amount": amount_minor, "metadata[part]": to_hex(part)}
        return _text(self._ask("POST", "/v1/refunds", form, key=f"refund-{part.hex()}"), "id")

    def balance(self) -> int:
        found = self._ask("GET", "/v1/balance", {})
        parts = [part for name in ("available", "pending") for part in found.get(name, []) if part.get("currency") == self._currency]
        return sum(_whole(part, "amount") for part in parts)

    def movements(self, since_s: int) -> Sequence[Movement]:
        """Read page by page. A list that grows meanwhile only grows at its new end, which the next reading sees."""
        found: list[Movement] = []
        form: dict[str, Any] = {"limit": PAGE, "created[gte]": since_s, "expand[]": "data.source"}
        for _ in range(MAX_PAGES):
            page = self._ask("GET", "/v1/balance_transactions", form)
            rows = page.get("data", [])
            found += [_movement(row) for row in rows if row.get("currency") == self._currency]
            if not page.get("has_more") or not rows:
                return found[::-1]
            form["starting_after"] = _text(rows[-1], "id")
        raise RailRefused(f"more than {PAGE * MAX_PAGES} movements since {since_s}", "too-many")

    def _dispute(self, charge_id: str) -> str:
        """The state of the charge's disputes, the worst first."""
        found = self._ask("GET", "/v1/disputes", {"charge": charge_id, "limit": PAGE}).get("data", [])
        states = {each.get("status") for each in found}
        if states - {"won", "lost", "warning_closed"}:
            return "open"
        return "lost" if "lost" in states else "won" if "won" in states else ""

    def _ask(self, method: str, path: str, form: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        texts = {name: str(value) for name, value in form.items()}
        headers = {} if key is None else {"Idempotency-Key": key}
        sent: dict[str, Any] = {"params": texts} if method == "GET" else {"data": texts}
        try:
            with self._client.stream(method, path, headers=headers, **sent) as answer:
                body = b""
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise RailRefused(f"{path}: the answer has more than {MAX_ANSWER_BYTES} bytes", "answer-too-large")
            status, document = answer.status_code, jsons.loads(body)
        except (httpx2.HTTPError, ValueError) as error:
            raise RailAway(f"{method} {path}: {type(error).__name__}", "rail") from None
        if status == 200 and isinstance(document, dict):
            return document
        said = document.get("error", {}) if isinstance(document, dict) else {}
        if status in (409, 429) or status >= 500:
            raise RailAway(f"{method} {path}: status {status}", "rail")
        code = str(said.get("code") or said.get("type") or status)[:60]
        raise RailRefused(f"{method} {path}: {str(said.get('message', ''))[:200] or 'no reason given'} ({code})", code)


def _movement(row: dict[str, Any]) -> Movement:
    source = row.get("source") if isinstance(row.get("source"), dict) else {}
    assert isinstance(source, dict)
    amount, said = _whole(row, "amount"), str(row.get("type"))
    is_charge = source.get("object") == "charge"
    charge = source.get("id") if is_charge else source.get("charge")
    metadata = source.get("metadata") or {}
    return Movement(
        _text(row, "id"), _kind(said, str(source.get("object")), amount), amount, _whole(row, "fee"),
        None if charge is None else str(charge), _name(metadata.get("deposit")) if is_charge else None, _name(metadata.get("part")),
        _whole(row, "created"),
    )  # fmt: skip


def _kind(said: str, source: str, amount: int) -> MovementKind:
    if source == "dispute":
        return MovementKind.DISPUTE if amount < 0 else MovementKind.DISPUTE_REVERSAL
    named = {
        "charge": MovementKind.CHARGE, "payment": MovementKind.CHARGE, "refund": MovementKind.REFUND,
        "payment_refund": MovementKind.REFUND, "refund_failure": MovementKind.REFUND_FAILURE,
        "payment_failure_refund": MovementKind.REFUND_FAILURE, "payout": MovementKind.PAYOUT, "payout_failure": MovementKind.PAYOUT,
        "payout_cancel": MovementKind.PAYOUT, "topup": MovementKind.TOP_UP, "topup_reversal": MovementKind.TOP_UP,
    }  # fmt: skip
    return named.get(said, MovementKind.OTHER)


def _name(text: Any) -> bytes | None:
    """A name of ours out of the metadata; None where it is none."""
    try:
        raw = bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        return None
    return raw if len(raw) == 32 else None


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 2_000:
        raise RailRefused(f"the provider's answer has no {name}", "answer")
    return value


def _whole(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 53:
        raise RailRefused(f"the provider's answer has no whole number {name}", "answer")
    return value
