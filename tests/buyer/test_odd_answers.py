"""A service that answers oddly: the buyer goes on, and nothing odd comes back at its next start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from buyer_agent.agent import Buyer
from buyer_agent.journal import State
from buyer_agent.purchase import Purchase
from buyer_agent.quote import MAX_QUOTE_BYTES, read_quote
from buyer_agent.settings import Money, Preference, Settings
from onsite.errors import ServiceFault
from onsite.http import parse_json
from protocol.errors import Malformed
from tests.buyer.paper import CHAIN_ID, ESCROW, POINT, Paper, now_s

DEEP = b"[" * 1_000 + b"]" * 1_000


class Odd(BaseHTTPRequestHandler):
    """Answers every call with the server's one answer."""

    answer = b"{}"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def buyer(service: str, tmp_path: Path) -> Iterator[Buyer]:
    """One with a session whose first payment was signed and not sent, as after a `kill -9`."""
    paper = Paper(tmp_path)
    settings = Settings(
        service=service, service_key=bytes(20), payer=paper.pay_key.address, chain_id=CHAIN_ID, escrow=ESCROW, point=POINT,
        preference=Preference(load_watts=1_000), money=Money(lock_micro=100, step_micro=100, low_micro=10, day_micro=1_000),
    )  # fmt: skip
    made = Buyer(tmp_path, settings, None, paper.pay_key)
    made.journal.save(State(live=paper.live()), "opening")
    paper.payer(made.journal).first()
    yield made
    made.service.close()
    made.journal.close()


@pytest.mark.parametrize("refused", ["7", "true", '"no"', '[1,"no",null,[[3]]]', '[{"event":"x","reason":1}]', '{"event":"x"}', "[[]]"])
def test_odd_words_about_a_payment_are_logged_and_it_goes_on(buyer: Buyer, refused: str) -> None:
    Odd.answer = f'{{"accepted":0,"refused":{refused}}}'.encode()
    purchase = Purchase.resumed(buyer)
    purchase.pay()
    assert not purchase._unsent  # sent: it is not stuck at it


def test_what_nests_too_deep_to_be_shown_or_kept_is_no_answer(buyer: Buyer) -> None:
    Odd.answer = b'{"refused":[' + DEEP + b"]}"
    with pytest.raises(ServiceFault, match="not JSON"):
        Purchase.resumed(buyer).pay()
    with pytest.raises(ValueError, match="ecursion"):
        parse_json(DEEP)


def test_a_quote_too_large_to_be_kept_with_every_change_is_refused(tmp_path: Path) -> None:
    paper = Paper(tmp_path)
    with pytest.raises(Malformed, match="larger than"):
        read_quote(paper.quote(estimate="x" * MAX_QUOTE_BYTES), paper.wish(), None, now_s())
