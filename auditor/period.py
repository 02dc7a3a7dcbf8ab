"""`verify-meter`: several files of one device, as one history.

Each bundle is verified by itself; together they show what no single one can: records missing between bills, two frames for one place,
registers that do not go on, records billed twice. Files of bare frames (`{"frames":[wire frames]}`) join in where no bundle covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from protocol import packed
from protocol.bundle import BundledFrame
from protocol.errors import Malformed
from protocol.evidence import Record
from protocol.wire import parse_frame_head, parse_record

from .frames import CheckedFrame, examine
from .report import Check, Problem, Report, in_order, judge, short
from .trust import Trust
from .verify import Examined, examine_file, judge_bundle, no_collector

MAX_FRAMES = 400_000
"""As in a bundle."""


class Part(NamedTuple):
    """One file: its frames, and of a bundle what was billed and what `verify` said."""

    name: str
    device: bytes
    frames: list[CheckedFrame]
    examined: Examined | None
    report: Report | None
    problems: list[Problem]


def read_part(name: str, raw: bytes, trust: Trust) -> Part:
    """A bundle or a file of frames. Raises `Malformed`."""
    text = packed.inflate(raw)
    if b'"format"' in text:
        examined = examine_file(raw)
        return Part(name, examined.bundle.session.device, examined.frames, examined, judge_bundle(name, examined, trust), [])
    items = packed.unpack(text).get("frames")
    if type(items) is not list or not 1 <= len(items) <= MAX_FRAMES:
        raise Malformed('is neither a bundle nor {"frames":[…]}', name)
    frames, problems = [], []
    for i, item in enumerate(items):
        frame, signature, records = parse_frame_head(item, f"frames[{i}]")
        pairs = [parse_record(frame.device, record, f"frames[{i}].records[{j}]") for j, record in enumerate(records)]
        bundled = BundledFrame(frame, signature, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), None, ())
        checked, found = examine(bundled, f"frames[{i}]")
        frames.append(checked)
        problems += found
    return Part(name, frames[0].frame.device, frames, None, None, problems)


def verify_period(files: Sequence[tuple[str, bytes]], trust: Trust) -> Report:
    """The report on a device's files, in any order. Raises nothing, whatever the bytes."""
    parts, problems = [], []
    with no_collector():
        for name, raw in files:
            try:
                parts.append(read_part(name, raw, trust))
            except Malformed as error:
                problems.append(Problem("files", name, str(error)))
    for part in parts:
        failed = [check.name for check in part.report.failed] if part.report else [problem.check for problem in part.problems]
        problems += [Problem("files", part.name, f"fails {', '.join(failed)}")] if failed else []
        if part.device != parts[0].device:
            problems.append(Problem("period-device", part.name, f"is of device {short(part.device)}"))
    frames, signed_twice = _merge(parts)
    keys = {key for part in parts if part.examined for key in part.examined.keys}
    strangers = [frame.name for frame in frames if frame.signer not in keys]
    problems += signed_twice + _gaps(frames) + _chain(frames) + _registers(parts, frames) + _bills(parts)
    return Report("meter", in_order(_checks(parts, frames, problems, strangers)), _facts(parts, frames))


def _merge(parts: Sequence[Part]) -> tuple[list[CheckedFrame], list[Problem]]:
    """All frames, each once, by sequence; and places that have two."""
    places: dict[tuple[bytes, bytes, int], tuple[CheckedFrame, str]] = {}
    problems = []
    for part in parts:
        for frame in part.frames:
            place = (frame.frame.device, frame.frame.incarnation, frame.first)
            other = places.setdefault(place, (frame, part.name))
            if other[0].digest != frame.digest:
                what = f"frame {short(other[0].digest)} in {other[1]}, frame {short(frame.digest)} in {part.name}"
                problems.append(Problem("period-equivocation", frame.name, what))
    frames = sorted((frame for frame, _ in places.values()), key=lambda frame: (frame.first, frame.ended_s))
    return frames, problems


def _gaps(frames: Sequence[CheckedFrame]) -> list[Problem]:
    problems = []
    reached = frames[0].first if frames else 0
    for frame in frames:
        if frame.first > reached:
            missing = f"record {reached}" if frame.first == reached + 1 else f"records {reached}…{frame.first - 1}"
            problems.append(Problem("period-sequence", missing, f"missing before {frame.name}"))
        reached = max(reached, frame.last + 1)
    return problems


def _chain(frames: Sequence[CheckedFrame]) -> list[Problem]:
    """Every frame but the first names one that is there. (Where frames are missing, `period-sequence` says so.)"""
    known = {frame.digest for frame in frames}
    return [
        Problem("period-chain", now.name, f"names {short(now.frame.previous_frame)}, which is in none of the files")
        for before, now in pairwise(frames)
        if now.first == before.last + 1 and now.frame.previous_frame not in known
    ]


def _registers(parts: Sequence[Part], frames: Sequence[CheckedFrame]) -> list[Problem]:
    """The first record of a bill stands where the last one of the bill before stood: energy in between is nobody's bill, and is named."""
    records = {(r.channel, r.sequence): r for frame in frames for r in frame.records if isinstance(r, Record)}
    problems = []
    by_channel: dict[int, list[tuple[int, int, str]]] = {}
    for part in parts:
        if part.examined:
            session = part.examined.bundle.session
            by_channel.setdefault(session.channel, []).append((session.first_sequence, session.last_sequence, part.name))
    for channel, spans in by_channel.items():
        spans.sort()
        for (_, last, _), (first, _, name) in pairwise(spans):
            before, after = records.get((channel, last)), records.get((channel, first))
            if before is None or after is None or before.meter_hash != after.meter_hash or first <= last:
                continue
            difference = after.import_milliwatt_hours - before.import_milliwatt_hours
            if difference:
                what = (
                    f"{difference} mWh between record {last} and record {first} are in no bill" if difference > 0 else "the register fell"
                )
                problems.append(Problem("period-registers", f"{name}, record {first}", what))
    return problems


def _bills(parts: Sequence[Part]) -> list[Problem]:
    problems = []
    bills = [(p.examined.bundle.session, p.name) for p in parts if p.examined]
    bills.sort(key=lambda bill: (bill[0].channel, bill[0].first_sequence))
    for (before, before_name), (now, name) in pairwise(bills):
        if now.channel != before.channel or now.first_sequence >= before.last_sequence:
            continue  # a session may open on the very record the one before closed on: it gives the start register and bills nothing
        if now.session != before.session:
            last = min(now.last_sequence, before.last_sequence)
            what = f"billed by {before_name} and by {name}"
            problems.append(Problem("period-bills", f"records {now.first_sequence}…{last}", what))
    return problems


def _checks(parts: Sequence[Part], frames: Sequence[CheckedFrame], problems: Sequence[Problem], strangers: Sequence[str]) -> list[Check]:
    bundles = sum(part.report is not None for part in parts)
    unsigned = f"no bundle names the key that signed {strangers[0]} (and {len(strangers) - 1} more)" if strangers else ""
    nothing = "" if frames else "no file holds a frame that can be read"
    count = sum(frame.frame.count for frame in frames)
    return [
        judge("files", problems, f"{bundles} bundle(s), {len(parts) - bundles} file(s) of frames", unchecked=unsigned),
        judge("period-device", problems, short(parts[0].device) if parts else "", unchecked=nothing),
        judge("period-sequence", problems, f"{count} records, none missing", unchecked=nothing),
        judge("period-chain", problems, f"{len(frames)} frames", unchecked=nothing),
        judge("period-equivocation", problems, "none", unchecked=nothing),
        judge("period-registers", problems, "each bill begins where the one before ended", unchecked=nothing),
        judge("period-bills", problems, "none", unchecked=nothing),
    ]


def _facts(parts: Sequence[Part], frames: Sequence[CheckedFrame]) -> dict[str, object]:
    bills = [part.examined.bundle for part in parts if part.examined]
    energy = [bundle.bill.get("energyMilliwattHours") for bundle in bills]
    return {
        "device": "0x" + parts[0].device.hex() if parts else None,
        "files": {part.name: part.report.document() for part in parts if part.report and part.report.failed},
        "firstSequence": frames[0].first if frames else None,
        "lastSequence": max((frame.last for frame in frames), default=None),
        "energyMilliwattHours": sum(e for e in energy if type(e) is int),
    }
