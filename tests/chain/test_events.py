"""The event reader: whatever the chain does above its final block, a book kept from batches equals one read afresh."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from chain import event_types
from chain.abi import interface
from chain.errors import ReorganisedTooDeep, RpcRefused
from chain.events import EventReader, _python_name
from chain.oneshot import send
from chain.rpc import BlockRef
from chain.transactions import TransactionSigner
from protocol.evidence import anchor_link

from .book import Book
from .conftest import PAYEE, PAYER, STRANGER, Stage, ticking
from .nodes import Anvil
from .sessions import agree, fund

StageMaker = Callable[..., Stage]


def fresh(stage: Stage, finality_depth: int | None) -> Book:
    """A book of a reader that sees the chain for the first time."""
    book = Book()
    with stage.another_client(finality_depth) as client:
        book.follow(EventReader(client))
    return book


def anchor_now(stage: Stage, account: int) -> None:
    """One more link, sent and left to be mined; made for the chain as it is. No second one while the first waits."""
    signer = TransactionSigner(stage.client, stage.node.key(account))
    nonce = stage.client.nonce(signer.address)
    with suppress(RpcRefused):
        stage.client.send(signer.sign(stage.calls.anchor(stage.client.anchor_head(signer.address), os.urandom(32)), nonce).raw)


def test_every_event_has_a_type_with_its_names() -> None:
    for contract, kinds in event_types.CONTRACTS.items():
        declared = {event.name: event for event in interface(contract).events.values()}
        for name, kind in kinds.items():
            assert [_python_name(each) for each, _, _ in declared[name].parameters] == list(kind._fields), name


def test_a_whole_session_is_told_in_order(manual_stage: StageMaker) -> None:
    stage = manual_stage(None)
    with ticking(stage.node):
        fund(stage, 5_000_000)
        session = agree(stage)
        relay = stage.signer(PAYEE)
        send(stage.client, relay, [stage.calls.open_by_signature(*session.open_order(2_000_000))])
        send(stage.client, relay, [stage.calls.claim_paid(session.terms.payee, [session.paid(1_500_000)])])
        send(stage.client, relay, [stage.calls.close(session.terms)])
    batch = EventReader(stage.client).read(())
    told = [event.body for event in batch.events if getattr(event.body, "session", None) == session.id]
    assert [type(body) for body in told] == [event_types.SessionOpened, event_types.ChargeClaimed, event_types.SessionClosed]
    assert told[2] == event_types.SessionClosed(session.id, 1_500_000, 500_000)
    assert batch.events[0].block.number >= stage.deployment.block_number
    assert batch.caught_up


def test_an_anchors_link_can_be_computed_from_its_event(manual_stage: StageMaker) -> None:
    stage = manual_stage(None)
    for _ in range(3):
        anchor_now(stage, PAYEE)
        stage.node.mine()
    head = bytes(32)
    for event in EventReader(stage.client).read(()).events:
        if isinstance(event.body, event_types.Anchored):
            head = anchor_link(head, event.body.root, event.time_s)
            assert head == event.body.head
    assert head == stage.client.anchor_head(stage.address(PAYEE)) != bytes(32)


def test_long_histories_come_in_pieces(manual_stage: StageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = manual_stage(4)
    for _ in range(12):
        anchor_now(stage, PAYEE)
        stage.node.mine(2)
    whole = fresh(stage, 4).rows()
    monkeypatch.setattr("chain.events.MAX_BLOCKS", 3)
    monkeypatch.setattr("chain.events.MAX_KNOWN", 6)
    book = Book()
    batches = book.follow(EventReader(stage.client))
    assert len(batches) > 5
    assert book.rows() == whole
    assert len(book.known()) == 5  # the final block and the four above it


def test_nothing_is_read_before_the_deployment_is_final(manual_stage: StageMaker) -> None:
    stage = manual_stage(None)
    with stage.another_client(1_000) as client:
        batch = EventReader(client).read(())
    assert (batch.rolled_back_to, batch.events, batch.known, batch.caught_up) == (None, (), (), False)


@pytest.mark.parametrize("seed", [20, pytest.param(21, marks=pytest.mark.slow)])
def test_random_reorganisations_leave_the_book_exact(manual_stage: StageMaker, tmp_path: Path, seed: int) -> None:
    """Three hundred random steps: send, mine, go back up to the final block, read, restart the reader."""
    depth, chooser = 5, random.Random(seed)
    stage = manual_stage(depth)
    node, book = stage.node, Book(tmp_path / "book.db")
    snapshots = [(node.head(), node.ask("evm_snapshot"))]
    final_seen, rolled_back = node.head() - depth, 0
    for _ in range(300):
        action = chooser.choice(["send", "send", "mine", "mine", "mine", "reorganise", "read", "read"])
        if action == "send":
            anchor_now(stage, chooser.choice([PAYER, PAYEE, STRANGER]))
        elif action == "mine":
            node.mine()
            snapshots.append((node.head(), node.ask("evm_snapshot")))
        elif action == "reorganise":
            target = chooser.choice([each for each in snapshots if each[0] >= max(final_seen, snapshots[0][0])])
            snapshots = snapshots[: snapshots.index(target)]
            assert node.ask("evm_revert", target[1])
            node.ask("evm_increaseTime", 1)
            node.mine(chooser.randint(1, 3))
            snapshots.append((node.head(), node.ask("evm_snapshot")))
        final_seen = max(final_seen, node.head() - depth)
        if action == "read":
            rolled_back += sum(batch.rolled_back_to is not None for batch in book.follow(EventReader(stage.client)))
    book.follow(EventReader(stage.client))
    assert rolled_back >= 4
    assert book.rows() == fresh(stage, depth).rows() == fresh(stage, 0).rows()
    assert book.rows()
    book.close()


def test_a_chain_that_gives_up_final_blocks_is_an_error(manual_stage: StageMaker) -> None:
    stage = manual_stage(2)
    snapshot = stage.node.ask("evm_snapshot")
    stage.node.mine(6)
    known = EventReader(stage.client).read(()).known
    stage.node.ask("evm_revert", snapshot)
    stage.node.ask("evm_increaseTime", 1)
    stage.node.mine(8)
    with pytest.raises(ReorganisedTooDeep, match="was final"):
        EventReader(stage.client).read(known)
    with pytest.raises(ReorganisedTooDeep):
        EventReader(stage.client).read([BlockRef(stage.deployment.block_number, bytes(32))])


@pytest.mark.needs_foundry
@pytest.mark.parametrize("depth", [1, 2, 12])
def test_a_reorganisation_on_anvil_leaves_the_book_exact(anvil_stage: StageMaker, tmp_path: Path, depth: int) -> None:
    stage = anvil_stage(12)
    assert isinstance(stage.node, Anvil)
    fund(stage, 1_000_000)
    stage.node.mine(12)
    book = Book(tmp_path / "book.db")
    book.follow(EventReader(stage.client))
    kept = book.rows()
    payer = TransactionSigner(stage.client, stage.node.key(PAYER))
    for index in range(depth):  # one withdrawal a block, all of them to be reorganised away
        stage.client.send(payer.sign(stage.calls.withdraw(os.urandom(20), 1_000 + index), stage.client.nonce(payer.address)).raw)
    book.follow(EventReader(stage.client))
    assert len(book.rows()) == len(kept) + 2 * depth  # Withdrawn, and the token's Transfer
    before = stage.client.head()
    stage.node.reorganise(depth)
    assert stage.client.head().hash != before.hash
    stage.client.send(payer.sign(stage.calls.withdraw(os.urandom(20), 7), stage.client.nonce(payer.address)).raw)
    stage.node.mine()
    batches = book.follow(EventReader(stage.client))
    assert batches[0].rolled_back_to == before.number - depth
    assert book.rows() == fresh(stage, 12).rows() == fresh(stage, 0).rows()
    assert book.deposited_micro(payer.address) == stage.client.free_micro(payer.address)
    book.close()
