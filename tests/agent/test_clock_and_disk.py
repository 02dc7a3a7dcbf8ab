"""A clock that jumps and a disk that fills up, under a running agent."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from meter_agent.agent import Agent
from meter_agent.clock import NANO, Clock
from meter_agent.config import load_config
from meter_agent.disk import RESERVE_BYTES
from meter_agent.keystore import Keystore
from onsite.keyfile import read_passphrase
from protocol.control import Action, Cause, SupplyState
from protocol.evidence import Flag, Reason
from tests.agent.point import AgentPoint, until

MakePoint = Callable[..., AgentPoint]


@contextmanager
def running(point: AgentPoint, clock: Clock) -> Iterator[Agent]:
    """An agent in this process, so that its clock can be set."""
    passphrase = read_passphrase(point.passphrase, None)
    keys = Keystore(point.state / "keys")
    agent = Agent(point.state, load_config(point.config), keys.meter(passphrase), keys.charge_keys(passphrase), clock)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_a_jump_of_the_clock_is_flagged_until_the_service_agrees_and_no_time_is_billed(make_point: MakePoint) -> None:
    point = make_point()
    jump_ns = 0
    clock = Clock(lambda: time.time_ns() + jump_ns)
    with running(point, clock):
        session = point.session(lock_micro=10**9, policy={"recordIntervalS": 1})
        session.start()
        point.desk.wait(lambda: len(point.desk.records) >= 6, "records")
        assert not point.desk.records[-1].flags & Flag.CLOCK_NOT_SYNCHRONISED
        jump_ns = 3_600 * NANO
        seen = len(point.desk.records)
        point.desk.wait(lambda: len(point.desk.records) >= seen + 4, "records after the jump")
        for record in point.desk.records[seen + 1 :]:
            assert record.flags & Flag.CLOCK_NOT_SYNCHRONISED
        assert point.desk.records[-1].end_s <= time.time() + 1
        jump_ns = 0
        point.desk.wait(lambda: not point.desk.records[-1].flags & Flag.CLOCK_NOT_SYNCHRONISED, "a clock that is right again")
    assert point.desk.charges[-1]["elapsedS"] < 60
    assert point.desk.faults == []

@pytest.mark.slow
def test_a_boot_hours_ahead_goes_on_with_rising_times_and_serves_all_the_same(make_point: MakePoint) -> None:
    point = make_point()
    ahead_s = 4 * 3_600
    jump_ns = ahead_s * NANO
    clock = Clock(lambda: time.time_ns() + jump_ns)
    with running(point, clock):
        session = point.session(lock_micro=10**9, policy={"recordIntervalS": 1})  # so the service was called with the right time
        assert point.desk.records[0].end_s > time.time() + ahead_s - 60
        session.start()
        point.desk.wait(lambda: len(point.desk.records) >= 5, "records in the session")
    jump_ns = 0  # put right, and the agent started again
    with running(point, Clock()):
        point.desk.wait(lambda: point.desk.streaming, "the stream")
        until(lambda: len([1 for s, _ in point.desk.ready if s == session.id]) > 1, "a fresh nonce")
        seen = len(point.desk.confirmations)
        session.reconnect()
        point.confirmed(SupplyState.CONNECTED, after=seen)
        more = len(point.desk.records)
        point.desk.wait(lambda: len(point.desk.records) >= more + 4, "records after the restart")
        point.desk.command(Action.DISCONNECT, session.id)
        point.stopped()
    metered = [r for r in point.desk.records if r.reason == Reason.PERIODIC and r.start_s > point.desk.records[0].end_s]
    assert len(metered) >= 5
    assert len([r for r in metered if r.end_s == r.start_s]) <= 1  # only where the second run found itself in the very second
    assert all(r.flags & Flag.CLOCK_NOT_SYNCHRONISED for r in point.desk.records)
    assert point.desk.charges[-1]["elapsedS"] < 120
    assert point.desk.faults == []


LOW_AND_STRICT = 'lowDiskBytes = 1048576\n[lostCommunication]\naction = "disconnect"\n'


def a_limit_of_file_sizes(point: AgentPoint) -> None:
    """The kernel refuses the log's writes beyond a size, a part of the last one taken, and takes more once the reserve is given up. Any
    machine can do that.
    """
    point.start()
    session = point.session(lock_micro=10**9, policy={"recordIntervalS": 1})
    session.start()
    reserve = point.state / "reserve"
    assert reserve.stat().st_size == RESERVE_BYTES
    assert point.agent is not None
    log_bytes = max(path.stat().st_size for path in (point.state / "log").glob("*.log"))
    _, most = resource.prlimit(point.agent.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(point.agent.pid, resource.RLIMIT_FSIZE, (log_bytes + 700, most))
    until(lambda: not reserve.exists(), "the reserve to be given up")
    resource.prlimit(point.agent.pid, resource.RLIMIT_FSIZE, (log_bytes + RESERVE_BYTES, most))


def a_small_file_system(point: AgentPoint) -> None:
    """In a mount namespace of our own, which not every machine allows."""
    small, trigger = point.directory / "small", point.directory / "fill-it"
    small.mkdir()
    script = (
        'mount -t tmpfs -o size=2500k tmpfs "$0" && cp -a "$1/." "$0/" && mount --bind "$0" "$1" && '
        '(while [ ! -e "$2" ]; do sleep 0.1; done; head -c 9000000 /dev/zero > "$0/filler") 2>/dev/null & '
        'sleep 1; shift 2; exec "$@"'
    )
    point.start(wrap=("unshare", "-rm", "sh", "-c", script, str(small), str(point.state), str(trigger)))
    session = point.session(lock_micro=10**9, policy={"recordIntervalS": 1})
    session.start()
    trigger.touch()


def namespaces() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("fills", [a_limit_of_file_sizes, *([a_small_file_system] if namespaces() else [])])
def test_a_full_disk_loses_nothing_flags_and_ends_supply_by_policy(make_point: MakePoint, fills: Callable[[AgentPoint], None]) -> None:
    point = make_point(settings=LOW_AND_STRICT)
    fills(point)
    stop = point.stopped(30)
    assert stop.flags & Flag.LOW_DISK
    assert point.confirmed(SupplyState.DISCONNECTED).cause == Cause.LOST_COMMUNICATION
    until(lambda: not point.tell("state")["contact_closed"], "the contact")
    assert "the disk is full" in point.agent_log()
    assert point.desk.faults == []  # no record is missing: the desk checks that they run on
