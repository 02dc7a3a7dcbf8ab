"""The outbox's promises, one by one, against a chain that is killed, reorganised and used by others."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chain.errors import RpcRefused, Transient, Unreachable
from chain.outbox import BUMP_AFTER_S, MAX_IN_FLIGHT, REBROADCAST_S, REFUSED_AT_ONCE, Sender
from chain.transactions import TransactionSigner

from .conftest import PAYER, Stage, mint, set_stage
from .nodes import ROOT, Anvil, DevChain
from .sessions import agree
from .sqlite_store import SqliteStore

StageMaker = Callable[..., Stage]
MANUAL = ("--block-time", "3600")


class Clock:
    """Monotonic seconds that pass when told."""

    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "outbox.db")
    yield store
    store.close()


class Actor:
    """A sender of the payer's key with everything around it."""

    def __init__(self, stage: Stage, store: SqliteStore) -> None:
        self.stage, self.store, self.clock = stage, store, Clock()
        self.restart()

    def restart(self) -> None:
        """Forget everything that is not in the store."""
        signer = TransactionSigner(self.stage.client, self.stage.node.key(PAYER))
        self.sender = Sender(self.stage.client, signer, self.store, clock=self.clock)

    def pay(self, name: str, amount_micro: int = 1) -> bytes:
        """An intent that must not be carried out twice: a plain transfer to an account of its own."""
        recipient = os.urandom(20)
        self.store.add(name, self.stage.calls.transfer(recipient, amount_micro))
        return recipient

    def received(self, recipient: bytes) -> int:
        return self.stage.client.token_micro(recipient)

    def run(self, seconds: float = 20, each_step_s: float = 0) -> None:
        """Step and mine until everything is settled."""
        deadline = time.monotonic() + seconds
        while None in self.store.outcomes().values():
            assert time.monotonic() < deadline, self.store.outcomes()
            self.sender.step()
            self.clock.at_s += each_step_s
            self.stage.node.mine()


def test_nothing_is_settled_before_its_block_is_final(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(3), store)
    recipient = actor.pay("a")
    actor.sender.step()
    assert store.mined("a") is None
    for depth in range(3):
        actor.stage.node.mine()
        actor.sender.step()
        assert store.outcomes() == {"a": None}, depth
        assert store.mined("a") is not None
    actor.stage.node.mine()
    actor.sender.step()
    assert store.outcomes() == {"a": "succeeded"}
    assert actor.received(recipient) == 1


def test_after_a_reorganisation_the_same_bytes_are_sent_again(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(3), store)
    snapshot = actor.stage.node.ask("evm_snapshot")
    recipient = actor.pay("a")
    actor.sender.step()
    actor.stage.node.mine(2)
    actor.sender.step()
    first, bytes_before = store.mined("a"), store.attempts("a")
    assert actor.stage.node.ask("evm_revert", snapshot)
    actor.stage.node.mine()
    actor.sender.step()
    assert store.mined("a") is None
    actor.run()
    assert store.attempts("a") == bytes_before
    assert store.mined("a") != first
    assert actor.received(recipient) == 1


def test_a_nonce_used_by_another_program_is_given_up_only_when_that_is_final(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(2), store)
    client = actor.stage.client
    recipient = actor.pay("a")
    other = TransactionSigner(client, actor.stage.node.key(PAYER))
    nonce = client.nonce(other.address)
    theirs = other.sign(actor.stage.calls.transfer(os.urandom(20), 5), nonce)
    client.send(theirs.raw)
    actor.stage.node.mine()
    # Our half: an attempt for the very same nonce, signed before the other was seen.
    ours = other.sign(store.open_intents(b"")[0].call, nonce)
    store.save_attempt("a", ours)
    for _ in range(2):
        actor.sender.step()
        actor.sender.step()
        assert store.released("a") == 0
        assert [attempt.hash for attempt in store.attempts("a")] == [ours.hash]
        actor.stage.node.mine()
    actor.run()
    assert store.released("a") == 1
    assert [attempt.nonce for attempt in store.attempts("a")] == [nonce + 1]
    assert actor.received(recipient) == 1


def test_a_gap_left_by_another_program_is_closed(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(2), store)
    node, client = actor.stage.node, actor.stage.client
    other = TransactionSigner(client, node.key(PAYER))
    snapshot = node.ask("evm_snapshot")
    client.send(other.sign(actor.stage.calls.transfer(os.urandom(20), 5), client.nonce(other.address)).raw)
    node.mine()
    recipient = actor.pay("a")
    actor.sender.step()
    node.ask("evm_revert", snapshot)  # the other's transaction is gone, and ours waits behind a nonce that nobody fills
    node.mine()
    for _ in range(4):
        actor.clock.at_s += REBROADCAST_S
        actor.sender.step()
        node.mine()
    assert store.mined("a") is None
    actor.run(each_step_s=REBROADCAST_S)
    assert len(store.attempts("a")) == 1
    assert actor.received(recipient) == 1


def test_a_transaction_that_waits_too_long_is_priced_again_for_the_same_nonce(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(None), store)
    recipients = [actor.pay(name) for name in "ab"]
    actor.sender.step()
    actor.clock.at_s += BUMP_AFTER_S + 1
    actor.sender.step()
    first, second = store.attempts("a")
    assert first.nonce == second.nonce
    assert second.fee_wei * 100 >= first.fee_wei * 110
    assert len(store.attempts("b")) == 1  # only the first in line can be held up by its price
    actor.stage.node.mine()
    actor.sender.step()
    assert store.outcomes() == {"a": "succeeded", "b": "succeeded"}
    assert [actor.received(recipient) for recipient in recipients] == [1, 1]


def test_what_builds_on_an_unmined_one_waits_and_what_is_refused_is_not_sent(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(2), store)
    calls, stage_ = actor.stage.calls, actor.stage
    store.add("approve", calls.approve(stage_.deployment.escrow, 900))
    store.add("deposit", calls.deposit(900))
    store.add("close", calls.close(agree(stage_).terms))
    actor.run()
    assert store.outcomes() == {"approve": "succeeded", "deposit": "succeeded", "close": "refused"}
    assert stage_.client.free_micro(stage_.address(PAYER)) == 900
    assert store.attempts("close") == []


def test_what_is_refused_keeps_nothing_else_waiting(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(4), store)
    other, calls, client = TransactionSigner(actor.stage.client, actor.stage.node.key(PAYER)), actor.stage.calls, actor.stage.client
    balance = client.token_micro(other.address)
    actor.stage.node.mine(5)
    client.send(other.sign(calls.transfer(os.urandom(20), balance - 100), client.nonce(other.address)).raw)
    actor.stage.node.mine()  # in the newest block there is too little for the first intents, in the final one there is enough
    for index in range(REFUSED_AT_ONCE + 1):
        actor.pay(f"blocked {index}", balance)
    recipient = actor.pay("free")
    actor.sender.step()
    assert len(store.attempts("free")) == 1
    later = actor.pay("later")
    actor.sender.step()
    assert len(store.attempts("later")) == 1
    assert set(store.outcomes().values()) == {None}
    actor.run()
    assert [actor.received(each) for each in (recipient, later)] == [1, 1]
    assert sorted(name for name, outcome in store.outcomes().items() if outcome != "refused") == ["free", "later"]


def test_a_transaction_mined_without_effect_is_called_reverted(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(None), store)
    head = actor.stage.client.anchor_head(actor.stage.address(PAYER))
    store.add("one", actor.stage.calls.anchor(head, os.urandom(32)))
    store.add("two", actor.stage.calls.anchor(head, os.urandom(32)))  # made for the same head: only one can apply
    actor.run()
    assert store.outcomes() == {"one": "succeeded", "two": "reverted"}


def test_a_long_queue_goes_out_in_order_and_never_too_many_at_once(manual_stage: StageMaker, store: SqliteStore) -> None:
    actor = Actor(manual_stage(None), store)
    recipients = [actor.pay(f"{index:02}") for index in range(MAX_IN_FLIGHT + 5)]
    report = actor.sender.step()
    assert report.waiting == 5
    assert sum(bool(store.attempts(name)) for name in store.outcomes()) == MAX_IN_FLIGHT
    actor.run()
    assert set(store.outcomes().values()) == {"succeeded"}
    nonces = [store.attempts(name)[0].nonce for name in sorted(store.outcomes())]
    assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
    assert all(actor.received(recipient) == 1 for recipient in recipients)


def test_a_node_that_loses_its_pool_gets_the_same_bytes_again(
    devchain: Callable[..., DevChain], tmp_path: Path, store: SqliteStore
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    node = devchain("--port", port, state=tmp_path / "chain")
    stage = set_stage(node, tmp_path, None)
    mint(stage, 1_000)
    node.stop()
    stage.node = devchain("--port", port, *MANUAL, state=tmp_path / "chain")
    actor = Actor(stage, store)
    recipient = actor.pay("a")
    actor.sender.step()
    before = store.attempts("a")
    stage.node.stop(signal.SIGKILL)
    with pytest.raises(Transient):
        actor.sender.step()
    stage.node = devchain("--port", port, *MANUAL, state=tmp_path / "chain")
    stage.node.mine()
    actor.sender.step()
    assert stage.client.receipt(before[0].hash) is None
    actor.clock.at_s += REBROADCAST_S
    actor.run()
    assert store.attempts("a") == before
    assert actor.received(recipient) == 1
    stage.client.close()


class Died(Exception):
    """The process ended here, as far as the sender is concerned."""


class RandomLife(Actor):
    """An actor to whom everything happens that can, in random order."""

    DEPTH = 4

    def __init__(self, stage: Stage, store: SqliteStore, chooser: random.Random) -> None:
        super().__init__(stage, store)
        self.chooser = chooser
        self.recipients: dict[str, bytes] = {}
        self.node = stage.node
        self.snapshots = [(self.node.head(), self.node.ask("evm_snapshot"))]
        self.highest = self.node.head()
        self.counts: Counter[str] = Counter()
        self.deadly = True
        for target, names in ((store, ("save_attempt", "save_mined", "settle", "release")), (stage.client, ("send",))):
            for name in names:
                setattr(target, name, self._deadly(getattr(target, name)))

    def _deadly(self, inner: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if self.deadly and self.chooser.random() < 0.03:
                raise Died
            answer = inner(*arguments)
            if self.deadly and self.chooser.random() < 0.03:
                raise Died
            return answer

        return call

    def add(self) -> None:
        name = str(len(self.recipients))
        self.recipients[name] = self.pay(name)

    def step(self) -> None:
        try:
            self.clock.at_s += self.chooser.choice([0.0, 1.0, REBROADCAST_S, BUMP_AFTER_S])
            self.sender.step()
        except Died:
            self.counts["died"] += 1
            self.restart()

    def mine(self) -> None:
        self.node.mine()
        self.highest = max(self.highest, self.node.head())
        self.snapshots.append((self.node.head(), self.node.ask("evm_snapshot")))

    def reorganise(self) -> None:
        final = max(self.highest - self.DEPTH, self.snapshots[0][0])
        target = self.chooser.choice([each for each in self.snapshots if each[0] >= final])
        self.snapshots = self.snapshots[: self.snapshots.index(target)]
        self.node.ask("evm_revert", target[1])
        self.node.ask("evm_increaseTime", 1)
        self.counts["reorganised"] += 1
        self.mine()

    def meddle(self) -> None:
        """Another program sends with the same key."""
        other = TransactionSigner(self.stage.client, self.node.key(PAYER))
        signed = other.sign(self.stage.calls.transfer(os.urandom(20), 1), self.stage.client.nonce(other.address))
        with suppress(RpcRefused, Died):
            self.stage.client.send(signed.raw)
            self.counts["meddled"] += 1


@pytest.mark.parametrize("seed", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_in_random_lives_every_intent_is_carried_out_once(manual_stage: StageMaker, store: SqliteStore, seed: int) -> None:
    """Deaths, reorganisations above the final block, another program on the same key, lost pools: 300 random moves."""
    life = RandomLife(manual_stage(RandomLife.DEPTH), store, random.Random(seed))
    moves = [life.add] * 3 + [life.step] * 8 + [life.mine] * 6 + [life.reorganise] + [life.meddle]
    for _ in range(300):
        life.chooser.choice(moves)()
    life.deadly = False
    life.restart()
    life.run(60, each_step_s=10)
    assert min(life.counts[each] for each in ("died", "reorganised", "meddled")) >= 3, life.counts
    assert set(store.outcomes().values()) == {"succeeded"}
    assert store.settled_more_than_once() == []
    assert {name: life.received(recipient) for name, recipient in life.recipients.items()} == dict.fromkeys(life.recipients, 1)


DEATHS = [
    ("save_attempt", "before", 1), ("save_attempt", "after", 1), ("send", "before", 2), ("send", "after", 1), ("send", "after", 3),
    ("save_mined", "before", 1), ("save_mined", "after", 2), ("settle", "before", 2), ("settle", "after", 1), ("save_attempt", "after", 3),
]  # fmt: skip


def test_a_sender_killed_at_any_point_loses_and_doubles_nothing(stage: StageMaker, store: SqliteStore, tmp_path: Path) -> None:
    made = stage(1)
    mint(made, 1_000)
    recipients: list[bytes] = []

    def run(*death: object) -> int:
        arguments = [made.node.url, tmp_path / "deployment.json", tmp_path / "outbox.db", PAYER, 1, *death]
        command = [sys.executable, "-m", "tests.chain.outbox_process", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=False).returncode

    for number, death in enumerate(DEATHS):
        for index in range(3):
            recipients.append(os.urandom(20))
            store.add(f"{number}.{index}", made.calls.transfer(recipients[-1], 1))
        assert run(*death) == -signal.SIGKILL, death
    assert run() == 0
    assert set(store.outcomes().values()) == {"succeeded"}
    assert store.settled_more_than_once() == []
    assert [made.client.token_micro(recipient) for recipient in recipients] == [1] * len(recipients)
    assert made.client.nonce(made.address(PAYER)) == len(recipients)


def test_away_is_away(stage: StageMaker, store: SqliteStore) -> None:
    made = stage(None)
    actor = Actor(made, store)
    made.node.stop(signal.SIGKILL)
    with pytest.raises(Unreachable):
        actor.sender.step()


@pytest.mark.needs_foundry
@pytest.mark.parametrize("depth", [1, 2, 12])
def test_on_anvil_a_reorganised_transaction_is_sent_again_byte_for_byte(
    anvil_stage: StageMaker, store: SqliteStore, depth: int
) -> None:
    stage = anvil_stage(12)
    mint(stage, 1_000)
    stage.node.mine(12)
    actor = Actor(stage, store)
    recipients = [actor.pay(name) for name in "ab"]
    actor.sender.step()
    actor.sender.step()
    before, first = store.attempts("a") + store.attempts("b"), store.mined("a")
    assert first is not None
    stage.node.mine(max(0, depth - 2))
    assert isinstance(stage.node, Anvil)
    stage.node.reorganise(depth)
    actor.run()
    assert store.outcomes() == {"a": "succeeded", "b": "succeeded"}
    assert store.attempts("a") + store.attempts("b") == before
    assert [actor.received(recipient) for recipient in recipients] == [1, 1]
    assert store.settled_more_than_once() == []
