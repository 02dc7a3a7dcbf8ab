"""A device's wallet between two providers at one point: it takes the better, switches at a band, and is stopped by its owner's limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from chain.oneshot import send
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets
from protocol.keys import Signer
from protocol.wallet import policy_document
from tests.buyer.house import Buyer, Site
from tests.service.buyers import Wallet, hash_of, signed_offer
from tests.service.test_offers import log_in
from tests.service.world import World, eventually

pytestmark = [pytest.mark.timeout(400), pytest.mark.soak]  # the demo's wallet scene walks the same way in every full run


class Seller:
    """A provider with an operator's account here; `token` is its program's."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.key, self.number = world, name, Signer.create(), 0
        made = world.call("POST", "/api/v1/operators", {"name": name, "payee": "0x" + self.key.address.hex()})
        self.id = made["operatorId"]
        password = "correct horse battery staple"
        world.call("POST", "/api/v1/users", {"name": name.lower(), "role": "operator", "operatorId": self.id, "password": password})
        self.token = log_in(world, name.lower())
        admin = TransactionSigner(world.client, world.secrets[0])
        send(world.client, admin, [Wallets(world.deployment).admit_provider(self.key.address)])

    def offer(self, point: str, tariff: dict[str, Any], per_kwh: int, renewable_ppm: int) -> str:
        book, self.number = self.world.deployment.provider_book or b"", self.number + 1
        limits = {"maxMicroPerKwh": per_kwh, "maxMicroPerHour": 0, "maxFlatMicro": 0}
        source = {"renewablePpm": renewable_ppm, "mix": [{"source": "GRID_MIX", "sharePpm": 1_000_000}]}
        body = signed_offer(book, self.key, [point], self.number, name=self.name, tariff=tariff, ceilings=limits, energySource=source)
        eventually("the provider's admission is final", lambda: self._posted(body))
        return hash_of(body, book)

    def _posted(self, body: dict[str, Any]) -> bool:
        world = self.world
        answer = world.request(
            "POST", lambda: world.url + "/api/v1/offers", lambda: {"Authorization": f"Bearer {self.token}"}, json=body
        )  # fmt: skip
        assert answer.status_code == 201 or answer.json()["type"].endswith("offer-provider-unregistered"), answer.text
        return answer.status_code == 201


def tariff(name: str, *elements: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "version": 1, "currency": "EUR", "timeZone": "Etc/UTC", "elements": list(elements)}


def energy(micro: int, **restrictions: Any) -> dict[str, Any]:
    prices = [{"type": "ENERGY", "microPerKwh": micro, "taxPpm": 0}]
    return {"priceComponents": prices} | ({"restrictions": restrictions} if restrictions else {})


@pytest.fixture
def site(world: World, tmp_path: Path) -> Iterator[Site]:
    made = Site(world, tmp_path / "site")
    yield made
    made.stop()


def test_it_chooses_switches_when_a_band_begins_and_its_owners_freeze_ends_it(world: World, site: Site) -> None:
    sun, grid, point = Seller(world, "Sunside"), Seller(world, "Gridline"), site.point["pointId"]
    world.call("PUT", f"/api/v1/points/{point}/sellers", {"operatorIds": [sun.id, grid.id]})
    wallet = Wallet(world, max_session_micro=10**6, max_day_micro=10**7)
    wallet.fund(10**6)
    band_s = (int(time.time()) + 45) // 60 * 60 + 60  # the next minute on the clock that leaves time to be running before
    at = datetime.fromtimestamp(band_s, UTC).strftime("%H:%M")
    end = datetime.fromtimestamp(band_s + 3 * 3_600, UTC).strftime("%H:%M")
    cheap_first = sun.offer(point, tariff("sun", energy(390_000, startTime=at, endTime=end), energy(200_000)), 390_000, 900_000)
    flat = grid.offer(point, tariff("grid", energy(300_000)), 300_000, 100_000)

    def published() -> bool:
        items = world.call("GET", f"/api/v1/offers?pointId={point}")["items"]
        return {item["offerHash"] for item in items if item["state"] == "published"} == {cheap_first, flat}

    eventually("both offers on the chain", published)
    buyer = WalletBuyer(site, wallet)
    buyer.start()
    buyer.paying()
    assert buyer.view()["offerHash"] == cheap_first
    assert buyer.events("choice")[0]["why"].startswith("take Sunside: ")
    buyer.wait("opening", 2, timeout_s=180)
    assert time.time() >= band_s
    assert "switching: Gridline is better from now on" in buyer.events("stopping")[0]["why"]
    eventually("the second session runs", lambda: buyer.view()["state"] == "running", 60)
    first, second = (event["session"] for event in buyer.events("opening"))
    assert buyer.view(second)["offerHash"] == flat
    eventually("a frame of the second is paid", lambda: (buyer.show()["session"] or {}).get("throughRecord", 0) > 0)
    assert not buyer.events("between"), "no watt-hour between the two sessions"
    wallet.send(Wallets(world.deployment).freeze(wallet.address))
    why = buyer.wait("stopping", 2)["why"]
    assert why == "the owner has frozen the wallet"
    buyer.wait("ended", 2)
    for session in (first, second):
        view = buyer.settled(session)
        assert view["claimedMicro"] == view["billMicro"], view
    assert buyer.stop() == 0
    for trouble in ("Traceback", "never taken", "refused by the service"):
        assert trouble not in buyer.log()


class WalletBuyer(Buyer):
    """A buyer whose payer is a wallet: the wallet's policy names its pay key."""

    def __init__(self, site: Site, wallet: Wallet, **settings: Any) -> None:
        book = "0x" + (site.world.deployment.provider_book or b"").hex()
        more = {"payer": None, "wallet": wallet.hex, "provider_book": book, "policy_file": "policy.json"}
        super().__init__(site, **more, preference={"expected_s": 10}, **settings)
        wallet.set_policy(wallet.policy._replace(pay_key=self.address))
        (site.folder / "policy.json").write_bytes(orjson.dumps(policy_document(wallet.policy)))
