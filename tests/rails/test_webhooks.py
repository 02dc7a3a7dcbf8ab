"""Webhooks as they must never be trusted: forged, late, doubled, of another rail, oversized; and secrets that roll."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadRequest
from backend.providers import signature
from protocol.keys import Signer
from tests.rails.rail_world import RailWorld


def header(body: bytes, secret: str, at_s: int) -> str:
    import hashlib
    import hmac

    return f"t={at_s},v1={hmac.new(secret.encode(), f'{at_s}.'.encode() + body, hashlib.sha256).hexdigest()}"


def refusal(body: bytes, sent: str | None, now_s: int = 1_000_000) -> str:
    try:
        signature.check(body, sent, ("whsec_new", "whsec_old"), now_s)
    except BadRequest as error:
        return error.detail
    return ""


def test_what_a_signature_must_be() -> None:
    body, now = b'{"id":"evt_1"}', 1_000_000
    good = header(body, "whsec_old", now)
    assert refusal(body, good) == ""
    assert refusal(body, good + ",v1=" + "0" * 64 + ",v0=other") == ""
    assert refusal(body, header(body, "whsec_new", now - 300)) == ""
    assert "replay" in refusal(body, header(body, "whsec_new", now - 301))
    assert "replay" in refusal(body, header(body, "whsec_new", now + 301))
    assert "no secret" in refusal(body + b" ", good)
    assert "no secret" in refusal(body, header(body, "whsec_other", now))
    assert "no secret" in refusal(body, good.replace("t=1000000", "t=1000001"))
    for odd in (None, "", "t=1", "v1=00", f"{good},t=5", "t=x,v1=00", "t=1,v1=é", "x" * 1_001, "t=1" + ",v1=0" * 11):
        assert refusal(body, odd)


@given(st.text(max_size=200))
def test_no_header_makes_it_stumble(text: str) -> None:
    assert refusal(b"{}", text)


@pytest.mark.soak
def test_doors_of_the_webhook(world: RailWorld) -> None:
    now = int(time.time())
    event: dict[str, Any] = {"id": f"evt_{now}", "type": "charge.succeeded", "data": {"object": {"id": "ch_made_up", "amount": 10**9}}}
    body = json.dumps(event).encode()
    supply, gap = world.client.token_supply_micro(), world.gap()
    good = header(body, world.secret, now)
    assert world.hook(body, None).status_code == 400
    assert world.hook(body, header(body, "whsec_of_another_rail", now)).status_code == 400
    assert world.hook(body + b"\n", good).status_code == 400
    assert "replay" in world.hook(body, header(body, world.secret, now - 900)).json()["detail"]
    assert httpx2.post(f"{world.url}/api/v1/rails/other/webhook", content=body, headers={"Stripe-Signature": good}).status_code == 404
    big = b"x" * (65 << 10)
    assert world.hook(big, header(big, world.secret, now)).status_code == 400
    assert world.hook(b"x" * (300 << 10), good).status_code == 413
    for odd in (b"[]", b"{}", b'{"id": 5, "type": "x", "data": {"object": {}}}', b"\xff"):
        assert world.hook(odd, header(odd, world.secret, now)).status_code == 400
    assert world.hook(body, good).json() == {"eventId": event["id"], "repeated": False}
    assert world.hook(body, good).json() == {"eventId": event["id"], "repeated": True}
    world.agrees(gap=gap)  # a signed event about a charge that the provider does not know mints nothing: it is a hint
    assert world.client.token_supply_micro() == supply


@pytest.mark.soak
def test_held_then_forged_then_in_the_wrong_order(world: RailWorld) -> None:
    box, payer, gap = world.paybox, Signer.create(), world.gap()
    box.do("POST", "/sandbox/webhooks/hold", on="true")
    known = {event["id"] for event in box.events()}
    made = world.deposit(payer.address, 3_000_000)
    box.pay(made["payUrl"])
    new = [event["id"] for event in box.events() if event["id"] not in known]

    def send(event: str, **how: Any) -> Any:
        return box.do("POST", f"/sandbox/events/{event}/send", endpoint=world.endpoint, **how)["status"]

    assert [send(event, secret="whsec_forged") for event in new] == [400] * len(new)
    assert [send(event, age_s=301) for event in new] == [400] * len(new)
    assert send(new[0], body='{"id":"evt_other"}') == 400
    assert [send(event) for event in [*reversed(new), *new]] == [200] * (2 * len(new))
    assert world.reaches(made, "credited")["mintedMicro"] == 3_000_000
    box.do("POST", "/sandbox/webhooks/hold", on="false")
    quiet = world.deposit(payer.address, 1_000_000)
    box.pay(quiet["payUrl"])
    world.reaches(quiet, "credited")
    assert world.client.free_micro(payer.address) == 4_000_000
    world.agrees(gap=gap)
    log = world.service.text() if world.service else ""
    assert world.secret not in log
    assert box.key not in log
