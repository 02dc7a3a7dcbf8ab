"""The sandbox itself: it keeps what it answered, signs as documented, and its balance is the sum of its movements."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.rails.paybox import Paybox
from tests.service.world import eventually


class Hook(http.server.ThreadingHTTPServer):
    """Somebody's webhook endpoint: keeps what came, refuses the first `refuse` times."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str]] = []
        self.refuse = 0
        super().__init__(("127.0.0.1", 0), _Take)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Take(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((body, self.headers["Stripe-Signature"]))
        refused = self.server.refuse > 0
        self.server.refuse -= refused
        self.send_response(500 if refused else 200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def paybox(tmp_path: Path) -> Iterator[Paybox]:
    made = Paybox(tmp_path / "paybox", "--settle-seconds", "1", "--dispute-fee", "15")
    yield made
    made.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.shutdown()
    made.server_close()


def signed_by(body: bytes, header: str, secret: str) -> bool:
    parts = [part.split("=", 1) for part in header.split(",")]
    at = next(value for name, value in parts if name == "t")
    mac = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return abs(int(at) - time.time()) < 60 and mac in [value for name, value in parts if name == "v1"]


def test_money_comes_goes_and_adds_up_over_a_kill(paybox: Paybox) -> None:
    session = paybox.checkout(1_000, "d1", key="one")
    assert paybox.checkout(1_000, "d1", key="one")["id"] == session["id"]
    paybox.pay(session["url"])
    paybox.pay(session["url"])  # the payer's finger trembled
    paybox.kill()
    paybox.start()
    read = paybox.do("GET", f"/v1/checkout/sessions/{session['id']}", **{"expand[]": "payment_intent.latest_charge"})
    charge = read["payment_intent"]["latest_charge"]
    assert (read["payment_status"], charge["amount"], charge["metadata"]) == ("paid", 1_000, {"deposit": "d1"})
    assert paybox.balance() == 1_000
    refund = paybox.do("POST", "/v1/refunds", "r1", charge=charge["id"], amount=300)
    assert paybox.do("POST", "/v1/refunds", "r1", charge=charge["id"], amount=300) == refund
    assert paybox.ask("POST", "/v1/refunds", "r1", charge=charge["id"], amount=301).status_code == 400
    assert paybox.ask("POST", "/v1/refunds", charge=charge["id"], amount=701).json()["error"]["code"] == "amount_too_large"
    dispute = paybox.do("POST", f"/sandbox/charges/{charge['id']}/dispute")
    assert paybox.balance() == -15
    assert paybox.ask("POST", "/v1/refunds", charge=charge["id"], amount=1).json()["error"]["code"] == "charge_disputed"
    paybox.do("POST", f"/sandbox/disputes/{dispute['id']}/close", status="won")
    assert paybox.balance() == 685
    eventually("settled", lambda: paybox.do("GET", "/v1/balance")["available"][0]["amount"] == 685, 10)
    paybox.do("POST", "/v1/payouts", amount=600)
    assert paybox.balance() == 85
    moved = paybox.do("GET", "/v1/balance_transactions", limit=100)["data"]
    assert [m["net"] for m in reversed(moved)] == [1_000, -300, -715, 700, -600]


def test_webhooks_are_signed_and_tried_again(paybox: Paybox, hook: Hook) -> None:
    endpoint = paybox.do("POST", "/v1/webhook_endpoints", url=hook.url)
    hook.refuse = 2
    paybox.pay(paybox.checkout(500)["url"])
    eventually("three events, the first three times", lambda: len(hook.got) >= 5, 20)
    assert all(signed_by(body, header, endpoint["secret"]) for body, header in hook.got)
    rolled = paybox.do("POST", f"/sandbox/webhook_endpoints/{endpoint['id']}/roll", overlap_s=60)
    event = paybox.events("charge.succeeded")[0]
    sent = f"/sandbox/events/{event['id']}/send"
    paybox.do("POST", sent, endpoint=endpoint["id"])
    body, header = hook.got[-1]
    assert signed_by(body, header, endpoint["secret"])
    assert signed_by(body, header, rolled["secret"])
    paybox.do("POST", sent, endpoint=endpoint["id"], secret="whsec_of_somebody_else")
    assert not signed_by(*hook.got[-1], rolled["secret"])
    paybox.do("POST", sent, endpoint=endpoint["id"], age_s=900)
    assert not signed_by(*hook.got[-1], rolled["secret"])


def test_without_the_key_nothing_but_the_page(paybox: Paybox) -> None:
    assert httpx2.get(f"{paybox.url}/v1/balance", timeout=5).status_code == 401
    page = httpx2.get(paybox.checkout(1_234)["url"], timeout=5)
    assert "12.34 EUR" in page.text
    assert "script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert httpx2.get(f"{paybox.url}/pay/cs_test_unknown", timeout=5).status_code == 404
    assert paybox.key_file.stat().st_mode & 0o077 == 0
