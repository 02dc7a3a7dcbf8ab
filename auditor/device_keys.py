"""Keys of the device: the registry's history, who might sign when, and what the meter key vouches for.

The rule (design, Keys): a frame is valid if, in an unbroken chain, it was anchored while its key was registered, or stands at or before
the last frame that the rotation or revocation names, whenever it is anchored. Times are those the chains of links commit to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from protocol.bundle import Bundle, KeyEvent
from protocol.control import KeyRole
from protocol.eip712 import EVIDENCE, digest
from protocol.errors import BadSignature
from protocol.hashing import ZERO32
from protocol.keys import check_signature
from protocol.money import point_commitment

from .anchors import CLOCK_TOLERANCE_S, Anchors, clock_end_s
from .frames import CheckedFrame
from .log import Log
from .report import Check, Problem, judge, short
from .trust import Trust, key_heads

NO_ADDRESS = bytes(20)


class Span(NamedTuple):
    """A meter key's time; `until_s` None: it stands. `last_frame`: what the event that ended it names."""

    key: bytes
    from_s: int
    until_s: int | None
    last_frame: bytes


def meter_spans(events: Sequence[KeyEvent]) -> list[Span]:
    """The meter keys of a device, oldest first."""
    spans: list[Span] = []
    for event in events:
        if event.role != KeyRole.METER:
            continue
        if spans and event.old_key == spans[-1].key and spans[-1].until_s is None:
            spans[-1] = spans[-1]._replace(until_s=event.time_s, last_frame=event.last_frame)
        if event.new_key != NO_ADDRESS:
            spans.append(Span(event.new_key, event.time_s, None, ZERO32))
    return spans


def meter_key_at(events: Sequence[KeyEvent], time_s: int) -> bytes | None:
    """The meter key that stood at a time."""
    standing = [span.key for span in meter_spans(events) if span.from_s <= time_s and (span.until_s is None or time_s < span.until_s)]
    return standing[-1] if standing else None


# ------------------------------------------------------------------ the registry's history


def event_problems(bundle: Bundle, trust: Trust) -> list[Problem]:
    """A history the registry would not have let happen, or other than the one the auditor keeps."""
    problems = []
    standing: dict[int, bytes] = {}
    used: set[bytes] = set()
    before_s = 0
    for i, event in enumerate(bundle.key_events):
        name = f"key event {i}"
        if event.role not in (KeyRole.METER, KeyRole.CONTROL):
            problems.append(Problem("key-events", name, f"there is no role {event.role}"))
        if event.old_key != standing.get(event.role, NO_ADDRESS):
            problems.append(Problem("key-events", name, "replaces a key that did not stand: an event before it is missing"))
        if event.new_key in used or event.old_key == event.new_key:
            problems.append(Problem("key-events", name, "registers a key for the second time"))
        if event.time_s < before_s:
            problems.append(Problem("key-events", name, "is dated before the event before it"))
        standing[event.role], before_s = event.new_key, event.time_s
        used.add(event.new_key) if event.new_key != NO_ADDRESS else None
    return problems + _against_file(bundle, trust)


def _against_file(bundle: Bundle, trust: Trust) -> list[Problem]:
    session = bundle.session
    if trust.chain_id != session.chain_id or trust.registry != session.registry:
        return []
    kept = trust.keys.get(session.device, ())
    heads, known = key_heads(session.device, bundle.key_events), key_heads(session.device, kept)
    problems = []
    for i, event in enumerate(bundle.key_events):
        if i < len(known) and (known[i], kept[i].block_number, kept[i].transaction) != (heads[i], event.block_number, event.transaction):
            problems.append(Problem("key-events", f"key event {i}", "is not what the registry's chain you keep has there"))
            return problems
        if i >= len(known) and event.time_s <= trust.until_s:
            problems.append(Problem("key-events", f"key event {i}", "never happened: the registry's chain you keep does not have it"))
    newest_s = max((link.time_s for link in bundle.links), default=session.opened_at_s)
    for i in range(len(heads), len(kept)):
        if kept[i].time_s <= newest_s:
            problems.append(Problem("key-events", f"key event {i}", f"is withheld: the registry changed a key at {kept[i].time_s} s"))
    return problems


def history_doubt(bundle: Bundle, trust: Trust) -> str:
    """Why the history of keys cannot be called checked; "" if it can."""
    if trust.nothing:
        return "no trusted head was given: whoever made the file could have made up the keys"
    if trust.registry is not None and trust.registry != bundle.session.registry:
        return f"the links you keep are of registry {short(trust.registry)}, the bill's device is in {short(bundle.session.registry)}"
    heads = key_heads(bundle.session.device, bundle.key_events)
    if heads and heads[-1] in trust.heads:
        return ""
    if trust.heads.intersection(heads):
        return "the newest key events come after the newest head you trust"
    return "no head you trust is one of this device in the registry (keyHeads on the chain, or --trust FILE)"


# ------------------------------------------------------------------ frames under keys


class FrameKeys(NamedTuple):
    """Frames whose key was not registered when they were anchored; names of those that wait for an anchor; why some cannot be judged."""

    problems: list[Problem]
    waiting: list[str]
    unknown: list[str]


def judge_frame_keys(log: Log, anchors: Anchors, events: Sequence[KeyEvent]) -> FrameKeys:
    """Each frame against the time of its key, and against the last frame that the end of its key names."""
    spans = {span.key: span for span in meter_spans(events)}
    places = {frame.digest: place for place, frame in enumerate(log.frames)}
    problems: list[Problem] = []
    waiting: list[str] = []
    unknown: list[str] = []
    for place, frame in enumerate(log.frames):
        span = spans.get(frame.signer)
        if span is None:
            continue  # a stranger's; `frame-signatures` has it
        if span.until_s is not None and place <= places.get(span.last_frame, -1):
            continue
        if frame.link is None or frame.link >= len(anchors.links):
            waiting.append(frame.name)
            continue
        time_s = anchors.links[frame.link].time_s
        if time_s < span.from_s:
            problems.append(Problem("frame-keys", frame.name, f"anchored at {time_s} s, before its key was registered ({span.from_s} s)"))
        elif span.until_s is not None and time_s >= span.until_s:
            named = "is not in this file" if span.last_frame not in places else f"is {log.frames[places[span.last_frame]].name}"
            what = f"anchored at {time_s} s, its key ended at {span.until_s} s; the last frame named then {named}"
            if span.last_frame in places or _stands_after(frame, span, span.until_s, log, anchors):
                problems.append(Problem("frame-keys", frame.name, what))
            else:
                unknown.append(f"{frame.name}: {what}, so nothing shows whether it stands at or before it")
    return FrameKeys(problems, waiting, unknown)


def _stands_after(frame: CheckedFrame, span: Span, until_s: int, log: Log, anchors: Anchors) -> bool:
    """Whether a frame can be shown to stand after a named frame that the file does not hold.

    That frame existed when it was named, and so did all before it: a later one is known by its clock, or by a head that it has seen.
    """
    if span.last_frame in (ZERO32, log.frames[0].frame.previous_frame):  # none was named, or one before all of the file
        return True
    end_s = clock_end_s(frame)
    if end_s is not None and end_s > until_s + CLOCK_TOLERANCE_S:
        return True
    seen_s = anchors.made_s.get(frame.frame.head_seen)
    return seen_s is not None and seen_s > until_s


# ------------------------------------------------------------------ what the meter key vouches for


def voucher_problems(bundle: Bundle) -> list[Problem]:
    """The charge key of a metered session is the one the session's meter key vouched for."""
    session, voucher = bundle.session, bundle.voucher
    if not session.terms.metered:
        return [] if voucher is None else [Problem("charge-key", "voucher", "stands in a session whose payments the payer signs")]
    if voucher is None:
        return [Problem("charge-key", "voucher", "is missing: nothing shows that the charge key is the meter's")]
    value, problems = voucher.value, []
    if (value.device, value.channel) != (session.device, session.channel):
        problems.append(Problem("charge-key", "voucher", "is for another device or channel"))
    if value.charge_key != session.terms.signer:
        problems.append(
            Problem("charge-key", "voucher", f"is for key {short(value.charge_key)}, the terms name {short(session.terms.signer)}")
        )
    key = meter_key_at(bundle.key_events, session.opened_at_s)
    try:
        if key is None or len(voucher.signatures) != 1:
            raise BadSignature("no meter key stood when the session opened" if key is None else "it needs one signature")
        check_signature(digest(EVIDENCE, value), voucher.signatures[0], key)
    except BadSignature as error:
        problems.append(Problem("charge-key", "voucher", str(error)))
    return problems


def point_problems(bundle: Bundle) -> list[Problem]:
    """The commitment in the terms opens to this device, channel, meter key and salt."""
    session = bundle.session
    key = meter_key_at(bundle.key_events, session.opened_at_s)
    if key is None:
        return [Problem("point", "session.openedAtS", "no meter key stood when the session opened")]
    if session.point_salt is None or session.channel >= 1 << 32:
        return [] if session.point_salt is None else [Problem("point", "session.channel", "is no channel number")]
    if point_commitment(session.device, session.channel, key, session.point_salt) != session.terms.point_commitment:
        return [Problem("point", "session.terms.pointCommitment", "is not of this device, channel, meter key and salt")]
    return []


def key_checks(bundle: Bundle, problems: Sequence[Problem], doubt: str, anchors: Anchors, judged: FrameKeys) -> list[Check]:
    """The verdicts on keys."""
    open_frames = f"not anchored yet: {judged.waiting[0]} (and {len(judged.waiting) - 1} more)" if judged.waiting else ""
    open_frames = open_frames or (f"{judged.unknown[0]} (and {len(judged.unknown) - 1} more)" if judged.unknown else "")
    count = len(meter_spans(bundle.key_events))
    return [
        judge("key-events", problems, f"{len(bundle.key_events)} key events, up to a trusted head", unchecked=doubt),
        judge("frame-keys", problems, f"{count} meter key(s), each in its time", unchecked=doubt or anchors.doubt or open_frames),
        judge("charge-key", problems, "vouched for by the meter" if bundle.voucher else "none: the payer's own key signs"),
        judge("point", problems, "device, channel and meter key of the terms", erased=_salt_erased(bundle)),
    ]


def _salt_erased(bundle: Bundle) -> str:
    if bundle.session.point_salt is not None:
        return ""
    rule = next((f"{erasure.at_s} s, {erasure.rule}" for erasure in bundle.erasures), "no rule is named")
    return f"the salt that opens the commitment was erased ({rule})"
