"""A row that cannot be paid is skipped and named; the other ninety-nine are paid. One bad row of each kind, both modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from protocol.eip712 import EVIDENCE, money_domain
from protocol.money import Payment, Terms
from tests.contracts.support import FRAME, HOUR_S, World, limits_of, person
from tests.contracts.test_traps import high_s

LOCK = 1_000_000
GOOD = 99
BAD = 200  # number of the session the bad row is about
Row = tuple[Any, ...]
Fault = Callable[[World, Terms, Terms], Row]  # of the world, the terms the row is about, and those of the other mode


class Batch(NamedTuple):
    """Ninety-nine good rows of each kind, and a session of each kind for the bad row."""

    world: World
    paid: list[Row]
    metered: list[Row]
    paid_terms: Terms
    metered_terms: Terms


@pytest.fixture(scope="module")
def _batch() -> Batch:
    world = World()
    paid_terms = [world.open(world.terms(number), LOCK) for number in [*range(GOOD), BAD]]
    metered_terms = [world.open(world.terms(number, metered=True), LOCK) for number in [*range(GOOD), BAD]]
    world.claim_paid(world.paid_row(paid_terms[-1], 1_000))
    world.at(world.now() + HOUR_S)
    world.claim_metered(world.metered_row(metered_terms[-1], 1_000, 10_000, 60))
    paid = [world.paid_row(terms, 5_000 + n, world.key_of(n)) for n, terms in enumerate(paid_terms[:-1])]
    metered = [
        world.metered_row(terms, 5_000 + n, 50_000, 60, world.key_of(n)) for n, terms in enumerate(metered_terms[:-1])
    ]
    return Batch(world, paid, metered, paid_terms[-1], metered_terms[-1])


@pytest.fixture
def batch(_batch: Batch) -> Iterator[Batch]:
    snapshot = _batch.world.tester.take_snapshot()
    time_s = _batch.world.now()
    yield _batch
    _batch.world.tester.revert_to_snapshot(snapshot)
    _batch.world.at(time_s)


def elsewhere(world: World) -> dict[str, Any]:
    """The money domains of another chain and of another escrow, and the domain of evidence."""
    escrow = bytes.fromhex(world.escrow.address[2:])
    return {
        "chain": money_domain(world.chain_id + 1, escrow),
        "escrow": money_domain(world.chain_id, escrow[::-1]),
        "evidence": EVIDENCE,
    }


def twin(row: Row) -> Row:
    v, r, s = row[-3:]
    signature = high_s(r + s + bytes((v,)))
    return (*row[:-3], signature[64], signature[:32], signature[32:64])


def closed(world: World, terms: Terms) -> Terms:
    world.send(world.escrow.functions.close(terms), "payee")
    return terms


def of_another_payee(world: World) -> Terms:
    return world.open(world.terms(BAD, payee=world.address("owner")), LOCK)


BAD_PAID: dict[str, tuple[str, Fault]] = {
    "never opened": ("UnknownSession", lambda w, t, o: w.paid_row(w.terms(BAD + 1), 5_000)),
    "metered session": ("UnknownSession", lambda w, t, o: w.paid_row(o, 5_000)),
    "another payee": ("UnknownSession", lambda w, t, o: w.paid_row(of_another_payee(w), 5_000)),
    "another signer named": (
        "UnknownSession",
        lambda w, t, o: w.paid_row(t, 5_000, person("thief"), signer_address=person("thief").address),
    ),
    "closed": ("SessionClosed", lambda w, t, o: w.paid_row(closed(w, t), 5_000)),
    "amount already claimed": ("NothingNew", lambda w, t, o: w.paid_row(t, 1_000)),
    "amount below claimed": ("NothingNew", lambda w, t, o: w.paid_row(t, 999)),
    "amount zero": ("NothingNew", lambda w, t, o: w.paid_row(t, 0)),
    "amount above lock": ("AboveLock", lambda w, t, o: w.paid_row(t, LOCK + 1)),
    "largest amount": ("AboveLock", lambda w, t, o: w.paid_row(t, 2**64 - 1)),
    "signed by another": ("SignatureRefused", lambda w, t, o: w.paid_row(t, 5_000, person("thief"))),
    "amount altered": ("SignatureRefused", lambda w, t, o: w.paid_row(t, 5_000, amount=5_001)),
    "high s": ("SignatureRefused", lambda w, t, o: twin(w.paid_row(t, 5_000))),
    "v below 27": ("SignatureRefused", lambda w, t, o: (*w.paid_row(t, 5_000)[:2], 0, *w.paid_row(t, 5_000)[3:])),
    "nothing for a signature": ("SignatureRefused", lambda w, t, o: w.paid_row(t, 5_000, signature=bytes(65))),
    "another chain": ("SignatureRefused", lambda w, t, o: w.paid_row(t, 5_000, domain=elsewhere(w)["chain"])),
    "another escrow": ("SignatureRefused", lambda w, t, o: w.paid_row(t, 5_000, domain=elsewhere(w)["escrow"])),
    "evidence domain": ("SignatureRefused", lambda w, t, o: w.paid_row(t, 5_000, domain=elsewhere(w)["evidence"])),
}


def with_limit(world: World, terms: Terms, index: int) -> Row:
    limits = list(limits_of(terms))
    limits[index] += 1
    return world.metered_row(terms, 5_000, 50_000, 60, limits=tuple(limits))


BAD_METERED: dict[str, tuple[str, Fault]] = {
    "never opened": ("UnknownSession", lambda w, t, o: w.metered_row(w.terms(BAD + 1, metered=True), 5_000, 50_000, 60)),
    "payment-mode session": ("UnknownSession", lambda w, t, o: w.metered_row(o, 5_000, 50_000, 60)),
    "another signer named": (
        "UnknownSession",
        lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, person("thief"), signer_address=person("thief").address),
    ),
    **{
        f"another {name} brought along": ("UnknownSession", lambda w, t, o, index=index: with_limit(w, t, index))  # type: ignore[misc]
        for index, name in enumerate(("price", "hourly price", "flat amount", "rating", "latest end", "grace"))
    },
    "closed": ("SessionClosed", lambda w, t, o: w.metered_row(closed(w, t), 5_000, 50_000, 60)),
    "amount already claimed": ("NothingNew", lambda w, t, o: w.metered_row(t, 1_000, 50_000, 60)),
    "amount above lock": ("AboveLock", lambda w, t, o: w.metered_row(t, LOCK + 1, 3_600_000, HOUR_S)),
    "more time than passed": ("ElapsedBeyondTime", lambda w, t, o: w.metered_row(t, 5_000, 50_000, 2 * HOUR_S)),
    "largest time": ("ElapsedBeyondTime", lambda w, t, o: w.metered_row(t, 5_000, 50_000, 2**64 - 1)),
    "more energy than the rating gives": ("EnergyBeyondRating", lambda w, t, o: w.metered_row(t, 5_000, 10**7, 60)),
    "largest energy": ("EnergyBeyondRating", lambda w, t, o: w.metered_row(t, 5_000, 2**64 - 1, 60)),
    "more money than the ceilings give": (
        "AmountBeyondCeilings",
        lambda w, t, o: w.metered_row(t, 50_000 + 100_000 // 60 + 15_000 + 1, 50_000, 60),
    ),
    "signed by another": ("SignatureRefused", lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, person("thief"))),
    "signed by the payer": ("SignatureRefused", lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, w.signers["payer"])),
    "amount altered": ("SignatureRefused", lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, amount=5_001)),
    "a payment, not a charge": (
        "SignatureRefused",
        lambda w, t, o: w.metered_row(
            t, 5_000, 50_000, 60, signature=w.sign(w.money, Payment(w.id_of(t), 5_000, FRAME), w.key_of(BAD))
        ),
    ),
    "high s": ("SignatureRefused", lambda w, t, o: twin(w.metered_row(t, 5_000, 50_000, 60))),
    "nothing for a signature": (
        "SignatureRefused",
        lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, signature=bytes(65)),
    ),
    "another chain": (
        "SignatureRefused",
        lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, domain=elsewhere(w)["chain"]),
    ),
    "another escrow": (
        "SignatureRefused",
        lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, domain=elsewhere(w)["escrow"]),
    ),
    "evidence domain": (
        "SignatureRefused",
        lambda w, t, o: w.metered_row(t, 5_000, 50_000, 60, domain=elsewhere(w)["evidence"]),
    ),
}


def check(batch: Batch, good: list[Row], bad: Row, claim: Callable[..., Any], reason: str) -> None:
    """The bad row in the middle is skipped with `reason`; all others are paid, to the last unit."""
    world, before = batch.world, batch.world.free("payee")
    receipt = claim(*good[:50], bad, *good[50:])
    assert world.skipped(receipt) == [reason]
    (event,) = world.events(receipt, world.escrow, "ClaimSkipped")
    assert event["session"] == bad[0][0]
    assert len(world.events(receipt, world.escrow, "ChargeClaimed")) == GOOD
    assert world.free("payee") - before == sum(row[0][1] for row in good)


@pytest.mark.parametrize("fault", BAD_PAID)
def test_one_bad_payment_among_ninety_nine_good(batch: Batch, fault: str) -> None:
    reason, make = BAD_PAID[fault]
    check(batch, batch.paid, make(batch.world, batch.paid_terms, batch.metered_terms), batch.world.claim_paid, reason)


@pytest.mark.parametrize("fault", BAD_METERED)
def test_one_bad_charge_among_ninety_nine_good(batch: Batch, fault: str) -> None:
    reason, make = BAD_METERED[fault]
    check(batch, batch.metered, make(batch.world, batch.metered_terms, batch.paid_terms), batch.world.claim_metered, reason)


def test_a_charge_after_a_request_to_close_among_ninety_nine_good(batch: Batch) -> None:
    world, terms = batch.world, batch.metered_terms
    opened_at = world.session(terms)["openedAtS"]
    requested_at = world.now()
    world.send(world.escrow.functions.requestClose(terms), "payer")
    world.at(requested_at + HOUR_S)
    beyond = requested_at - opened_at + terms.stop_grace_s + 1
    check(batch, batch.metered, world.metered_row(terms, 5_000, 50_000, beyond), world.claim_metered, "ElapsedBeyondTime")


def test_every_fault_at_once(batch: Batch) -> None:
    """All bad payments in one batch with the good ones: each named, in order."""
    world, before = batch.world, batch.world.free("payee")
    faults = [fault for fault in BAD_PAID if fault != "closed"]  # closing would change the reason of the others
    bad = [BAD_PAID[fault][1](world, batch.paid_terms, batch.metered_terms) for fault in faults]
    receipt = world.claim_paid(*bad, *batch.paid)
    assert world.skipped(receipt) == [BAD_PAID[fault][0] for fault in faults]
    assert world.free("payee") - before == sum(row[0][1] for row in batch.paid)
