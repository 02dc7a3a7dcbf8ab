"""Intents of the pay key: each is valid once, on one chain, for one wallet, before its deadline, and only by that key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.eip712 import digest
from protocol.keys import Signer
from protocol.money import Open, TopUp
from protocol.wallet import policy_hash, wallet_domain
from tests.contracts.support import HOUR_S, World, person
from tests.contracts.test_traps import high_s
from tests.contracts.wallets import DEVICE, PAY_KEY, WalletWorld

Make = Callable[..., Any]


@pytest.fixture
def wallets(world: World) -> WalletWorld:
    return WalletWorld(world)


@pytest.fixture(params=["open", "top up", "request close"])
def make(request: pytest.FixtureRequest, wallets: WalletWorld) -> Make:
    """One of the pay key's calls on a session of its own, which would succeed as it stands."""
    terms = wallets.terms(7)
    if request.param == "open":
        return lambda **changes: wallets.open(terms, 1_000_000, **changes)
    wallets.world.send(wallets.open(terms), "stranger")
    if request.param == "top up":
        return lambda **changes: wallets.top_up(terms, 2_000_000, **changes)
    return lambda **changes: wallets.request_close(terms, **changes)


def test_it_succeeds_as_it_stands_and_once(wallets: WalletWorld, make: Make) -> None:
    call = make(deadline=wallets.world.now() + 10 * HOUR_S)
    wallets.world.send(call, "stranger")
    with pytest.raises(AssertionError, match=r"SessionIdUsed|LockMustRise|CloseAlreadyRequested"):
        wallets.world.reverts(call, "stranger", "a repeat")


def test_signed_by_anyone_else(wallets: WalletWorld, make: Make) -> None:
    """Not the owner either: its word is `OwnerCall`. Not the pay key of a policy that was replaced."""
    for other in (person("a thief"), wallets.world.signers["owner"]):
        wallets.world.reverts(make(signer=other), "stranger", "SignatureRefused", PAY_KEY.address)


def test_signed_elsewhere(wallets: WalletWorld, make: Make) -> None:
    other = wallets.create(b"\x01" * 32, wallets.owner)
    chain_id = wallets.world.chain_id
    for domain in (
        wallet_domain(chain_id, bytes.fromhex(other.address[2:])),
        wallet_domain(chain_id + 1, wallets.address),
        wallets.world.money,
        wallets.world.control,
    ):
        wallets.world.reverts(make(domain=domain), "stranger", "SignatureRefused", PAY_KEY.address)


def test_after_its_deadline(wallets: WalletWorld, make: Make) -> None:
    deadline = wallets.world.now() + HOUR_S
    call = make(deadline=deadline)
    wallets.world.at(deadline + 1)
    wallets.world.reverts(call, "stranger", "DeadlinePassed", deadline, deadline + 1)


def test_with_another_policy(wallets: WalletWorld, make: Make) -> None:
    wider = wallets.policy_of(max_day_micro=10**12)
    wallets.world.reverts(make(policy=wider), "stranger", "PolicyNotStanding", policy_hash(wider), policy_hash(wallets.policy))
    thief = person("a thief")
    wallets.world.reverts(make(policy=wallets.policy_of(pay_key=thief.address), signer=thief), "stranger", "PolicyNotStanding")


def test_malformed_signatures(wallets: WalletWorld, make: Make) -> None:
    good = bytes(make().args[-1])
    zero = wallets.policy_of(pay_key=bytes(20))
    for wrong in (high_s(good), good[:64], good + b"\x00", b"", good[:64] + b"\x00", bytes(65)):
        wallets.world.reverts(make(signature=wrong), "stranger", "SignatureRefused")
    wallets.world.reverts(make(policy=zero, signature=bytes(65)), "stranger", "PolicyNotStanding")


def test_an_old_pay_key_is_out_at_once(wallets: WalletWorld) -> None:
    """Its sessions stay as they are: payments go on, the new key asks to close. No new money goes where the old key signs."""
    world, old = wallets.world, wallets.policy
    terms = wallets.terms()
    world.send(wallets.open(terms), "stranger")
    new = person("the next pay key")
    wallets.set_policy(wallets.policy_of(pay_key=new.address))
    world.reverts(wallets.open(wallets.terms(1), policy=old), "stranger", "PolicyNotStanding")
    world.reverts(wallets.open(wallets.terms(1, signer=new.address)), "stranger", "SignatureRefused", new.address)
    world.send(wallets.open(wallets.terms(1, signer=new.address), signer=new), "stranger")
    world.reverts(wallets.top_up(terms, 2_000_000, signer=new), "stranger", "SignerNotPayKey", PAY_KEY.address, new.address)
    receipt = world.claim_paid(world.paid_row(terms, 10_000, PAY_KEY))
    assert not world.skipped(receipt)
    world.send(wallets.request_close(terms, signer=new), "stranger")


def test_a_changed_policy_never_breaks_what_is_locked(wallets: WalletWorld) -> None:
    world, terms = wallets.world, wallets.terms()
    world.send(wallets.open(terms, 3_000_000), "stranger")
    before = wallets.free()
    wallets.set_policy(wallets.policy_of(providers=(world.address("operator"),), max_session_micro=1, max_day_micro=1, expires_at_s=0))
    world.send(wallets.wallet.functions.freeze(), "owner")
    assert not world.skipped(world.claim_paid(world.paid_row(terms, 2_000_000, PAY_KEY)))
    world.send(wallets.request_close(terms), "stranger")
    world.send(world.escrow.functions.close(terms), "payee")
    assert wallets.free() == before + 1_000_000
    assert world.free("payee") == 2_000_000


def test_the_pay_key_signs_nothing_for_the_escrow_but_payments_and_closes(wallets: WalletWorld) -> None:
    """The wallet's ERC-1271 word is the owner's, so intents signed in the escrow's own domain are nobody's."""
    world, terms, deadline = wallets.world, wallets.terms(), wallets.world.now() + HOUR_S
    signature = world.sign(world.money, Open(world.id_of(terms), 1_000_000, deadline), PAY_KEY)
    call = world.escrow.functions.openBySignature(terms, 1_000_000, deadline, signature)
    world.reverts(call, "stranger", "SignatureRefused", wallets.address)
    world.send(wallets.open(terms), "stranger")
    signature = world.sign(world.money, TopUp(world.id_of(terms), 2_000_000, deadline), PAY_KEY)
    call = world.escrow.functions.topUpBySignature(terms, 2_000_000, deadline, signature)
    world.reverts(call, "stranger", "SignatureRefused", wallets.address)
    world.send(world.escrow.functions.requestCloseBySignature(terms, deadline, world.close_signed(terms, deadline, PAY_KEY)), "stranger")


def test_the_pay_key_has_none_of_the_owners_calls(wallets: WalletWorld) -> None:
    world, functions = wallets.world, wallets.wallet.functions
    terms = wallets.terms()
    world.send(wallets.open(terms), "stranger")
    thief = wallets.policy_of(pay_key=person("a thief").address)
    calls = {
        "setPolicy": (thief,),
        "freeze": (),
        "unfreeze": (),
        "withdraw": (PAY_KEY.address, 1),
        "withdrawFromTasks": (PAY_KEY.address, 1),
        "withdrawTokens": (world.token.address, PAY_KEY.address, 0),
        "requestClose": (terms,),
    }
    for name, arguments in calls.items():
        world.reverts(functions[name](*arguments), "stranger", "NotOwner", world.address("stranger"), world.address("owner"))
        call = wallets.call_of(name, *arguments)
        world.reverts(wallets.owner_call(call, signer=PAY_KEY), "stranger", "SignatureRefused", world.address("owner"))
    digest_ = digest(world.money, Open(world.id_of(terms), 1, 1))
    assert functions.isValidSignature(digest_, wallets.approval(digest_, PAY_KEY)).call() == b"\xff" * 4
    assert functions.isValidSignature(digest_, PAY_KEY.sign(digest_)).call() == b"\xff" * 4


def test_a_wallet_without_a_policy_locks_nothing(wallets: WalletWorld) -> None:
    fresh = wallets.at(wallets.create(b"\x02" * 32, wallets.owner).address)
    terms = wallets.terms(payer=bytes.fromhex(fresh.address[2:]), refund_to=bytes.fromhex(fresh.address[2:]))
    wallets.wallet = fresh
    wallets.world.reverts(wallets.open(terms), "stranger", "PolicyNotStanding", policy_hash(wallets.policy), bytes(32))
    nobody = wallets.policy_of(pay_key=bytes(20))
    assert isinstance(PAY_KEY, Signer)
    wallets.world.reverts(wallets.wallet.functions.setPolicy(nobody), "owner", "PayKeyRefused", bytes(20))
    owners = wallets.policy_of(pay_key=wallets.owner)
    wallets.world.reverts(wallets.wallet.functions.setPolicy(owners), "owner", "PayKeyRefused", wallets.owner)
    assert bytes(fresh.functions.device().call()) != DEVICE
