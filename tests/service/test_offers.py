"""Offers on a real chain: kept, published, quoted under, replaced, withdrawn; and every bad one refused by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from chain.oneshot import send
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets
from protocol.evidence import Reason
from protocol.keys import Signer
from protocol.money import point_commitment
from protocol.offer import check_terms, parse_offer
from tests.service.bench_agent import TARIFF, BenchAgent
from tests.service.buyers import CEILINGS, hash_of, signed_offer, terms_of
from tests.service.world import World, eventually

pytestmark = pytest.mark.timeout(400)  # starts a chain and the programs; a loaded machine takes its time
DEAR = {**TARIFF, "id": "dear", "elements": [{"priceComponents": [{"type": "ENERGY", "microPerKwh": 500_000, "taxPpm": 0}]}]}


class Site(NamedTuple):
    """A point of the first operator, where a second one may sell."""

    world: World
    agent: BenchAgent
    point_id: str
    book: bytes
    seller: Signer
    seller_id: int
    token: str

    def post(self, body: dict[str, Any], expect: int = 201, token: str | None = None) -> Any:
        return self.world.call("POST", "/api/v1/offers", body, token=token or self.token, expect=expect)

    def published(self, body: dict[str, Any], token: str | None = None) -> str:
        made: str = self.post(body, token=token)["offerHash"]
        path = f"/api/v1/offers?pointId={self.point_id}"
        eventually("the offer on the chain", lambda: made in [item["offerHash"] for item in self.world.call("GET", path)["items"]])
        return made


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Site]:
    agent, seller = BenchAgent(world), Signer.create()
    point_id = agent.enrol()
    agent.vouch()
    agent.connect()
    made = world.call("POST", "/api/v1/operators", {"name": "Sunside", "payee": "0x" + seller.address.hex()})
    world.call("POST", "/api/v1/users", {
        "name": "sunside", "role": "operator", "operatorId": made["operatorId"], "password": "correct horse battery staple"
    })  # fmt: skip
    token = log_in(world, "sunside")
    admin = TransactionSigner(world.client, world.secrets[0])
    send(world.client, admin, [Wallets(world.deployment).admit_provider(seller.address)])
    assert world.deployment.provider_book is not None
    yield Site(world, agent, point_id, world.deployment.provider_book, seller, made["operatorId"], token)
    agent.close()


def log_in(world: World, name: str) -> str:
    """A token for an account's program."""
    import httpx2

    with httpx2.Client(base_url=world.url) as browser:
        assert browser.post("/console/log-in", data={"name": name, "password": "correct horse battery staple"}).status_code == 303
        csrf = browser.get("/console/account").text.partition('name="csrf" value="')[2].partition('"')[0]
        answer = browser.post("/api/v1/tokens", json={"label": "test"}, headers={"X-CSRF-Token": csrf})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


def refused(site: Site, body: dict[str, Any], status: int = 409) -> str:
    return str(site.post(body, expect=status)["type"].rpartition(":")[2])


def test_from_posting_to_a_session_under_an_offer_and_its_withdrawal(site: Site) -> None:
    world, book = site.world, site.book
    body = signed_offer(book, site.seller, [site.point_id], 1)
    eventually("the provider's admission", lambda: world.request(
        "POST", lambda: world.url + "/api/v1/offers", lambda: {"Authorization": f"Bearer {site.token}"}, json=body
    ).json().get("type", "").endswith("offer-point"))  # fmt: skip
    world.call("PUT", f"/api/v1/points/{site.point_id}/sellers", {"operatorIds": [site.seller_id]})
    assert site.post(body)["state"] == "publishing"
    found = site.published(body)
    assert found == hash_of(body, book)
    item = world.call("GET", f"/api/v1/offers?pointId={site.point_id}")["items"][0]
    assert item["document"] == body["document"]
    assert site.post(body)["state"] == "published"  # the same again

    quoted = world.payer.quote(site.point_id, 2_000, offerHash=found)
    terms = terms_of(quoted)
    check_terms(parse_offer(body), terms, site.point_id)
    assert terms.payee == site.seller.address
    device, channel, meter_key, salt = (quoted["point"][name] for name in ("device", "channel", "meterKey", "pointSalt"))
    assert point_commitment(raw(device), channel, raw(meter_key), raw(salt)) == terms.point_commitment
    session = world.payer.open(quoted, 2_000)
    session.reaches("running")
    site.agent.send(site.agent.frame(site.agent.record(Reason.START)))
    site.agent.send(site.agent.frame(site.agent.record(rise=1_000, power=3_600_000)))
    assert world.call("GET", session.path, token=site.token)["billMicro"] == 357
    world.call("GET", session.path, expect=404)  # the host's operator: it is the seller's session
    assert world.call("GET", f"/api/v1/points/{site.point_id}")["reading"]["sequence"] >= 2  # but the host's point
    world.call("GET", f"/api/v1/points/{site.point_id}", token=site.token, expect=404)

    assert world.call("POST", f"/api/v1/offers/{found}/withdraw", {}, expect=404)["status"] == 404  # of another operator
    signature = "0x" + site.seller.sign(withdrawal(site, found)).hex()
    assert world.call("POST", f"/api/v1/offers/{found}/withdraw", {"signature": signature}, token=site.token)["state"] == "withdrawn"
    quote_body = {"pointId": site.point_id, "payer": quoted["terms"]["payer"], "refundTo": quoted["terms"]["payer"], "metered": True,
                  "lockMicro": 2_000, "offerHash": found, "follows": quoted["session"]}  # fmt: skip
    assert world.call("POST", "/api/v1/quotes", quote_body, expect=409)["type"].endswith("offer-withdrawn")
    session.stop()
    site.agent.send(site.agent.frame(site.agent.record(Reason.STOP)))
    view = session.reaches("settled", 90)  # its payee's key is elsewhere: closed by anybody after the delay
    assert (view["claimedMicro"], view["returnedMicro"]) == (357, 2_000 - 357)
    assert view["offerHash"] == found
    assert world.client.free_micro(site.seller.address) == 357
    assert not [item for item in world.call("GET", "/api/v1/offers")["items"] if item["offerHash"] == found]


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def withdrawal(site: Site, found: str) -> bytes:
    from protocol.eip712 import digest, money_domain
    from protocol.offer import WithdrawOffer

    return digest(money_domain(site.world.deployment.chain_id, site.book), WithdrawOffer(bytes.fromhex(found[2:])))


def test_bad_offers_are_refused_by_name(site: Site) -> None:
    book, seller, points = site.book, site.seller, [site.point_id]
    good = signed_offer(book, seller, points, 50)
    other = signed_offer(book, seller, points, 50, name="Moonside")
    assert refused(site, good | {"document": other["document"]}) == "offer-document"
    assert refused(site, good | {"signature": other["signature"]}) == "offer-signature"
    assert refused(site, signed_offer(book, seller, points, 50, chain_id=1)) == "offer-signature"
    assert refused(site, signed_offer(bytes(20), seller, points, 50)) == "offer-signature"
    assert refused(site, signed_offer(book, seller, points, 50, tariff=DEAR)) == "offer-ceilings"
    assert refused(site, signed_offer(book, seller, points, 50, seconds=0)) == "offer-validity"
    assert refused(site, signed_offer(book, seller, points, 50, seconds=10)) == "offer-expired"
    assert refused(site, signed_offer(book, seller, points, 50, seconds=400 * 86_400)) == "offer-validity"
    assert refused(site, signed_offer(book, Signer.create(), points, 50)) == "offer-foreign-provider"
    assert refused(site, signed_offer(book, seller, ["p0"], 50)) == "offer-point"
    assert refused(site, signed_offer(book, seller, points, 1, name="Again")) == "offer-number"
    assert refused(site, good | {"document": good["document"] | {"extra": 1}}, 400) == "malformed"
    assert refused(site, good | {"signature": "0x12"}, 400) == "malformed"
    assert not [item for item in site.world.call("GET", "/api/v1/offers")["items"] if item["offer"]["number"] == 50]


@pytest.mark.slow
def test_of_two_offers_that_overlap_the_higher_number_counts(site: Site) -> None:
    dearer = {**CEILINGS, "maxMicroPerKwh": 500_000}
    first = site.published(signed_offer(site.book, site.seller, [site.point_id], 60))
    second = site.published(signed_offer(site.book, site.seller, [site.point_id], 61, tariff=DEAR, ceilings=dearer))
    me = "0x" + site.world.payer.address.hex()
    body = {"pointId": site.point_id, "payer": me, "refundTo": me, "metered": True, "lockMicro": 2_000}
    assert site.world.call("POST", "/api/v1/quotes", body | {"offerHash": first}, expect=409)["type"].endswith("offer-replaced")
    site.agent.vouch()
    quoted = site.world.call("POST", "/api/v1/quotes", body | {"offerHash": second})
    assert quoted["terms"]["maxMicroPerKwh"] == 500_000
    own = site.world.call("POST", "/api/v1/quotes", body)  # without an offer: the host, at the point's own tariff, as ever
    assert own["terms"]["payee"] == "0x" + site.world.sender.hex()
    assert own["offerHash"] is None
    site.world.call("PUT", f"/api/v1/points/{site.point_id}/sellers", {"operatorIds": []})
    assert site.world.call("POST", "/api/v1/quotes", body | {"offerHash": second}, expect=409)["type"].endswith("offer-point")
    site.world.call("POST", "/api/v1/quotes", body | {"offerHash": "0x" + "77" * 32}, expect=404)
