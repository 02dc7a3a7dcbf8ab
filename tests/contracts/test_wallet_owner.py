"""The owner's side: money out at any time, freeze, policy, by call or by relayed signature, as a key or as an account with code."""

from __future__ import annotations

import pytest
from eth_utils.address import to_checksum_address

from protocol.eip712 import digest
from protocol.hashing import keccak
from protocol.money import Withdraw
from protocol.wallet import Approval, wallet_domain
from tests.contracts.support import HOUR_S, World, person
from tests.contracts.wallets import PAY_KEY, SESSION_MICRO, WalletWorld

MAGIC, REFUSED = bytes.fromhex("1626ba7e"), b"\xff" * 4


@pytest.fixture
def wallets(world: World) -> WalletWorld:
    return WalletWorld(world)


def held(wallets: WalletWorld, address: bytes) -> int:
    return int(wallets.world.token.functions.balanceOf(to_checksum_address(address)).call())


def test_the_owner_withdraws_all_that_is_not_locked_at_any_time(wallets: WalletWorld) -> None:
    world, functions = wallets.world, wallets.wallet.functions
    world.send(wallets.open(wallets.terms(), 1_000_000), "stranger")
    world.send(functions.freeze(), "owner")
    world.send(world.escrow.functions.stopNewBusiness(), "guardian")
    free = wallets.free()
    world.send(functions.withdraw(world.address("refund"), free), "owner")
    assert (wallets.free(), held(wallets, world.address("refund"))) == (0, free)
    world.reverts(functions.withdraw(world.address("refund"), 1), "owner", "BalanceTooLow", wallets.address, 1, 0)


def test_tokens_at_the_address_go_in_by_anyone_or_out_by_the_owner(wallets: WalletWorld) -> None:
    world, before = wallets.world, wallets.free()
    world.send(world.token.functions.mint(keccak(b"straight to the wallet"), wallets.address, 700), "minter")
    world.reverts(wallets.wallet.functions.withdrawTokens(world.token.address, PAY_KEY.address, 1), "stranger", "NotOwner")
    world.send(world.escrow.functions.stopNewBusiness(), "guardian")
    world.reverts(wallets.wallet.functions.deposit(), "stranger", "NewBusinessIsStopped")
    world.send(wallets.wallet.functions.withdrawTokens(world.token.address, world.address("refund"), 100), "owner")
    world.send(world.escrow.functions.resumeNewBusiness(), "guardian")
    world.send(wallets.wallet.functions.deposit(), "stranger")
    assert wallets.free() == before + 600
    world.reverts(wallets.wallet.functions.deposit(), "stranger", "NothingToDeposit")


def test_a_relayed_call_counts_once_in_its_time_for_this_wallet(wallets: WalletWorld) -> None:
    world, call = wallets.world, wallets.call_of("withdraw", wallets.world.address("refund"), 1_000)
    once = wallets.owner_call(call)
    receipt = world.send(once, "stranger")
    (event,) = world.events(receipt, wallets.wallet, "OwnerCalled")
    assert event == {"nonce": 1, "callHash": keccak(call)}  # the policy was the first
    world.reverts(once, "stranger", "NonceRefused", 1, 2)
    world.reverts(wallets.owner_call(call, nonce=3), "stranger", "NonceRefused", 3, 2)
    other = wallets.create(b"\x01" * 32, wallets.owner)
    foreign = wallet_domain(world.chain_id, bytes.fromhex(other.address[2:]))
    for domain in (foreign, wallet_domain(1, wallets.address), world.money):
        world.reverts(wallets.owner_call(call, domain=domain), "stranger", "SignatureRefused", wallets.owner)
    deadline = world.now() + HOUR_S
    late = wallets.owner_call(call, deadline=deadline)
    world.at(deadline + 1)
    world.reverts(late, "stranger", "DeadlinePassed", deadline)
    assert held(wallets, world.address("refund")) == 1_000


def test_every_owners_call_can_be_relayed(wallets: WalletWorld) -> None:
    world, functions, terms = wallets.world, wallets.wallet.functions, wallets.terms()
    world.send(wallets.open(terms), "stranger")
    world.send(wallets.owner_call(wallets.call_of("requestClose", terms)), "stranger")
    assert world.session(terms)["closeRequestedAtS"] > 0
    world.send(wallets.owner_call(wallets.call_of("freeze")), "stranger")
    assert functions.frozen().call()
    world.send(wallets.owner_call(wallets.call_of("unfreeze")), "stranger")
    assert not functions.frozen().call()
    wallets.policy = wallets.policy_of(max_day_micro=SESSION_MICRO)
    world.send(wallets.owner_call(wallets.call_of("setPolicy", wallets.policy)), "stranger")
    world.send(wallets.open(wallets.terms(1)), "stranger")


def test_a_direct_call_voids_what_was_signed_before(wallets: WalletWorld) -> None:
    world = wallets.world
    waiting = wallets.owner_call(wallets.call_of("unfreeze"))
    world.send(wallets.wallet.functions.freeze(), "owner")
    world.reverts(waiting, "stranger", "NonceRefused", 1, 2)
    assert wallets.wallet.functions.frozen().call()


def test_a_relayed_call_reaches_nothing_that_the_owner_does_not_have(wallets: WalletWorld) -> None:
    """It calls the wallet itself and nothing else, and a refusal inside comes out by its name."""
    world = wallets.world
    world.reverts(wallets.owner_call(wallets.call_of("withdraw", world.address("refund"), 10**10)), "stranger", "BalanceTooLow")
    inner = wallets.call_of("ownerCall", wallets.call_of("freeze"), 2, world.now() + HOUR_S, bytes(65))
    world.reverts(wallets.owner_call(inner), "stranger", "SignatureRefused", wallets.owner)
    world.reverts(wallets.owner_call(b"\x12\x34\x56\x78"), "stranger", "FailedCall")


def test_the_wallets_word_is_the_owners_for_this_wallet_alone(wallets: WalletWorld) -> None:
    """ERC-1271: the escrow pays the wallet's free balance out on the owner's approval."""
    world, functions = wallets.world, wallets.wallet.functions
    order = Withdraw(wallets.address, world.address("refund"), 5_000, 0, world.now() + HOUR_S)
    asked = digest(world.money, order)
    good = wallets.approval(asked)
    other = wallets.create(b"\x01" * 32, wallets.owner)
    assert functions.isValidSignature(asked, good).call() == MAGIC
    assert other.functions.isValidSignature(asked, good).call() == REFUSED
    assert functions.isValidSignature(asked, world.signers["owner"].sign(asked)).call() == REFUSED  # bare: good for nothing
    assert functions.isValidSignature(keccak(b"another"), good).call() == REFUSED
    assert functions.isValidSignature(asked, wallets.approval(asked, person("a thief"))).call() == REFUSED
    relay = world.escrow.functions.withdrawBySignature(*order, good)
    world.send(relay, "stranger")
    assert held(wallets, world.address("refund")) == 5_000
    world.reverts(relay, "stranger", "NonceRefused")


def test_an_owner_with_code(world: World) -> None:
    key = person("the owner's key")
    account = world.double("SmartAccount", key.address)
    wallets = WalletWorld(world, owner=bytes.fromhex(account.address[2:]))
    policy = wallets.policy
    world.reverts(wallets.owner_call(wallets.call_of("setPolicy", policy)), "stranger", "SignatureRefused", wallets.owner)
    world.send(wallets.owner_call(wallets.call_of("setPolicy", policy), signer=key), "stranger")
    world.send(wallets.open(wallets.terms()), "stranger")
    asked = keccak(b"anything")
    word = world.sign(wallets.domain, Approval(asked), key)
    assert wallets.wallet.functions.isValidSignature(asked, word).call() == MAGIC


def test_a_stolen_pay_key_costs_at_most_what_the_policy_allows(wallets: WalletWorld) -> None:
    """The drill. The thief sells to itself through a registered accomplice, as much as the key can sign, on two days."""
    world, functions = wallets.world, wallets.wallet.functions
    wallets.set_policy(wallets.policy_of(providers=()))
    world.send(wallets.book.functions.admit(world.address("payee")), "admin")  # the accomplice was admitted like anybody
    before, stolen, number = wallets.free(), 0, 0
    policy = wallets.policy
    for day in range(2):
        while True:
            room = policy.max_day_micro - int(functions.lockedTodayMicro().call(block_identifier="pending"))
            lock = min(room, policy.max_session_micro)
            if lock == 0:
                break
            terms = wallets.terms(number)
            world.send(wallets.open(terms, lock), "stranger")
            world.claim_paid(world.paid_row(terms, lock, PAY_KEY))
            stolen, number = stolen + lock, number + 1
        world.reverts(wallets.open(wallets.terms(number), 1), "stranger", "AboveDayLimit")
        if day == 0:
            world.at(world.now() + 86_400)
            wallets.ends_at_s += 86_400
    assert stolen == 2 * policy.max_day_micro == world.free("payee")
    # The owner notices on the second day: freeze, then out with the rest, then a new key.
    world.send(wallets.owner_call(wallets.call_of("freeze")), "stranger")
    world.at(world.now() + 86_400)
    world.reverts(wallets.open(wallets.terms(number, latest_end_s=world.now() + HOUR_S), 1), "stranger", "WalletFrozen")
    rest = wallets.free()
    world.send(functions.withdraw(world.address("refund"), rest), "owner")
    assert rest == before - stolen
    assert held(wallets, world.address("refund")) == rest
