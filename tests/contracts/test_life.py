"""One session's life on the chain, in both modes: deposit, open, claim, request, close, withdraw."""

from __future__ import annotations

from tests.contracts.support import HOUR_S, World


def test_payment_mode(world: World) -> None:
    terms = world.open(world.terms(), 1_000_000)
    assert world.free("payer") == 10**12 - 1_000_000

    receipt = world.claim_paid(world.paid_row(terms, 250_000))
    assert world.skipped(receipt) == []
    assert world.free("payee") == 250_000
    world.claim_paid(world.paid_row(terms, 400_000))
    assert world.free("payee") == 400_000, "amounts are cumulative"

    world.send(world.escrow.functions.close(terms), "payee")
    assert world.free("refund") == 600_000
    assert world.session(terms)["closed"] is True

    world.send(world.escrow.functions.withdraw(world.address("payee"), 400_000), "payee")
    assert world.token.functions.balanceOf(world.address("payee")).call() == 400_000
    assert world.free("payee") == 0


def test_metered_mode_relayed(world: World) -> None:
    """The payer sends no transaction at all: `Open` and `RequestClose` are signed, anyone relays and closes."""
    terms = world.terms(metered=True)
    deadline = world.now() + 600
    signature = world.open_signed(terms, 1_000_000, deadline)
    opened_at = world.now()
    world.send(world.escrow.functions.openBySignature(terms, 1_000_000, deadline, signature), "stranger")

    world.at(opened_at + HOUR_S)
    receipt = world.claim_metered(world.metered_row(terms, 500_000, 2_000_000, HOUR_S))
    assert world.skipped(receipt) == []
    assert world.free("payee") == 500_000

    stop = world.close_signed(terms, world.now() + 600, world.signers["payer"])
    requested_at = world.now()
    world.send(world.escrow.functions.requestCloseBySignature(terms, requested_at + 600, stop), "stranger")
    world.mine(terms.close_delay_blocks)
    world.at(requested_at + terms.close_delay_s)
    world.send(world.escrow.functions.close(terms), "stranger")
    assert world.free("refund") == 500_000
