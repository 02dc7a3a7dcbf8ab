"""The doors of the escrow: deposits, withdrawals, the guardian."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.keys import Signer
from protocol.money import Withdraw
from tests.contracts.support import ZERO, World


def text(address: bytes) -> str:
    return "0x" + address.hex()


@pytest.fixture
def holder(world: World) -> World:
    """The payee holds 1,000 tokens outside and has approved them all; its free balance is zero."""
    world.fund("payee", 1_000)
    world.send(world.escrow.functions.withdraw(world.address("payee"), 1_000), "payee")
    world.send(world.token.functions.approve(world.escrow.address, 1_000), "payee")
    return world


def held(world: World) -> int:
    return int(world.token.functions.balanceOf(world.escrow.address).call())


def outside(world: World, name: str) -> int:
    return int(world.token.functions.balanceOf(world.address(name)).call())


# -------------------------------------------------------------------- in


def test_deposit_credits_the_sender(holder: World) -> None:
    before = held(holder)
    receipt = holder.send(holder.escrow.functions.deposit(300), "payee")
    assert (holder.free("payee"), held(holder), outside(holder, "payee")) == (300, before + 300, 700)
    payee = text(holder.address("payee"))
    assert holder.events(receipt, holder.escrow, "Deposited") == [{"account": payee, "from": payee, "amountMicro": 300}]


def test_deposit_for_credits_another(holder: World) -> None:
    receipt = holder.send(holder.escrow.functions.depositFor(holder.address("stranger"), 300), "payee")
    assert (holder.free("stranger"), holder.free("payee")) == (300, 0)
    (event,) = holder.events(receipt, holder.escrow, "Deposited")
    assert (event["account"], event["from"]) == (text(holder.address("stranger")), text(holder.address("payee")))
    holder.reverts(holder.escrow.functions.depositFor(ZERO, 300), "payee", "AccountZero")


def test_deposit_needs_tokens_and_approval(holder: World) -> None:
    holder.reverts(holder.escrow.functions.deposit(1_001), "payee", "ERC20InsufficientAllowance")
    holder.send(holder.token.functions.approve(holder.escrow.address, 5_000), "payee")
    holder.reverts(holder.escrow.functions.deposit(1_001), "payee", "ERC20InsufficientBalance")


def permit(world: World, name: str, amount: int, deadline: int) -> tuple[int, bytes, bytes]:
    """An ERC-2612 permit of `name` to the escrow, by eth-account's own typed-data signing."""
    from eth_account import Account

    domain = {
        "name": world.token.functions.name().call(),
        "version": "1",
        "chainId": world.chain_id,
        "verifyingContract": world.token.address,
    }
    types = {
        "Permit": [
            {"name": "owner", "type": "address"},
            {"name": "spender", "type": "address"},
            {"name": "value", "type": "uint256"},
            {"name": "nonce", "type": "uint256"},
            {"name": "deadline", "type": "uint256"},
        ]
    }
    owner = world.address(name)
    message: dict[str, Any] = {
        "owner": text(owner),
        "spender": world.escrow.address,
        "value": amount,
        "nonce": world.token.functions.nonces(owner).call(),
        "deadline": deadline,
    }
    signed = Account.sign_typed_data(world.signers[name].secret, domain, types, message)
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def test_deposit_with_permit(holder: World) -> None:
    holder.send(holder.token.functions.approve(holder.escrow.address, 0), "payee")
    deadline = holder.now() + 60
    call = holder.escrow.functions.depositWithPermit(400, deadline, *permit(holder, "payee", 400, deadline))
    holder.send(call, "payee")
    assert holder.free("payee") == 400


def test_a_bad_permit_deposits_nothing(holder: World) -> None:
    holder.send(holder.token.functions.approve(holder.escrow.address, 0), "payee")
    deadline = holder.now() + 60
    signature = permit(holder, "payee", 400, deadline)
    holder.reverts(
        holder.escrow.functions.depositWithPermit(401, deadline, *signature), "payee", "ERC20InsufficientAllowance"
    )


def test_another_ones_permit_moves_nothing_of_theirs(holder: World) -> None:
    holder.send(holder.token.functions.approve(holder.escrow.address, 0), "payee")
    deadline = holder.now() + 60
    call = holder.escrow.functions.depositWithPermit(400, deadline, *permit(holder, "payee", 400, deadline))
    holder.reverts(call, "stranger", "ERC20InsufficientAllowance")


# -------------------------------------------------------------------- out


def test_withdraw_pays_out_the_senders_own(world: World) -> None:
    before = held(world)
    receipt = world.send(world.escrow.functions.withdraw(world.address("stranger"), 600), "payer")
    assert outside(world, "stranger") == 600
    assert held(world) == before - 600
    assert world.free("payer") == 10**12 - 600
    assert world.events(receipt, world.escrow, "Withdrawn") == [
        {"account": text(world.address("payer")), "to": text(world.address("stranger")), "amountMicro": 600}
    ]
    call = world.escrow.functions.withdraw(world.address("stranger"), 1)
    world.reverts(call, "stranger", "BalanceTooLow", text(world.address("stranger")), 1, 0)


def test_locked_money_cannot_be_withdrawn(world: World) -> None:
    world.open(world.terms(), 1_000)
    call = world.escrow.functions.withdraw(world.address("payer"), 10**12)
    world.reverts(call, "payer", "BalanceTooLow", text(world.address("payer")), 10**12, 10**12 - 1_000)
    world.send(world.escrow.functions.withdraw(world.address("payer"), 10**12 - 1_000), "payer")


def test_money_cannot_be_sent_where_it_would_be_nobodys(world: World) -> None:
    for to in (ZERO, bytes.fromhex(world.escrow.address[2:])):
        world.reverts(world.escrow.functions.withdraw(to, 1), "payer", "RecipientRefused", text(to))


def relayed(world: World, signed_nonce: int = 0, signed_deadline: int | None = None, **changes: Any) -> Any:
    """A relayed withdrawal of 500 by the payer to the stranger; `changes` alter what is sent after it was signed."""
    account, to = world.address("payer"), world.address("stranger")
    deadline = world.now() + 60 if signed_deadline is None else signed_deadline
    signature = world.withdraw_signed("payer", to, 500, signed_nonce, deadline)
    signed = {"account": account, "to": to, "amount": 500, "nonce": signed_nonce, "deadline": deadline}
    sent = {**signed, **changes}
    return world.escrow.functions.withdrawBySignature(*sent.values(), signature)


def test_withdraw_by_signature_pays_once(world: World) -> None:
    call = relayed(world)
    world.send(call, "guardian")
    assert outside(world, "stranger") == 500
    world.reverts(call, "guardian", "NonceRefused", text(world.address("payer")), 0, 1)
    assert world.escrow.functions.nonceOf(world.address("payer")).call() == 1
    world.send(relayed(world, signed_nonce=1), "guardian")
    assert outside(world, "stranger") == 1_000


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"to": b"\x07" * 20}, "SignatureRefused"),
        ({"amount": 501}, "SignatureRefused"),
        ({"deadline": 2**40}, "SignatureRefused"),
        ({"account": b"\x07" * 20}, "SignatureRefused"),
        ({"nonce": 1}, "NonceRefused"),
        ({"signed_deadline": 1}, "DeadlinePassed"),
    ],
)
def test_a_relayed_withdrawal_cannot_be_altered(world: World, changes: dict[str, Any], error: str) -> None:
    world.reverts(relayed(world, **changes), "guardian", error)


def test_a_deadline_is_good_to_the_second(world: World) -> None:
    deadline = world.now() + 60
    call = relayed(world, signed_deadline=deadline)
    world.at(deadline + 1)
    world.reverts(call, "guardian", "DeadlinePassed", deadline, deadline + 1)
    world.at(deadline)
    world.send(call, "guardian")


def test_an_account_with_code_withdraws_on_its_keys_word(world: World) -> None:
    account = world.double("SmartAccount", world.address("owner"))
    address = bytes.fromhex(account.address[2:])
    world.fund("payee", 700)
    world.send(world.escrow.functions.withdraw(world.address("payee"), 700), "payee")
    world.send(world.token.functions.approve(world.escrow.address, 700), "payee")
    world.send(world.escrow.functions.depositFor(address, 700), "payee")
    deadline = world.now() + 60
    message = Withdraw(address, world.address("owner"), 700, 0, deadline)

    def call(signer: Signer) -> Any:
        signature = world.sign(world.money, message, signer)
        return world.escrow.functions.withdrawBySignature(*message, signature)

    world.reverts(call(world.signers["stranger"]), "guardian", "SignatureRefused", text(address))
    world.send(call(world.signers["owner"]), "guardian")
    assert outside(world, "owner") == 700


# -------------------------------------------------------------------- guardian


def test_the_guardian_stops_new_business_only(holder: World) -> None:
    world = holder
    old = world.open(world.terms(0), 1_000)
    receipt = world.send(world.escrow.functions.stopNewBusiness(), "guardian")
    assert world.events(receipt, world.escrow, "NewBusinessStopped")
    functions = world.escrow.functions
    new, deadline = world.terms(1), world.now() + 60
    refused = [
        (functions.deposit(1), "payee"),
        (functions.depositFor(world.address("payer"), 1), "payee"),
        (functions.depositWithPermit(1, deadline, 27, bytes(32), bytes(32)), "payee"),
        (functions.openAsPayer(new, 10), "payer"),
        (functions.openBySignature(new, 10, deadline, world.open_signed(new, 10, deadline)), "stranger"),
    ]
    for call, sender in refused:
        world.reverts(call, sender, "NewBusinessIsStopped")
    # what is inside goes its way
    world.send(functions.topUpAsPayer(old, 2_000), "payer")
    assert world.skipped(world.claim_paid(world.paid_row(old, 1_500))) == []
    world.send(functions.creditNote(old, 100), "payee")
    world.send(functions.requestClose(old), "payer")
    world.send(functions.close(old), "payee")
    world.send(functions.withdraw(world.address("payee"), 1_400), "payee")
    world.send(functions.resumeNewBusiness(), "guardian")
    world.send(functions.deposit(1), "payee")
    world.open(new, 10)


def test_nobody_else_is_the_guardian(world: World) -> None:
    for sender in ("admin", "operator", "payee", "minter", "stranger"):
        world.reverts(world.escrow.functions.stopNewBusiness(), sender, "NotGuardian", text(world.address(sender)))
        world.reverts(world.escrow.functions.resumeNewBusiness(), sender, "NotGuardian", text(world.address(sender)))
