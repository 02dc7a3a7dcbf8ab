"""From readings to records to signed frames.

Records are contiguous: each begins where the one before ended, and its time never runs backwards. A record belongs to
exactly one frame; a frame names the one before it. `cut` changes nothing that lasts: the caller makes the step
durable with `Journal.append` of what `entry` returns, and only then is it so.

The frame rule: one record a frame while the service is heard; otherwise a frame closes at 256 records, or when its
first record is 60 s old in a session and 4 h old outside. A record that starts, ends or interrupts a session always
closes the frame.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from protocol.evidence import (
    MAX_DETAILS,
    MAX_FRAME_RECORDS,
    MAX_OBIS_BYTES,
    MAX_RAW_BYTES,
    Flag,
    Reason,
    Record,
    details_hash,
    frame_digest,
    make_frame,
    meter_hash,
)
from protocol.keys import Signer
from protocol.wire import Details, SignedFrame, encode_frame

from .journal import Entry, Good, Journal, Tip
from .line import MeterReading
from .registers import Reading, judge

OFFLINE_SESSION_S = 60
OFFLINE_SUPPLY_S = 4 * 3_600
CLOSING = frozenset((Reason.START, Reason.STOP, Reason.SUSPEND, Reason.SWAP))


class Cut(NamedTuple):
    """A record just made, its details, and where the device then stands."""

    record: Record
    details: Details
    tip: Tip
    explained: str  # why the register is quarantined; empty if it is not


class Step(NamedTuple):
    """What to append for a cut: `frame` is None while the record only waits as a draft."""

    signed: SignedFrame | None
    entry: Entry


class Recorder:
    """Makes the records and frames of one device and channel."""

    def __init__(self, journal: Journal, signer: Signer, device: bytes, channel: int, placement: str, rated_watts: int) -> None:
        self._journal = journal
        self._signer = signer
        self._device, self._channel, self._placement = device, channel, placement
        self._rated_watts = rated_watts
        self.incarnation = os.urandom(32)
        self.quarantined = 0  # records running

    def cut(
        self, reading: MeterReading, at_s: int, reason: Reason, flags: Flag, sampled_milliwatt_hours: int | None, *,
        after: Cut | None = None,
    ) -> Cut:  # fmt: skip
        """The record that ends with `reading`, asked for at UTC second `at_s`, following `after` where that is not appended yet."""
        tip = after.tip if after else self._journal.tip
        end_s = max(at_s, tip.end_s)
        start_s = tip.end_s if tip.end_s and reason is not Reason.START else end_s
        seen = Reading(
            reading.serial, self._placement, reading.import_milliwatt_hours, reading.export_milliwatt_hours, end_s,
            reading.step_milliwatt_hours, 10**reading.register_digits * reading.step_milliwatt_hours,
        )  # fmt: skip
        verdict = judge(seen, tip.good, self._rated_watts, sampled_milliwatt_hours, self.quarantined > 0)
        record, details = self._record(reading, start_s, end_s, reason, flags | verdict.flags | reading.status, tip)
        return Cut(record, details, self._moved(tip, record, verdict.good), verdict.detail)

    def repeat(self, good: Good, at_s: int, reason: Reason, flags: Flag) -> Cut:
        """A record from the last good registers, for when the meter does not answer or is not there any more: flagged
        ESTIMATED.
        """
        tip = self._journal.tip
        end_s = max(at_s, tip.end_s)
        reading = MeterReading(
            good.serial, "", good.import_milliwatt_hours, good.export_milliwatt_hours, good.step_milliwatt_hours, 0, 0, 0, 0,
            Flag(0), [], end_s, 0, 0,
        )  # fmt: skip
        record, details = self._record(reading, tip.end_s or end_s, end_s, reason, flags | Flag.ESTIMATED, tip)
        record = record._replace(meter_hash=meter_hash(good.serial, good.placement))  # the old one, where it was changed
        return Cut(record, details, self._moved(tip, record, good), "")

    def _record(
        self, reading: MeterReading, start_s: int, end_s: int, reason: Reason, flags: Flag, tip: Tip
    ) -> tuple[Record, Details]:
        details = fitting(reading.details)
        record = Record(
            self._device, self._channel, tip.next_sequence, start_s, end_s, reading.import_milliwatt_hours,
            reading.export_milliwatt_hours, reading.step_milliwatt_hours, reading.voltage_millivolts, reading.current_milliamps,
            reading.power_milliwatts, int(flags), int(reason), meter_hash(reading.serial, self._placement), details_hash(details),
            os.urandom(32),
        )  # fmt: skip
        return record, details

    @staticmethod
    def _moved(tip: Tip, record: Record, good: Good) -> Tip:
        return tip.model_copy(update={"next_sequence": record.sequence + 1, "end_s": record.end_s, "good": good})

    def frame_due(self, reason: Reason, end_s: int, *, heard: bool, in_session: bool) -> bool:
        """Whether the record now being added closes the frame."""
        waiting = self._journal.drafts
        if heard or reason in CLOSING or len(waiting) + 1 >= MAX_FRAME_RECORDS:
            return True
        first_s = waiting[0].records[0].start_s if waiting else end_s
        return end_s - first_s >= (OFFLINE_SESSION_S if in_session else OFFLINE_SUPPLY_S)

    def step(self, cuts: Sequence[Cut], head_seen: bytes, *, close_frame: bool) -> Step:
        """Sign all waiting records and `cuts` into one frame, or keep `cuts` as drafts. The caller appends the entry."""
        tip = cuts[-1].tip
        if not close_frame:
            drafts = tuple(self._draft(cut) for cut in cuts)
            return Step(None, Entry(drafts=drafts, tip=tip))
        waiting = self._journal.drafts
        records = (*(draft.records[0] for draft in waiting), *(cut.record for cut in cuts))
        details = (*(draft.details[0] for draft in waiting), *(cut.details for cut in cuts))
        frame = make_frame(records, self.incarnation, tip.previous_frame, head_seen)
        digest = frame_digest(frame)
        signed = SignedFrame(frame, self._signer.sign(digest), records, details)
        tip = tip.model_copy(update={"previous_frame": digest, "head_seen": head_seen})
        return Step(signed, Entry(frame=encode_frame(signed), tip=tip))

    def _draft(self, cut: Cut) -> bytes:
        frame = make_frame((cut.record,), self.incarnation, bytes(32), bytes(32))
        return encode_frame(SignedFrame(frame, bytes(65), (cut.record,), (cut.details,)))

    def appended(self, cuts: Sequence[Cut]) -> None:
        """The step is durable: count quarantined records running."""
        for cut in cuts:
            self.quarantined = self.quarantined + 1 if cut.record.flags & Flag.QUARANTINED_REGISTER else 0


def fitting(details: Sequence[tuple[str, bytes]]) -> Details:
    """The details a record can carry: what is longer than the format allows is left out, the rest stays byte for
    byte.
    """
    kept = [(code, raw) for code, raw in details if code.isascii() and len(code) <= MAX_OBIS_BYTES and len(raw) <= MAX_RAW_BYTES]
    return tuple(kept[:MAX_DETAILS])

