"""What the service sends of tasks, and when: no stranger fills its queue, one transaction at a time, and nothing signed is forgotten."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from backend.errors import BadRequest, Refused, Unavailable
from backend.models import IntentRow, TaskRow
from backend.onchain.outbox import RETRY_S, DatabaseStore
from backend.store.facts import CHAIN, ChainStatus, remember
from backend.tasks import following, opening, proofs
from chain import event_types
from chain.errors import Reverted
from chain.outbox import Mined, Outcome
from chain.rpc import BlockRef
from protocol.eip712 import digest, to_json
from protocol.keys import Signer
from protocol.money import Open, Payment, RequestClose
from protocol.task import Completion, Description, Proof, Task, task_id
from tests.service.inside import Inside

PRICE = 1_000


class House:
    """A service with tasks in it; the chain's answers are given by hand."""

    def __init__(self, inside: Inside) -> None:
        self.inside, self.service = inside, inside.service
        self.service.deployment = inside.service.deployment._replace(task_escrow=os.urandom(20))
        self.requester, self.node = Signer.create(), os.urandom(20)
        self.chain_s = self.service.now_s()
        self.at(0)

    def at(self, seconds: int) -> None:
        """Move the chain's clock, and ours with it."""
        self.inside.at(seconds)
        with self.service.db.writing() as db:
            remember(db, CHAIN, ChainStatus(10_000, self.chain_s + seconds, 10_000, self.chain_s + seconds, 0, caught_up=True)._asdict())

    def asked(self, **changes: Any) -> opening.Opening:
        description = Description("air", "compressor", ())
        key = self.requester.address
        task = Task(
            key, self.node, key, key, bytes(20), description.hash, PRICE, self.chain_s + 3_600, 0, int(Proof.RELEASE), bytes(32), 0,
            bytes(20), 0, 0, os.urandom(32),
        )._replace(**changes)  # fmt: skip
        self.identity = task_id(task, self.service.deployment.chain_id, self.service.deployment.address_of("TaskEscrow"))
        deadline_s = self.service.now_s() + 300
        signature = self.requester.sign(digest(opening.domain(self.service), Open(self.identity, PRICE, deadline_s)))
        return opening.Opening(to_json(task), description.to_document(), deadline_s, signature, None)

    def post(self, asked: opening.Opening) -> TaskRow:
        """As the route does, but for the question to the chain."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opening, "_dry_run", lambda service, checked: None)
            checked = opening.check(self.service, asked)
        if isinstance(checked, TaskRow):
            return checked
        with self.service.db.writing() as db:
            return opening.open_task(db, self.service, checked)

    def opened(self, **changes: Any) -> bytes:
        self.post(self.asked(**changes))
        self.settle(Outcome.SUCCEEDED)
        self.inside.final(event_types.TaskOpened(self.identity, self.requester.address, self.node, PRICE))
        return self.identity

    def row(self, identity: bytes) -> TaskRow:
        with self.service.db.reading() as db:
            return db.get_one(TaskRow, identity)

    def pay(self, identity: bytes, amount_micro: int) -> None:
        payment = Payment(identity, amount_micro, bytes(32))
        with self.service.db.writing() as db:
            signature = self.requester.sign(digest(opening.domain(self.service), payment))
            proofs.pay(db, self.service, opening.get_task(db, identity, lock=True), payment, signature)

    def wanted(self, kind: str) -> list[IntentRow]:
        with self.service.db.reading() as db:
            return list(db.scalars(select(IntentRow).where(IntentRow.kind == kind).order_by(IntentRow.id)))

    def settle(self, outcome: Outcome, name: str = "Refused") -> None:
        """Every open intent ends so."""
        mined = Mined(os.urandom(32), BlockRef(7, os.urandom(32)), True, 5, 10) if outcome is Outcome.SUCCEEDED else None
        store = DatabaseStore(self.service, self.service.db.writing)
        for intent in store.open_intents(self.service.keys.sender.address):
            store.settle(intent.id, outcome, mined, None if mined else Reverted(name, {}, ""))

    def round(self) -> None:
        following.round_(self.service, self.service.db.writing)


@pytest.fixture
def house(inside: Inside) -> House:
    return House(inside)


def test_an_opening_that_cannot_go_leaves_nothing_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="cannot be asked"):
        opening.check(house.service, house.asked())
    assert house.wanted("open-task") == []
    monkeypatch.setattr(opening, "MAX_OPENING", 2)
    first = house.asked()
    house.post(first)
    house.post(house.asked())
    with pytest.raises(opening.TooMany):
        house.post(house.asked())
    assert house.post(first).state == "opening"  # the same again is no new one
    house.settle(Outcome.REFUSED)
    house.round()
    assert house.post(house.asked()).state == "opening"  # there is room again
    identity = house.post(first).task  # refused before: opened anew
    assert len([each for each in house.wanted("open-task") if each.reference == identity]) == 2
    house.service.deployment = house.service.deployment._replace(task_escrow=None)
    with pytest.raises(Unavailable, match="TaskEscrow"):
        opening.check(house.service, first)


def test_a_refused_opening_ends_and_counts_when_the_chain_says_so_after_all(house: House) -> None:
    identity = house.post(house.asked()).task
    house.settle(Outcome.REFUSED, "TaskIdUsed")
    house.round()
    assert house.row(identity).state == "refused"
    house.inside.final(event_types.TaskOpened(identity, house.requester.address, house.node, PRICE))
    assert house.row(identity).state == "open"


def test_a_stream_costs_one_transaction_at_a_time_and_ends_at_its_highest_word(house: House) -> None:
    identity = house.opened()
    for amount in range(1, 50):
        house.pay(identity, amount)
    house.round()
    assert house.wanted("pay-task") == []
    for amount in (50, 51, 400):
        house.pay(identity, amount)
    house.round()
    assert len(house.wanted("pay-task")) == 1
    house.settle(Outcome.SUCCEEDED)
    house.inside.final(event_types.TaskPaid(identity, house.node, 50, bytes(32)))
    house.round()
    house.round()
    assert len(house.wanted("pay-task")) == 2
    house.settle(Outcome.SUCCEEDED)
    house.inside.final(event_types.TaskPaid(identity, house.node, 400, bytes(32)))
    house.pay(identity, 401)
    house.round()
    assert len(house.wanted("pay-task")) == 2
    house.at(3_400)  # the end is near: the last micro-unit counts
    house.round()
    assert len(house.wanted("pay-task")) == 3


def test_a_word_that_was_refused_is_wanted_again_and_then_a_lower_one(house: House) -> None:
    identity = house.opened()
    house.pay(identity, 300)
    house.settle(Outcome.REFUSED)
    house.pay(identity, 500)
    assert len(house.wanted("pay-task")) == 1  # not at once
    for tries in range(1, 5):
        house.at(tries * (RETRY_S + 1))
        house.round()
        house.settle(Outcome.REFUSED)
    calls = [each.data for each in house.wanted("pay-task")]
    assert calls[1] == calls[2] == calls[3] != calls[0] == calls[4]
    order = RequestClose(identity, house.service.now_s() + 60)
    signature = house.requester.sign(digest(opening.domain(house.service), order))
    for count in (1, 1, 2):
        if count == 2:
            house.settle(Outcome.REFUSED)
        with house.service.db.writing() as db:
            proofs.stop(db, house.service, opening.get_task(db, identity, lock=True), order, signature)
        assert len(house.wanted("stop-task")) == count
    late = order._replace(deadline_s=house.service.now_s() + 5)
    with house.service.db.writing() as db, pytest.raises(BadRequest, match="ahead"):
        proofs.stop(db, house.service, opening.get_task(db, identity, lock=True), late, signature)


def test_a_long_grace_keeps_nobody_else_waiting_and_a_refused_return_is_wanted_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AT_ONCE", 2)
    for _ in range(2):
        house.opened(proof_grace_s=7 * 86_400)
    short = house.opened(proof_grace_s=10)
    house.inside.at(10_000)  # our own clock alone decides nothing
    house.round()
    assert house.wanted("close-task") == []
    house.at(3_611)
    for _ in range(2):
        house.round()
        assert [each.reference for each in house.wanted("close-task")] == [short]
    house.settle(Outcome.REFUSED, "CloseNotDue")
    house.round()
    assert len(house.wanted("close-task")) == 1
    house.at(3_611 + RETRY_S + 1)
    house.round()
    assert len(house.wanted("close-task")) == 2


def test_energy_that_is_sold_already_earns_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "check_energy_proof", lambda *given: bytes(32))  # the proof itself is not what is asked here
    start, end = (SimpleNamespace(record=SimpleNamespace(import_milliwatt_hours=register)) for register in (1_000, 3_000))
    key = bytes(20)
    task = Task(key, key, key, key, key, bytes(32), PRICE, 0, 0, int(Proof.ENERGY), bytes(32), 0, key, 2_000, 0, bytes(32))

    def check(amount_micro: int, sold: proofs.Sold | None) -> None:
        row: Any = SimpleNamespace(opened_at_s=0, ends_at_s=0)
        stretch: Any = SimpleNamespace(start=start, end=end)
        proofs._check_energy(row, task, Completion(bytes(32), amount_micro, bytes(32)), stretch, sold)

    check(PRICE, None)
    check(PRICE, proofs.Sold(0, 0))
    check(PRICE, proofs.Sold(2_000, 1_000))  # half of it was sold to this very task
    check(PRICE // 2, proofs.Sold(2_000, 0))
    for sold in (proofs.Sold(2_000, 0), proofs.Sold(9_000, 0)):
        with pytest.raises(Refused, match="is sold up to") as refused:
            check(PRICE // 2 + 1, sold)
        assert refused.value.code == "AmountBeyondEnergy"
