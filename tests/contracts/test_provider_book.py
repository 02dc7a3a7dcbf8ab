"""The provider book: who is admitted, which offers stand; each refusal by its name."""

from __future__ import annotations

import pytest

from protocol.eip712 import digest, money_domain, struct_hash
from protocol.hashing import keccak
from protocol.offer import Offer, offer_hash
from tests.contracts.support import DAY_S, ZERO, World
from tests.contracts.wallets import WalletWorld


class Book:
    def __init__(self, world: World) -> None:
        self.world = world
        self.book = world.deploy("ProviderBook", world.address("admin"))
        self.place = bytes.fromhex(self.book.address[2:])
        world.send(self.book.functions.admit(world.address("payee")), "admin")

    def offer(self, number: int = 1, **changes: object) -> Offer:
        now = self.world.now()
        base = Offer(self.world.address("payee"), keccak(b"document"), number, now, now + DAY_S)
        return base._replace(**changes)  # type: ignore[arg-type]

    def signed(self, offer: Offer, name: str = "payee", chain_id: int | None = None) -> bytes:
        return self.world.sign(money_domain(chain_id or self.world.chain_id, self.place), offer, self.world.signers[name])

    def hash_of(self, offer: Offer) -> bytes:
        return offer_hash(offer, self.world.chain_id, self.place)


@pytest.fixture
def book(world: World) -> Book:
    return Book(world)


def test_registrars_admit_and_dismiss(book: Book) -> None:
    world, functions = book.world, book.book.functions
    assert functions.isRegistered(world.address("payee")).call()
    world.reverts(functions.admit(world.address("owner")), "stranger", "AccessControlUnauthorizedAccount", world.address("stranger"))
    world.reverts(functions.dismiss(world.address("payee")), "payee", "AccessControlUnauthorizedAccount", world.address("payee"))
    world.reverts(functions.admit(ZERO), "admin", "ProviderZero")
    world.reverts(functions.admit(world.address("payee")), "admin", "ProviderKnown", world.address("payee"))
    world.send(functions.dismiss(world.address("payee")), "admin")
    assert not functions.isRegistered(world.address("payee")).call()
    world.reverts(functions.dismiss(world.address("payee")), "admin", "ProviderUnknown", world.address("payee"))
    registrar = bytes(functions.REGISTRAR_ROLE().call())
    world.send(functions.grantRole(registrar, world.address("operator")), "admin")
    world.send(functions.admit(world.address("payee")), "operator")


def test_an_offer_is_published_by_anyone_on_the_providers_signature(book: Book) -> None:
    world, functions, offer = book.world, book.book.functions, book.offer(3)
    receipt = world.send(functions.publish(offer, book.signed(offer)), "stranger")
    (event,) = world.events(receipt, book.book, "OfferPublished")
    provider = "0x" + offer.provider.hex()
    assert event == {
        "provider": provider, "offerHash": book.hash_of(offer), "number": 3,
        "validFromS": offer.valid_from_s, "validUntilS": offer.valid_until_s,
    }  # fmt: skip
    kept = functions.offerOf(book.hash_of(offer)).call()
    assert [kept[0].lower(), *kept[1:]] == [provider, offer.valid_from_s, offer.valid_until_s, 0]
    assert functions.lastNumberOf(offer.provider).call() == 3
    world.reverts(functions.publish(offer, book.signed(offer)), "stranger", "NumberMustRise", offer.provider, 3, 3)
    assert digest(money_domain(world.chain_id, book.place), offer) == book.hash_of(offer) != struct_hash(offer)


def test_what_is_no_offer_is_refused(book: Book) -> None:
    world, functions, offer = book.world, book.book.functions, book.offer(1)
    now = world.now()
    world.reverts(functions.publish(offer, book.signed(offer, "operator")), "stranger", "SignatureRefused", offer.provider)
    world.reverts(functions.publish(offer, book.signed(offer, chain_id=1)), "stranger", "SignatureRefused", offer.provider)
    for start, end in ((now, now), (now - 2, now - 1), (now - 10, now)):
        wrong = book.offer(1, valid_from_s=start, valid_until_s=end)
        world.at(now)
        world.reverts(functions.publish(wrong, book.signed(wrong)), "stranger", "ValidityRefused", start, end, now)
    foreign = book.offer(1, provider=world.address("operator"))
    world.reverts(functions.publish(foreign, book.signed(foreign, "operator")), "stranger", "ProviderUnknown", foreign.provider)


def test_an_offer_is_withdrawn_by_its_provider_alone_and_for_ever(book: Book) -> None:
    world, functions, offer, second = book.world, book.book.functions, book.offer(1), book.offer(2)
    for each in (offer, second):
        world.send(functions.publish(each, book.signed(each)), "stranger")
    hashed = book.hash_of(offer)
    world.reverts(functions.withdraw(hashed), "stranger", "NotOfferOf", world.address("stranger"), hashed)
    world.reverts(functions.withdrawBySignature(b"\x01" * 32, b""), "stranger", "OfferUnknown", b"\x01" * 32)
    world.send(functions.dismiss(offer.provider), "admin")
    world.send(functions.withdraw(hashed), "payee")
    assert functions.offerOf(hashed).call()[3] > 0
    world.reverts(functions.withdraw(hashed), "payee", "OfferAlreadyWithdrawn", hashed)
    separator = money_domain(world.chain_id, book.place).separator()
    other = book.hash_of(second)
    word = keccak(b"\x19\x01" + separator + keccak(keccak(b"WithdrawOffer(bytes32 offerHash)") + other))
    thief = functions.withdrawBySignature(other, world.signers["operator"].sign(word))
    world.reverts(thief, "stranger", "SignatureRefused", second.provider)
    world.send(functions.withdrawBySignature(other, world.signers["payee"].sign(word)), "stranger")
    assert functions.offerOf(other).call()[3] > 0


def test_a_wallet_without_a_list_trusts_the_book(world: World) -> None:
    wallets = WalletWorld(world)
    wallets.set_policy(wallets.policy_of(providers=()))
    world.reverts(wallets.open(wallets.terms()), "stranger", "ProviderNotRegistered", world.address("payee"))
    world.send(wallets.book.functions.admit(world.address("payee")), "admin")
    world.send(wallets.open(wallets.terms()), "stranger")
    world.send(wallets.book.functions.dismiss(world.address("payee")), "admin")
    world.reverts(wallets.top_up(wallets.terms(), 2_000_000), "stranger", "ProviderNotRegistered", world.address("payee"))
