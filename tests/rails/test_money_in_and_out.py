"""Money in over a rail, out over the same, and what the provider does in between. Real service, chain and sandbox."""

from __future__ import annotations

import os
import time

import pytest

from chain.oneshot import send
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets
from chain.wallet_views import WalletViews
from protocol.eip712 import digest
from protocol.keys import Signer
from protocol.money import Withdraw
from protocol.wallet import Approval, wallet_domain
from tests.rails.rail_world import CENT, RAIL, RailWorld
from tests.service.world import eventually

pytestmark = pytest.mark.soak


def test_in_and_back_out(world: RailWorld) -> None:
    payer = Signer.create()
    made = world.deposit(payer.address, 25_000_000, key="mine")
    assert world.deposit(payer.address, 25_000_000, key="mine")["depositId"] == made["depositId"]
    assert made["state"] == "awaiting"
    world.paybox.pay(made["payUrl"])
    credited = world.reaches(made, "credited")
    assert credited["mintedMicro"] == credited["paidMicro"] == 25_000_000
    assert credited["pending"] == ""
    assert world.client.free_micro(payer.address) == 25_000_000
    world.agrees()
    order = world.order(payer, 10_000_000)
    paid = world.call("POST", "/api/v1/payouts", order)
    assert world.call("POST", "/api/v1/payouts", order)["payoutId"] == paid["payoutId"]
    done = world.reaches(paid, "paid-back")
    assert [part["state"] for part in done["parts"]] == ["done"]
    assert world.client.free_micro(payer.address) == 15_000_000
    assert world.view(made)["refundedMicro"] == 10_000_000
    world.agrees()
    page = world.call("GET", "/console/rails").decode()
    assert "paid-back" in page
    assert "credited" in page


def test_a_payout_over_two_charges_never_gives_more_than_came(world: RailWorld) -> None:
    payer = Signer.create()
    first, second = world.paid_in(payer.address, 3_000_000), world.paid_in(payer.address, 2_000_000)
    refused = world.call("POST", "/api/v1/payouts", world.order(payer, 5_010_000), expect=409)
    assert "only 5000000" in refused["detail"]
    assert "smallest unit" in world.call("POST", "/api/v1/payouts", world.order(payer, 4_000_001), expect=400)["detail"]
    assert "till" in world.call("POST", "/api/v1/payouts", world.order(payer, 10_000, payer.address), expect=400)["detail"]
    done = world.reaches(world.call("POST", "/api/v1/payouts", world.order(payer, 4_000_000)), "paid-back")
    assert {part["amountMicro"] for part in done["parts"]} == {2_000_000}
    assert (world.view(first)["refundedMicro"], world.view(second)["refundedMicro"]) == (2_000_000, 2_000_000)
    stranger = Signer.create()
    assert "only 0" in world.call("POST", "/api/v1/payouts", world.order(stranger, 10_000), expect=409)["detail"]
    forged = world.order(payer, 1_000_000)
    forged["signature"] = world.order(stranger, 1_000_000)["signature"]
    assert "the account signs Withdraw" in world.call("POST", "/api/v1/payouts", forged, expect=400)["detail"]
    world.agrees()


def test_amounts_are_exact_and_bounded(world: RailWorld) -> None:
    account = "0x" + Signer.create().address.hex()
    for amount, words in ((1_000_001, "smallest unit"), (10_000, "at once"), (2_000_000_000, "at once")):
        body = {"account": account, "amountMicro": amount, "rail": RAIL}
        assert words in world.call("POST", "/api/v1/deposits", body, expect=400)["detail"]
    body = {"account": account, "amountMicro": 1_000_000, "rail": "unknown"}
    world.call("POST", "/api/v1/deposits", body, expect=404)
    till = {"account": "0x" + world.till.hex(), "amountMicro": 1_000_000, "rail": RAIL}
    world.call("POST", "/api/v1/deposits", till, expect=400)


def test_a_wallets_owner_takes_money_back_over_the_rail(world: RailWorld) -> None:
    """ERC-1271: the owner approves the withdrawal's digest in the wallet's domain; the bare signature of the owner is no word of it."""
    owner, device = Signer(world.secrets[4]), os.urandom(32)
    wallet = WalletViews(world.client).address(device, owner.address)
    send(world.client, TransactionSigner(world.client, owner.secret), [Wallets(world.deployment).create(device, owner.address)])
    world.paid_in(wallet, 3_000_000)
    order = Withdraw(wallet, world.till, 2_000_000, world.client.withdraw_nonce(wallet), int(time.time()) + 600)
    shown = {"account": "0x" + wallet.hex(), "to": "0x" + world.till.hex(), "amountMicro": 2_000_000, "nonce": order.nonce}
    body = {"rail": RAIL, "withdraw": shown | {"deadlineS": order.deadline_s}}
    wanted = digest(world.money, order)
    bare = world.call("POST", "/api/v1/payouts", body | {"signature": "0x" + owner.sign(wanted).hex()}, expect=400)
    assert "ERC-1271" in bare["detail"]
    approval = owner.sign(digest(wallet_domain(world.deployment.chain_id, wallet), Approval(wanted)))
    made = world.call("POST", "/api/v1/payouts", body | {"signature": "0x" + approval.hex()})
    world.reaches(made, "paid-back")
    assert world.client.free_micro(wallet) == 1_000_000
    world.agrees()


def charge_of(world: RailWorld, made: dict[str, str]) -> str:
    moved = world.paybox.do("GET", "/v1/balance_transactions", limit=100)["data"]
    charges = [m["source"] for m in moved if m["source"]["object"] == "charge"]
    return next(str(charge["id"]) for charge in charges if charge["metadata"].get("deposit") == made["depositId"])


def test_a_charge_back_is_a_claim_then_a_loss_and_own_money_covers_it(world: RailWorld) -> None:
    payer = Signer.create()
    made = world.paid_in(payer.address, 4_000_000)
    place = f"charge-back: deposit {made['depositId']}"
    dispute = world.paybox.do("POST", f"/sandbox/charges/{charge_of(world, made)}/dispute", amount=150)
    eventually("the alarm", lambda: "a claim on the customer" in world.alarms().get(place, ""), 30)
    assert "not while it is disputed" in world.call("POST", "/api/v1/payouts", world.order(payer, 1_000_000), expect=409)["detail"]
    short = "reconciliation: float-short: float"
    eventually("short by the claim and the fee", lambda: "tokens of 1650000" in world.alarms().get(short, ""), 30)
    world.paybox.do("POST", f"/sandbox/disputes/{dispute['id']}/close", status="lost")
    eventually("lost", lambda: world.view(made)["dispute"] == "lost", 30)
    eventually("a loss", lambda: "charge-backs lost 1500000" in world.alarms().get(short, ""), 30)
    world.paybox.do("POST", "/v1/topups", amount=165)
    world.agrees()


def test_a_charge_back_that_is_won_leaves_only_its_fee(world: RailWorld) -> None:
    made = world.paid_in(Signer.create().address, 2_000_000)
    dispute = world.paybox.do("POST", f"/sandbox/charges/{charge_of(world, made)}/dispute")
    eventually("open", lambda: world.view(made)["dispute"] == "open", 30)
    world.paybox.do("POST", f"/sandbox/disputes/{dispute['id']}/close", status="won")
    eventually("won", lambda: world.view(made)["dispute"] == "won", 30)
    eventually("over", lambda: f"charge-back: deposit {made['depositId']}" not in world.alarms(), 30)
    world.paybox.do("POST", "/v1/topups", amount=15)
    world.agrees()


def test_refunds_at_the_provider_before_and_after_the_mint(world: RailWorld) -> None:
    world.set_cap(0)
    payer = Signer.create()
    made = world.deposit(payer.address, 6_000_000)
    world.paybox.pay(made["payUrl"])
    eventually("the cap", lambda: "daily-cap" in world.view(made)["pending"], 30)
    assert "daily-cap-reached: token" in world.alarms()
    charge = charge_of(world, made)
    world.paybox.do("POST", "/v1/refunds", charge=charge, amount=100)
    eventually("seen", lambda: world.view(made)["refundedMicro"] == 100 * CENT, 30)
    world.agrees(pending_micro=5_000_000)
    world.set_cap(10**15)
    assert world.reaches(made, "credited")["mintedMicro"] == 5_000_000
    eventually("the cap's alarm is over", lambda: "daily-cap-reached: token" not in world.alarms(), 30)
    world.paybox.do("POST", "/v1/refunds", charge=charge, amount=200)
    eventually("a claim", lambda: "2000000" in world.alarms().get(f"rail-claim: deposit {made['depositId']}", ""), 30)
    eventually("short", lambda: "tokens of 2000000" in world.alarms().get("reconciliation: float-short: float", ""), 30)
    assert "only 3000000" in world.call("POST", "/api/v1/payouts", world.order(payer, 4_000_000), expect=409)["detail"]
    world.paybox.do("POST", "/v1/topups", amount=200)
    world.agrees()


def test_a_refund_that_comes_back_waits_for_a_person(world: RailWorld) -> None:
    payer = Signer.create()
    world.paid_in(payer.address, 2_000_000)
    done = world.reaches(world.call("POST", "/api/v1/payouts", world.order(payer, 1_000_000)), "paid-back")
    refunds = [event["data"]["object"] for event in world.paybox.events("refund.created")]
    world.paybox.do("POST", f"/sandbox/refunds/{refunds[-1]['id']}/fail")
    failed = world.reaches(done, "failed")
    assert "came back" in failed["why"]
    assert f"payout-failed: payout {done['payoutId']}" in world.alarms()
    world.call("POST", f"/api/v1/payouts/{done['payoutId']}/retry")
    world.reaches(done, "paid-back")
    assert f"payout-failed: payout {done['payoutId']}" not in world.alarms()
    world.agrees()


def test_money_nobody_here_knows_is_named(world: RailWorld) -> None:
    world.paybox.do("POST", "/sandbox/charges", amount=700)
    eventually("the alarm", lambda: [name for name in world.alarms() if name.startswith("rail-unmatched: rail card")], 30)
    charge = world.paybox.do("GET", "/v1/balance_transactions", limit=1)["data"][0]["source"]["id"]
    eventually("pending, so nothing is short", lambda: not [n for n in world.alarms() if n.startswith("reconciliation")], 30)
    world.paybox.do("POST", "/v1/refunds", charge=charge)
    world.agrees()
