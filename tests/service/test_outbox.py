"""The database's half of the outbox behaves as the store in memory does, whatever is asked of it, across restarts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backend.errors import LeaseLost
from backend.onchain.outbox import DatabaseStore, intend
from backend.store.leases import LEASE_S, LeaseHolder
from chain.calls import Call
from chain.errors import Reverted
from chain.oneshot import MemoryStore
from chain.outbox import Mined, Outcome
from chain.rpc import BlockRef
from chain.transactions import SignedTransaction
from tests.service.inside import Inside


class Stores(RuleBasedStateMachine):
    @initialize()
    def make(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.inside = Inside(Path(self.folder.name))
        self.model = MemoryStore()
        self.sender = self.inside.service.keys.sender.address
        self.restart()
        self.nonce = 0
        self.open: list[str] = []

    @rule()
    def restart(self) -> None:
        self.store = DatabaseStore(self.inside.service, self.inside.service.db.writing)

    @rule(again=st.booleans(), number=st.integers(0, 5))
    def want(self, again: bool, number: int) -> None:
        call = Call(bytes(20), bytes([number]), "Test.call")
        with self.inside.service.db.writing() as db:
            cause = (b"fixed", number) if again else (os.urandom(32), 0)
            row = intend(db, self.inside.service, 1, call, kind="test", cause=cause, reference=bytes(32))
            intent_id, state = str(row.id), row.state
        if intent_id not in self.open and state == "open":
            self.model.add(intent_id, call)
            self.open.append(intent_id)

    @rule(data=st.data())
    def sign(self, data: st.DataObject) -> None:
        if self.open:
            chosen = data.draw(st.sampled_from(self.open))
            attempt = SignedTransaction(self.nonce, os.urandom(32), os.urandom(40), 21_000, 10**19 + self.nonce, self.nonce)
            self.nonce += 1
            for store in (self.store, self.model):
                store.save_attempt(chosen, attempt)

    @rule(data=st.data(), gone=st.booleans())
    def mined(self, data: st.DataObject, gone: bool) -> None:
        if self.open:
            chosen = data.draw(st.sampled_from(self.open))
            value = None if gone else Mined(os.urandom(32), BlockRef(7, os.urandom(32)), True, 5, 10**19)
            for store in (self.store, self.model):
                store.save_mined(chosen, value)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.open:
            chosen = data.draw(st.sampled_from(self.open))
            for store in (self.store, self.model):
                store.release(chosen)

    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def settle(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.open:
            chosen = data.draw(st.sampled_from(self.open))
            self.open.remove(chosen)
            reason = Reverted("HeadMoved", {}, "") if outcome is Outcome.REFUSED else None
            for store in (self.store, self.model):
                store.settle(chosen, outcome, None, reason)

    @invariant()
    def the_same_is_open(self) -> None:
        if hasattr(self, "store"):
            expected = {intent.id: intent for intent in self.model.open_intents(self.sender)}
            found = {intent.id: intent for intent in self.store.open_intents(self.sender)}
            signed = {intent_id for intent_id, intent in expected.items() if intent.attempts}
            assert signed <= found.keys() <= expected.keys()
            for intent_id, intent in found.items():
                assert intent == expected[intent_id]

    def teardown(self) -> None:
        self.inside.service.db.close()
        self.folder.cleanup()


TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not os.environ.get("CI")
)


def test_work_done_under_a_lost_lease_is_not_kept(inside: Inside) -> None:
    first, second = LeaseHolder(inside.service, "x"), LeaseHolder(inside.service, "x")
    assert first.take()
    assert not second.take()
    inside.at(LEASE_S + 2)  # the first slept; the second takes over
    assert second.take()
    call = Call(bytes(20), b"", "Test.call")
    with pytest.raises(LeaseLost), first.writing() as db:
        intend(db, inside.service, 1, call, kind="test", cause=(b"late",), reference=bytes(32))
    assert DatabaseStore(inside.service, second.writing).open_intents(inside.service.keys.sender.address) == []
    with second.writing() as db:
        intend(db, inside.service, 1, call, kind="test", cause=(b"ours",), reference=bytes(32))
    assert len(DatabaseStore(inside.service, second.writing).open_intents(inside.service.keys.sender.address)) == 1
    second.give_up()
    assert first.take()


def test_a_reader_takes_no_lock_and_a_writer_waits_for_none(inside: Inside) -> None:
    with inside.service.db.reading() as reading, inside.service.db.writing() as writing:
        from sqlalchemy import func, select

        from backend.models import IntentRow

        assert reading.scalar(select(func.count()).select_from(IntentRow)) == 0
        intend(writing, inside.service, 1, Call(bytes(20), b"", "x"), kind="test", cause=(b"x",), reference=bytes(32))
        assert reading.scalar(select(func.count()).select_from(IntentRow)) == 0
