"""Grants: everything is recomputed, and nothing above the limits set at enrolment is taken, whatever the control key signs."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter_agent import grants
from meter_agent.errors import Refused
from meter_agent.state import Ended, Live, Phase
from protocol.control import MAX_NUMBER_STEP, Cause
from protocol.errors import ProtocolError
from protocol.keys import Signer
from tests.agent.paper import NOW, Paper
from tests.agent.point import TARIFF

PAPER = Paper()


def check(paper: Paper, document: Any, now_s: int = NOW) -> grants.Granted:
    return grants.check(document, paper.state, paper.config, paper.meter_key, now_s, {paper.charge.address: 0})


def test_a_good_grant_is_taken() -> None:
    session = PAPER.session()
    granted = check(PAPER, session.grant(send=False))
    assert granted.session == session.id
    assert granted.grant.lock_micro == 1_000_000


def test_payment_mode_takes_the_payers_own_signer() -> None:
    payer = Signer.create()
    session = PAPER.session(metered=False, signer=payer.address, credit_micro=500_000, credit_milliwatt_hours=1_000_000)
    assert check(PAPER, session.grant(send=False)).terms.signer == payer.address


@pytest.mark.parametrize(
    ("code", "session", "grant"),
    [
        ("signature", {}, {"signer": Signer.create()}),
        ("number", {}, {"number": 0}),
        ("number", {}, {"number": MAX_NUMBER_STEP + 1}),
        ("limit", {"lock_micro": 10_000_001}, {}),
        ("limit", {"metered": False, "signer": os.urandom(20), "credit_micro": 500_001}, {}),
        ("limit", {"metered": False, "signer": os.urandom(20), "credit_milliwatt_hours": 1_000_001}, {}),
        ("limit", {"policy": {"cutOff": {"emergencyCreditMicro": 500_001}}}, {}),
        ("charge_key", {"signer": os.urandom(20)}, {}),
        ("charge_key", {"metered": False}, {}),
        ("expired", {"valid_until_s": NOW}, {}),
        ("expired", {"latest_end_s": NOW - 1}, {}),
        ("opened", {"opened_at_s": NOW + 120}, {}),
        ("opened", {"opened_at_s": NOW - 63 * 86_400}, {}),
        ("point", {}, {"channel": 2}),
        ("point", {}, {"device": "0x" + "ab" * 32}),
        ("point", {}, {"pointSalt": "0x" + "ab" * 32}),
        ("policy", {}, {"policy": {"mode": "local"}}),
        ("tariff", {}, {"tariff": {**TARIFF, "version": 2}}),
    ],
)  # fmt: skip
def test_a_grant_that_is_refused_says_why(code: str, session: dict[str, Any], grant: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        check(PAPER, PAPER.session(**session).grant(send=False, **{"number": 1, **grant}))
    assert caught.value.code == code


def test_a_tariff_above_the_ceilings_is_refused() -> None:
    session = PAPER.session()
    session.terms = session.terms._replace(max_micro_per_kwh=session.terms.max_micro_per_kwh - 1)
    with pytest.raises(Refused, match="allow only"):
        check(PAPER, session.grant(send=False, number=1))


def test_terms_above_the_rating_are_refused() -> None:
    session = PAPER.session()
    session.terms = session.terms._replace(rated_watts=PAPER.config.rated_watts + 1)
    with pytest.raises(Refused, match="rated"):
        check(PAPER, session.grant(send=False, number=1))


def live(paper: Paper, document: dict[str, Any], session: bytes) -> None:
    number = document["grant"]["number"]
    paper.state = paper.state.with_(
        highest_number=number, live=Live(session=session, granted=document, phase=Phase.SUPPLYING, charge_index=0)
    )


def test_a_later_grant_may_only_raise_the_lock_or_renew() -> None:
    paper = Paper()
    session = paper.session()
    live(paper, session.grant(send=False), session.id)
    assert check(paper, session.grant(send=False, lock_micro=2_000_000)).grant.lock_micro == 2_000_000
    assert check(paper, session.grant(send=False, valid_until_s=NOW + 7_000)).grant.valid_until_s == NOW + 7_000
    for changes in ({"lock_micro": 999_999}, {"lock_micro": 1_000_000, "valid_until_s": NOW + 10}, {"openedAtS": NOW - 1}):
        with pytest.raises(Refused) as caught:
            check(paper, session.grant(send=False, **changes))
        assert caught.value.code == "renewal"
    session.lock_micro = 1_000_000
    session.credit_micro = 1
    with pytest.raises(Refused, match="credit"):
        check(paper, session.grant(send=False))
    with pytest.raises(Refused) as caught:
        check(paper, paper.session().grant(send=False))
    assert caught.value.code == "busy"


def test_an_ended_session_never_comes_back() -> None:
    paper = Paper()
    session = paper.session()
    ended = Ended(session=session.id, latest_end_s=NOW + 7_200, cause=Cause.CREDIT, confirmation=None)
    paper.state = paper.state.with_(ended=(ended,))
    with pytest.raises(Refused) as caught:
        check(paper, session.grant(send=False))
    assert caught.value.code == "ended"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_of_a_grant_survives(data: st.DataObject) -> None:
    """One field anywhere replaced by anything: refused or malformed, never taken and never a crash."""
    document = PAPER.session().grant(send=False, number=1)
    holder: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(holder)))
        if isinstance(holder[key], dict) and data.draw(st.booleans()):
            holder[key] = dict(holder[key])
            holder = holder[key]
            continue
        before, holder[key] = holder[key], data.draw(JSON)
        break
    if holder[key] == before and type(holder[key]) is type(before):
        return
    if key == "openedAtS" and isinstance(holder[key], int) and not isinstance(holder[key], bool):
        return  # not signed; bounded only
    with pytest.raises((Refused, ProtocolError)):
        check(PAPER, document)


@given(JSON)
def test_anything_that_is_no_grant_is_malformed(document: Any) -> None:
    with pytest.raises((Refused, ProtocolError)):
        check(PAPER, document)
