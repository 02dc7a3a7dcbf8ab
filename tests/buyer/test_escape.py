"""The service is gone for good. The owner gets everything back that was not used, the provider what was signed: with chain, key files
and the agents' own folders. Real processes throughout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wattproof_rig.tell import tell

from protocol.eip712 import from_json
from protocol.money import Terms
from tests.buyer.house import Site
from tests.buyer.test_switch import Seller, WalletBuyer, energy, tariff
from tests.service.buyers import Wallet
from tests.service.world import World, eventually, run, running

pytestmark = [pytest.mark.timeout(400), pytest.mark.soak]
OWNER = 4
"""`tests.service.buyers.Wallet` belongs to this development account."""
FUNDS_MICRO = 100_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of its own: its service is killed."""
    (folder := tmp_path / "world").mkdir()
    with running(folder, payment_credit_micro=2_000, payment_credit_milliwatt_hours=6_000) as made:
        yield made


@pytest.fixture
def site(world: World, tmp_path: Path) -> Iterator[Site]:
    made = Site(world, tmp_path / "site")
    yield made
    made.stop()


def test_with_the_service_gone_everybody_gets_what_is_theirs(world: World, site: Site) -> None:
    wallet = Wallet(world)
    wallet.fund(FUNDS_MICRO)
    seller, point = Seller(world, "Lonely"), site.point["pointId"]
    world.call("PUT", f"/api/v1/points/{point}/sellers", {"operatorIds": [seller.id]})
    offer = seller.offer(point, tariff("lonely", energy(300_000)), 300_000, 0)
    listed = f"/api/v1/offers?pointId={point}"
    eventually("the offer on the chain", lambda: [
        item for item in world.call("GET", listed)["items"] if (item["offerHash"], item["state"]) == (offer, "published")
    ])  # fmt: skip
    buyer = WalletBuyer(site, wallet)
    buyer.start()
    buyer.wait("opened")
    eventually("ten payments", lambda: (buyer.show()["session"] or {}).get("paidMicro", 0) > 3_000, 60)
    assert world.service is not None
    world.service.kill()
    eventually("supply is off: nobody can pay any more", lambda: not tell(site.folder / "rig", "state")["contact_closed"], 90)
    buyer.kill()

    shown = buyer.show()
    terms = from_json(Terms, shown["session"]["terms"])
    signed = _amounts(site)
    assert signed, "the agent's log holds what was signed"
    chain = ("--rpc", world.rpc_url, "--deployment", str(world.folder / "deployment.json"))
    owner = world.client.token_micro(wallet.owner.address)
    # The owner, at once: all that is not locked.
    run("wallet", *chain, "--dev-account", str(OWNER), "withdraw", "--all", "--wallet", wallet.hex)
    locked = world.client.session(terms).lock_micro
    assert world.client.token_micro(wallet.owner.address) - owner == FUNDS_MICRO - locked
    # The provider: what was signed, sent by a stranger. Twice, as people do.
    file = site.folder / "amounts.json"
    file.write_text(json.dumps({"items": signed}))
    for _ in range(2):
        told = run("chain", "claim", str(file), *chain, "--dev-account", "7")
        assert f"claimed {signed[-1]['amount']['amountMicro']}" in told
    claimed = world.client.session(terms).claimed_micro
    assert claimed == signed[-1]["amount"]["amountMicro"]
    assert 0 < claimed <= shown["session"]["paidMicro"]
    # The owner again: the session closes after the agreed delay, by nobody's leave.
    (site.folder / "show.json").write_text(json.dumps(shown))
    run("wallet", *chain, "--dev-account", str(OWNER), "close", str(site.folder / "show.json"))
    run("wallet", *chain, "--dev-account", str(OWNER), "withdraw", "--all", "--wallet", wallet.hex)
    assert world.client.token_micro(wallet.owner.address) - owner == FUNDS_MICRO - claimed
    assert world.client.free_micro(terms.payee) >= claimed


def _amounts(site: Site) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(run("meter_agent", "amounts", "--state", str(site.folder / "agent")))["items"]
    return items
