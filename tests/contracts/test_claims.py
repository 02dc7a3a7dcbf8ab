"""Claims: what one row must satisfy, at the edge of every bound, in both modes."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.money import Terms, ceiling_micro, deliverable_milliwatt_hours
from tests.contracts.support import FRAME, HOUR_S, REFUSALS, World, limits_of, person

LOCK = 1_000_000


def text(address: bytes) -> str:
    return "0x" + address.hex()


def refused(world: World, receipt: Any) -> tuple[str, int, int]:
    """Why the one row was not paid, with value and bound."""
    (event,) = world.events(receipt, world.escrow, "ClaimSkipped")
    return REFUSALS[event["refusal"]], event["value"], event["bound"]


# -------------------------------------------------------------------- both kinds


def test_a_claim_says_who_what_and_for_which_frame(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    receipt = world.claim_paid(world.paid_row(terms, 700))
    assert world.events(receipt, world.escrow, "ChargeClaimed") == [
        {"session": world.id_of(terms), "payee": text(terms.payee), "amountMicro": 700, "frame": FRAME}
    ]
    assert world.session(terms)["claimedMicro"] == 700
    assert world.session(terms)["lockMicro"] == LOCK


def test_only_the_difference_is_credited(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    for amount in (1, 700, 701, LOCK):
        assert world.skipped(world.claim_paid(world.paid_row(terms, amount))) == []
        assert world.free("payee") == amount
    assert refused(world, world.claim_paid(world.paid_row(terms, LOCK))) == ("NothingNew", LOCK, LOCK)


def test_amounts_rise_and_stay_within_the_lock(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    assert refused(world, world.claim_paid(world.paid_row(terms, 0))) == ("NothingNew", 0, 0)
    assert refused(world, world.claim_paid(world.paid_row(terms, LOCK + 1))) == ("AboveLock", LOCK + 1, LOCK)
    assert world.free("payee") == 0
    world.claim_paid(world.paid_row(terms, 500))
    assert refused(world, world.claim_paid(world.paid_row(terms, 499))) == ("NothingNew", 499, 500)
    assert world.free("payee") == 500


def test_an_empty_batch_does_nothing(world: World) -> None:
    world.claim_paid()
    world.claim_metered()
    assert world.free("payee") == 0


def test_one_session_twice_in_a_batch(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    rows = [world.paid_row(terms, amount) for amount in (300, 200, 800)]
    assert world.skipped(world.claim_paid(*rows)) == ["NothingNew"]
    assert world.free("payee") == 800


@pytest.mark.parametrize("metered", [False, True])
def test_modes_do_not_mix(world: World, metered: bool) -> None:
    terms = world.open(world.terms(metered=metered), LOCK)
    world.at(world.now() + HOUR_S)
    as_paid, as_metered = world.paid_row(terms, 500), world.metered_row(terms, 500, 100_000, 60)
    receipt = world.claim_paid(as_paid) if metered else world.claim_metered(as_metered)
    assert refused(world, receipt)[0] == "UnknownSession"


def test_another_payee_gets_nothing(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    receipt = world.claim_paid(world.paid_row(terms, 500), payee=world.address("stranger"))
    assert refused(world, receipt)[0] == "UnknownSession"
    assert world.free("stranger") == 0


# -------------------------------------------------------------------- metered bounds


@pytest.fixture
def metered(world: World) -> tuple[World, Terms, int]:
    """A metered session and the time it was opened at."""
    opened_at = world.now()
    return world, world.open(world.terms(metered=True), LOCK), opened_at


def claim(world: World, terms: Terms, amount: int, energy: int, elapsed: int) -> Any:
    return world.claim_metered(world.metered_row(terms, amount, energy, elapsed))


def test_elapsed_is_at_most_the_chains_own_time(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    world.at(opened_at + 600)
    assert refused(world, claim(world, terms, 10, 0, 601)) == ("ElapsedBeyondTime", 601, 600)
    world.at(opened_at + 601)
    assert world.skipped(claim(world, terms, 10, 0, 601)) == []


def test_elapsed_ends_at_the_latest_end(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    most = terms.latest_end_s - opened_at
    world.at(terms.latest_end_s + 10 * HOUR_S)
    assert refused(world, claim(world, terms, 10, 0, most + 1)) == ("ElapsedBeyondTime", most + 1, most)
    assert world.skipped(claim(world, terms, 10, 0, most)) == []


def test_elapsed_ends_a_grace_after_the_request_to_close(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    world.at(opened_at + 500)
    world.send(world.escrow.functions.requestClose(terms), "payer")
    world.at(opened_at + 3_000)
    most = 500 + terms.stop_grace_s
    assert refused(world, claim(world, terms, 10, 0, most + 1)) == ("ElapsedBeyondTime", most + 1, most)
    assert world.skipped(claim(world, terms, 10, 0, most)) == []


def test_within_the_grace_the_chains_time_still_bounds(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    world.at(opened_at + 500)
    world.send(world.escrow.functions.requestClose(terms), "payer")
    world.at(opened_at + 510)
    assert refused(world, claim(world, terms, 10, 0, 511)) == ("ElapsedBeyondTime", 511, 510)


def test_a_late_request_does_not_move_the_latest_end(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    world.at(terms.latest_end_s + 1)
    world.send(world.escrow.functions.requestClose(terms), "stranger")
    most = terms.latest_end_s - opened_at
    assert refused(world, claim(world, terms, 10, 0, most + 1)) == ("ElapsedBeyondTime", most + 1, most)


def test_energy_is_at_most_rated_power_times_that_time(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    world.at(opened_at + 607)  # does not divide evenly: the bound is rounded down
    most = deliverable_milliwatt_hours(terms.rated_watts, 607)
    assert most * 3600 != terms.rated_watts * 607 * 1000
    assert refused(world, claim(world, terms, 10, most + 1, 1)) == ("EnergyBeyondRating", most + 1, most)
    world.at(opened_at + 607 + 1)
    most = deliverable_milliwatt_hours(terms.rated_watts, 608)
    assert world.skipped(claim(world, terms, 10, most, 1)) == []


def test_amount_is_at_most_what_the_ceilings_allow(metered: tuple[World, Terms, int]) -> None:
    world, terms, opened_at = metered
    world.at(opened_at + HOUR_S)
    energy, elapsed = 1_234_567, 3_333
    most = ceiling_micro(terms, energy, elapsed)
    assert most == 300_000 * energy // 1_000_000 + 100_000 * elapsed // 3600 + 50_000
    assert refused(world, claim(world, terms, most + 1, energy, elapsed)) == ("AmountBeyondCeilings", most + 1, most)
    assert world.skipped(claim(world, terms, most, energy, elapsed)) == []
    assert world.free("payee") == most


@pytest.mark.parametrize(
    ("ceilings", "amount", "energy", "elapsed"),
    [((0, 0, 70), 70, 0, 0), ((500_000, 0, 0), 500_000, 1_000_000, 0), ((0, 90_000, 0), 90_000, 0, HOUR_S)],
)
def test_each_ceiling_stands_alone(
    world: World, ceilings: tuple[int, int, int], amount: int, energy: int, elapsed: int
) -> None:
    per_kwh, per_hour, flat = ceilings
    terms = world.terms(metered=True, max_micro_per_kwh=per_kwh, max_micro_per_hour=per_hour, max_flat_micro=flat)
    opened_at = world.now()
    world.open(terms, LOCK)
    world.at(opened_at + HOUR_S)
    receipt = claim(world, terms, amount + 1, energy, elapsed)
    assert refused(world, receipt) == ("AmountBeyondCeilings", amount + 1, amount)
    assert world.skipped(claim(world, terms, amount, energy, elapsed)) == []


def test_the_largest_terms_do_not_overflow(world: World) -> None:
    top = 2**64 - 1
    terms = world.terms(
        metered=True,
        max_micro_per_kwh=top,
        max_micro_per_hour=top,
        max_flat_micro=top,
        rated_watts=2**32 - 1,
        latest_end_s=world.now() + 62 * 86_400,
    )
    opened_at = world.now()
    world.open(terms, LOCK)
    world.at(terms.latest_end_s)
    elapsed = terms.latest_end_s - opened_at
    energy = deliverable_milliwatt_hours(terms.rated_watts, elapsed)
    assert refused(world, claim(world, terms, LOCK, energy + 1, elapsed)) == ("EnergyBeyondRating", energy + 1, energy)
    assert world.skipped(claim(world, terms, LOCK, energy, elapsed)) == []


@pytest.mark.parametrize("index", range(6))
def test_terms_brought_along_must_be_those_of_the_session(metered: tuple[World, Terms, int], index: int) -> None:
    world, terms, opened_at = metered
    world.at(opened_at + HOUR_S)
    limits = list(limits_of(terms))
    limits[index] += 1
    receipt = world.claim_metered(world.metered_row(terms, 10, 100, 60, limits=tuple(limits)))
    assert refused(world, receipt)[0] == "UnknownSession"


# -------------------------------------------------------------------- signatures


@pytest.mark.parametrize("kind", ["paid", "metered"])
def test_every_signed_member_counts(world: World, kind: str) -> None:
    terms = world.open(world.terms(metered=kind == "metered"), LOCK)
    world.at(world.now() + HOUR_S)
    row = world.paid_row(terms, 500) if kind == "paid" else world.metered_row(terms, 500, 1_000_000, 600)
    send = world.claim_paid if kind == "paid" else world.claim_metered
    message = row[0]
    for place in range(1, len(message)):
        value = message[place]
        other = value - 1 if isinstance(value, int) else value[::-1]
        altered = (*message[:place], other, *message[place + 1 :])
        assert refused(world, send((altered, *row[1:])))[0] == "SignatureRefused", f"member {place} may be altered"
    assert world.skipped(send(row)) == []


def test_another_keys_signature_is_refused(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    thief = person("thief")
    assert refused(world, world.claim_paid(world.paid_row(terms, 500, thief)))[0] == "SignatureRefused"
    row = world.paid_row(terms, 500, thief, signer_address=thief.address)
    assert refused(world, world.claim_paid(row))[0] == "UnknownSession"
    payer = world.paid_row(terms, 500, world.signers["payer"])
    assert refused(world, world.claim_paid(payer))[0] == "SignatureRefused", "the payer is not the pay key"
