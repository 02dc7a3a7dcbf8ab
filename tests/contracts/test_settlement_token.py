"""The settlement token: minted once a receipt and within the day's cap, burned on payout, two keys apart."""

from __future__ import annotations

import pytest

from protocol.hashing import keccak
from tests.contracts.support import DAY_S, World

CAP = 10**15  # as World deploys it; World's own minting comes off the first day


@pytest.fixture
def fresh_day(world: World) -> World:
    """A day on which nothing has been minted."""
    world.at((world.now() // DAY_S + 1) * DAY_S)
    return world


def balance(world: World, name: str) -> int:
    return int(world.token.functions.balanceOf(world.address(name)).call())


def test_six_decimals(world: World) -> None:
    assert world.token.functions.decimals().call() == 6


def test_a_receipt_mints_once(fresh_day: World) -> None:
    world = fresh_day
    receipt_id = keccak(b"receipt")
    mint = world.token.functions.mint(receipt_id, world.address("payer"), 500)
    receipt = world.send(mint, "minter")
    assert balance(world, "payer") == 500
    (event,) = world.events(receipt, world.token, "Minted")
    assert (event["receiptId"], event["amountMicro"]) == (receipt_id, 500)
    world.reverts(mint, "minter", "ReceiptUsed", receipt_id)
    world.at(world.now() + 40 * DAY_S)
    world.reverts(mint, "minter", "ReceiptUsed", receipt_id)


def test_only_the_minter_mints(fresh_day: World) -> None:
    mint = fresh_day.token.functions.mint(keccak(b"receipt"), fresh_day.address("stranger"), 1)
    for sender in ("stranger", "cap_keeper", "payer"):
        fresh_day.reverts(mint, sender, "NotMinter", "0x" + fresh_day.address(sender).hex())


def test_a_days_minting_is_capped_and_the_next_day_starts_anew(fresh_day: World) -> None:
    world, payer = fresh_day, fresh_day.address("payer")
    day_start = world.now()
    world.send(world.token.functions.mint(keccak(b"1"), payer, CAP - 1), "minter")
    world.reverts(world.token.functions.mint(keccak(b"2"), payer, 2), "minter", "DailyCapReached", CAP + 1, CAP)
    world.send(world.token.functions.mint(keccak(b"3"), payer, 1), "minter")
    world.at(day_start + DAY_S - 1)
    world.reverts(world.token.functions.mint(keccak(b"4"), payer, 1), "minter", "DailyCapReached", CAP + 1, CAP)
    world.at(day_start + DAY_S)
    world.send(world.token.functions.mint(keccak(b"4"), payer, CAP), "minter")
    world.reverts(world.token.functions.mint(keccak(b"5"), payer, 1), "minter", "DailyCapReached", CAP + 1, CAP)


def test_the_cap_is_set_by_the_other_key_alone(fresh_day: World) -> None:
    world = fresh_day
    set_cap = world.token.functions.setDailyCap(0)
    for sender in ("minter", "stranger"):
        world.reverts(set_cap, sender, "NotCapKeeper", "0x" + world.address(sender).hex())
    receipt = world.send(set_cap, "cap_keeper")
    assert world.events(receipt, world.token, "DailyCapChanged") == [{"oldCapMicro": CAP, "newCapMicro": 0}]
    mint = world.token.functions.mint(keccak(b"1"), world.address("payer"), 1)
    world.reverts(mint, "minter", "DailyCapReached", 1, 0)


def test_the_two_keys_never_become_one(world: World) -> None:
    minter, keeper = world.address("minter"), world.address("cap_keeper")
    token = world.token.functions
    world.reverts(token.handOverMinter(keeper), "minter", "KeysMustDiffer")
    world.reverts(token.handOverCapKeeper(minter), "cap_keeper", "KeysMustDiffer")
    world.reverts(token.handOverMinter(world.address("stranger")), "stranger", "NotMinter")
    world.reverts(token.handOverCapKeeper(world.address("stranger")), "stranger", "NotCapKeeper")
    world.reverts(token.handOverMinter(world.address("stranger")), "cap_keeper", "NotMinter")
    with pytest.raises(AssertionError, match="was not deployed"):
        world.deploy("SettlementToken", "T", "T", minter, minter, 1)
    world.send(token.handOverMinter(world.address("operator")), "minter")
    world.send(token.handOverCapKeeper(minter), "cap_keeper")
    assert token.minter().call().lower() == "0x" + world.address("operator").hex()
    assert token.capKeeper().call().lower() == "0x" + minter.hex()


def test_a_payout_burns_the_holders_own(fresh_day: World) -> None:
    world = fresh_day
    supply = world.token.functions.totalSupply().call()
    world.send(world.token.functions.mint(keccak(b"1"), world.address("payee"), 900), "minter")
    receipt = world.send(world.token.functions.payOut(keccak(b"payout"), 400), "payee")
    (event,) = world.events(receipt, world.token, "PaidOut")
    assert (event["payoutId"], event["amountMicro"]) == (keccak(b"payout"), 400)
    assert world.token.functions.totalSupply().call() == supply + 500
    assert balance(world, "payee") == 500
    world.reverts(world.token.functions.payOut(keccak(b"payout"), 501), "payee", "ERC20InsufficientBalance")
