"""`verify`: one proof bundle → one report. Offline: no network, no clock, no node; what those would tell is *not checked* and says so.

Order: the file's form, links and keys (what frames are judged against), frames on all cores, then what only the whole log shows, then
bill and money. Every check is reported whatever the others say, so that one fault does not hide another.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

from protocol.bundle import Bundle
from protocol.errors import Malformed

from . import anchors, attached, conflicts, device_keys, log, money, pricing, receipts, registers
from .frames import CheckedFrame, Chunk, examine, stray_problems
from .reading import Opened, Unpacking, open_bundle
from .report import CHECKS, Check, Problem, Report, Verdict, in_order, judge
from .trust import Trust
from .workers import cores, workers

CHAIN_FACTS = "as the file says; `compare-chain` asks your own node"


@contextmanager
def no_collector() -> Iterator[None]:
    """Parsing makes millions of objects and no cycles; the collector would walk them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Examined(NamedTuple):
    """A bundle whose frames were judged one by one; `problems` is what was found doing that."""

    bundle: Bundle
    frames: list[CheckedFrame]
    disputed: list[CheckedFrame]
    problems: list[Problem]

    @property
    def keys(self) -> set[bytes]:
        """Every meter key the device ever had, by the file's own word."""
        return {span.key for span in device_keys.meter_spans(self.bundle.key_events)}


def examine_file(raw: bytes, processes: int | None = None) -> Examined:
    """A bundle with its frames examined on `processes` cores (default: all). Raises `Malformed`."""
    count = cores(processes)
    if count > 1 and Unpacking.suits(raw):
        unpacking = Unpacking(raw)
        with workers(count, unpacking.source) as examined:
            chunks = examined(unpacking.slices())
            if unpacking.opened is not None:
                try:
                    return _gather(unpacking.opened, chunks)
                except Malformed:
                    pass  # read as it stands, the file shows what is wrong with it, and where
    opened = open_bundle(raw)
    with workers(min(count, len(opened.slices)), opened.source) as examined:
        return _gather(opened, examined(opened.slices))


def _gather(opened: Opened, chunks: Iterable[Chunk]) -> Examined:
    bundle = opened.head()  # while the frames are being examined
    disputed, problems = _conflicts(bundle)
    frames: list[CheckedFrame] = []
    for chunk in chunks:
        frames += chunk.frames
        problems += chunk.problems
    return Examined(bundle, frames, disputed, problems)


def verify(raw: bytes, trust: Trust | None = None, *, subject: str = "bundle", processes: int | None = None) -> Report:
    """The report on the bytes of a bundle. Raises nothing, whatever the bytes; the same bytes give the same report."""
    with no_collector():
        try:
            return judge_bundle(subject, examine_file(raw, processes), trust or Trust())
        except Malformed as error:
            return unreadable(subject, error)


def unreadable(subject: str, error: Malformed) -> Report:
    """The report on a file whose form is wrong: the place, and nothing else was looked at."""
    form = judge("form", [Problem("form", error.where or "file", error.what)], "")
    rest = [Check(name, Verdict.NOT_CHECKED, "the file cannot be read") for name in CHECKS if name != "form"]
    return Report(subject, in_order([form, *rest]), {})


def _conflicts(bundle: Bundle) -> tuple[list[CheckedFrame], list[Problem]]:
    """Conflicting frames must be proof by themselves: whole and signed. Where they were anchored is the operator's affair."""
    found: list[CheckedFrame] = []
    problems: list[Problem] = []
    for i, conflict in enumerate(bundle.conflicts):
        checked, wrong = examine(conflict, f"conflicts[{i}]")
        found.append(checked)
        if any(problem.check == "record-hashes" for problem in wrong) or checked.frame.device != bundle.session.device:
            problems.append(Problem("equivocation", checked.name, "is shown as a conflict, but its records are not those that were signed"))
    return found, problems


def judge_bundle(subject: str, examined: Examined, trust: Trust) -> Report:
    """The report on an examined bundle."""
    bundle, frames, disputed, problems = examined
    session = bundle.session
    keys, roots = examined.keys, [link.root for link in bundle.links]
    walked = log.walk(frames)
    problems = [*problems, *stray_problems(frames, session.device, keys, roots), *walked.problems, *log.coverage(session, walked)]
    records = walked.records()
    standing = {frame.digest for frame in frames}
    ruled = [signed.value for signed in bundle.rulings if signed.value.accepted_frame in standing]
    hidden_problems, gone, hidden = attached.erasure_problems(bundle, walked)
    problems += hidden_problems + registers.register_problems(session, records, bundle.hand_overs, ruled)
    conflict_problems, notes = conflicts.conflict_problems(session, walked, disputed, bundle.rulings, keys)
    problems += conflict_problems

    used = {frame.link for frame in frames if frame.link is not None}
    chain = anchors.look(session, bundle.links, used, trust)
    promise_problems, promise_doubt = receipts.receipt_problems(bundle, walked, chain, trust.halts)
    frame_keys = device_keys.judge_frame_keys(walked, chain, bundle.key_events)
    doubt = device_keys.history_doubt(bundle, trust)
    problems += [
        *chain.problems,
        *anchors.time_problems(walked, chain),
        *promise_problems,
        *frame_keys.problems,
        *device_keys.event_problems(bundle, trust),
    ]
    problems += device_keys.voucher_problems(bundle) + device_keys.point_problems(bundle)

    tariff, tariff_problems = pricing.tariff_problems(bundle)
    agreement_problems, agreement_doubt = pricing.agreement_problems(bundle)
    charged = money.charged_frame(bundle, walked)
    priced = None
    if tariff is not None and not gone:
        priced = pricing.reprice(bundle, tariff, pricing.billed(bundle, records), charged.last if charged else None)
    problems += [*tariff_problems, *agreement_problems, *(priced.problems if priced else ())]
    problems += money.money_problems(bundle, charged, priced)

    ocmf_problems, no_ocmf = attached.ocmf_problems(bundle, records)
    problems += ocmf_problems + attached.hand_over_problems(bundle) + attached.ruling_problems(bundle) + attached.end_problems(bundle)
    total = sum(frame.frame.count for frame in frames)
    checks = [
        judge("form", problems, "version 1"),
        judge("record-hashes", problems, f"{total - hidden} records hashed" + (f", {hidden} by their hashes alone" if hidden else "")),
        judge("frame-signatures", problems, f"{len(frames)} signatures"),
        *log.log_checks(problems, walked, notes, bool(hidden)),
        *anchors.anchor_checks(walked, chain, problems),
        *receipts.receipt_checks(bundle, problems, promise_doubt, chain),
        *device_keys.key_checks(bundle, problems, doubt, chain, frame_keys),
        *pricing.bill_checks(bundle, problems, priced, agreement_doubt, gone),
        *money.money_checks(bundle, problems, gone),
        *attached.attached_checks(bundle, problems, no_ocmf, hidden),
        judge("chain-facts", problems, "", unchecked=CHAIN_FACTS),
    ]
    return Report(subject, in_order(checks), facts(bundle, total, len(frames)))


def facts(bundle: Bundle, records: int, frames: int) -> dict[str, Any]:
    """What a person wants to see first."""
    session = bundle.session
    return {
        "session": "0x" + session.session.hex(), "device": "0x" + session.device.hex(), "channel": session.channel,
        "openedAtS": session.opened_at_s, "records": records, "frames": frames,
        "energyMilliwattHours": bundle.bill.get("energyMilliwattHours"), "totalMicro": bundle.bill.get("totalMicro"),
        "chargedMicro": bundle.charge.value.amount_micro if bundle.charge else 0, "claimedMicro": bundle.claimed_micro,
        "currency": bundle.bill.get("currency"), "zoneData": version("tzdata"),
    }  # fmt: skip
