"""Commands: a state machine of hypothesis against a plain model of the rules."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meter_agent.commands import MAX_RECONNECT_S, Do, judge
from meter_agent.errors import Refused
from meter_agent.state import Answer, Ended, Live, Phase
from protocol.control import MAX_NUMBER_STEP, Action, Cause, SupplyCommand
from protocol.errors import ProtocolError
from protocol.keys import Signer
from tests.agent.paper import NOW, Paper
from tests.agent.test_grants import JSON

ZERO = bytes(32)
PAPER = Paper()


def command(paper: Paper, action: int, number: int, session: bytes = ZERO, nonce: bytes = ZERO, expires: int = NOW + 10) -> SupplyCommand:
    return SupplyCommand(paper.device, 1, action, session, number, nonce, expires)


def supply(paper: Paper, phase: Phase) -> bytes:
    session = paper.session()
    live = Live(session=session.id, granted=session.grant(send=False), phase=phase, charge_index=0)
    paper.state = paper.state.with_(live=live)
    return session.id


def test_disconnect_never_expires() -> None:
    paper = Paper()
    old = command(paper, Action.DISCONNECT, 1, expires=0)
    assert judge(paper.signed(old), paper.state, paper.config, NOW, b"", "door open").do is Do.DISCONNECT


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"session": os.urandom(32)}, "does not serve"),
        ({"nonce": os.urandom(32)}, "nonce"),
        ({"expires": NOW}, "expires"),
        ({"expires": NOW + MAX_RECONNECT_S + 1}, "expires"),
    ],
)
def test_reconnect_answers_this_nonce_for_this_session_in_time(changes: dict[str, Any], why: str) -> None:
    paper, nonce = Paper(), os.urandom(32)
    session = supply(paper, Phase.READY)
    good = command(paper, Action.RECONNECT, 5, **({"session": session, "nonce": nonce}))
    assert judge(paper.signed(good), paper.state, paper.config, NOW, nonce, "").do is Do.RECONNECT
    bad = command(paper, Action.RECONNECT, 5, **({"session": session, "nonce": nonce} | changes))
    verdict = judge(paper.signed(bad), paper.state, paper.config, NOW, nonce, "")
    assert verdict.do is Do.REFUSE
    assert why in verdict.why


def test_reconnect_is_refused_without_a_nonce_and_while_an_interlock_stands() -> None:
    paper = Paper()
    session = supply(paper, Phase.READY)
    document = paper.signed(command(paper, Action.RECONNECT, 5, session, ZERO))
    assert judge(document, paper.state, paper.config, NOW, b"", "").do is Do.REFUSE
    nonce = os.urandom(32)
    document = paper.signed(command(paper, Action.RECONNECT, 5, session, nonce))
    assert judge(document, paper.state, paper.config, NOW, nonce, "the door is open").why == "the door is open"


@pytest.mark.parametrize("phase", [Phase.GRANTED, Phase.SUPPLYING, Phase.ENDING])
def test_reconnect_is_refused_unless_ready(phase: Phase) -> None:
    paper, nonce = Paper(), os.urandom(32)
    session = supply(paper, phase)
    document = paper.signed(command(paper, Action.RECONNECT, 5, session, nonce))
    assert judge(document, paper.state, paper.config, NOW, nonce, "").do is Do.REFUSE


def test_a_command_for_an_ended_session_never_touches_the_next() -> None:
    paper = Paper()
    gone = os.urandom(32)
    supply(paper, Phase.SUPPLYING)
    ended = Ended(session=gone, latest_end_s=NOW, cause=Cause.CREDIT, confirmation={"cause": 2})
    paper.state = paper.state.with_(ended=(ended,))
    verdict = judge(paper.signed(command(paper, Action.DISCONNECT, 9, gone)), paper.state, paper.config, NOW, b"", "")
    assert (verdict.do, verdict.again) == (Do.ENDED, {"cause": 2})


def test_another_key_another_point_another_action_are_ignored() -> None:
    paper = Paper()
    good = command(paper, Action.DISCONNECT, 1)
    for document, code in (
        (paper.signed(good, Signer.create()), "signature"),
        (paper.signed(good._replace(device=os.urandom(32))), "point"),
        (paper.signed(good._replace(channel=2)), "point"),
        (paper.signed(good._replace(action=3)), "action"),
        ({**paper.signed(good), "number": 2}, "signature"),
    ):
        with pytest.raises(Refused) as caught:
            judge(document, paper.state, paper.config, NOW, b"", "")
        assert caught.value.code == code


@given(JSON)
def test_anything_that_is_no_command_is_malformed(document: Any) -> None:
    with pytest.raises((Refused, ProtocolError)):
        judge(document, PAPER.state, PAPER.config, NOW, b"", "")


class Numbers(RuleBasedStateMachine):
    """In whatever order: obeyed numbers strictly rise, repeats get the same answer, leaps and stale ones change nothing."""

    @initialize()
    def begin(self) -> None:
        self.paper = Paper()
        self.session = supply(self.paper, Phase.READY)
        self.nonce = os.urandom(32)
        self.sent: dict[bytes, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.highest = 0

    def take(self, sent: SupplyCommand) -> None:
        document = self.paper.signed(sent)
        state = self.paper.state
        allowed = self.highest < sent.number <= self.highest + MAX_NUMBER_STEP
        if not allowed and not any(known[0] == document for known in self.sent.values()):
            with pytest.raises(Refused, match="number"):
                judge(document, state, self.paper.config, NOW, self.nonce, "")
            return
        verdict = judge(document, state, self.paper.config, NOW, self.nonce, "")
        if verdict.do is Do.REPEAT:
            assert verdict.again == self.sent[verdict.digest][1]
            return
        assert allowed
        answer = {"answer": sent.number}
        self.sent[verdict.digest] = (document, answer)
        self.highest = sent.number
        answers = (*state.answers, Answer(command=verdict.digest, confirmation=answer))
        self.paper.state = state.with_(highest_number=sent.number, answers=answers)

    @rule(step=st.integers(-3, 3) | st.sampled_from([MAX_NUMBER_STEP, MAX_NUMBER_STEP + 1, 2**52]), reconnect=st.booleans())
    def send(self, step: int, reconnect: bool) -> None:
        number = max(0, self.highest + step)
        action = Action.RECONNECT if reconnect else Action.DISCONNECT
        self.take(command(self.paper, action, number, self.session, self.nonce))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        document, answer = data.draw(st.sampled_from(list(self.sent.values())))
        verdict = judge(document, self.paper.state, self.paper.config, NOW, b"", "an interlock")
        assert (verdict.do, verdict.again) == (Do.REPEAT, answer)

    @invariant()
    def numbers_rise(self) -> None:
        if hasattr(self, "paper"):
            assert self.paper.state.highest_number == self.highest


TestNumbers = Numbers.TestCase
TestNumbers.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
