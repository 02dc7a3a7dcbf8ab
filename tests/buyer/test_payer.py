"""The payer: pays what it priced itself, each frame once; refuses the first thing that is wrong, by name; survives being cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buyer_agent.errors import Disagreement
from buyer_agent.own_meter import Own, Series
from protocol.eip712 import digest, from_json, money_domain
from protocol.evidence import Reason
from protocol.keys import Signer, check_signature
from protocol.money import Payment
from protocol.pricing import price
from protocol.wire import SignedFrame, decode_frame
from tests.buyer.paper import CHAIN_ID, ESCROW, Paper, now_s


@pytest.fixture
def paper(tmp_path: Path) -> Paper:
    return Paper(tmp_path)


def payment(paper: Paper, document: dict[str, Any]) -> Payment:
    """The payment in a document, its signature checked as the escrow does."""
    body = dict(document)
    signature = bytes.fromhex(body.pop("signature")[2:])
    found = from_json(Payment, body)
    check_signature(digest(money_domain(CHAIN_ID, ESCROW), found), signature, paper.pay_key.address)
    return found


def test_every_frame_is_answered_with_the_price_of_everything_so_far(paper: Paper) -> None:
    payer, frames = paper.payer(paper.journal()), [paper.start()]
    frames += [paper.use(1_000 + i) for i in range(20)] + [paper.use(500, reason=Reason.STOP)]
    first = payer.first()
    assert first is not None
    assert payment(paper, first) == Payment(paper.session, 1, bytes(32))
    assert payer.first() is None
    answers = []
    for raw in frames:
        payer.take(raw, now_s())
        answers += [payment(paper, document) for document in payer.answer()]
    records = [record for raw in frames for record in decode_frame(raw).records]
    assert len(answers) == 21  # the START record costs nothing
    for found, raw in zip(answers, frames[1:], strict=True):
        upto = decode_frame(raw).last_sequence
        assert found.frame == decode_frame(raw).digest
        assert found.amount_micro == price(paper.tariff, paper.opened_at_s, [r for r in records if r.sequence <= upto]).total_micro
    assert payer.settled_up


def changed(raw: bytes, key: Signer | None = None, **head: Any) -> SignedFrame:
    signed = decode_frame(raw)
    signed = signed._replace(frame=signed.frame._replace(**head))
    return signed if key is None else signed._replace(signature=key.sign(signed.digest))


def refused(paper: Paper, code: str, *frames: bytes) -> None:
    """The last of the frames is refused by that name, and nothing is signed for it."""
    payer = paper.payer(paper.journal())
    for raw in frames[:-1]:
        payer.take(raw, now_s())
    before = len(payer.answer())
    with pytest.raises(Disagreement) as error:
        payer.take(frames[-1], now_s())
    assert error.value.code == code
    assert before == max(0, len(frames) - 2)
    assert payer.answer() == []


def test_a_frame_by_another_key(paper: Paper) -> None:
    start = paper.start()
    refused(paper, "signature", start, paper.raw(changed(paper.use(), Signer.create())))


def test_a_frame_of_another_device(paper: Paper) -> None:
    start = paper.start()
    refused(paper, "device", start, Paper(paper.state).start())


def test_a_frame_left_out(paper: Paper) -> None:
    start, _, later = paper.start(), paper.use(), paper.use()
    refused(paper, "chain", start, later)


def test_a_record_left_out(paper: Paper) -> None:
    start = paper.start()
    paper.meter.sequence += 1
    refused(paper, "sequence", start, paper.use())


def test_a_record_changed_after_signing(paper: Paper) -> None:
    start, raw = paper.start(), paper.use()
    refused(paper, "malformed", start, raw.replace(b'"powerMilliwatts":3600000', b'"powerMilliwatts":3600001'))


def test_rubbish(paper: Paper) -> None:
    refused(paper, "malformed", b'{"frame":1}')


def test_a_record_from_the_future(paper: Paper) -> None:
    start = paper.start()
    refused(paper, "time", start, paper.use(seconds=now_s() - paper.meter.clock + 60))


def test_a_start_from_before_the_session(paper: Paper) -> None:
    paper.meter.clock -= 3_600
    refused(paper, "time", paper.start())


def test_a_second_start(paper: Paper) -> None:
    refused(paper, "start", paper.start(), paper.start())


def test_a_register_that_fell(paper: Paper) -> None:
    start = paper.start()
    refused(paper, "price", start, paper.use(-5_000))


def test_a_meter_that_is_changed(paper: Paper) -> None:
    start = paper.start()
    refused(paper, "swap", start, paper.use(reason=Reason.SWAP))


def test_the_same_frame_again_is_no_news_and_an_idle_point_costs_nothing(paper: Paper) -> None:
    payer = paper.payer(paper.journal())
    idle = paper.use(0)
    for raw in (idle, idle, start := paper.start(), start, use := paper.use(), use):
        payer.take(raw, now_s())
    assert len(payer.answer()) == 1


def test_the_lock_is_the_end(tmp_path: Path) -> None:
    paper = Paper(tmp_path, lock_micro=500)
    payer = paper.payer(paper.journal())
    payer.first()
    payer.take(paper.start(), now_s())
    for _ in range(3):
        payer.take(paper.use(), now_s())
    amounts = [payment(paper, document).amount_micro for document in payer.answer()]
    assert amounts == [357, 500]  # a watt-hour costs 357


@pytest.mark.parametrize("cut", range(6))
def test_cut_off_anywhere_it_goes_on_and_no_frame_has_two_amounts(paper: Paper, cut: int) -> None:
    """Frames are taken again from the start after a restart; what was signed is not signed again."""
    frames = [paper.start(), *(paper.use(1_000 + i) for i in range(5)), paper.use(0, reason=Reason.STOP)]
    signed: dict[str, int] = {}
    journal = paper.journal()
    for upto in (cut, len(frames)):
        payer = paper.payer(journal)
        for raw in frames[:upto]:
            payer.take(raw, now_s())
            for document in payer.answer():
                assert document["frame"] not in signed, "signed twice"
                signed[document["frame"]] = document["amountMicro"]
        journal.close()
        journal = paper.journal()
    live = journal.state.live
    assert live is not None
    assert live.paid.amount_micro == max(signed.values())
    assert len(signed) == 5
    journal.close()


def test_a_log_that_was_changed_after_we_signed_is_found(paper: Paper) -> None:
    journal = paper.journal()
    payer = paper.payer(journal)
    start = paper.start()
    kept = paper.meter.previous, paper.meter.sequence, paper.meter.clock, paper.meter.register
    for raw in (start, paper.use()):
        payer.take(raw, now_s())
    assert len(payer.answer()) == 1
    paper.meter.previous, paper.meter.sequence, paper.meter.clock, paper.meter.register = kept
    other = paper.payer(journal)
    other.take(start, now_s())
    with pytest.raises(Disagreement) as error:
        other.take(paper.use(2_000), now_s())
    assert error.value.code == "equivocation"
    journal.close()


def test_an_own_meter_that_says_nothing_is_waited_for_and_then_named(paper: Paper) -> None:
    series = Series()
    series.add(Own(paper.opened_at_s * 1_000, paper.opened_at_s * 1_000, 0, 1))
    payer = paper.payer(paper.journal(), series, patience_s=0)
    payer.take(paper.start(), now_s())
    with pytest.raises(Disagreement) as error:
        payer.answer()
    assert error.value.code == "own-meter-silent"


def test_an_own_meter_that_agrees_pays_and_one_that_runs_slow_refuses_and_says_by_how_much(paper: Paper) -> None:
    """The seller says 1 Wh a second; the own meter, read twice a second, first the same and then a tenth less."""
    series, journal = Series(), paper.journal()
    payer = paper.payer(journal, series)
    start, at_ms, own = paper.start(), paper.meter.clock * 1_000, 0
    payer.take(start, now_s())
    for i in range(-4, 2 * 120 + 8):
        own += 0 if i < 0 else 500 if i < 100 else 450
        series.add(Own(at_ms + 500 * i, at_ms + 500 * i, own, 1))
    paid = 0

    def go_on() -> None:
        nonlocal paid
        for _ in range(120):
            payer.take(paper.use(), now_s())
            paid += len(payer.answer())

    with pytest.raises(Disagreement) as error:
        go_on()
    assert error.value.code in ("window", "session")
    assert error.value.own_milliwatt_hours is not None
    assert error.value.seller_milliwatt_hours > error.value.own_milliwatt_hours
    assert 50 <= paid < 119
    assert "class, losses" in str(error.value)
    with pytest.raises(Disagreement):  # and it stays refused
        payer.answer()
    journal.close()
