"""Command to measured-disconnected, and energy beyond the lock: 20 points at once on real serial lines, one rig process.

Each point is a thread with its own meter and relay driver and a one-second sample loop, as an agent has; the truth (when the
contact opened, what energy flowed) is the rig's, read back through its control socket. All points trip at about the same time,
at a random phase of their loops, so both cores are as busy as twenty points can make them.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from meter_agent.line import Meter, Relay, SupplyState, connect, disconnect, open_meter, open_relay
from tests.rig.process import Rig, running

from .figure import Figure, figure

POINTS = 20
COMMAND_TRIPS = 10  # of each point: 200 in all
LOCK_TRIPS = 3  # of each point: 60 in all
READ_PERIOD_S = 1.0
RATED_MILLIWATTS = 3_680_000  # profile "full": the load draws what the connection is rated for
STEP_MILLIWATT_HOURS = 100
NANO_PER_HOUR = 3_600 * 10**9
LEAD_S = 0.3  # a lock that is nearer than one read period at full power is looked at sooner than the period


class Point(NamedTuple):
    rig: Rig
    number: int
    meter: Meter
    relay: Relay
    chance: random.Random


class LockTrip(NamedTuple):
    """`ratio` of the energy beyond the lock to rated power × (read period + switching time) + one register step."""

    ratio: float
    beyond_milliwatt_hours: int


def command_trip(point: Point) -> float:
    """Seconds from a command being handed over by another thread to supply measured as disconnected."""
    connect(point.meter, point.relay)
    commanded = threading.Event()
    given_ns = 0

    def give() -> None:
        nonlocal given_ns
        given_ns = time.monotonic_ns()
        commanded.set()

    timer = threading.Timer(0.2 + point.chance.random() * READ_PERIOD_S, give)
    timer.start()
    while not commanded.wait(READ_PERIOD_S):
        point.meter.sample(with_register=True)
    result = disconnect(point.meter, point.relay)
    took = (time.monotonic_ns() - given_ns) / 1e9
    if result.state is not SupplyState.DISCONNECTED:
        raise RuntimeError(f"point {point.number} did not disconnect: {result.detail}")
    opened = point.rig.tell("state", point.number)["contact_opened_ns"]
    if not given_ns < opened < given_ns + took * 1e9:
        raise RuntimeError(f"point {point.number}: measured as disconnected, but the contact opened at another time")
    return took


def lock_trip(point: Point) -> LockTrip:
    """Runs until the register reaches a lock; how far beyond it the true energy went."""
    connect(point.meter, point.relay)
    first = point.meter.sample(with_register=True).import_milliwatt_hours or 0
    lock = first + point.chance.randrange(1_500, 4_000)
    while True:
        started = time.monotonic()
        shown = point.meter.sample(with_register=True).import_milliwatt_hours or 0
        if shown >= lock:
            break
        # The money can end before the period does: at rated power the rest lasts so long.
        left_s = (lock - shown) * NANO_PER_HOUR / RATED_MILLIWATTS / 1e9
        time.sleep(max(0.0, started + min(READ_PERIOD_S, max(LEAD_S, left_s)) - time.monotonic()))
    ordered_ns = time.monotonic_ns()
    result = disconnect(point.meter, point.relay)
    if result.state is not SupplyState.DISCONNECTED:
        raise RuntimeError(f"point {point.number} did not disconnect: {result.detail}")
    truth = point.rig.tell("state", point.number)
    switching_ns = truth["contact_opened_ns"] - ordered_ns
    bound = RATED_MILLIWATTS * (int(READ_PERIOD_S * 1e9) + switching_ns) // NANO_PER_HOUR + STEP_MILLIWATT_HOURS
    beyond = max(0, truth["import_milliwatt_hours"] - lock)
    return LockTrip(beyond / bound, beyond)


def work(rig: Rig, number: int) -> tuple[list[float], list[LockTrip]]:
    directory: Path = rig.point(number)
    meter, relay = open_meter(str(directory / "meter")), open_relay(str(directory / "relay"))
    point = Point(rig, number, meter, relay, random.Random(number))
    try:
        meter.sample()
        commands = [command_trip(point) for _ in range(COMMAND_TRIPS)]
        return commands, [lock_trip(point) for _ in range(LOCK_TRIPS)]
    finally:
        meter.close()
        relay.hang_up()


def measure() -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as state,
        running(Path(state), "--points", str(POINTS), "--profile", "full", "--step", str(STEP_MILLIWATT_HOURS)) as rig,
        ThreadPoolExecutor(POINTS) as pool,
    ):
        done = list(pool.map(lambda number: work(rig, number), range(1, POINTS + 1)))
    times = sorted(took for commands, _ in done for took in commands)
    locks = [trip for _, trips in done for trip in trips]
    p99 = times[-(-len(times) * 99 // 100) - 1]
    worst = max(trip.ratio for trip in locks)
    most = max(trip.beyond_milliwatt_hours for trip in locks)
    how = f"{POINTS} points in parallel, mode C at 19200 baud after a 300 baud sign-on, Modbus RTU at 19200, samples each {READ_PERIOD_S} s"
    return [
        figure(
            "command_to_disconnected_p99_s", p99, "s", 1.0, "< 1 s", p99 < 1.0,
            f"{len(times)} trips, {how}; median {times[len(times) // 2]:.3f} s, worst {times[-1]:.3f} s",
        ),
        figure(
            "energy_beyond_lock_ratio", worst, "", 1.0, "≤ 1", worst <= 1.0,
            f"worst of {len(locks)} trips at {RATED_MILLIWATTS // 1000} W, {how}; most beyond the lock {most} mWh, "
            f"step {STEP_MILLIWATT_HOURS} mWh",
        ),
    ]  # fmt: skip
