"""From the meter to the log: when a record is cut, what it carries, and that it is durable before anything else hears
of it.

Owns the point, the recorder, the gauge and the live session's arithmetic. What a step changes in the agent's memory
goes into the log in one entry with the frame that caused it, so a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from onsite.errors import DiskFull
from protocol.control import Cause
from protocol.eip712 import EVIDENCE, digest, to_json
from protocol.errors import ProtocolError
from protocol.evidence import Flag, HandOver, Reason, meter_hash
from protocol.keys import Signer
from protocol.ocmf import Transaction
from protocol.ocmf import make as make_ocmf

from .clock import NANO, Clock
from .config import Config
from .credit import Forecast
from .gauge import Gauge
from .journal import Entry, Good, Journal
from .keystore import ChargeKeys
from .line import MeterReading
from .point import Look, Point
from .recorder import Cut, Recorder
from .session import Session, resume
from .state import State

QUARANTINE_ENDS = 3
"""Records running whose register cannot be believed: then a session ends, and an idle point takes the register as it
is.
"""
LOW_DISK_STRETCH = 4
"""Record intervals are this much longer while the disk is nearly full."""

ENDS = {
    Cause.OPERATOR: Transaction.REMOTE, Cause.FAULT: Transaction.ABORT, Cause.LOST_COMMUNICATION: Transaction.ABORT,
}  # fmt: skip
"""Which OCMF transaction an end is; any other is END."""

logger = structlog.get_logger("wattproof.agent.metering")
MakeState = Callable[[Cut], State]


class Metering:
    """Records of one point. Raises `LineError` where the meter does not answer and `DiskFull`/`LogFailed` from the
    log.
    """

    def __init__(
        self, config: Config, clock: Clock, journal: Journal, signer: Signer, charge_keys: ChargeKeys, online: Callable[[], bool]
    ) -> None:
        self._config, self._clock, self._journal = config, clock, journal
        self._signer, self._charge_keys, self._online = signer, charge_keys, online
        self.point = Point(config)
        self.gauge = Gauge(config.rated_watts)
        self.recorder = Recorder(journal, signer, config.device, config.channel, config.placement, config.rated_watts)
        self.head_seen = journal.tip.head_seen
        self.session: Session | None = None
        self.swapped = False
        """The meter was changed since the live session's last record."""
        self.status = Flag(0)
        """What the meter said of itself in the last reading."""
        self.cycle_ns = NANO // 2
        """The longest recent time a look took, and what was done with it: how much later than planned the next can
        come.
        """
        self.low_disk = False
        self.rolled_back = False
        # Before the first look of this run: silence and energy count from now.
        self.point.heard_ns = self.gauge.at_ns = clock.monotonic_ns()
        self._resume()

    def _resume(self) -> None:
        """The live session as the log has it."""
        live = self._journal.state.live
        if live is None:
            self.session = None
            return
        records = [signed.records[i] for signed, i in self._journal.session_records()]
        self.session = resume(live, self.modulus_milliwatt_hours, records)

    @property
    def modulus_milliwatt_hours(self) -> int:
        """Where the register of the meter in place rolls over; 0 before the first reading."""
        good = self._journal.tip.good
        return good.modulus_milliwatt_hours if good else 0

    @property
    def in_session(self) -> bool:
        """Whether a session has begun to be metered here."""
        return self.session is not None and self.session.started

    # When

    def next_record(self) -> tuple[int, Reason]:
        """The UTC second at which the next record is due, and why: the interval, or a price that changes."""
        after_s = self._journal.tip.end_s
        session = self.session
        interval_s = self._config.record_interval_s
        if session is not None and session.started:
            interval_s = session.granted.policy.record_interval_s
        interval_s *= LOW_DISK_STRETCH if self.low_disk else 1
        due_s = (after_s // interval_s + 1) * interval_s
        if session is not None and session.started:
            boundary_s = session.next_boundary_s(after_s, due_s + 1)
            if boundary_s is not None:
                return boundary_s, Reason.TARIFF_CHANGE
        return due_s, Reason.PERIODIC

    # What

    def took(self, look: Look, reason: Reason) -> None:
        """A look at the point: into the point and the gauge; a whole reading becomes a record, as does another
        meter's sample.
        """
        self.point.took(look)
        good = self._journal.tip.good
        sample = look.sample
        if look.reading is not None:
            self.record(reason, reading=look.reading)
        elif good is not None and sample.serial and sample.serial != good.serial:
            self.record(Reason.PERIODIC)
        else:
            middle_ns = (sample.started_ns + sample.finished_ns) // 2
            self.gauge.sampled(sample.power_milliwatts, sample.import_milliwatt_hours, middle_ns)

    def switched_on(self, ordered_ns: int, power_milliwatts: int) -> None:
        """The contact was ordered to close at that moment, and this power was measured since: all of it counts from
        the order on.
        """
        self.gauge.sampled(0, None, ordered_ns)
        self.gauge.power_milliwatts = power_milliwatts
        self.gauge.sampled(power_milliwatts, None, self._clock.monotonic_ns())

    def record(
        self, reason: Reason, *, whole: bool = False, reading: MeterReading | None = None, state: MakeState | None = None
    ) -> Cut:
        """Cut a record from `reading`, or from one made now, and make it durable. `state` makes the state that goes
        with it.
        """
        reading = reading or self.point.read(whole=whole)
        self.status = reading.status
        good = self._journal.tip.good
        if good is not None and (reading.serial, self._config.placement) != (good.serial, good.placement):
            self._swap(good, reading)
        if self.session is not None:
            self.session.placed(10**reading.register_digits * reading.step_milliwatt_hours)
        at_s = self._clock.at_s(reading.started_ns)
        cuts: list[Cut] = []
        if reason is Reason.START and self._journal.tip.end_s < at_s:
            cuts.append(self._cut(reading, at_s, Reason.PERIODIC, None))  # records are contiguous: what was before the start
        cuts.append(self._cut(reading, at_s, reason, cuts[0] if cuts else None))
        self._append(cuts, reason, state)
        self._follow(reading, cuts[-1])
        return cuts[-1]

    def repeat(self, reason: Reason, *, state: MakeState | None = None) -> Cut:
        """A record from the last good registers, where the meter does not answer: ESTIMATED."""
        good = self._journal.tip.good
        if good is None:
            raise AssertionError("no reading was ever made")
        cut = self.recorder.repeat(good, self._clock.now_s(), reason, self._flags())
        self._append([cut], reason, state)
        return cut

    def forecast(self) -> Forecast | None:
        """The price from now on, as the gauge stands."""
        if self.session is None:
            return None
        gauge = self.gauge
        power = gauge.power_milliwatts
        if self.stale():  # nobody knows: then as much as the connection can carry
            power = max(power, self._config.rated_watts * 1_000)
        offset_ns = self._clock.now_ns() - self._clock.monotonic_ns()
        return self.session.forecast(gauge.energy_milliwatt_hours, power, gauge.at_ns, offset_ns)

    def stale(self) -> bool:
        """Whether the last sample is too old to tell what flows now."""
        return self._clock.monotonic_ns() - self.gauge.at_ns > self._config.sample_interval_s * NANO + self.cycle_ns

    def _cut(self, reading: MeterReading, at_s: int, reason: Reason, after: Cut | None) -> Cut:
        sampled = self.gauge.sampled_milliwatt_hours
        cut = self.recorder.cut(reading, at_s, reason, self._flags(), sampled, after=after)
        if cut.explained:
            logger.error("register in quarantine", sequence=cut.record.sequence, reason=cut.explained)
        return cut

    def _flags(self) -> Flag:
        flags = Flag(0) if self._clock.synchronised else Flag.CLOCK_NOT_SYNCHRONISED
        if self.point.on is False:
            flags |= Flag.DISCONNECTED
        if self.low_disk:
            flags |= Flag.LOW_DISK
        if self.rolled_back:
            flags |= Flag.LOG_ROLLED_BACK
        return flags

    def _append(self, cuts: list[Cut], reason: Reason, state: MakeState | None, hand_over: HandOver | None = None) -> None:
        """Price, frame, sign, charge, and make it durable together. If the log fails nothing has happened."""
        session = self.session
        for cut in cuts:
            if session is not None and (session.started or cut.record.reason == Reason.START):
                session.add(cut.record)
        close = self.recorder.frame_due(reason, cuts[-1].record.end_s, heard=self._online(), in_session=self.in_session)
        step = self.recorder.step(cuts, self.head_seen, close_frame=close)
        entry = step.entry
        if step.signed is not None and session is not None and session.started:
            entry = entry._replace(charge=self._charge(session, step.signed.digest))
        entry = self._with_ocmf(entry, cuts[-1], session)
        if hand_over is not None:
            if session is not None and session.started:
                session.hand_over(hand_over)
            signature = "0x" + self._signer.sign(digest(EVIDENCE, hand_over)).hex()
            entry = entry._replace(hand_over={"handOver": to_json(hand_over), "signature": signature})
        if state is not None:
            entry = entry._replace(state=state(cuts[-1]))
        try:
            self._journal.append(entry)
        except DiskFull:
            self._resume()  # the session must not be ahead of the log
            raise
        self.recorder.appended(cuts)
        self.rolled_back = False  # said once, in the first record after it was noticed

    def _with_ocmf(self, entry: Entry, cut: Cut, session: Session | None) -> Entry:
        """The entry with the OCMF text that belongs to the start or the end of a session."""
        live, good, tip = self._journal.state.live, cut.tip.good, entry.tip
        if session is None or live is None or good is None or tip is None or cut.record.reason not in (Reason.START, Reason.STOP):
            return entry
        transaction = Transaction.BEGIN if cut.record.reason == Reason.START else ENDS.get(live.cause, Transaction.END)
        number = tip.ocmf_number + 1
        try:
            text = make_ocmf(self._signer, cut.record, transaction, session.id, good.serial, number)
        except ProtocolError as error:  # a serial no OCMF text can carry: the frame has it all the same
            logger.warning("no OCMF text", reason=str(error))
            return entry
        document = {"session": "0x" + session.id.hex(), "text": text}
        return entry._replace(ocmf=(document,), tip=tip.model_copy(update={"ocmf_number": number}))

    def _charge(self, session: Session, frame: bytes) -> dict[str, object] | None:
        live = self._journal.state.live
        if live is None or live.charge_index is None:
            return None
        signer = self._charge_keys.key(self._config.device, self._config.channel, live.charge_index)
        return session.charge(frame, signer, self._clock.utc_s())

    def _follow(self, reading: MeterReading, cut: Cut) -> None:
        good = cut.tip.good
        middle_ns = (reading.started_ns + reading.finished_ns) // 2
        self.gauge.recorded(
            reading.import_milliwatt_hours, reading.step_milliwatt_hours, good.modulus_milliwatt_hours if good else 0,
            reading.power_milliwatts, middle_ns, good=not cut.explained,
        )  # fmt: skip

    def _swap(self, old: Good, reading: MeterReading) -> None:
        """Another meter stands here: the old one's last registers, and the signed hand-over to the new one's."""
        logger.error("the meter was changed", old=old.serial, new=reading.serial)
        placement = self._config.placement
        cut = self.recorder.repeat(old, self._clock.at_s(reading.started_ns), Reason.SWAP, self._flags())
        new = Good(
            serial=reading.serial, placement=placement, import_milliwatt_hours=reading.import_milliwatt_hours,
            export_milliwatt_hours=reading.export_milliwatt_hours, at_s=cut.record.end_s,
            modulus_milliwatt_hours=10**reading.register_digits * reading.step_milliwatt_hours,
            step_milliwatt_hours=reading.step_milliwatt_hours,
        )  # fmt: skip
        cut = cut._replace(tip=cut.tip.model_copy(update={"good": new}))
        hand_over = HandOver(
            self._config.device, self._config.channel, cut.record.sequence, cut.record.end_s,
            meter_hash(old.serial, old.placement), old.import_milliwatt_hours, old.export_milliwatt_hours,
            meter_hash(new.serial, placement), new.import_milliwatt_hours, new.export_milliwatt_hours,
        )  # fmt: skip
        self._append([cut], Reason.SWAP, None, hand_over)
        self.swapped = True
