"""Supply on and off, and the proof of it: connecting, ending, suspending, keeping off, confirming what was measured.

Everything may open the contact; it opens first and the log hears of it after. Closing is the other way round: the
START record and the state that allows supply are on the disk before the contact closes. A supply that is on without a
session that allows it is disconnected.
"""

from __future__ import annotations

from typing import Any

import structlog

from protocol.control import Cause
from protocol.evidence import Reason
from protocol.hashing import ZERO32

from . import grants
from .clock import Clock
from .confirmations import Notary, as_measured, with_confirmation, with_ended
from .journal import Journal
from .line import Disconnection, LineError, SupplyState
from .metering import Metering
from .recorder import Cut
from .state import Ended, Live, Phase, State, following
from .stream import Courier

LOOKS = 2
"""Looks running that must agree before supply that nobody switched counts as on or off."""
STOP_TRIES_S = 10
"""How long the closing reading is tried; then the last good registers stand in, flagged ESTIMATED."""

logger = structlog.get_logger("wattproof.agent.supply")


class Supply:
    """The switch of the one point. Used by the measuring loop alone; raises `DiskFull`/`LogFailed` from the log."""

    def __init__(self, clock: Clock, journal: Journal, metering: Metering, notary: Notary, courier: Courier) -> None:
        self._clock, self._journal, self._metering = clock, journal, metering
        self._notary, self._courier = notary, courier
        self._command = ZERO32  # what the end under way answers
        self._alarmed = False  # a supply that cannot be disconnected has been reported

    @property
    def isolated(self) -> bool:
        """Whether the point was measured disconnected, and nothing contradicts it."""
        point = self._metering.point
        return point.on is False and point.looks >= LOOKS and not point.failed

    def post(self, confirmation: dict[str, Any]) -> None:
        """Send a confirmation until the service has taken it."""
        self._courier.post(confirmation["signature"], "confirmations", confirmation)

    # On

    def start(self, command: bytes, highest_number: int) -> None:
        """Close the contact for the session that is ready, in answer to a RECONNECT. Raises `LineError` if the meter
        cannot be read first.
        """
        live = _live(self._journal.state)
        following(live.phase, "reconnect")
        place = self._journal.end

        def started(cut: Cut | None) -> State:
            update: dict[str, Any] = {"phase": Phase.SUPPLYING}
            if cut is not None:
                update |= {"start": place, "first_sequence": cut.record.sequence}
            return self._journal.state.with_(live=live.model_copy(update=update), highest_number=highest_number)

        if live.first_sequence is None:
            self._metering.record(Reason.START, state=started)
        else:
            self._journal.save(started(None))
        ordered_ns = self._clock.monotonic_ns()
        measured = self._metering.point.connect()
        self._metering.switched_on(ordered_ns, measured.power_milliwatts or 0)
        if measured.state is not SupplyState.CONNECTED:
            logger.error("not connected", measured=measured.detail)
            self.end(Cause.FAULT, "the contact did not close", command)
            return
        logger.info("connected", session=_hex(live.session), measured=measured.detail)
        self.report(measured, live.session, Cause.NONE, command)

    # Off

    def end(self, cause: Cause, why: str, command: bytes | None = None, highest_number: int | None = None) -> None:
        """Disconnect, and end the session: the contact first. An end under way keeps its cause and is measured again."""
        measured = self._metering.point.disconnect()
        state = self._journal.state
        state = state.with_(highest_number=state.highest_number if highest_number is None else highest_number)
        live = _live(state)
        cause = live.cause if live.phase is Phase.ENDING else cause
        logger.info("ending", cause=cause.name, reason=why, measured=measured.detail, state=measured.state.name)
        self._command = command or self._command
        self._courier.withdraw("ready")
        confirmation = self._confirm(state, measured, live.session, cause, self._command)
        state = with_confirmation(state, confirmation, command)
        live = live.model_copy(update={"confirmation": confirmation, "cause": cause})
        if live.first_sequence is None:
            following(live.phase, "abandon")
            self._journal.save(with_ended(state, _ended(live), self._clock.utc_s()))
            self._metering.session = None
        else:
            if live.phase is not Phase.ENDING:
                live = live.model_copy(update={"phase": following(live.phase, "end"), "ending_since_s": self._clock.now_s()})
            self._journal.save(state.with_(live=live))
        self._alarmed = measured.state is not SupplyState.DISCONNECTED
        self.post(confirmation)
        if measured.state is SupplyState.DISCONNECTED and live.first_sequence is not None:
            self._stop(live)

    def finish(self) -> None:
        """Go on with an end under way: until measured disconnected, then the closing reading. After the terms' grace
        it closes regardless.
        """
        live = _live(self._journal.state)
        point = self._metering.point
        if point.on is not False or point.failed:
            measured = point.disconnect()
            if measured.state is SupplyState.DISCONNECTED:
                self.report(measured, live.session, live.cause, None)
            elif self._clock.now_s() < live.ending_since_s + grants.parse(live.granted)[0].terms.stop_grace_s:
                return
        self._stop(_live(self._journal.state))

    def suspend(self) -> None:
        """Supply dropped out by itself, or the agent stops: the contact is driven open, so that nothing comes back
        without RECONNECT.
        """
        live = _live(self._journal.state)
        measured = self._metering.point.disconnect()
        logger.warning("suspended", session=_hex(live.session), measured=measured.detail)

        def suspended(_: Cut) -> State:
            update = {"phase": following(live.phase, "suspend")}
            return self._journal.state.with_(live=live.model_copy(update=update))

        try:
            self._metering.record(Reason.SUSPEND, state=suspended)
        except LineError:
            self._metering.repeat(Reason.SUSPEND, state=suspended)
        self.report(measured, live.session, Cause.NONE, None)

    def keep_off(self) -> None:
        """No session allows supply: where some is measured, disconnect, and say so once where it does not help."""
        point = self._metering.point
        if not (point.on and point.looks >= LOOKS) and not point.failed:
            return
        if not self._alarmed:
            logger.error("supply is on and no session allows it", failed=point.failed)
        measured = point.disconnect()
        live = self._journal.state.live
        session = live.session if live else ZERO32
        if measured.state is SupplyState.DISCONNECTED or not self._alarmed:
            self.report(measured, session, Cause.FAULT if live is None else Cause.NONE, None)
        self._alarmed = measured.state is not SupplyState.DISCONNECTED

    def say_unsaid(self) -> None:
        """Confirm how supply stands in the live session where a crash came between the switching and its report."""
        live, point = _live(self._journal.state), self._metering.point
        said = None if live.confirmation is None else live.confirmation["state"]
        wanted = SupplyState.CONNECTED if point.on else SupplyState.DISCONNECTED
        if live.first_sequence is not None and said != wanted and point.looks >= LOOKS:
            self.report(self._as_seen(), live.session, Cause.NONE, None)

    def _as_seen(self) -> Disconnection:
        """The last look, where nothing was switched."""
        point, last = self._metering.point, self._metering.point.last
        voltage, power = (last.voltage_millivolts, last.power_milliwatts) if last else (None, None)
        return as_measured(bool(point.on), point.auxiliary_open, voltage, power)

    def answer(self, session: bytes, cause: Cause, command: bytes, highest_number: int, *, disconnect: bool) -> None:
        """Answer a command that ends no session: with a measured disconnection, or with the last look as it is."""
        state = self._journal.state.with_(highest_number=highest_number)
        point = self._metering.point
        if disconnect:
            measured = point.disconnect()
            self._alarmed = measured.state is not SupplyState.DISCONNECTED
        else:
            measured = self._as_seen()
        confirmation = self._confirm(state, measured, session, cause, command)
        self._journal.save(with_confirmation(state, confirmation, command))
        self.post(confirmation)

    def report(self, measured: Disconnection, session: bytes, cause: Cause, command: bytes | None) -> None:
        """Confirm what was just measured, durably."""
        state = self._journal.state
        confirmation = self._confirm(state, measured, session, cause, command or ZERO32)
        state = with_confirmation(state, confirmation, command)
        if state.live is not None and state.live.session == session:
            state = state.with_(live=state.live.model_copy(update={"confirmation": confirmation}))
        self._journal.save(state)
        self.post(confirmation)

    def _stop(self, live: Live) -> None:
        """The closing reading and with it the end of the session, in one step."""

        def stopped(_: Cut) -> State:
            following(live.phase, "stopped")
            return with_ended(self._journal.state, _ended(live), self._clock.utc_s())

        try:
            self._metering.record(Reason.STOP, whole=True, state=stopped)
        except LineError as error:
            if self._clock.now_s() < live.ending_since_s + STOP_TRIES_S:
                logger.warning("no closing reading yet", reason=str(error))
                return
            self._metering.repeat(Reason.STOP, state=stopped)
        logger.info("ended", session=_hex(live.session), cause=live.cause.name)
        self._metering.session = None
        self._command = ZERO32

    def _confirm(self, state: State, measured: Disconnection, session: bytes, cause: Cause, command: bytes) -> dict[str, Any]:
        return self._notary.confirm(
            measured, self._clock.now_s(), session=session, highest_number=state.highest_number, command=command, cause=cause
        )


def _live(state: State) -> Live:
    if state.live is None:
        raise AssertionError("there is no session")
    return state.live


def _ended(live: Live) -> Ended:
    latest_end_s = grants.parse(live.granted)[0].terms.latest_end_s
    return Ended(session=live.session, latest_end_s=latest_end_s, cause=live.cause, confirmation=live.confirmation)


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
