"""The known traps of design.md §6, one test each (and the small print of each in the other files)."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.eip712 import EVIDENCE, money_domain
from protocol.hashing import keccak
from protocol.money import Payment
from tests.contracts.support import FRAME, HOUR_S, ZERO, World, person, split
from tests.contracts.test_balances import permit

LOCK = 1_000_000
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def text(address: bytes) -> str:
    return "0x" + address.hex()


def high_s(signature: bytes) -> bytes:
    """The malleable twin: the same key recovers from it by the bare curve."""
    v, r, s = split(signature)
    return r + (ORDER - int.from_bytes(s, "big")).to_bytes(32, "big") + bytes((55 - v,))


@pytest.fixture
def tricky(world: World) -> World:
    """An escrow over a token that misbehaves on demand; payer, payee and stranger hold 10,000 and approved it all."""
    token = world.double("TrickyToken", 6)
    other = world.over(token)
    for name in ("payer", "payee", "stranger"):
        world.send(token.functions.mint(world.address(name), 10_000), "admin")
        world.send(token.functions.approve(other.escrow.address, 10_000), name)
    return other


def held(world: World) -> int:
    return int(world.token.functions.balanceOf(world.escrow.address).call())


# -------------------------------------------------------------------- replays


def test_a_charge_is_not_replayed_on_a_reopened_id(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    row = world.paid_row(terms, 500)
    world.claim_paid(row)
    world.send(world.escrow.functions.close(terms), "payee")
    world.reverts(world.escrow.functions.openAsPayer(terms, LOCK), "payer", "SessionIdUsed", world.id_of(terms))
    deadline = world.now() + 60
    relayed = world.escrow.functions.openBySignature(terms, LOCK, deadline, world.open_signed(terms, LOCK, deadline))
    world.reverts(relayed, "stranger", "SessionIdUsed", world.id_of(terms))
    assert world.skipped(world.claim_paid(row, world.paid_row(terms, 900))) == ["SessionClosed"] * 2
    assert world.free("payee") == 500


def test_a_charge_is_not_replayed_from_another_chain(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    elsewhere = money_domain(world.chain_id + 1, bytes.fromhex(world.escrow.address[2:]))
    assert world.skipped(world.claim_paid(world.paid_row(terms, 500, domain=elsewhere))) == ["SignatureRefused"]


def test_a_charge_is_not_replayed_from_another_escrow(world: World) -> None:
    second = world.over(world.token)
    world.send(world.escrow.functions.withdraw(world.address("payer"), LOCK), "payer")
    world.send(world.token.functions.approve(second.escrow.address, LOCK), "payer")
    world.send(second.escrow.functions.deposit(LOCK), "payer")
    terms = world.open(world.terms(), LOCK)
    world.send(second.escrow.functions.openAsPayer(terms, LOCK), "payer")
    assert second.id_of(terms) != world.id_of(terms)
    row = world.paid_row(terms, 500)
    assert world.skipped(world.claim_paid(row)) == []
    assert second.skipped(second.claim_paid(row)) == ["UnknownSession"]
    renamed = second.paid_row(terms, 500, domain=world.money)
    assert second.skipped(second.claim_paid(renamed)) == ["SignatureRefused"]


def test_an_evidence_signature_moves_no_money(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    in_evidence = world.paid_row(terms, 500, domain=EVIDENCE)
    a_frame = world.paid_row(terms, 500, signature=world.frame_signed(world.frame(keccak(b"d")), world.key_of(0)))
    assert world.skipped(world.claim_paid(in_evidence, a_frame)) == ["SignatureRefused"] * 2


def test_a_message_of_one_money_type_is_none_of_another(world: World) -> None:
    """One key for everything, which nobody should have: still no message passes for another."""
    key = world.signers["payer"]
    terms = world.open(world.terms(metered=True, signer=key.address), LOCK)
    deadline = world.now() + HOUR_S
    payment = world.sign(world.money, Payment(world.id_of(terms), 500, FRAME), key)
    world.at(world.now() + 600)
    row = world.metered_row(terms, 500, 100_000, 60, signature=payment)
    assert world.skipped(world.claim_metered(row)) == ["SignatureRefused"]
    functions = world.escrow.functions
    close = world.close_signed(terms, deadline, key)
    world.reverts(functions.topUpBySignature(terms, 2 * LOCK, deadline, close), "stranger", "SignatureRefused")
    top_up = world.top_up_signed(terms, 2 * LOCK, deadline)
    world.reverts(functions.requestCloseBySignature(terms, deadline, top_up), "stranger", "SignatureRefused")


# -------------------------------------------------------------------- payers and strangers


def test_a_payer_who_asks_to_close_and_goes_on_consuming(world: World) -> None:
    """The seller is paid for what was metered to the request and its grace, however the rest of the day went."""
    opened_at = world.now()
    terms = world.open(world.terms(metered=True), LOCK)
    world.at(opened_at + 1_000)
    world.send(world.escrow.functions.requestClose(terms), "payer")
    world.at(opened_at + 2 * HOUR_S)
    world.reverts(world.escrow.functions.topUpAsPayer(terms, 2 * LOCK), "payer", "CloseAlreadyRequested")
    beyond = world.metered_row(terms, 150_000, 1_000_000, 2 * HOUR_S)
    within = world.metered_row(terms, 150_000, 1_000_000, 1_000 + terms.stop_grace_s)
    assert world.skipped(world.claim_metered(beyond, within)) == ["ElapsedBeyondTime"]
    assert world.free("payee") == 150_000


def test_a_stale_amount_is_worth_nothing_whoever_signed_it(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    world.claim_paid(world.paid_row(terms, 500))
    stale = [world.paid_row(terms, 400), world.paid_row(terms, 500), world.paid_row(terms, 500, person("thief"))]
    receipt = world.claim_paid(*stale)
    assert world.skipped(receipt) == ["NothingNew"] * 3
    assert world.events(receipt, world.escrow, "ChargeClaimed") == []
    assert (world.free("payee"), world.session(terms)["claimedMicro"]) == (500, 500)


def test_a_strangers_top_up_or_cancel(world: World) -> None:
    terms, deadline = world.open(world.terms(), LOCK), world.now() + 60
    functions, stranger = world.escrow.functions, world.signers["stranger"]
    world.reverts(functions.topUpAsPayer(terms, 2 * LOCK), "stranger", "NotPayer")
    world.reverts(functions.topUpAsPayer(terms, 2 * LOCK), "payee", "NotPayer")
    signed = world.top_up_signed(terms, 2 * LOCK, deadline, stranger)
    world.reverts(functions.topUpBySignature(terms, 2 * LOCK, deadline, signed), "stranger", "SignatureRefused")
    by_pay_key = world.top_up_signed(terms, 2 * LOCK, deadline, world.key_of(0))
    world.reverts(functions.topUpBySignature(terms, 2 * LOCK, deadline, by_pay_key), "stranger", "SignatureRefused")
    for sender in ("stranger", "refund", "payee"):
        world.reverts(functions.requestClose(terms), sender, "MayNotRequestClose", text(world.address(sender)))
    signed = world.close_signed(terms, deadline, stranger)
    world.reverts(functions.requestCloseBySignature(terms, deadline, signed), "stranger", "SignatureRefused")
    world.reverts(functions.close(terms), "stranger", "CloseNotDue")
    # a stranger who changes the terms so as to be a party names another session
    posing = terms._replace(payer=world.address("stranger"))
    world.reverts(functions.requestClose(posing), "stranger", "SessionUnknown")
    world.reverts(functions.close(terms._replace(payee=world.address("stranger"))), "stranger", "SessionUnknown")
    assert world.session(terms)["closeRequestedAtS"] == 0


def test_a_permit_used_by_a_front_runner(world: World) -> None:
    world.send(world.escrow.functions.withdraw(world.address("payer"), 1_000), "payer")
    deadline = world.now() + 60
    v, r, s = permit(world, "payer", 1_000, deadline)
    front_run = world.token.functions.permit(world.address("payer"), world.escrow.address, 1_000, deadline, v, r, s)
    world.send(front_run, "stranger")
    free = world.free("payer")
    world.send(world.escrow.functions.depositWithPermit(1_000, deadline, v, r, s), "payer")
    assert world.free("payer") == free + 1_000


# -------------------------------------------------------------------- tokens


def test_a_payee_or_payer_that_refuses_a_transfer_blocks_only_itself(tricky: World) -> None:
    world, functions = tricky, tricky.escrow.functions
    world.send(functions.deposit(10_000), "payer")
    world.send(functions.deposit(1_000), "stranger")
    terms = world.open(world.terms(), 5_000)
    for name in ("payee", "payer"):
        world.send(world.token.functions.setRefused(world.address(name)), "admin")
        assert world.skipped(world.claim_paid(world.paid_row(terms, 1_000 if name == "payee" else 2_000))) == []
        refused = functions.withdraw(world.address(name), 1_000)
        world.reverts(refused, name, "TransferRefused", text(world.address(name)))
        world.send(functions.withdraw(world.address("guardian"), 100), name)
        world.send(functions.withdraw(world.address("stranger"), 100), "stranger")
    world.send(functions.close(terms), "payee")
    assert (world.free("payee"), world.free("refund"), world.free("payer")) == (1_900, 3_000, 4_900)


def test_a_fee_on_transfer_is_not_credited(tricky: World) -> None:
    world = tricky
    world.send(world.token.functions.setFees(7, 0), "admin")
    for call in (
        world.escrow.functions.deposit(1_000),
        world.escrow.functions.depositFor(world.address("payee"), 1_000),
        world.escrow.functions.depositWithPermit(1_000, 0, 27, bytes(32), bytes(32)),
    ):
        world.reverts(call, "payer", "MovedOtherAmount", 1_000, 993)
    assert (world.free("payer"), held(world)) == (0, 0)


def test_a_surcharge_on_payout_takes_nothing_of_the_others(tricky: World) -> None:
    world = tricky
    world.send(world.escrow.functions.deposit(1_000), "payer")
    world.send(world.escrow.functions.deposit(1_000), "payee")
    world.send(world.token.functions.setFees(0, 7), "admin")
    call = world.escrow.functions.withdraw(world.address("payer"), 900)
    world.reverts(call, "payer", "MovedOtherAmount", 900, 907)
    assert held(world) == 2_000


def test_a_token_that_only_says_no(tricky: World) -> None:
    world = tricky
    world.send(world.escrow.functions.deposit(1_000), "payer")
    world.send(world.token.functions.setSilentFailure(True), "admin")
    world.reverts(world.escrow.functions.deposit(1_000), "payer", "SafeERC20FailedOperation")
    world.reverts(world.escrow.functions.withdraw(world.address("payer"), 1), "payer", "SafeERC20FailedOperation")
    assert world.free("payer") == 1_000


def test_only_a_token_with_six_decimals(world: World) -> None:
    for decimals in (0, 5, 7, 18):
        token = world.double("TrickyToken", decimals)
        with pytest.raises(AssertionError, match="EnergyEscrow was not deployed"):
            world.over(token)


def reentered(world: World, call: Any, sender: str, data: str) -> bool:
    """Whether the call that the token makes in the middle of a transfer got through."""
    world.send(world.token.functions.setCall(world.escrow.address, data), "admin")
    world.send(call, sender)
    return bool(world.token.functions.callSucceeded().call())


def test_reentrancy_through_the_token(tricky: World) -> None:
    """The token deposits for itself in the middle of a deposit, which would count one arrival twice."""
    world, functions, token = tricky, tricky.escrow.functions, bytes.fromhex(tricky.token.address[2:])
    world.send(world.token.functions.mint(token, 10_000), "admin")
    world.send(world.token.functions.approveFor(world.escrow.address, 10_000), "admin")
    into = world.escrow.encode_abi("deposit", [500])
    out = world.escrow.encode_abi("withdraw", [world.address("stranger"), 500])
    assert reentered(world, functions.deposit(1_000), "payer", into) is False
    assert (world.free("payer"), world.free(token), held(world)) == (1_000, 0, 1_000)

    world.send(functions.depositFor(token, 500), "payer")
    for call, sender in ((functions.deposit(1_000), "payer"), (functions.withdraw(world.address("payer"), 100), "payer")):
        assert reentered(world, call, sender, into) is False
        assert reentered(world, call, sender, out) is False
    total = sum(world.free(name) for name in ("payer", "payee", "stranger")) + world.free(token)
    assert held(world) == total == 1_000 + 500 + 2 * 1_000 - 2 * 100


# -------------------------------------------------------------------- signatures


def test_high_s_is_refused_everywhere(world: World) -> None:
    terms, deadline = world.open(world.terms(0), LOCK), world.now() + HOUR_S
    functions = world.escrow.functions
    payment = world.sign(world.money, Payment(world.id_of(terms), 500, FRAME), world.key_of(0))
    receipt = world.claim_paid(world.paid_row(terms, 500, signature=high_s(payment)))
    assert world.skipped(receipt) == ["SignatureRefused"]
    new = world.terms(1)
    signed = high_s(world.open_signed(new, LOCK, deadline))
    world.reverts(functions.openBySignature(new, LOCK, deadline, signed), "stranger", "SignatureRefused")
    signed = high_s(world.close_signed(terms, deadline, world.key_of(0)))
    world.reverts(functions.requestCloseBySignature(terms, deadline, signed), "stranger", "SignatureRefused")
    signed = high_s(world.withdraw_signed("payer", world.address("stranger"), 1, 0, deadline))
    call = functions.withdrawBySignature(world.address("payer"), world.address("stranger"), 1, 0, deadline, signed)
    world.reverts(call, "stranger", "SignatureRefused")
    metered = world.open(world.terms(2, metered=True), LOCK)
    world.at(world.now() + HOUR_S)
    v, r, s = world.metered_row(metered, 500, 100_000, 60)[-3:]
    row = world.metered_row(metered, 500, 100_000, 60, signature=high_s(r + s + bytes((v,))))
    assert world.skipped(world.claim_metered(row)) == ["SignatureRefused"]


def test_the_zero_address_of_ecrecover_is_nobody(world: World) -> None:
    """A signature that recovers to nothing must not pass as that of whoever is zero."""
    junk, deadline = bytes(65), world.now() + HOUR_S
    functions = world.escrow.functions
    nobody = world.terms(0, signer=ZERO)
    world.reverts(functions.openAsPayer(nobody, LOCK), "payer", "SignerZero")
    rows = [world.paid_row(nobody, 500, signature=junk), world.paid_row(world.terms(1), 500, signature=junk)]
    assert world.skipped(world.claim_paid(*rows)) == ["UnknownSession"] * 2
    known = world.open(world.terms(2), LOCK)
    rows = [world.paid_row(known, 500, signature=junk), world.paid_row(known, 500, signature=junk[:64] + b"\x1b")]
    assert world.skipped(world.claim_paid(*rows)) == ["SignatureRefused"] * 2

    # money of the zero address (nothing forbids a session to return it there but `open`) is out of junk's reach
    world.reverts(functions.depositFor(ZERO, 1), "payer", "AccountZero")
    payer_zero = world.terms(3, payer=ZERO)
    for signature in (junk, junk[:64] + b"\x1b"):
        opened = functions.openBySignature(payer_zero, LOCK, deadline, signature)
        world.reverts(opened, "stranger", "SignatureRefused", text(ZERO))
        out = functions.withdrawBySignature(ZERO, world.address("stranger"), 0, 0, deadline, signature)
        world.reverts(out, "stranger", "SignatureRefused", text(ZERO))
