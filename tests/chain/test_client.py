"""The client against real contracts on real chains: the same assertions on our development chain and on anvil."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from chain import event_types
from chain.errors import CodeDiffers, Reverted, Unreachable, WrongChain
from chain.events import decode_log
from chain.oneshot import send
from chain.rpc import Rpc
from protocol.control import KeyBinding, KeyRole
from protocol.eip712 import control_domain, digest
from protocol.evidence import Frame, anchor_link, frame_digest
from protocol.keys import Signer

from .conftest import DEPLOYER, PAYEE, PAYER, STRANGER, Stage
from .sessions import agree, fund

StageMaker = Callable[..., Stage]


def walk_through(stage: Stage) -> None:
    """Every kind of view and call the service uses, once."""
    stage.client.check()
    walk_the_money(stage)
    walk_the_anchors(stage)
    walk_the_registry(stage)


def walk_the_money(stage: Stage) -> None:
    client, calls = stage.client, stage.calls
    payer, payee = stage.address(PAYER), stage.address(PAYEE)
    fund(stage, 10_000_000)
    assert client.free_micro(payer) == client.token_micro(stage.deployment.escrow) == client.token_supply_micro() == 10_000_000
    paid, metered = agree(stage), agree(stage, metered=True)
    assert client.session(paid.terms).opened_at_s == 0
    relay = stage.signer(PAYEE)
    send(client, relay, [calls.open_by_signature(*paid.open_order(2_000_000)), calls.open_by_signature(*metered.open_order(3_000_000))])
    opened = client.session(metered.terms)
    assert (opened.lock_micro, opened.claimed_micro, opened.closed) == (3_000_000, 0, False)
    assert abs(opened.opened_at_s - time.time()) < 10
    with pytest.raises(Reverted) as again:
        client.estimate_gas(calls.open_by_signature(*paid.open_order(2_000_000)), payee)
    assert (again.value.name, again.value.arguments) == ("SessionIdUsed", {"session": paid.id})
    too_much = agree(stage).paid(1)
    rows = [paid.paid(700_000), too_much]
    (mined,) = send(client, relay, [calls.claim_paid(payee, rows)])
    receipt = client.receipt(mined.transaction)
    assert receipt is not None
    bodies = [decode_log("EnergyEscrow", log) for log in receipt.logs]
    assert bodies[0] == event_types.ChargeClaimed(paid.id, payee, 700_000, rows[0].payment.frame)
    assert isinstance(bodies[1], event_types.ClaimSkipped)
    send(client, relay, [calls.claim_metered(payee, [metered.metered(49_000, 0, 0)])])
    assert client.session(metered.terms).claimed_micro == 49_000
    send(client, stage.signer(STRANGER), [calls.request_close_by_signature(*paid.close_order())])
    assert client.session(paid.terms).close_requested_at_s > 0
    send(client, relay, [calls.close(paid.terms), calls.withdraw(payee, 500_000)])
    assert client.session(paid.terms).closed
    assert client.free_micro(payer) == 10_000_000 - 3_000_000 - 700_000
    assert client.free_micro(payee) == 249_000
    assert client.token_micro(payee) == 500_000


def walk_the_anchors(stage: Stage) -> None:
    client, calls = stage.client, stage.calls
    anchorer, root = stage.address(PAYEE), os.urandom(32)
    head = client.anchor_head(anchorer)
    (mined,) = send(client, stage.signer(PAYEE), [calls.anchor(head, root)])
    block = client.block(mined.block.number)
    assert block is not None
    assert client.anchor_head(anchorer) == anchor_link(head, root, block.time_s)
    with pytest.raises(Reverted, match="HeadMoved"):
        send(client, stage.signer(PAYEE), [calls.anchor(os.urandom(32), root)])
    meter = Signer.create()
    frame = Frame(os.urandom(32), os.urandom(32), 7, 1, os.urandom(32), bytes(32), head)
    (mined,) = send(client, stage.signer(STRANGER), [calls.anchor_frame(frame, meter.sign(frame_digest(frame)))])
    block = client.block_of(mined.block.hash)
    assert block is not None
    assert client.anchor_head(meter.address) == anchor_link(bytes(32), frame_digest(frame), block.time_s)
    before = client.block_of(block.parent_hash)
    assert before is not None
    assert client.anchor_head(meter.address, at=before.hash) == bytes(32)


def walk_the_registry(stage: Stage) -> None:
    client, calls = stage.client, stage.calls
    operator = stage.address(DEPLOYER)
    assert client.is_operator(operator)
    assert not client.is_operator(stage.address(STRANGER))
    device, meter = os.urandom(32), Signer.create()
    binding = KeyBinding(device, KeyRole.METER, meter.address, int(time.time()) + 3600)
    domain = control_domain(stage.deployment.chain_id, stage.deployment.registry)
    send(client, stage.signer(DEPLOYER), [
        calls.enrol_device(device, stage.address(PAYER)),
        calls.set_channel(device, 1, 3_680, True),
        calls.register_key(binding, meter.sign(digest(domain, binding))),
    ])  # fmt: skip
    found = client.device(device)
    assert (found.owner, found.operator, found.status) == (stage.address(PAYER), operator, 1)
    assert client.channel(device, 1) == (3_680, True)
    assert client.standing_key(device, KeyRole.METER) == meter.address
    assert client.standing_key(device, KeyRole.CONTROL) is None
    (span,) = client.keys(device, KeyRole.METER)
    assert (span.key, span.until_block) == (meter.address, 0)
    assert client.key_head(device) != bytes(32)


def test_everything_on_the_development_chain(stage: StageMaker) -> None:
    walk_through(stage(None))


@pytest.mark.needs_foundry
def test_the_same_client_unchanged_on_anvil(anvil_stage: StageMaker) -> None:
    walk_through(anvil_stage(0))


@pytest.mark.needs_foundry
def test_the_same_client_where_gas_costs_nothing(anvil_stage: StageMaker) -> None:
    stage = anvil_stage(0, "--gas-price", "0", "--base-fee", "0", "--disable-min-priority-fee")
    (mined,) = send(stage.client, stage.signer(PAYEE), [stage.calls.anchor(bytes(32), os.urandom(32))])
    assert mined.price_wei == 0


@pytest.mark.needs_foundry
def test_the_same_client_on_a_chain_without_base_fees(anvil_stage: StageMaker) -> None:
    stage = anvil_stage(0, "--hardfork", "berlin")
    assert stage.client.head().base_fee_wei is None
    send(stage.client, stage.signer(PAYEE), [stage.calls.anchor(bytes(32), os.urandom(32))])


def test_another_chain_and_other_code_are_told_apart(stage: StageMaker) -> None:
    one = stage(None)
    deployment = one.deployment
    for wrong, error in [
        (deployment._replace(chain_id=1), WrongChain),
        (deployment._replace(genesis_hash=bytes(32)), WrongChain),
        (deployment._replace(escrow=deployment.token), CodeDiffers),
        (deployment._replace(token=bytes(20)), CodeDiffers),
    ]:
        one.client.deployment = wrong
        with pytest.raises(error):
            one.client.check()


def test_a_node_that_is_away_is_a_transient_trouble_and_its_key_stays_secret() -> None:
    with Rpc("http://127.0.0.1:9/secret-api-key") as rpc, pytest.raises(Unreachable) as caught:
        rpc.head()
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)
