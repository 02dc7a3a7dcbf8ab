"""Webhook signatures by Stripe's documented scheme (docs.stripe.com/webhooks/signature).

`Stripe-Signature: t=<UTC seconds>,v1=<hex>[,v1=<hex>…]`, v1 = HMAC-SHA256(secret, "<t>." + body). Several v1 come while a secret is rolled,
and several of ours may stand in the file. All are compared, each in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from ..errors import BadRequest

TOLERANCE_S = 300
"""A signature older (or newer) than this is a replay: the scheme's own figure."""
MAX_HEADER = 1_000
MAX_SIGNATURES = 10
"""A roll of a secret gives two; more is an attempt to make us work."""


def check(body: bytes, header: str | None, secrets: Sequence[str], now_s: int) -> None:
    """Raises `BadRequest` unless one of the secrets signed these bytes, just now. The reason never says which part was nearly right."""
    where = "Stripe-Signature"
    if not header or len(header) > MAX_HEADER:
        raise BadRequest("is missing, or longer than any that is signed by the scheme: t=…,v1=…", where)
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    given = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12) or not 1 <= len(given) <= MAX_SIGNATURES:
        raise BadRequest(f"has not the form t=<UTC seconds>,v1=<hex>, with 1…{MAX_SIGNATURES} v1", where)
    signed = times[0].encode() + b"." + body
    good = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
        for each in given:
            good |= hmac.compare_digest(expected, each.encode())
    if not good:
        raise BadRequest("no secret of this rail made it over these bytes", where)
    if abs(now_s - int(times[0])) > TOLERANCE_S:
        raise BadRequest(f"was made more than {TOLERANCE_S} s away from now: a replay, or a clock that is wrong", where)
