"""One deposit, one payout, one rail or one step that fails holds up itself only; and nobody's junk takes anybody's place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.errors import BadRequest, ServiceError
from backend.models import Deposit, Payout, PayoutPart
from backend.providers.accounts import RailAccount
from backend.providers.rail import Movement, MovementKind, Payment, PaymentState, RailAway, RailRefused
from backend.rails import deposits, movements, payouts
from backend.rails.guards import AWAY_IN_A_ROW, HELD, held_last
from backend.rails.rounds import Rounds
from backend.rails.rows import In, Out, get_deposit, get_payout
from backend.settings import RailSettings
from backend.store.facts import CHAIN, ChainStatus, remember
from chain.client import ChainClient, MintLimit
from chain.errors import RpcRefused
from protocol.eip712 import digest
from protocol.keys import Signer
from protocol.money import Withdraw
from tests.service.inside import Inside

CENT = 10_000
ACCOUNT, WITH_CODE = b"\x11" * 20, b"\x22" * 20


class Provider:
    """A provider's account that can be told to fail: for one payment, one charge, one deposit, or for all."""

    def __init__(self) -> None:
        self.fails: dict[str, ServiceError] = {}
        self.asked: list[str] = []
        self.moved: list[Movement] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        for name in (what, "all"):
            if name in self.fails:
                raise self.fails[name]

    def create_payment(self, deposit: bytes, amount_minor: int) -> Payment:
        self._ask(deposit.hex())
        return Payment(f"cs_{deposit.hex()}", "https://pay.example/", int(time.time()) + 86_400)

    def read_payment(self, payment_id: str) -> PaymentState:
        self._ask(payment_id)
        return PaymentState(True, False, payment_id.replace("cs", "ch"), 100, 0, "")

    def refund(self, charge_id: str, amount_minor: int, part: bytes) -> str:
        self._ask(charge_id)
        return f"re_{part.hex()}"

    def balance(self) -> int:
        return 0

    def movements(self, since_s: int) -> Sequence[Movement]:
        self._ask("movements")
        return self.moved


class Node:
    """What the steps ask of the chain's client; `refuses`: a call that the node will not run."""

    def __init__(self, till: Signer) -> None:
        self.till, self.refuses = till, b""

    def mint_limit(self) -> MintLimit:
        return MintLimit(self.till.address, 10**15, 0, 0)

    def head(self) -> Any:
        return SimpleNamespace(time_s=int(time.time()))

    def is_valid_signature(self, account: bytes, signed: bytes, signature: bytes) -> bool | None:
        """As the client: None where there is no code."""
        return signature == b"its owners" if account == WITH_CODE else None

    def call(self, to: bytes, data: bytes, **_: Any) -> bytes:
        if self.refuses and self.refuses in data:
            raise RpcRefused("eth_call", -32_000, "out of gas")
        return b""


class House:
    """A service with two rails, without loops."""

    def __init__(self, folder: Path) -> None:
        self.inside = Inside(folder)
        service = self.service = self.inside.service
        till = Signer.create()
        service.keys = service.keys._replace(till=till)
        self.card, self.bank, self.node = Provider(), Provider(), Node(till)
        settings = RailSettings.model_validate({"api_key_file": "key", "webhook_secret_file": "hook", "poll_seconds": 3_600})
        service.rails = {name: RailAccount(name, settings, rail, ()) for name, rail in (("card", self.card), ("bank", self.bank))}
        with service.db.writing() as db:
            remember(db, CHAIN, ChainStatus(1, 1, 1, 1, 1, True)._asdict())
        self.client = cast(ChainClient, self.node)
        service._node = self.client
        self.rounds = Rounds(service, self.client)

    def deposit(self, rail: str = "card") -> bytes:
        with self.service.db.writing() as db:
            return deposits.request(db, self.service, self.service.rails[rail], ACCOUNT, 100 * CENT).id

    def create(self, deposit_id: bytes) -> None:
        deposits.create(self.service, self.service.rails[self.row(deposit_id).rail], self.service.db.writing, deposit_id)

    def pay(self, deposit_id: bytes) -> None:
        name, at_s = deposit_id.hex(), int(time.time())
        moved = Movement(f"txn_{name}", MovementKind.CHARGE, 100, 0, f"ch_{name}", deposit_id, None, at_s)
        with self.service.db.writing() as db:
            movements.apply(db, self.service, self.service.rails[get_deposit(db, deposit_id).rail], moved)

    def paid(self, rail: str = "card") -> bytes:
        deposit_id = self.deposit(rail)
        self.create(deposit_id)
        self.pay(deposit_id)
        return deposit_id

    def credited(self, rail: str = "card") -> bytes:
        deposit_id = self.paid(rail)
        with self.service.db.writing() as db:
            row = get_deposit(db, deposit_id)
            row.state, row.mint_micro = In.CREDITED, row.paid_micro
        return deposit_id

    def payout(self, deposit_id: bytes, state: Out) -> bytes:
        with self.service.db.writing() as db:
            row = get_deposit(db, deposit_id)
            payout = Payout(
                id=deposit_id[::-1], operator_id=0, rail=row.rail, account=ACCOUNT, amount_micro=100 * CENT, nonce=0,
                deadline_s=int(time.time()) + 600, signature=deposit_id + deposit_id + b"\x1b", state=state, why="",
                created_at_s=int(time.time()),
            )  # fmt: skip
            db.add(payout)
            db.flush()
            if state == Out.REFUNDING:
                payouts.set_aside(db, payout, [(row, 100 * CENT)])
            return payout.id

    def row(self, deposit_id: bytes) -> Deposit:
        with self.service.db.reading() as db:
            return get_deposit(db, deposit_id)

    def out(self, payout_id: bytes) -> Payout:
        with self.service.db.reading() as db:
            return get_payout(db, payout_id)

    def part(self, payout_id: bytes, deposit_id: bytes) -> PayoutPart:
        with self.service.db.reading() as db:
            return db.get_one(PayoutPart, (payout_id, deposit_id))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.inside.close()


def mint(house: House) -> None:
    deposits.mint_due(house.service, house.client, house.service.db.writing)


@pytest.mark.parametrize("failure", [RailAway("GET: status 500", "rail"), RailRefused("no such payment", "missing")])
def test_a_payment_that_cannot_be_read_holds_up_itself_only(house: House, failure: ServiceError) -> None:
    stuck, *others = [house.paid() for _ in range(3)]
    house.card.fails[f"cs_{stuck.hex()}"] = failure
    with pytest.raises(type(failure)):
        mint(house)
    assert [house.row(each).state for each in others] == [In.MINTING] * 2
    assert (house.row(stuck).state, house.row(stuck).why) == (In.PAID, HELD + failure.detail)
    house.card.fails.clear()
    mint(house)
    assert (house.row(stuck).state, house.row(stuck).why) == (In.MINTING, "")


def test_a_rail_that_is_away_costs_few_questions_and_holds_up_itself_only(house: House) -> None:
    away, well = [house.paid() for _ in range(AWAY_IN_A_ROW + 4)], house.paid("bank")
    house.card.fails["all"] = RailAway("GET: ConnectTimeout", "rail")
    house.card.asked.clear()
    with pytest.raises(RailAway):
        mint(house)
    assert len(house.card.asked) == AWAY_IN_A_ROW
    assert house.row(well).state == In.MINTING
    assert {house.row(each).state for each in away} == {In.PAID}


def test_what_was_held_up_is_asked_about_last() -> None:
    assert held_last(["", HELD + "x", "daily-cap", HELD + "y"], str)[:2] == ["", "daily-cap"]


def test_a_refund_without_an_answer_holds_up_itself_only(house: House) -> None:
    first, second = house.credited(), house.credited()
    stuck, other = house.payout(first, Out.REFUNDING), house.payout(second, Out.REFUNDING)
    house.card.fails[f"ch_{first.hex()}"] = RailAway("POST /v1/refunds: status 500", "rail")
    with pytest.raises(RailAway):
        payouts.refund_due(house.service, house.service.db.writing)
    assert house.part(other, second).state == "asked"
    assert house.part(stuck, first).state == "waiting"
    assert house.out(stuck).why == HELD + "POST /v1/refunds: status 500"
    house.card.fails.clear()
    payouts.refund_due(house.service, house.service.db.writing)
    assert (house.part(stuck, first).state, house.out(stuck).why) == ("asked", "")


def test_a_withdrawal_the_node_cannot_judge_holds_up_itself_only_and_ends(house: House) -> None:
    first, second = house.credited(), house.credited()
    stuck, other = house.payout(first, Out.REQUESTED), house.payout(second, Out.REQUESTED)
    house.node.refuses = first

    def start() -> None:
        with pytest.raises(RpcRefused):
            payouts.start_due(house.service, house.client, house.service.db.writing)

    start()
    assert (house.out(stuck).state, house.out(other).state) == (Out.REQUESTED, Out.WITHDRAWING)
    assert "out of gas" in house.out(stuck).why
    house.inside.at(601)
    start()
    assert house.out(stuck).state == Out.REFUSED


def test_a_step_that_fails_is_reported_and_the_others_go_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise AssertionError("a fault of ours")

    monkeypatch.setattr(deposits, "refused_steps", fails)
    deposit, refunded = house.paid("bank"), house.credited("bank")
    payout = house.payout(refunded, Out.REFUNDING)
    unmade, made = house.deposit(), house.deposit()
    house.card.fails |= {unmade.hex(): RailAway("POST: status 500", "rail"), "movements": RailAway("GET: status 500", "rail")}
    with pytest.raises(RailAway):
        house.rounds.round(house.service.db.writing)
    assert house.row(deposit).state == In.MINTING
    assert house.part(payout, refunded).state == "asked"
    assert (house.row(made).state, house.row(unmade).why) == (In.AWAITING, HELD + "POST: status 500")
    assert house.inside.alarms() == ["loop-failed"]
    house.card.fails.clear()
    with pytest.raises(AssertionError):
        house.rounds.round(house.service.db.writing)
    assert house.row(unmade).state == In.AWAITING
    assert house.inside.alarms() == []


def test_strangers_close_the_door_to_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "MAX_UNPAID", 3)
    made = [house.deposit() for _ in range(3)]
    with house.service.db.writing() as db:
        for age, each in enumerate(made):
            get_deposit(db, each).created_at_s -= 100 - age
    house.create(made[1])  # the oldest that a payer can pay
    house.create(house.deposit())
    assert [house.row(each).state for each in made] == [In.CREATING, In.EXPIRED, In.CREATING]
    assert house.row(made[1]).why == deposits.CROWDED_OUT
    house.pay(made[1])  # paid late: it counts
    mint(house)
    assert house.row(made[1]).state == In.MINTING


def test_while_no_payment_can_be_made_ready_the_oldest_makes_room_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "MAX_UNPAID", 2)
    made = [house.deposit() for _ in range(5)]
    states = [house.row(each).state for each in made]
    assert (states.count(In.CREATING), states.count(In.EXPIRED)) == (2, 3)
    crowded = next(each for each in made if house.row(each).state == In.EXPIRED)
    house.create(crowded)
    assert house.card.asked == []


def test_a_payment_that_the_provider_refuses_to_make_is_over(house: House) -> None:
    refused = house.deposit()
    house.card.fails[refused.hex()] = RailRefused("amount too small", "amount")
    house.create(refused)
    row = house.row(refused)
    assert (row.state, row.why) == (In.EXPIRED, "no payment could be made ready: amount too small")
    house.pay(refused)
    assert house.row(refused).state == In.PAID


def test_junk_signatures_take_no_place_of_a_payout(house: House) -> None:
    payer = Signer.create()

    def ask(account: bytes, signature: bytes, deadline_s: int = 0) -> bytes:
        order = Withdraw(account, house.service.till.address, CENT, 0, deadline_s or int(time.time()) + 600)
        said = signature or payer.sign(digest(house.service.money, order))
        return payouts.request(house.service, house.service.rails["card"], house.service.db.writing, order, said)

    for account in (payer.address, WITH_CODE):
        deposit = house.credited()
        with house.service.db.writing() as db:
            get_deposit(db, deposit).account = account
        for number in range(payouts.MAX_REQUESTED + 1):
            with pytest.raises(BadRequest, match="the account signs Withdraw" if account == payer.address else "ERC-1271"):
                ask(account, number.to_bytes(65, "big"))
    deadline_s = int(time.time()) + 900
    own = ask(payer.address, b"", deadline_s)
    assert ask(payer.address, b"", deadline_s) == own
    coded = ask(WITH_CODE, b"its owners")
    assert [house.out(each).state for each in (own, coded)] == [Out.REQUESTED] * 2
