"""Webhook signatures by Stripe's documented scheme: HMAC-SHA256 over `<t>.<body>`, header `Stripe-Signature: t=…,v1=…[,v1=…]`.

Source: docs.stripe.com/webhooks/signature. While a key is rolled every secret that still counts gives one v1.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence


def signature(body: bytes, at_s: int, secret: str) -> str:
    """One v1."""
    return hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()


def header(body: bytes, at_s: int, secrets: Sequence[str]) -> str:
    """The header's value."""
    return ",".join([f"t={at_s}", *(f"v1={signature(body, at_s, secret)}" for secret in secrets)])
