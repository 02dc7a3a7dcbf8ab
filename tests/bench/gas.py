"""Gas, as py-evm charges it, of what operators pay for most: anchors, opened sessions, claims. Every check is in.

References of the same run: a bare transaction that only carries a root as calldata, and an ERC-20 transfer to a known holder.
"""

from __future__ import annotations

from typing import Any

from protocol.hashing import keccak
from tests.contracts.gas import wallets
from tests.contracts.support import World

from .figure import Figure, figure

BATCHES = (1, 10, 100)
PAID_GOAL, METERED_GOAL = 15_500, 17_500
WALLET_CREATE_GOAL, WALLET_SESSION_GOAL = 120_000, 110_000
PAYMENTS_A_DAY, PAYMENT_GOAL = 1_440, 11
LOCK_MICRO = 1_000_000
DEADLINE_S = 10**11


def references(world: World) -> tuple[int, int]:
    """Gas of (a bare transaction with a root, an ERC-20 transfer to a known holder)."""
    bare = world.w3.eth.send_transaction(
        {"from": world.w3.to_checksum_address(world.address("operator")), "to": world.w3.to_checksum_address(world.address("payee")),
         "data": "0x" + keccak(b"root").hex(), "gas": 100_000}
    )  # fmt: skip
    bare_gas = world.w3.eth.wait_for_transaction_receipt(bare)["gasUsed"]
    world.send(world.token.functions.mint(keccak(b"bench"), world.address("stranger"), 10**9), "minter")
    for _ in range(2):
        transfer = world.send(world.token.functions.transfer(world.address("owner"), 1_000), "stranger")
    return int(bare_gas), int(transfer["gasUsed"])


def anchor_gas(world: World) -> int:
    gas = 0
    for i in range(2):  # from the operator's second on
        head = bytes(world.anchors.functions.heads(world.address("operator")).call())
        gas = int(world.send(world.anchors.functions.anchor(head, keccak(b"root %d" % i)), "operator")["gasUsed"])
    return gas


def open_gas(world: World, numbers: range, **changes: Any) -> tuple[int, list[Any]]:
    """Gas of opening by the payer itself, the last of many, and the terms opened."""
    gas, opened = 0, []
    for number in numbers:
        terms = world.terms(number, **changes)
        gas = int(world.send(world.escrow.functions.openAsPayer(terms, LOCK_MICRO), "payer")["gasUsed"])
        opened.append(terms)
    return gas, opened


def relayed_gas(world: World) -> int:
    terms = world.terms(900)
    signature = world.open_signed(terms, LOCK_MICRO, DEADLINE_S)
    relay = world.escrow.functions.openBySignature(terms, LOCK_MICRO, DEADLINE_S, signature)
    return int(world.send(relay, "stranger")["gasUsed"])


def claim_figures(world: World, metered: bool) -> list[Figure]:
    kind, goal_gas = ("metered", METERED_GOAL) if metered else ("paid", PAID_GOAL)
    first = 300 if metered else 0
    _, sessions = open_gas(world, range(first, first + sum(BATCHES)), metered=metered)
    world.at(world.now() + 3_600)
    figures, done = [], 0
    for size in BATCHES:
        batch = sessions[done : done + size]
        done += size
        row = (lambda t: world.metered_row(t, 90_000, 200_000, 3_000)) if metered else (lambda t: world.paid_row(t, 90_000))
        claim = world.claim_metered if metered else world.claim_paid
        receipt = claim(*(row(terms) for terms in batch))
        assert not world.skipped(receipt), "a row was skipped, the figure would be false"
        each = int(receipt["gasUsed"]) / size
        goal, met = (f"≤ {goal_gas:,} in a batch of 100", each <= goal_gas) if size == 100 else ("reported", True)
        how = f"claim of {size} first claims in one call to a known payee, every check of the design in"
        figures.append(figure(f"claim_{kind}_gas_each_of_{size}", each, "gas", goal_gas, goal, met, how))
    return figures


def measure() -> list[Figure]:
    world = World()
    bare, transfer = references(world)
    anchor = anchor_gas(world)
    opened, _ = open_gas(world, range(600, 603))
    relayed = relayed_gas(world)
    erc20 = "reference: ERC-20 transfer to a known holder"
    figures = [
        figure("anchor_gas", anchor, "gas", bare, "≤ 30,000", anchor <= 30_000, "second anchor; reference: bare transaction with a root"),
        figure("session_open_gas", opened, "gas", transfer, "≤ 60,000", opened <= 60_000, f"prepaid, by the payer; {erc20}"),
        figure("session_open_relayed_gas", relayed, "gas", transfer, "≤ 67,000", relayed <= 67_000, f"prepaid, on a signature; {erc20}"),
    ]
    paid = claim_figures(world, metered=False)
    return figures + paid + claim_figures(world, metered=True) + wallet_figures(transfer, paid[-1].value)


def wallet_figures(transfer: int, claim_gas: float) -> list[Figure]:
    """Gas through a device's wallet, beside the same plain transfer; `claim_gas` is one paid row in a batch of 100."""
    gas = wallets(World())
    created, opened = gas["wallet_create"], max(gas["wallet_open_relayed"], gas["wallet_open_relayed_by_book"])
    a_payment = claim_gas / PAYMENTS_A_DAY
    ready = f"with a first policy on the owner's signature in the same transaction {gas['wallet_create_with_policy']:,}"
    how = "pay key's intent, relayed; the dearer of both modes, of a list of two providers and the provider book; every check in"
    daily = f"one row of a claim of 100 a day, {PAYMENTS_A_DAY:,} payments a row; reference: an ERC-20 transfer for each payment"
    return [
        figure("wallet_create_gas", created, "gas", transfer, f"≤ {WALLET_CREATE_GOAL:,}", created <= WALLET_CREATE_GOAL, ready),
        figure("wallet_session_relayed_gas", opened, "gas", transfer, f"≤ {WALLET_SESSION_GOAL:,}", opened <= WALLET_SESSION_GOAL, how),
        figure("payment_a_minute_gas", a_payment, "gas", transfer, f"≤ {PAYMENT_GOAL}", a_payment <= PAYMENT_GOAL, daily),
    ]
