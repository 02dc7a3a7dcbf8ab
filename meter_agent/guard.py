"""When supply must end by itself: the money, the terms, the grant, silence of the service, a register nobody can
bill, a load that has finished.

Pure decisions on what metering and the stream know; the conductor acts on them. The end of credit is foreseen: from
the power that flows now the moment is computed at which the price reaches the limit, and the contact is ordered to
open so much earlier as it takes to move. What passes the limit is then at most what a rise of power between two
samples brings: rated power × (read period + switching time) + one step of the register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from protocol.control import Cause

from .clock import NANO, Clock
from .config import Config
from .disk import Disk
from .metering import QUARANTINE_ENDS, Metering
from .session import Session

SWITCHING_NS = 60_000_000
"""From the order to the open contact: a Modbus exchange of 20 ms and a contactor of 10 to 40 ms."""
METER_SILENT_S = 30
"""A supply that cannot be measured is not supplied for longer than this (a readout with all its retries takes 12 s)."""


class Decision(NamedTuple):
    """`cause`: end now. `cut_at_ns`: not yet, but then (monotonic)."""

    cause: Cause | None
    cut_at_ns: int | None
    why: str


GO_ON = Decision(None, None, "")


class Guard:
    """Watches the live session while it supplies."""

    def __init__(self, config: Config, clock: Clock, metering: Metering, disk: Disk, silent_s: Callable[[], float]) -> None:
        self._config, self._clock, self._disk = config, clock, disk
        self._metering, self._silent_s = metering, silent_s
        self._energy_when_lost: int | None = None
        self._idle_since_ns: int | None = None

    def rest(self) -> None:
        """Nothing is supplied: how long a load draws little begins anew."""
        self._idle_since_ns = None

    def decide(self) -> Decision:
        """Whether supply must end, now or at a moment before the next look."""
        session = self._metering.session
        if session is None:
            return GO_ON
        fault = self._fault(session)
        if fault:
            return Decision(Cause.FAULT, None, fault)
        now_s = self._clock.now_s()
        lost = self._lost(session, now_s)
        if lost:
            return Decision(Cause.LOST_COMMUNICATION, None, lost)
        finished = self._finished(session)
        if finished:
            return Decision(Cause.LOAD_FINISHED, None, finished)
        ends = self._terms(session)
        if ends.cause is not None or session.protected(self._clock.utc_s()):
            return ends
        money = self._money(session)
        if money.cause is not None or ends.cut_at_ns is None:
            return money
        return ends if money.cut_at_ns is None or ends.cut_at_ns < money.cut_at_ns else money

    def _terms(self, session: Session) -> Decision:
        """The terms' latest end, after which nothing can be charged, and the end of the grant."""
        now_ns = self._clock.monotonic_ns()
        cut_at_ns = session.end_s() * NANO - self._clock.utc_ns() + now_ns - 2 * SWITCHING_NS
        if cut_at_ns > now_ns:
            return Decision(None, cut_at_ns, "")
        if session.end_s() == session.granted.terms.latest_end_s:
            return Decision(Cause.CREDIT, None, "the terms have ended: nothing later can be charged")
        heard = not self._silent_s()
        return Decision(Cause.OPERATOR if heard else Cause.LOST_COMMUNICATION, None, "the grant was not renewed")

    def _fault(self, session: Session) -> str:
        if session.unpriced:
            return f"a record cannot be priced: {session.unpriced}"
        if self._metering.swapped:
            return "the meter was changed"
        if self._metering.recorder.quarantined >= QUARANTINE_ENDS:
            return f"{QUARANTINE_ENDS} records running have a register that cannot be believed"
        silent_ns = self._clock.monotonic_ns() - self._metering.point.heard_ns
        if silent_ns > METER_SILENT_S * NANO:
            return f"the meter has been silent for {silent_ns // NANO} s"
        return ""

    def _lost(self, session: Session, now_s: int) -> str:
        """Why silence (of the service, or of a disk that takes nothing more) ends supply: the stricter of the terms'
        policy and the point's.
        """
        own = self._config.lost_communication
        silent_s = self._silent_s() - own.after_s
        what = "the service is not heard"
        if self._disk.full_since_s is not None:
            silent_s, what = max(silent_s, now_s - self._disk.full_since_s), "the disk takes nothing more"
        energy = session.pricer.energy_milliwatt_hours + self._metering.gauge.energy_milliwatt_hours
        if silent_s < 0:
            self._energy_when_lost = None
            return ""
        if self._energy_when_lost is None:
            self._energy_when_lost = energy
        used = energy - self._energy_when_lost
        for policy in (session.granted.policy.lost_communication, own):
            if policy.action == "disconnect":
                return f"{what}, and the policy is to disconnect"
            if used >= policy.milliwatt_hours or silent_s >= policy.seconds:
                return f"{what}, for {silent_s:.0f} s and {used} mWh: the policy's hold has ended"
        return ""

    def _finished(self, session: Session) -> str:
        """Why the load has finished, by the rule of the terms' policy; a meter that is silent proves nothing."""
        rule, power = session.granted.policy.load_finished, self._metering.gauge.power_milliwatts
        if rule is None or abs(power) >= rule.below_milliwatts or self._metering.stale():
            self._idle_since_ns = None
            return ""
        now_ns = self._clock.monotonic_ns()
        if self._idle_since_ns is None:
            self._idle_since_ns = now_ns
        seconds = (now_ns - self._idle_since_ns) // NANO
        return f"the load has drawn less than {rule.below_milliwatts} mW for {seconds} s" if seconds >= rule.for_s else ""

    def _money(self, session: Session) -> Decision:
        forecast = self._metering.forecast()
        if forecast is None:
            return GO_ON
        now_ns = self._clock.monotonic_ns()
        limit = session.limit_micro(heard=not self._silent_s(), max_credit_micro=self._config.max_credit_micro)
        horizon_ns = now_ns + self._config.sample_interval_s * NANO + self._metering.cycle_ns + SWITCHING_NS

        def passed(at_ns: int) -> bool:
            cost = forecast.total_micro(at_ns)
            return cost >= limit or session.over_energy_credit(forecast.energy_milliwatt_hours(at_ns), cost)

        reached_ns = forecast.last_before(passed, now_ns, horizon_ns)
        if reached_ns is None:
            return GO_ON
        cut_at_ns = reached_ns - SWITCHING_NS
        why = f"the cost reaches the limit of {limit} micro-units, or the energy the grant's credit"
        return Decision(Cause.CREDIT, None, why) if cut_at_ns <= now_ns else Decision(None, cut_at_ns, why)
