"""A session's rules: one at a point, named ends, credit and its extensions, payments, top-up, stop, what the agent's silence means."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from backend.devices.policies import parse_policy
from backend.errors import BadRequest, Conflict, IllegalTransition, TooMany, Unavailable
from backend.models import AgentMessage, IntentRow
from backend.money.ledger import Kind, Ledger
from backend.reports.points import policy_words
from backend.reports.supply import cause_words
from backend.sessions import guard
from backend.sessions.life import get_session, ready
from backend.sessions.payments import pay
from backend.sessions.quotes import MAX_OPEN_QUOTES, Wish, quote
from backend.sessions.signed import open_session, stop, top_up
from backend.sessions.states import LIVE, STEPS, State, step
from backend.sessions.views import session_view
from backend.store.facts import CHAIN, remember
from chain import event_types
from meter_agent.policy import parse_policy as agents_policy
from protocol.control import Action, Cause, SupplyState
from protocol.eip712 import digest
from protocol.evidence import Reason
from protocol.keys import Signer
from protocol.money import Open, Payment, RequestClose, TopUp
from tests.service.bench_agent import POLICY, Meter
from tests.service.inside import LOCK_MICRO, Inside, Running


def round_of_the_guard(inside: Inside) -> None:
    guard.round_(inside.service, inside.service.db.writing)


def running(inside: Inside, **more: Any) -> Running:
    meter = Meter()
    return inside.session(meter, inside.enrol(meter, policy=more.pop("policy", None)), **more).connect()


def use(session: Running, milliwatt_hours: int, **more: Any) -> None:
    session.use(session.meter.frame(session.meter.record(rise=milliwatt_hours, **more)))


def test_every_step_that_the_table_does_not_have_raises(inside: Inside) -> None:
    session = running(inside)
    for state in State:
        with inside.service.db.writing() as db:
            row = get_session(db, session.session)
            if state not in STEPS[State.RUNNING]:
                with pytest.raises(IllegalTransition):
                    step(db, row, state, "a test", 0)
    assert session.state == "running"


def test_one_session_holds_a_point(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter)
    wish = Wish(point, inside.payer.address, inside.payer.address, True, None, LOCK_MICRO)
    with inside.service.db.writing() as db:
        other = quote(db, inside.service, wish)
        other_session, other_quote = other.session, other.quote_id
    inside.session(meter, point)
    with inside.service.db.writing() as db, pytest.raises(Conflict, match="taken"):
        quote(db, inside.service, wish)
    opening = (LOCK_MICRO, inside.service.now_s() + 600)
    signature = inside.payer.sign(digest(inside.service.money, Open(other_session, *opening)))
    with inside.service.db.writing() as db, pytest.raises(Conflict, match="taken"):
        open_session(db, inside.service, other_quote, opening, signature)


def test_quotes_need_a_charge_key_and_do_not_fill_the_table(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter, vouchers=0)
    wish = Wish(point, inside.payer.address, inside.payer.address, True, None, LOCK_MICRO)
    with inside.service.db.writing() as db, pytest.raises(Unavailable, match="charge key"):
        quote(db, inside.service, wish)
    with inside.service.db.writing() as db, pytest.raises(BadRequest, match="payee"):
        quote(db, inside.service, wish._replace(refund_to=inside.service.payee))
    paying = wish._replace(metered=False, signer=Signer.create().address)
    with inside.service.db.writing() as db:
        for _ in range(MAX_OPEN_QUOTES):
            quote(db, inside.service, paying)
        with pytest.raises(TooMany):
            quote(db, inside.service, paying)


def test_opened_too_late_by_the_payer_itself_gives_no_power_and_goes_back(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter)
    with inside.service.db.writing() as db:
        session = quote(db, inside.service, Wish(point, inside.payer.address, inside.payer.address, True, None, LOCK_MICRO)).session
    late = inside.service.now_s() + inside.settings.terms.quote_valid_seconds + 10
    inside.final(event_types.SessionOpened(session, inside.payer.address, inside.service.payee, LOCK_MICRO), time_s=late)
    with inside.service.db.reading() as db:
        row = get_session(db, session)
        assert row.state == "ended"
        assert "run out" in row.end_detail
        assert db.scalar(select(AgentMessage.id).where(AgentMessage.event == "grant")) is None


def test_a_session_nobody_quoted_here_raises_an_alarm(inside: Inside) -> None:
    inside.final(event_types.SessionOpened(os.urandom(32), os.urandom(20), inside.service.payee, 5))
    assert inside.alarms() == ["foreign-session"]


def test_end_of_credit_disconnects(inside: Inside) -> None:
    session = running(inside, lock_micro=500)
    use(session, 1_000)
    assert session.state == "running"
    use(session, 1_000)
    row = session.row()
    assert (row.state, row.end_cause) == ("ending", Cause.CREDIT)
    assert session.commands()[-1].action == Action.DISCONNECT
    assert row.charge_micro == 500 < row.bill_micro
    session.use(session.meter.frame(session.meter.record(Reason.STOP)))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.CREDIT)
    assert session.state == "ended"


def test_emergency_credit_is_used_before_supply_is_cut_and_the_next_top_up_pays_it(inside: Inside) -> None:
    session = running(inside, lock_micro=500, policy=POLICY | {"cutOff": {"emergencyCreditMicro": 400}})
    use(session, 2_000)
    assert session.row().bill_micro > 500
    assert session.state == "running"
    inside.final(event_types.LockRaised(session.session, 2_000))
    use(session, 1_000)
    assert session.row().charge_micro == session.row().bill_micro > 500  # cumulative charges: the top-up pays what was below zero first
    use(session, 10_000, seconds=30)
    assert session.row().end_cause == Cause.CREDIT


def test_protected_hours_do_not_cut(inside: Inside) -> None:
    session = running(inside, lock_micro=500, policy=POLICY | {"protectedHours": [{"from": "00:00", "to": "00:00"}]})
    use(session, 5_000, seconds=10)
    assert session.row().bill_micro > 500
    assert session.state == "running"
    assert session.row().charge_micro == 500  # what passes the lock is the operator's


def test_a_top_up_counts_when_it_is_final(inside: Inside) -> None:
    session = running(inside, lock_micro=500)
    service = inside.service
    order = TopUp(session.session, 900, service.now_s() + 600)
    with service.db.writing() as db:
        top_up(db, service, get_session(db, session.session, lock=True), order, inside.payer.sign(digest(service.money, order)))
        top_up(db, service, get_session(db, session.session, lock=True), order, inside.payer.sign(digest(service.money, order)))
    assert session.row().lock_micro == 500
    with service.db.reading() as db:
        assert len(db.scalars(select(IntentRow).where(IntentRow.kind == "top-up")).all()) == 1
    inside.final(event_types.LockRaised(session.session, 900))
    assert session.row().lock_micro == 900
    with service.db.reading() as db:
        grants = db.scalars(select(AgentMessage).where(AgentMessage.event == "grant").order_by(AgentMessage.id)).all()
        assert '"lockMicro":900' in grants[-1].data
        assert (grants[-1].number or 0) > (grants[0].number or 0)
    stranger = Signer.create()
    more = order._replace(total_lock_micro=1_000)
    with service.db.writing() as db, pytest.raises(BadRequest, match="the payer signs"):
        top_up(db, service, get_session(db, session.session), more, stranger.sign(digest(service.money, more)))


def test_the_payers_stop_ends_it_once(inside: Inside) -> None:
    session = running(inside)
    service = inside.service
    order = RequestClose(session.session, service.now_s() + 600)
    signature = inside.payer.sign(digest(service.money, order))
    for _ in range(2):
        with service.db.writing() as db:
            stop(db, service, get_session(db, session.session, lock=True), order, signature)
    row = session.row()
    assert (row.state, row.end_cause) == ("ending", Cause.PAYER_STOP)
    assert [command.action for command in session.commands()].count(Action.DISCONNECT) == 1


def test_a_stop_that_the_chain_refused_is_taken_anew(inside: Inside) -> None:
    session, service = running(inside), inside.service

    def ask(ahead_s: int) -> None:
        order = RequestClose(session.session, service.now_s() // 1_000 * 1_000 + ahead_s)
        with service.db.writing() as db:
            stop(db, service, get_session(db, session.session, lock=True), order, inside.payer.sign(digest(service.money, order)))

    def settled(number: int, state: str) -> None:
        """What became of the last of `number` requests on the chain."""
        with service.db.writing() as db:
            intents = db.scalars(select(IntentRow).where(IntentRow.kind == "request-close").order_by(IntentRow.id)).all()
            assert len(intents) == number
            intents[-1].state = state

    ask(2_000)
    ask(3_000)  # while the first is on its way
    settled(1, "refused")
    ask(2_000)  # the same again
    settled(1, "refused")
    ask(3_000)
    settled(2, "reverted")
    session.use(session.meter.frame(session.meter.record(Reason.STOP)))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.PAYER_STOP)
    assert session.state == "ended"
    ask(4_000)  # supply is off already: what is locked waits for this request
    settled(3, "succeeded")
    ask(5_000)
    settled(3, "refused")
    inside.final(event_types.CloseRequested(session.session, inside.payer.address))  # sent by somebody else
    ask(6_000)
    settled(3, "refused")


def test_in_payment_mode_the_first_payment_comes_before_power(inside: Inside) -> None:
    meter, key = Meter(), Signer.create()
    session = inside.session(meter, inside.enrol(meter), signer=key)
    service = inside.service
    with service.db.writing() as db:
        assert "first payment" in ready(db, service, get_session(db, session.session, lock=True), os.urandom(32))
    assert session.commands() == []

    def payment(amount: int, signer: Signer = key) -> None:
        value = Payment(session.session, amount, bytes(32))
        with service.db.writing() as db:
            row = get_session(db, session.session, lock=True)
            pay(db, service, row, value, signer.sign(digest(service.money, value)))

    with pytest.raises(BadRequest, match="pay key"):
        payment(100, inside.payer)
    payment(100)
    payment(100)  # the same again
    with pytest.raises(Conflict, match="cumulative"):
        payment(50)
    with pytest.raises(BadRequest, match="above the lock"):
        payment(LOCK_MICRO + 1)
    assert [command.action for command in session.commands()] == [Action.RECONNECT]
    payment(200)
    with service.db.reading() as db:
        sent = db.scalars(select(AgentMessage.data).where(AgentMessage.event == "payment").order_by(AgentMessage.id)).all()
    assert len(sent) == 2
    assert '"amountMicro":200' in sent[-1]


def test_never_started_returns_everything(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter))
    inside.at(inside.settings.terms.start_within_seconds + 2)
    before, inside.service.started_s = inside.service.started_s, inside.service.now_s()
    round_of_the_guard(inside)
    assert session.state == "open"  # just started: the agent may have connected meanwhile, and has yet to be heard
    inside.service.started_s = before
    round_of_the_guard(inside)
    row = session.row()
    assert (row.state, row.end_cause) == ("ended", Cause.NEVER_STARTED)


def test_a_disconnection_is_retried_under_new_numbers_until_it_is_measured(inside: Inside) -> None:
    session = running(inside)
    with inside.service.db.writing() as db:
        from backend.sessions.life import end

        end(db, inside.service, get_session(db, session.session, lock=True), Cause.OPERATOR, "a test")
    for attempt in range(2, 5):
        inside.at(400 * attempt)
        round_of_the_guard(inside)
        last = session.commands()[-1]
        assert (last.action, last.attempt, last.state) == (Action.DISCONNECT, attempt, "sent")
    numbers = [command.number for command in session.commands()]
    assert numbers == sorted(set(numbers))
    assert "not-disconnected" in inside.alarms()
    session.highest = numbers[-1]
    session.confirm(SupplyState.FAILED, command=session.commands()[-1].digest)
    assert session.state == "ending"
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.OPERATOR)
    assert "not-disconnected" not in inside.alarms()
    assert session.commands()[-1].state == "confirmed"
    inside.at(5_000)
    round_of_the_guard(inside)
    assert session.state == "ended"  # its last record was waited for
    assert len(session.commands()) == len(numbers)


def test_a_late_confirmation_of_an_earlier_disconnection_changes_nothing(inside: Inside) -> None:
    session = running(inside)
    session.confirm(SupplyState.DISCONNECTED, at_s=int(time.time()) - 100)
    assert session.state == "running"


def test_supply_found_on_without_a_session_is_commanded_off(inside: Inside) -> None:
    session = running(inside)
    session.use(session.meter.frame(session.meter.record(Reason.STOP)))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.LOAD_FINISHED)
    assert session.state == "ended"
    with inside.service.db.reading() as db:
        view = session_view(db, inside.service, get_session(db, session.session))
    assert view["endCause"] == "LOAD_FINISHED"
    assert cause_words(session.row().end_cause) == "load finished"
    session.confirm(SupplyState.CONNECTED, at_s=int(time.time()) + 5)
    assert "supply-without-session" in inside.alarms()
    assert session.commands()[-1].action == Action.DISCONNECT


@pytest.mark.parametrize(("start", "end"), [("22:00", "06:00"), ("06:00", "22:00"), ("00:00", "00:00")])
def test_service_and_agent_mean_the_same_protected_hours(start: str, end: str) -> None:
    document = {**POLICY, "protectedHours": [{"from": start, "to": end, "days": ["SATURDAY", "WEDNESDAY"]}]}
    ours, theirs = parse_policy(document).policy, agents_policy(document)
    week = range(1_782_500_000, 1_782_500_000 + 8 * 86_400, 1_800)
    assert [ours.protects(at_s, "Europe/Berlin") for at_s in week] == [theirs.protected(at_s, "Europe/Berlin") for at_s in week]


def test_a_policy_may_say_when_the_load_has_finished() -> None:
    rule = {"loadFinished": {"belowMilliwatts": 60_000, "forS": 300}}
    plain, agreed = parse_policy(dict(POLICY)), parse_policy({**POLICY, **rule})
    assert plain.policy.loadFinished is None
    assert plain.hash != agreed.hash
    assert "less than 60000 mW for 300 s" in policy_words(agreed.policy)
    for wrong in ({"belowMilliwatts": 60_000}, {"belowMilliwatts": 0, "forS": 1}, {"belowMilliwatts": 1, "forS": 1, "more": 1}):
        with pytest.raises(BadRequest) as caught:
            parse_policy({**POLICY, "loadFinished": wrong})
        assert "loadFinished" in caught.value.where


def test_an_agent_that_is_not_heard_cannot_hold_the_money(inside: Inside) -> None:
    session = running(inside)
    use(session, 1_000)
    service = inside.service
    order = RequestClose(session.session, service.now_s() + 600)
    with service.db.writing() as db:
        stop(db, service, get_session(db, session.session, lock=True), order, inside.payer.sign(digest(service.money, order)))
    inside.final(event_types.CloseRequested(session.session, inside.payer.address))
    inside.at(session.terms.stop_grace_s + 30)
    round_of_the_guard(inside)
    assert session.state == "ending"
    inside.at(session.terms.stop_grace_s + guard.AFTER_GRACE_S + 5)
    round_of_the_guard(inside)
    assert session.state == "ended"
    assert "not-disconnected" in inside.alarms()  # and is still being commanded off


@pytest.mark.parametrize(("limit", "goes_on"), [({}, False), ({"milliwatt_hours": 10_000, "seconds": 900}, True)])
def test_blind_sessions_go_on_only_within_the_stated_limit(new_inside: Callable[..., Inside], limit: dict[str, int], goes_on: bool) -> None:
    inside = new_inside(blind=limit)
    session = running(inside)
    seen = inside.service.now_s()
    with inside.service.db.writing() as db:
        remember(db, CHAIN, {
            "head_number": 9, "head_time_s": seen, "final_number": 9, "final_time_s": seen, "final_seen_at_s": seen, "caught_up": True,
        })  # fmt: skip
    inside.at(session.terms.stop_grace_s + 10)
    before, inside.service.started_s = inside.service.started_s, inside.service.now_s()
    round_of_the_guard(inside)
    assert session.state == "running"  # just started, it reads the chain before it calls it silent
    inside.service.started_s = before
    round_of_the_guard(inside)
    assert (session.state == "running") is goes_on
    assert "chain-stands-still" in inside.alarms()
    if goes_on:
        use(session, 11_000, seconds=60)
        round_of_the_guard(inside)
        assert session.state == "ending"
        assert "blind limit" in session.row().end_detail


def test_money_books_follow_the_chain(inside: Inside) -> None:
    session = running(inside)
    use(session, 1_000)
    bill = session.row().bill_micro
    inside.final(event_types.ChargeClaimed(session.session, inside.service.payee, bill, bytes(32)))
    with inside.service.db.reading() as db:
        ledger = Ledger(db, 1, 0)
        assert ledger.balance(Kind.LOCKED, session.session) == LOCK_MICRO - bill
        assert ledger.balance(Kind.PAYEE) == bill
        assert ledger.balance(Kind.USE, session.session) == 0
        assert sum(free for _, free in ledger.reservations(session.session)) == LOCK_MICRO - bill
    inside.final(event_types.SessionClosed(session.session, bill, LOCK_MICRO - bill))
    assert session.row().closed_at_s is not None
    assert session.state == "ending"  # closed by somebody else: supply must go off


def test_live_states_are_those_that_hold_a_point() -> None:
    assert set(LIVE) == {State.OPENING, State.OPEN, State.RUNNING, State.ENDING}
