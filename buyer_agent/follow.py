"""What the seller's frames say, believed only as far as it can be checked: signature, chain, sequence, root, time, and what the connection
can carry; and what it costs.

Pure. A `Follower` takes the frames of one session in order and prices them with the agreed tariff by itself. The first thing that is wrong
ends it: a `Disagreement` names the frame and why.
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.errors import PricingError, ProtocolError
from protocol.evidence import Flag, Reason, Record
from protocol.keys import check_signature
from protocol.plausibility import most_milliwatt_hours
from protocol.pricing import Pricer
from protocol.wire import SignedFrame, decode_frame

from .errors import Disagreement
from .quote import Agreed

AHEAD_S = 15
"""How far a record may end ahead of our clock: two clocks set by NTP, and whole seconds. Time costs money, so the future is not paid."""
OPENED_BEFORE_S = 60
"""How much earlier than the opening the START may stand: block times run up to that far ahead of the clock."""

MAX_STEP_MILLIWATT_HOURS = 100_000
"""The coarsest register paid for, 0.1 kWh. The seller states its step, and steps excuse energy here and beside the own meter."""


class Seen(NamedTuple):
    """Where a session stands after a frame that was found right. Energy and money are the session's so far."""

    frame: bytes
    sequence: int  # of the frame's last record
    end_s: int
    milliwatt_hours: int
    total_micro: int
    step_milliwatt_hours: int
    start: bool  # the frame holds the START record
    stop: bool


class Register(NamedTuple):
    """A register where a session begins or ends."""

    meter_hash: bytes
    milliwatt_hours: int
    at_s: int


class Follower:
    """Checks and prices one session's frames. `connection_watts`: what the buyer's own side can carry, where that is known."""

    def __init__(self, agreed: Agreed, opened_at_s: int, connection_watts: int | None = None) -> None:
        self._agreed, self._opened_at_s = agreed, opened_at_s
        rated_watts = agreed.terms.rated_watts
        self._most_watts = rated_watts if connection_watts is None else min(rated_watts, connection_watts)
        self.pricer = Pricer(agreed.tariff, opened_at_s)
        self.started: Register | None = None
        self.last: Register | None = None
        self.last_record: Record | None = None
        self.stopped = False
        self.seen: Seen | None = None
        self._digest, self._sequence = b"", 0

    def take(self, raw: bytes, now_s: int) -> Seen | None:
        """Take the next frame; None for one taken before, byte for byte, or from before the session. Raises `Disagreement`."""
        try:
            signed = decode_frame(raw)
        except ProtocolError as error:
            raise Disagreement("malformed", f"a frame is not what it claims to be: {error}") from None
        digest = signed.digest
        if digest == self._digest:
            return None
        self._check(signed, digest, now_s)
        if not self.stopped:
            self._price(signed, digest)
        self._digest, self._sequence = digest, signed.last_sequence
        if self.started is None or self.last is None:
            return None
        records = signed.records
        reasons = {record.reason for record in records}
        self.seen = Seen(
            digest, signed.last_sequence, self.last.at_s, self.pricer.energy_milliwatt_hours, self.pricer.total_micro,
            max(record.step_milliwatt_hours for record in records), Reason.START in reasons, self.stopped,
        )  # fmt: skip
        return self.seen

    def _check(self, signed: SignedFrame, digest: bytes, now_s: int) -> None:
        frame = signed.frame
        if frame.device != self._agreed.device:
            raise Disagreement("device", "a frame is of another device than the terms commit to", frame=digest)
        try:
            check_signature(digest, signed.signature, self._agreed.meter_key)
        except ProtocolError as error:
            raise Disagreement("signature", f"a frame is not signed by the meter key the terms commit to: {error}", frame=digest) from None
        if self._digest and frame.previous_frame != self._digest:
            raise Disagreement("chain", f"frame {frame.first_sequence} does not follow the frame before it", frame=digest)
        if self._digest and frame.first_sequence != self._sequence + 1:
            missing = f"record {self._sequence + 1} is missing: the frame begins at {frame.first_sequence}"
            raise Disagreement("sequence", missing, frame=digest)
        latest = max(record.end_s for record in signed.records)
        if latest > now_s + AHEAD_S:
            raise Disagreement("time", f"a record ends at {latest}, and it is only {now_s}", frame=digest)

    def _price(self, signed: SignedFrame, digest: bytes) -> None:
        for record in signed.records:
            if record.channel != self._agreed.channel or self.stopped:
                continue
            if self.started is None and record.reason != Reason.START:
                continue  # of the idle point before the session
            if self.started is None and record.end_s < self._opened_at_s - OPENED_BEFORE_S:
                raise Disagreement("time", f"the START record is of {record.end_s}, before the session opened", frame=digest)
            if self.started is not None and record.reason == Reason.START:
                raise Disagreement("start", f"record {record.sequence} starts the session a second time", frame=digest)
            self._add(record, digest)

    def _add(self, record: Record, digest: bytes) -> None:
        try:
            self.pricer.add(record)
        except PricingError as error:
            raise Disagreement("price", f"a record cannot be priced: {error}", frame=digest) from None
        self._check_carried(record, digest)
        self.last_record = record
        if record.reason == Reason.SWAP:
            raise Disagreement("swap", "the meter is being changed; the session ends with the old one", frame=digest)
        if not record.flags & Flag.QUARANTINED_REGISTER or self.last is None:
            self.last = Register(record.meter_hash, record.import_milliwatt_hours, record.end_s)
        else:
            self.last = self.last._replace(at_s=record.end_s)
        if self.started is None:
            self.started = self.last
        self.stopped = record.reason == Reason.STOP

    def _check_carried(self, record: Record, digest: bytes) -> None:
        """The session's energy so far can have come through the connection since it started, by the rule of the meter's own agent."""
        step = record.step_milliwatt_hours
        if step > MAX_STEP_MILLIWATT_HOURS:
            coarse = f"the register goes in steps of {step} mWh; at most {MAX_STEP_MILLIWATT_HOURS} mWh are paid for"
            raise Disagreement("step", coarse, frame=digest)
        seconds = record.end_s - (record.end_s if self.started is None else self.started.at_s)
        counted, most = self.pricer.energy_milliwatt_hours, most_milliwatt_hours(self._most_watts, seconds, step)
        if counted > most:
            why = f"{counted} mWh in the {seconds} s since the start; a connection of {self._most_watts} W carries at most {most} mWh"
            raise Disagreement("rating", why, frame=digest, seller_milliwatt_hours=counted)
