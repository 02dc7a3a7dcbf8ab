"""Sessions without their claims: opening, topping up, requesting to close, closing, credit notes."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.messages import encode_typed_data

from protocol.hashing import keccak
from protocol.money import Terms
from tests.contracts.support import DAY_S, HOUR_S, ROOT, ZERO, World, person

LOCK = 1_000_000


def text(address: bytes) -> str:
    return "0x" + address.hex()


def test_session_id_is_the_digest_of_the_type_in_the_walls(world: World) -> None:
    """By eth-account's generic encoder from the type string of docs/walls.md, so that `protocol` is not its own judge."""
    walls = (ROOT / "docs" / "walls.md").read_text()
    line = next(line for line in walls.splitlines() if line.startswith("Terms(address payer"))
    members = [member.split(" ") for member in line[len("Terms(") : line.index(")")].split(",")]
    terms = world.terms(metered=True)
    message = dict(zip([name for _, name in members], terms, strict=True))
    domain = {
        "name": "Wattproof Money",
        "version": "1",
        "chainId": world.chain_id,
        "verifyingContract": world.escrow.address,
    }
    types = {"Terms": [{"name": name, "type": kind} for kind, name in members]}
    signable = encode_typed_data(domain, types, message)
    expected = keccak(b"\x19\x01" + signable.header + signable.body)
    assert bytes(world.escrow.functions.sessionIdOf(terms).call()) == expected == world.id_of(terms)


def test_every_term_is_in_the_id(world: World) -> None:
    terms = world.terms()
    seen = {bytes(world.escrow.functions.sessionIdOf(terms).call())}
    members: dict[str, Any] = terms._asdict()
    for field, value in members.items():
        other: Any = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value[::-1]
        seen.add(bytes(world.escrow.functions.sessionIdOf(terms._replace(**{field: other})).call()))
    assert len(seen) == 1 + len(terms)


# -------------------------------------------------------------------- open


def test_open_locks_the_payers_money(world: World) -> None:
    terms, time_s = world.terms(), world.now()
    receipt = world.send(world.escrow.functions.openAsPayer(terms, LOCK), "payer")
    assert world.free("payer") == 10**12 - LOCK
    assert world.session(terms) == {
        "lockMicro": LOCK,
        "claimedMicro": 0,
        "openedAtS": time_s,
        "closeRequestedAtS": 0,
        "closeRequestedBlock": 0,
        "closed": False,
    }
    assert world.events(receipt, world.escrow, "SessionOpened") == [
        {
            "session": world.id_of(terms),
            "payer": text(terms.payer),
            "payee": text(terms.payee),
            "lockMicro": LOCK,
        }
    ]


@pytest.mark.parametrize(
    ("changes", "error", "values"),
    [
        ({"payee": ZERO}, "PayeeZero", []),
        ({"signer": ZERO}, "SignerZero", []),
        ({"refund_to": ZERO}, "RefundToRefused", [text(ZERO)]),
        ({"refund_to": person("payee").address}, "RefundToRefused", [text(person("payee").address)]),
        ({"close_delay_s": 7 * DAY_S + 1}, "CloseDelayRefused", [7 * DAY_S + 1, 7 * DAY_S]),
        ({"close_delay_blocks": 1_001}, "CloseDelayBlocksRefused", [1_001, 1_000]),
        ({"stop_grace_s": HOUR_S + 1}, "StopGraceRefused", [HOUR_S + 1, HOUR_S]),
    ],
)
@pytest.mark.parametrize("metered", [False, True])
def test_open_refuses(world: World, changes: dict[str, Any], error: str, values: list[Any], metered: bool) -> None:
    terms = world.terms(metered=metered)._replace(**changes)
    world.reverts(world.escrow.functions.openAsPayer(terms, LOCK), "payer", error, *values)
    deadline = world.now() + 60
    signed = world.open_signed(terms, LOCK, deadline)
    world.reverts(world.escrow.functions.openBySignature(terms, LOCK, deadline, signed), "stranger", error, *values)


def test_open_takes_the_limits_themselves(world: World) -> None:
    now = world.now()
    world.open(
        world.terms(
            close_delay_s=7 * DAY_S, stop_grace_s=7 * DAY_S, close_delay_blocks=1_000, latest_end_s=now + 62 * DAY_S
        )
    )


def test_open_refuses_a_latest_end_that_is_past_or_too_far(world: World) -> None:
    now = world.now()
    far = now + 62 * DAY_S
    for latest in (0, now - 1, now, far + 1, 2**64 - 1):
        call = world.escrow.functions.openAsPayer(world.terms(latest_end_s=latest), LOCK)
        world.reverts(call, "payer", "LatestEndRefused", latest, now, far)
    world.open(world.terms(latest_end_s=now + 1))


def test_open_refuses_nothing_and_more_than_there_is(world: World) -> None:
    terms = world.terms()
    world.reverts(world.escrow.functions.openAsPayer(terms, 0), "payer", "LockZero", world.id_of(terms))
    call = world.escrow.functions.openAsPayer(terms, 10**12 + 1)
    world.reverts(call, "payer", "BalanceTooLow", text(terms.payer), 10**12 + 1, 10**12)
    world.open(terms, 10**12)
    assert world.free("payer") == 0


def test_only_the_payer_opens_directly(world: World) -> None:
    terms = world.terms()
    for sender in ("payee", "stranger", "refund"):
        call = world.escrow.functions.openAsPayer(terms, LOCK)
        world.reverts(call, sender, "NotPayer", text(world.address(sender)), text(terms.payer))


def test_anyone_relays_the_payers_signed_open(world: World) -> None:
    terms, deadline = world.terms(), world.now() + 60
    call = world.escrow.functions.openBySignature(terms, LOCK, deadline, world.open_signed(terms, LOCK, deadline))
    world.send(call, "stranger")
    assert world.free("payer") == 10**12 - LOCK
    world.reverts(call, "stranger", "SessionIdUsed", world.id_of(terms))


def test_a_relayed_open_is_what_was_signed(world: World) -> None:
    terms, deadline = world.terms(), world.now() + 60
    signed = world.open_signed(terms, LOCK, deadline)
    relay = world.escrow.functions.openBySignature
    world.reverts(relay(terms, LOCK + 1, deadline, signed), "stranger", "SignatureRefused", text(terms.payer))
    world.reverts(relay(terms, LOCK, deadline + 1, signed), "stranger", "SignatureRefused")
    other = terms._replace(payee=world.address("stranger"))
    world.reverts(relay(other, LOCK, deadline, signed), "stranger", "SignatureRefused")
    by_stranger = world.open_signed(terms, LOCK, deadline, world.signers["stranger"])
    world.reverts(relay(terms, LOCK, deadline, by_stranger), "stranger", "SignatureRefused")
    world.reverts(relay(terms, LOCK, deadline, signed[:64]), "stranger", "SignatureRefused")
    top_up = world.top_up_signed(terms, LOCK, deadline)
    world.reverts(relay(terms, LOCK, deadline, top_up), "stranger", "SignatureRefused")
    world.at(deadline + 1)
    world.reverts(relay(terms, LOCK, deadline, signed), "stranger", "DeadlinePassed", deadline, deadline + 1)
    world.at(deadline)
    world.send(relay(terms, LOCK, deadline, signed), "stranger")


def test_a_payer_with_code_opens_by_call_and_by_signature(world: World) -> None:
    account = world.double("SmartAccount", world.address("owner"))
    payer = bytes.fromhex(account.address[2:])
    world.send(world.escrow.functions.withdraw(world.address("payer"), 3 * LOCK), "payer")
    world.send(world.token.functions.approve(world.escrow.address, 3 * LOCK), "payer")
    world.send(world.escrow.functions.depositFor(payer, 3 * LOCK), "payer")

    terms = world.terms(0, payer=payer)
    data = world.escrow.encode_abi("openAsPayer", [terms, LOCK])
    world.send(account.functions.execute(world.escrow.address, data), "owner")
    assert world.session(terms)["lockMicro"] == LOCK

    terms, deadline = world.terms(1, payer=payer), world.now() + 60
    relay = world.escrow.functions.openBySignature
    wrong = world.open_signed(terms, LOCK, deadline, world.signers["stranger"])
    world.reverts(relay(terms, LOCK, deadline, wrong), "stranger", "SignatureRefused", text(payer))
    good = world.open_signed(terms, LOCK, deadline, world.signers["owner"])
    world.send(relay(terms, LOCK, deadline, good), "stranger")
    assert world.free(payer) == LOCK


# -------------------------------------------------------------------- top up


def test_top_up_is_absolute_and_rises(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    top_up = world.escrow.functions.topUpAsPayer
    receipt = world.send(top_up(terms, LOCK + 500), "payer")
    assert world.free("payer") == 10**12 - LOCK - 500
    assert world.session(terms)["lockMicro"] == LOCK + 500
    assert world.events(receipt, world.escrow, "LockRaised") == [
        {"session": world.id_of(terms), "totalLockMicro": LOCK + 500}
    ]
    for total in (LOCK + 500, LOCK, 0):
        world.reverts(top_up(terms, total), "payer", "LockMustRise", world.id_of(terms), total, LOCK + 500)
    world.reverts(top_up(terms, 10**12 + 1), "payer", "BalanceTooLow")
    world.send(top_up(terms, 10**12), "payer")
    assert world.free("payer") == 0
    assert world.skipped(world.claim_paid(world.paid_row(terms, 10**12))) == []


def test_top_up_keeps_the_rest_of_the_session(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    world.claim_paid(world.paid_row(terms, 123))
    before = world.session(terms)
    world.send(world.escrow.functions.topUpAsPayer(terms, 10**11), "payer")
    assert world.session(terms) == {**before, "lockMicro": 10**11}


def test_anyone_relays_the_payers_signed_top_up(world: World) -> None:
    terms, deadline = world.open(world.terms(), LOCK), world.now() + 60
    relay = world.escrow.functions.topUpBySignature
    signed = world.top_up_signed(terms, 2 * LOCK, deadline)
    world.reverts(relay(terms, 2 * LOCK + 1, deadline, signed), "stranger", "SignatureRefused", text(terms.payer))
    opened = world.open_signed(terms, 2 * LOCK, deadline)
    world.reverts(relay(terms, 2 * LOCK, deadline, opened), "stranger", "SignatureRefused")
    world.send(relay(terms, 2 * LOCK, deadline, signed), "stranger")
    world.reverts(relay(terms, 2 * LOCK, deadline, signed), "stranger", "LockMustRise")
    world.at(deadline + 1)
    world.reverts(relay(terms, 2 * LOCK, deadline, signed), "stranger", "DeadlinePassed")


def test_no_top_up_after_a_request_a_close_or_without_a_session(world: World) -> None:
    terms, unknown = world.open(world.terms(0), LOCK), world.terms(1)
    top_up = world.escrow.functions.topUpAsPayer
    world.reverts(top_up(unknown, LOCK), "payer", "SessionUnknown", world.id_of(unknown))
    requested_at = world.now()
    world.send(world.escrow.functions.requestClose(terms), "payer")
    world.reverts(top_up(terms, 2 * LOCK), "payer", "CloseAlreadyRequested", world.id_of(terms), requested_at)
    world.send(world.escrow.functions.close(terms), "payee")
    world.reverts(top_up(terms, 2 * LOCK), "payer", "SessionIsClosed", world.id_of(terms))


# -------------------------------------------------------------------- request to close


def test_payer_and_pay_key_request_by_call(world: World) -> None:
    for number, sender in enumerate(("payer", "owner")):
        terms = world.open(world.terms(number, signer=world.address("owner")), LOCK)
        block, time_s = world.w3.eth.block_number + 1, world.now()
        receipt = world.send(world.escrow.functions.requestClose(terms), sender)
        state = world.session(terms)
        assert (state["closeRequestedAtS"], state["closeRequestedBlock"]) == (time_s, block)
        assert (state["lockMicro"], state["closed"]) == (LOCK, False)
        assert world.events(receipt, world.escrow, "CloseRequested") == [
            {"session": world.id_of(terms), "sender": text(world.address(sender))}
        ]
        again = world.escrow.functions.requestClose(terms)
        world.reverts(again, "payer", "CloseAlreadyRequested", world.id_of(terms), time_s)


def test_a_charge_key_has_no_say_in_closing(world: World) -> None:
    terms = world.open(world.terms(metered=True, signer=world.address("owner")), LOCK)
    world.reverts(world.escrow.functions.requestClose(terms), "owner", "MayNotRequestClose", text(terms.signer))
    deadline = world.now() + 60
    signed = world.close_signed(terms, deadline, world.signers["owner"])
    relay = world.escrow.functions.requestCloseBySignature(terms, deadline, signed)
    world.reverts(relay, "stranger", "SignatureRefused", text(terms.payer))


@pytest.mark.parametrize("by", ["payer", "pay key"])
def test_payer_and_pay_key_request_by_signature(world: World, by: str) -> None:
    terms, deadline = world.open(world.terms(), LOCK), world.now() + 60
    signer = world.signers["payer"] if by == "payer" else world.key_of(0)
    signed = world.close_signed(terms, deadline, signer)
    relay = world.escrow.functions.requestCloseBySignature
    world.reverts(relay(terms, deadline + 1, signed), "stranger", "SignatureRefused", text(terms.payer))
    other = world.open(world.terms(1), LOCK)
    world.reverts(relay(other, deadline, signed), "stranger", "SignatureRefused")
    world.at(deadline + 1)
    world.reverts(relay(terms, deadline, signed), "stranger", "DeadlinePassed", deadline, deadline + 1)
    world.at(deadline)
    world.send(relay(terms, deadline, signed), "stranger")
    assert world.session(terms)["closeRequestedAtS"] == deadline


def test_anyone_requests_after_the_latest_end_and_not_before(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    request = world.escrow.functions.requestClose(terms)
    world.at(terms.latest_end_s)
    world.reverts(request, "stranger", "MayNotRequestClose", text(world.address("stranger")), world.id_of(terms))
    world.at(terms.latest_end_s + 1)
    world.send(request, "stranger")


def test_no_request_without_an_open_session(world: World) -> None:
    terms = world.terms()
    world.reverts(world.escrow.functions.requestClose(terms), "payer", "SessionUnknown", world.id_of(terms))
    world.open(terms, LOCK)
    world.send(world.escrow.functions.close(terms), "payee")
    world.reverts(world.escrow.functions.requestClose(terms), "payer", "SessionIsClosed", world.id_of(terms))


# -------------------------------------------------------------------- close


def requested(world: World, **changes: Any) -> tuple[Terms, int, int]:
    """A session with 300 claimed and its close requested: terms, time and block of the request."""
    terms = world.open(world.terms(**changes), LOCK)
    world.claim_paid(world.paid_row(terms, 300))
    time_s = world.now()
    world.send(world.escrow.functions.requestClose(terms), "payer")
    return terms, time_s, world.w3.eth.block_number


def test_the_payee_closes_at_once(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    world.claim_paid(world.paid_row(terms, 300))
    receipt = world.send(world.escrow.functions.close(terms), "payee")
    assert world.free("refund") == LOCK - 300
    assert world.events(receipt, world.escrow, "SessionClosed") == [
        {"session": world.id_of(terms), "claimedMicro": 300, "returnedMicro": LOCK - 300}
    ]
    state = world.session(terms)
    assert (state["closed"], state["lockMicro"], state["claimedMicro"]) == (True, LOCK, 300)
    world.reverts(world.escrow.functions.close(terms), "payee", "SessionIsClosed", world.id_of(terms))
    assert world.free("refund") == LOCK - 300


def test_others_close_only_after_a_request(world: World) -> None:
    terms = world.open(world.terms(close_delay_s=0, close_delay_blocks=0, stop_grace_s=0), LOCK)
    for sender in ("payer", "refund", "stranger"):
        world.reverts(world.escrow.functions.close(terms), sender, "CloseNotDue", world.id_of(terms))
    unknown = world.terms(1)
    world.reverts(world.escrow.functions.close(unknown), "payee", "SessionUnknown", world.id_of(unknown))


@pytest.mark.parametrize("sender", ["payer", "refund", "stranger"])
def test_anyone_closes_once_both_delays_have_passed(world: World, sender: str) -> None:
    terms, time_s, _ = requested(world)
    close = world.escrow.functions.close(terms)
    world.mine(terms.close_delay_blocks)
    world.at(time_s + terms.close_delay_s - 1)
    world.reverts(close, sender, "CloseNotDue", world.id_of(terms), time_s + terms.close_delay_s)
    world.at(time_s + terms.close_delay_s)
    world.send(close, sender)
    assert world.free("refund") == LOCK - 300


def test_time_alone_is_not_enough(world: World) -> None:
    """A chain that stood still made no blocks in which the payee could have claimed."""
    terms, time_s, block = requested(world)
    close = world.escrow.functions.close(terms)
    due_s, due_block = time_s + terms.close_delay_s, block + terms.close_delay_blocks
    world.at(time_s + 10 * terms.close_delay_s)
    while world.w3.eth.block_number + 1 < due_block:
        world.reverts(close, "stranger", "CloseNotDue", world.id_of(terms), due_s, due_block)
        world.mine(1)
    world.send(close, "stranger")


def test_claims_are_taken_until_the_rest_has_gone_back(world: World) -> None:
    terms, time_s, _ = requested(world)
    world.mine(terms.close_delay_blocks)
    world.at(time_s + 2 * terms.close_delay_s)
    assert world.skipped(world.claim_paid(world.paid_row(terms, 400))) == []
    world.send(world.escrow.functions.close(terms), "stranger")
    assert world.skipped(world.claim_paid(world.paid_row(terms, 500))) == ["SessionClosed"]
    assert (world.free("payee"), world.free("refund")) == (400, LOCK - 400)


# -------------------------------------------------------------------- credit notes


def test_a_credit_note_moves_from_payee_to_refund_account(world: World) -> None:
    terms = world.open(world.terms(), LOCK)
    world.claim_paid(world.paid_row(terms, 1_000))
    note = world.escrow.functions.creditNote
    receipt = world.send(note(terms, 400), "payee")
    assert (world.free("payee"), world.free("refund")) == (600, 400)
    assert world.events(receipt, world.escrow, "CreditNoteGiven") == [
        {
            "session": world.id_of(terms),
            "payee": text(terms.payee),
            "refundTo": text(terms.refund_to),
            "amountMicro": 400,
        }
    ]
    world.reverts(note(terms, 601), "payee", "BalanceTooLow", text(terms.payee), 601, 600)
    for sender in ("payer", "stranger"):
        world.reverts(note(terms, 1), sender, "NotPayee", text(world.address(sender)))
    world.reverts(note(world.terms(1), 1), "payee", "SessionUnknown")
    world.send(world.escrow.functions.close(terms), "payee")
    world.send(note(terms, 600), "payee")
    assert world.free("refund") == LOCK
