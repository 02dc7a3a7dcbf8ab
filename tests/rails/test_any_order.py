"""Whatever order webhooks come in, and however often: the same books, one mint a receipt. A real sandbox, chain and both databases.

The provider's history is made once. Each example hears its events in another order, with repetitions, reads the provider in between, and
gets the chain's events for what it intends (read from a real chain: who may mint, and how much).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.models import Account, Deposit, IntentRow
from backend.onchain import chainbooks
from backend.providers.accounts import load_rails
from backend.rails import deposits, fourth_book, hooks
from backend.rails.rounds import Rounds
from backend.rails.rows import In
from backend.store.keyring import load_key
from chain import event_types
from chain.events import ChainEvent
from chain.rpc import BlockRef
from tests.rails.rail_world import RAIL, RailWorld
from tests.service.inside import Inside
from tests.service.postgres import Cluster

pytestmark = pytest.mark.slow
ACCOUNT = b"\x11" * 20
ROUND, MINT = "round", "mint"


class History:
    """What happened at the provider: paid; paid and partly refunded; lost and won charge-backs; a stranger's money; own money."""

    def __init__(self, world: RailWorld) -> None:
        self.box, self.made = world.paybox, dict[bytes, tuple[str, str, int]]()
        known = {event["id"] for event in self.box.events()}
        charges = [self._paid(cents) for cents in (500, 600, 700, 800)]
        self.box.do("POST", "/v1/refunds", charge=charges[1], amount=100)
        for charge, status in ((charges[2], "lost"), (charges[3], "won")):
            dispute = self.box.do("POST", f"/sandbox/charges/{charge}/dispute")
            self.box.do("POST", f"/sandbox/disputes/{dispute['id']}/close", status=status)
        self.box.do("POST", "/sandbox/charges", amount=123)
        self.box.do("POST", "/v1/topups", amount=50)
        self.events = [event for event in self.box.events() if event["id"] not in known]

    def _paid(self, cents: int) -> str:
        deposit = hashlib.sha256(f"{cents}".encode()).digest()
        session = self.box.checkout(cents, "0x" + deposit.hex())
        self.box.pay(session["url"])
        self.made[deposit] = (session["id"], session["url"], cents * 10_000)
        found = self.box.do("GET", f"/v1/checkout/sessions/{session['id']}", **{"expand[]": "payment_intent.latest_charge"})
        return str(found["payment_intent"]["latest_charge"]["id"])


class Hearing:
    """A service without loops that hears of that history."""

    def __init__(self, world: RailWorld, history: History, url: str, folder: Path) -> None:
        rail = world.settings[f"rails.{RAIL}"] | {"poll_seconds": 3600}
        self.inside = Inside(folder, url, rails={RAIL: rail})
        service = self.service = self.inside.service
        service.rails = load_rails(service.settings)
        till = load_key(world.home / "keys" / "till.json", (world.home / "passphrase").read_text().strip(), "till")
        service.keys, service.deployment = service.keys._replace(till=till), world.deployment
        self.world, self.rounds = world, Rounds(service, world.client)
        with service.db.writing() as db:
            for deposit, (payment_id, pay_url, amount) in history.made.items():
                row = deposits.request(db, service, service.rails[RAIL], ACCOUNT, amount)
                row.id, row.payment_id, row.pay_url, row.state, row.created_at_s = deposit, payment_id, pay_url, In.AWAITING, 1

    def hear(self, event: dict[str, Any]) -> None:
        body, now = json.dumps(event).encode(), int(time.time())
        mac = hmac.new(self.world.secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        with self.service.db.writing() as db:
            hooks.hear(db, self.service, self.service.rails[RAIL], body, f"t={now},v1={mac}")

    def read(self) -> None:
        self.rounds._rail(self.service.rails[RAIL], self.service.db.writing)

    def mint(self) -> None:
        """What is due, and the chain's word on all that is intended, said twice."""
        deposits.mint_due(self.service, self.world.client, self.service.db.writing)
        with self.service.db.reading() as db:
            rows = list(db.scalars(select(Deposit).where(Deposit.state.in_((In.MINTING, In.CREDITING)))))
        for row in rows:
            assert row.receipt_id is not None
            assert row.mint_micro is not None
            if row.state == In.MINTING:
                self._final(event_types.Minted(row.receipt_id, self.service.till.address, row.mint_micro))
            self._final(event_types.Deposited(row.account, self.service.till.address, row.mint_micro))

    def _final(self, body: Any) -> None:
        self.inside.block += 1
        with self.service.db.writing() as db:
            number = self.inside.block
            event = ChainEvent(BlockRef(number, bytes(32)), 1, number.to_bytes(32, "big"), 0, bytes(20), body)
            row = chainbooks._row(event)
            db.add(row)
            db.flush()
            chainbooks.apply(db, self.service, row, body)
            row.applied = True

    def outcome(self) -> Any:
        with self.service.db.reading() as db:
            mints = [(i.reference, i.data) for i in db.scalars(select(IntentRow).where(IntentRow.kind == "mint"))]
            book = fourth_book.read(db, self.service)
            assert fourth_book.differences(book, book.supply_micro) == []
            accounts = sorted((a.kind, a.reference, a.credits_posted - a.debits_posted) for a in db.scalars(select(Account)))
            rows = sorted((d.id, d.state, d.dispute, d.mint_micro, d.refunded_micro, d.disputed_micro) for d in db.scalars(select(Deposit)))
            return sorted(mints), [a for a in accounts if a[2]], rows

    def end(self) -> Any:
        for _ in range(2):
            self.read()
            self.mint()
        found = self.outcome()
        self.inside.close()
        return found


@pytest.fixture(scope="module")
def history(world: RailWorld) -> History:
    return History(world)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def new_hearing(request: pytest.FixtureRequest, world: RailWorld, history: History) -> Callable[[], Hearing]:
    def make() -> Hearing:
        cluster: Cluster | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
        return Hearing(world, history, "" if cluster is None else cluster.url(), Path(tempfile.mkdtemp(prefix="wattproof-rails-")))

    return make


def test_any_order_gives_the_same_books(new_hearing: Callable[[], Hearing], history: History) -> None:
    straight = new_hearing()
    for event in history.events:
        straight.hear(event)
    expected = straight.end()
    mints, accounts, rows = expected
    assert len(mints) == len({reference for reference, _ in mints}) == 3  # the lost one was never minted: it was known before
    assert {row[1] for row in rows} == {In.CREDITED, In.RETURNED}
    assert not [account for account in accounts if account[0] == "rail-pending"]

    steps = st.lists(st.sampled_from([*range(len(history.events)), ROUND, MINT]), max_size=40)

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def heard(order: list[int | str]) -> None:
        hearing = new_hearing()
        for each in order:
            if each == ROUND:
                hearing.read()
            elif each == MINT:
                hearing.read()
                hearing.mint()
            else:
                hearing.hear(history.events[int(each)])
        assert hearing.end() == expected

    heard()

