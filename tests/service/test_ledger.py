"""The books under random transfers: always balanced, never overdrawn, each cause once; a plain Python model says what must be so."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import update

from backend.errors import LedgerError
from backend.models import Transfer
from backend.money.ledger import Kind, Ledger, assert_balanced, transfer_id, trial_balance
from tests.service.inside import Inside

SESSION = st.sampled_from([bytes([n]) * 32 for n in range(3)])
AMOUNT = st.integers(min_value=0, max_value=1_000)


class Books(RuleBasedStateMachine):
    """Lock, reserve, use, claim, close, in any order and any number of times; some rules repeat an earlier cause."""

    @initialize()
    def make(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.inside = Inside(Path(self.folder.name))
        self.locked: dict[bytes, int] = {}
        self.free: dict[bytes, int] = {}  # left of the reservations
        self.used: dict[bytes, int] = {}
        self.payee = 0
        self.count = 0
        self.done: list[tuple[str, bytes, int, int]] = []

    def _apply(self, what: str, session: bytes, amount: int, number: int) -> bool:
        """One transaction; False if the books refused it."""
        try:
            with self.inside.service.db.writing() as db:
                ledger = Ledger(db, 1, number)
                locked, use = ledger.account(Kind.LOCKED, session), ledger.account(Kind.USE, session)
                customers, sales, payee = (ledger.account(kind) for kind in (Kind.CUSTOMERS, Kind.SALES, Kind.PAYEE))
                ledger.apply({
                    "lock": lambda: [
                        ledger.move(customers, locked, amount, "opened", session, number),
                        ledger.reserve(use, sales, amount, "reserved", session, number),
                    ],
                    "use": lambda: ledger.draw(session, use, sales, amount, "use", number),
                    "claim": lambda: [ledger.move(locked, payee, amount, "claimed", session, number)],
                    "void": lambda: ledger.void_all(session, f"void {number}"),
                }[what]())  # fmt: skip
        except LedgerError:
            return False
        return True

    def _new(self, what: str, session: bytes, amount: int) -> bool:
        self.count += 1
        made = self._apply(what, session, amount, self.count)
        if made:
            self.done.append((what, session, amount, self.count))
        return made

    @rule(session=SESSION, amount=AMOUNT)
    def lock(self, session: bytes, amount: int) -> None:
        assert self._new("lock", session, amount)
        self.locked[session] = self.locked.get(session, 0) + amount
        self.free[session] = self.free.get(session, 0) + amount

    @rule(session=SESSION, amount=AMOUNT)
    def use(self, session: bytes, amount: int) -> None:
        assert self._new("use", session, amount)
        self.free[session] = max(0, self.free.get(session, 0) - amount)
        self.used[session] = self.used.get(session, 0) + amount

    @rule(session=SESSION, amount=AMOUNT)
    def claim(self, session: bytes, amount: int) -> None:
        enough = amount <= self.locked.get(session, 0)
        assert self._new("claim", session, amount) is enough
        if enough:
            self.locked[session] = self.locked.get(session, 0) - amount
            self.payee += amount

    @rule(session=SESSION)
    def void(self, session: bytes) -> None:
        assert self._new("void", session, 0)
        self.free[session] = 0

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The same cause again changes nothing. (A draw is computed from what is left, so its repeat is the ingest's business.)"""
        again = [entry for entry in self.done if entry[0] in ("lock", "claim")]
        if again:
            assert self._apply(*data.draw(st.sampled_from(again)))

    @invariant()
    def as_the_model_says(self) -> None:
        if not hasattr(self, "inside"):
            return
        with self.inside.service.db.reading() as db:
            assert_balanced(db)
            ledger = Ledger(db, 1, 0)
            assert ledger.balance(Kind.PAYEE) == self.payee
            assert trial_balance(db)["debitsPending"] == sum(self.free.values())
            for session in self.locked.keys() | self.used.keys():
                assert ledger.balance(Kind.LOCKED, session) == self.locked.get(session, 0)
                assert -ledger.balance(Kind.USE, session) == self.used.get(session, 0)

    def teardown(self) -> None:
        self.inside.service.db.close()
        self.folder.cleanup()


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not os.environ.get("CI")
)


def test_the_same_cause_with_another_amount_is_refused(inside: Inside) -> None:
    with inside.service.db.writing() as db:
        ledger = Ledger(db, 1, 0)
        a, b = ledger.account(Kind.CUSTOMERS), ledger.account(Kind.PAYEE)
        ledger.apply([ledger.move(a, b, 5, "deposited", b"", 1)])
    with pytest.raises(LedgerError, match="another transfer"), inside.service.db.writing() as db:  # noqa: PT012
        ledger = Ledger(db, 1, 0)
        ledger.apply([ledger.move(a, b, 6, "deposited", b"", 1)])


def test_a_refused_transfer_takes_its_whole_transaction_with_it(inside: Inside) -> None:
    with pytest.raises(LedgerError, match="overdrawn"), inside.service.db.writing() as db:  # noqa: PT012
        ledger = Ledger(db, 1, 0)
        a, b = ledger.account(Kind.CUSTOMERS), ledger.account(Kind.PAYEE)
        ledger.apply([ledger.move(a, b, 5, "deposited", b"", 1)])
        ledger.apply([ledger.move(b, a, 6, "paid-out", b"", 1)])
    with inside.service.db.reading() as db:
        assert trial_balance(db)["moved"] == 0


def test_another_operators_account_cannot_be_moved(inside: Inside) -> None:
    with inside.service.db.writing() as db:
        theirs = Ledger(db, 0, 0).account(Kind.SALES)
    with pytest.raises(LedgerError, match="not this operator's"), inside.service.db.writing() as db:  # noqa: PT012
        ledger = Ledger(db, 1, 0)
        ledger.apply([ledger.move(ledger.account(Kind.CUSTOMERS), theirs, 5, "deposited", b"", 1)])


def test_ids_depend_on_every_part_of_the_cause() -> None:
    ids = {
        transfer_id(1, "a", b"x", 1), transfer_id(2, "a", b"x", 1), transfer_id(1, "b", b"x", 1), transfer_id(1, "a", b"y", 1),
        transfer_id(1, "a", b"x", 2), transfer_id(1, "ax", b"", 1), transfer_id(1, "a", b"x"),
    }  # fmt: skip
    assert len(ids) == 7


def test_a_running_sum_that_is_not_what_was_drawn_is_found(inside: Inside) -> None:
    session = os.urandom(32)
    with inside.service.db.writing() as db:
        ledger = Ledger(db, 1, 0)
        use, sales = ledger.account(Kind.USE, session), ledger.account(Kind.SALES)
        ledger.apply([ledger.reserve(use, sales, 10, "reserved", session)])
        ledger.apply(ledger.draw(session, use, sales, 4, "use", 1))
        assert [free for _, free in ledger.reservations(session)] == [6]
        assert_balanced(db)
    with inside.service.db.writing() as db:
        db.execute(update(Transfer).where(Transfer.kind == "pending").values(drawn_micro=5))
        with pytest.raises(LedgerError, match="another amount is drawn"):
            assert_balanced(db)
        db.rollback()
