"""The same lists, pages, log-ins and events on PostgreSQL: what SQLite forgives (types, concurrency) it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.accounts import attempts
from tests.console.house import Holding, House, furnish
from tests.console.test_apart import READ
from tests.console.test_events import Listener
from tests.console.test_roles import filled
from tests.service.postgres import Cluster, find_binaries
from tests.service.world import eventually

pytestmark = [
    pytest.mark.needs_postgres,
    pytest.mark.skipif(find_binaries() is None and "CI" not in os.environ, reason="initdb is absent: apt-get install postgresql"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    cluster = Cluster()
    try:
        made = House(Path(tmp_path_factory.mktemp("house")), cluster.url())
        yield made
        made.close()
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def holding(house: House) -> Iterator[Holding]:
    made = furnish(house, 1)
    yield made
    made.agent.close()


def test_every_list_and_page_answers(house: House, holding: Holding) -> None:
    for route in READ:
        path = filled(route.removeprefix("GET "), holding)
        if path.endswith("bill.csv"):
            path += f"?session={holding.session}"
        answer = house.request("GET", path, token=holding.tokens["admin"])
        assert answer.status_code == 200, f"{path}: {answer.text}"
    transfers = house.call("GET", "/api/v1/ledger/transfers?limit=1", token=holding.tokens["admin"])
    again = house.call("GET", f"/api/v1/ledger/transfers?limit=1&after={transfers['next']}", token=holding.tokens["admin"])
    assert again["items"][0] != transfers["items"][0]


def test_readings_are_told(house: House, holding: Holding) -> None:
    listener = Listener(house.url, {"Authorization": f"Bearer {holding.tokens['read-only']}"})
    holding.agent.send(holding.agent.frame(holding.agent.record(rise=1_000, power=3_600_000)))
    assert eventually("a reading", lambda: listener.heard("reading"))[-1]["pointId"] == holding.point_id


def test_many_guesses_at_once_do_not_slip_past_the_count(house: House, holding: Holding) -> None:
    def guess(_: int) -> int:
        return house.request("POST", "/console/log-in", data={"name": "auditor.1", "password": "wrong password here"}).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(guess, range(12)))
    assert statuses.count(401) == attempts.MAX_PAIR
    assert statuses.count(429) == 12 - attempts.MAX_PAIR


def test_a_nul_in_a_text_is_a_bad_request(house: House, holding: Holding) -> None:
    """PostgreSQL's texts hold none; SQLite's do. Neither door fails."""
    opening = {"quoteId": "\0", "lockMicro": 1, "deadlineS": 1, "signature": "0x" + "1" * 130}
    for path, body in (("/api/v1/tokens", {"label": "a\0b"}), ("/api/v1/sessions", opening)):
        answer = house.request("POST", path, token=holding.tokens["admin"], json=body)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert house.request("GET", "/api/v1/points/%00", token=holding.tokens["admin"]).status_code == 422
