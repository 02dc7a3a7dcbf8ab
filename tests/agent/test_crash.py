"""kill -9 and power cuts: nothing is lost, nothing doubled, and nothing leaves before it is on the disk."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable

import pytest

from protocol.control import Action, SupplyState
from protocol.evidence import Reason
from protocol.pricing import price
from protocol.tariff import Tariff
from tests.agent.point import AgentPoint, Session, until

MakePoint = Callable[..., AgentPoint]
PLENTY = 10**9


def needs_strace() -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is not installed, and CI needs it")
        pytest.skip("needs strace: apt-get install strace")


def bring_to_an_end(point: AgentPoint, session: Session) -> None:
    """Whatever step the agent died in: get the session supplied (again), then ended."""
    desk = point.desk
    asked = set()

    def supplied() -> bool:
        for s, nonce in list(desk.ready):
            if s == session.id and nonce not in asked:
                asked.add(nonce)
                desk.command(Action.RECONNECT, session.id, nonce)
        return bool(point.tell("state")["contact_closed"])

    until(supplied, "supply", 40)
    time.sleep(1.5)
    desk.command(Action.DISCONNECT, session.id)

    def stopped() -> bool:
        return bool(desk.records) and any(r.reason == Reason.STOP and r.sequence > first(point, session) for r in desk.records)

    until(stopped, "the STOP record", 40)


def first(point: AgentPoint, session: Session) -> int:
    """The sequence of the session's START record: the last one there is."""
    assert session
    return max(r.sequence for r in point.desk.records if r.reason == Reason.START)


def check_the_books(point: AgentPoint, session: Session) -> None:
    """The desk has checked signatures, chain and order; here: one START, one STOP, the meter's energy, the last charge is the bill."""
    desk = point.desk
    start = first(point, session)
    records = [r for r in desk.records if r.sequence >= start]
    stop = next(i for i, r in enumerate(records) if r.reason == Reason.STOP)
    records = records[: stop + 1]
    bill = price(Tariff.from_document(session.tariff), session.opened_at_s, records)
    assert bill.energy_milliwatt_hours == records[-1].import_milliwatt_hours - records[0].import_milliwatt_hours
    assert records[-1].import_milliwatt_hours == point.tell("state")["meter"]["import_milliwatt_hours"]
    mine = "0x" + session.id.hex()
    frame = next(f for f in desk.frames if f.records[-1].sequence >= records[-1].sequence)
    desk.wait(lambda: [c for c in desk.charges if c["session"] == mine and c["frame"] == "0x" + frame.digest.hex()], "the last charge")
    charge = next(c for c in desk.charges if c["session"] == mine and c["frame"] == "0x" + frame.digest.hex())
    assert charge["amountMicro"] == min(bill.total_micro, session.lock_micro)
    assert charge["energyMilliwattHours"] == bill.energy_milliwatt_hours
    assert [f["session"] for f in desk.ocmf if f["session"] == mine].count(mine) >= 2
    assert len({f["text"] for f in desk.ocmf if f["session"] == mine}) == 2  # one start, one end, however often they were sent
    assert desk.faults == []


def test_killed_while_supplying_it_goes_on_where_it_was(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY, policy={"recordIntervalS": 1})
    session.start()
    chance = random.Random(7)
    for _ in range(3):
        time.sleep(0.5 + chance.random())
        point.kill()
        assert point.tell("state")["contact_closed"]  # nobody opened it: only a running agent can (docs/guarantees.md)
        point.start()
    bring_to_an_end(point, session)
    check_the_books(point, session)
    assert len([r for r in point.desk.records if r.reason == Reason.START]) == 1
@pytest.mark.slow
def test_stopped_while_supplying_it_disconnects_and_the_session_can_go_on(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    session = point.session(lock_micro=PLENTY)
    session.start()
    time.sleep(1)
    assert point.stop() == 0
    assert not point.tell("state")["contact_closed"]
    point.start()
    point.wait_record(Reason.SUSPEND)
    bring_to_an_end(point, session)
    check_the_books(point, session)
@pytest.mark.slow
def test_another_grant_ends_a_session_that_was_left_suspended(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    point.session(lock_micro=PLENTY).start()
    time.sleep(1)
    assert point.stop() == 0
    text = point.config.read_text().replace('placement = "bench"', 'placement = "another bench"')
    point.config.write_text(text)  # a meter in another place is handed over like another meter
    point.start()
    point.wait_record(Reason.SWAP)
    point.session(lock_micro=PLENTY).start()
    reasons = [r.reason for r in point.desk.records if r.reason != Reason.PERIODIC]
    assert reasons == [Reason.START, Reason.SUSPEND, Reason.SWAP, Reason.STOP, Reason.START]
    point.desk.wait(lambda: point.desk.hand_overs, "the hand-over")
    assert point.desk.faults == []


@pytest.mark.slow
def test_a_damaged_log_disconnects_and_says_what_to_do(make_point: MakePoint) -> None:
    point = make_point()
    point.start()
    point.session(lock_micro=PLENTY).start()
    point.kill()
    path = next((point.state / "log").glob("*.log"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    path.write_bytes(raw)
    done = point.command(
        "run", "--state", str(point.state), "--config", str(point.config), "--passphrase-file", str(point.passphrase), check=False
    )
    assert done.returncode == 2
    assert "is damaged at byte" in done.stderr
    assert "Traceback" not in done.stderr
    assert not point.tell("state")["contact_closed"]


@pytest.mark.needs_strace
def test_a_frame_is_synced_before_its_first_byte_is_sent(make_point: MakePoint) -> None:
    needs_strace()
    point = make_point()
    trace = point.directory / "trace"
    calls = "trace=pwrite64,fdatasync,sendto,write,sendmsg"
    point.start(wrap=("strace", "-f", "-y", "-s", "3000", "-e", calls, "-o", str(trace)))
    session = point.session(lock_micro=PLENTY, policy={"recordIntervalS": 1})
    session.start()
    point.desk.wait(lambda: len(point.desk.frames) >= 6, "frames", 40)
    point.kill()
    synced, sent = order_of_events(trace.read_text(errors="replace"))
    assert len(sent) >= 6
    for sequence, at in sent.items():
        assert sequence in synced, f"frame {sequence} was sent at line {at} and never synced before"
        assert synced[sequence] < at, f"frame {sequence} was sent at line {at}, synced only at line {synced[sequence]}"


def order_of_events(trace: str) -> tuple[dict[int, int], dict[int, int]]:
    """From a trace: the line at which fdatasync of the log *returned* after a frame was written, and at which it was first sent."""
    written: list[int] = []
    synced: dict[int, int] = {}
    sent: dict[int, int] = {}
    syncing: dict[str, list[int]] = {}
    for number, line in enumerate(trace.splitlines()):
        thread, _, call = line.partition(" ")
        call = call.strip()
        frames = [int(found) for found in re.findall(r'firstSequence\\":(\d+)', call)]
        if call.startswith("pwrite64(") and "/log/" in call and frames:
            # The signed frame in an entry, not the drafts of one: those carry no signature yet.
            written += [f for f in frames if r"\"signature\":\"0x" + "00" * 65 not in call]
        elif call.startswith("fdatasync(") and "/log/" in call:
            syncing[thread] = list(written)
            if call.endswith("= 0"):
                for frame in syncing.pop(thread):
                    synced.setdefault(frame, number)
        elif call.startswith("<... fdatasync resumed>") and call.endswith("= 0"):
            for frame in syncing.pop(thread, []):
                synced.setdefault(frame, number)
        elif (("sendto(" in call or "sendmsg(" in call or "write(" in call) and "TCP:" in call) or "socket:" in call:
            for frame in frames:
                sent.setdefault(frame, number)
    return synced, sent


STEPS = [("pwrite64", n) for n in (2, 4, 5, 6, 8)] + [("fdatasync", n) for n in (3, 5, 7)] + [("sendto", n) for n in (4, 9)]


class Died(Exception):
    """The agent process is gone."""


def run_until_killed(point: AgentPoint) -> Session | None:
    """A whole session, up to wherever the agent dies; the session, if it came to one."""
    desk, session = point.desk, None

    def alive(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 40
        while not condition():
            if point.agent is None or point.agent.poll() is not None or time.monotonic() > deadline:
                raise Died
            time.sleep(0.05)

    seen, confirmed = len(desk.vouchers), len(desk.confirmations)
    try:
        alive(lambda: len(desk.vouchers) > seen and desk.streaming)
        session = point.session(lock_micro=PLENTY, policy={"recordIntervalS": 1})
        session.grant()
        mine = session.id
        alive(lambda: any(s == mine for s, _ in desk.ready))
        desk.command(Action.RECONNECT, mine, next(n for s, n in desk.ready if s == mine))
        alive(lambda: any(c.state == SupplyState.CONNECTED for c in desk.confirmations[confirmed:]))
        alive(lambda: False)
    except Died:
        pass
    return session


STEPS = [("pwrite64", n) for n in (2, 4, 5, 6, 8)] + [("fdatasync", n) for n in (3, 5, 7)] + [("sendto", n) for n in (4, 9)]


@pytest.mark.needs_strace
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("call", "when"), STEPS)
def test_killed_between_any_two_steps_nothing_is_lost_or_doubled(make_point: MakePoint, call: str, when: int) -> None:
    """SIGKILL at the n-th write to the log, sync of it, or send: then run on without, and check the books."""
    needs_strace()
    point = make_point()
    inject = f"inject={call}:signal=KILL:when={when}"
    point.start(wrap=("strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject), wait=False)
    session = run_until_killed(point)
    assert point.agent is not None
    assert point.agent.poll() is not None, "it was not killed: the step never came"
    point.agent = None
    point.start()
    if session is None:
        session = point.session(lock_micro=PLENTY, policy={"recordIntervalS": 1})
    session.grant()
    bring_to_an_end(point, session)
    check_the_books(point, session)
    assert len([r for r in point.desk.records if r.reason == Reason.START]) == 1
    assert point.stop() == 0
