"""A device's wallet: what its pay key may lock, each refusal by its name."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.wallet import policy_hash
from tests.contracts.support import DAY_S, HOUR_S, World, person
from tests.contracts.wallets import DAY_MICRO, DEVICE, SESSION_MICRO, WalletWorld


@pytest.fixture
def wallets(world: World) -> WalletWorld:
    return WalletWorld(world)


def test_a_session_from_open_to_return(wallets: WalletWorld) -> None:
    """Open, top up, pay, ask to close and close; what was not used lies in the wallet's free balance again."""
    world, terms = wallets.world, wallets.terms()
    before = wallets.free()
    world.send(wallets.open(terms, 1_000_000), "stranger")
    world.send(wallets.top_up(terms, 2_500_000), "stranger")
    assert wallets.free() == before - 2_500_000
    assert wallets.wallet.functions.lockedTodayMicro().call() == 2_500_000
    world.claim_paid(world.paid_row(terms, 700_000, person("the device's pay key")))
    world.send(wallets.request_close(terms), "stranger")
    world.send(world.escrow.functions.close(terms), "payee")
    assert wallets.free() == before - 700_000
    assert world.free("payee") == 700_000
    assert wallets.wallet.functions.lockedTodayMicro().call() == 2_500_000  # what comes back does not count


def test_metered_sessions_name_the_sellers_charge_key(wallets: WalletWorld) -> None:
    terms = wallets.terms(metered=True)
    wallets.world.send(wallets.open(terms), "stranger")
    assert wallets.world.session(terms)["lockMicro"] == 1_000_000


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"payer": "payer"}, "NotPayer"),
        ({"refund_to": "owner"}, "RefundToNotWallet"),
        ({"signer": "payer"}, "SignerNotPayKey"),
        ({"payee": "stranger"}, "ProviderNotListed"),
        ({"max_micro_per_kwh": 300_001}, "KwhCeilingAbovePolicy"),
        ({"max_micro_per_hour": 100_001}, "HourCeilingAbovePolicy"),
        ({"max_flat_micro": 50_001}, "FlatCeilingAbovePolicy"),
    ],
)
@pytest.mark.parametrize("mode", ["open", "top up"])
def test_terms_outside_the_policy_are_refused(wallets: WalletWorld, changes: dict[str, Any], error: str, mode: str) -> None:
    named = {key: wallets.world.address(value) if isinstance(value, str) else value for key, value in changes.items()}
    terms = wallets.terms(**named)
    call = wallets.open(terms) if mode == "open" else wallets.top_up(terms, 2_000_000)
    wallets.world.reverts(call, "stranger", error)


def test_the_wallet_keeps_the_policys_hash_and_the_event_tells_all_of_it(wallets: WalletWorld) -> None:
    policy = wallets.policy_of(max_day_micro=1, providers=())
    receipt = wallets.set_policy(policy)
    (event,) = wallets.world.events(receipt, wallets.wallet, "PolicySet")
    assert event["policyHash"] == policy_hash(policy) == bytes(wallets.wallet.functions.policyHash().call())
    assert event["payKey"] == "0x" + policy.pay_key.hex()
    assert tuple(event["policy"].values())[2:] == tuple(policy[2:])
    assert wallets.wallet.functions.device().call() == DEVICE


def test_sums_are_limited_by_session_and_day(wallets: WalletWorld) -> None:
    world = wallets.world
    world.reverts(wallets.open(wallets.terms(0), SESSION_MICRO + 1), "stranger", "AboveSessionLimit", SESSION_MICRO + 1, SESSION_MICRO)
    for number in range(2):
        world.send(wallets.open(wallets.terms(number), SESSION_MICRO), "stranger")
    world.reverts(wallets.top_up(wallets.terms(0), SESSION_MICRO + 1), "stranger", "AboveSessionLimit", SESSION_MICRO + 1)
    rest = DAY_MICRO - 2 * SESSION_MICRO
    world.reverts(wallets.open(wallets.terms(2), rest + 1), "stranger", "AboveDayLimit", DAY_MICRO + 1, DAY_MICRO)
    world.send(wallets.open(wallets.terms(2), rest - 1), "stranger")
    world.reverts(wallets.top_up(wallets.terms(2), rest + 1), "stranger", "AboveDayLimit", DAY_MICRO + 1, DAY_MICRO)
    world.send(wallets.top_up(wallets.terms(2), rest), "stranger")
    assert wallets.wallet.functions.lockedTodayMicro().call() == DAY_MICRO


def test_the_day_is_the_utc_day_of_the_block(wallets: WalletWorld) -> None:
    world = wallets.world
    midnight = (world.now() // DAY_S + 1) * DAY_S
    wallets.set_policy(wallets.policy_of(max_day_micro=SESSION_MICRO))
    terms = [wallets.terms(number, latest_end_s=midnight + DAY_S) for number in range(3)]
    world.at(midnight - 1)
    world.send(wallets.open(terms[0], SESSION_MICRO, deadline=midnight + HOUR_S), "stranger")
    world.at(midnight - 1)
    world.reverts(wallets.open(terms[1], 1, deadline=midnight + HOUR_S), "stranger", "AboveDayLimit", SESSION_MICRO + 1)
    world.at(midnight)
    world.send(wallets.open(terms[1], SESSION_MICRO, deadline=midnight + HOUR_S), "stranger")


def test_an_expired_policy_locks_nothing_and_still_closes(wallets: WalletWorld) -> None:
    world, terms = wallets.world, wallets.terms()
    expiry = world.now() + HOUR_S
    wallets.set_policy(wallets.policy_of(expires_at_s=expiry))
    world.at(expiry)
    world.send(wallets.open(terms), "stranger")
    world.at(expiry + 1)
    world.reverts(wallets.open(wallets.terms(1)), "stranger", "PolicyExpired", expiry, expiry + 1)
    world.reverts(wallets.top_up(terms, 2_000_000), "stranger", "PolicyExpired", expiry, expiry + 1)
    world.send(wallets.request_close(terms), "stranger")


def test_frozen_locks_nothing_and_still_closes(wallets: WalletWorld) -> None:
    world, terms = wallets.world, wallets.terms()
    world.send(wallets.open(terms), "stranger")
    world.send(wallets.wallet.functions.freeze(), "owner")
    assert wallets.wallet.functions.frozen().call()
    world.reverts(wallets.open(wallets.terms(1)), "stranger", "WalletFrozen")
    world.reverts(wallets.top_up(terms, 2_000_000), "stranger", "WalletFrozen")
    world.send(wallets.request_close(terms), "stranger")
    world.send(wallets.wallet.functions.unfreeze(), "owner")
    world.send(wallets.open(wallets.terms(1)), "stranger")
