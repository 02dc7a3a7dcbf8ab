"""Epochs and their chain: every frame in an anchored epoch, every epoch committed to by a head the auditor trusts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from protocol.bundle import AnchorLink, SessionFacts, link_heads
from protocol.evidence import Flag, Record

from .frames import CheckedFrame
from .log import Log
from .report import Check, Problem, judge, short
from .trust import Trust, trusted_links

CLOCK_TOLERANCE_S = 60
"""Two synchronised clocks, and a block's time that is its proposer's."""
FRAME_OPEN_S = 4 * 3_600
"""An offline frame of continuous supply closes after four hours at most, and names the head seen then."""
_UNSYNCHRONISED = int(Flag.CLOCK_NOT_SYNCHRONISED)
_NO_CHAIN: Mapping[bytes, AnchorLink] = {}
NO_TRUST = "no trusted head was given (--trust FILE, or --head HEX)"


class Anchors(NamedTuple):
    """The bundle's links and which of them a trusted head commits to. `doubt` says why some used link is not, "" if all are."""

    links: Sequence[AnchorLink]
    made_s: Mapping[bytes, int]  # head after a link → the link's time
    trusted: Sequence[bool]
    doubt: str
    problems: tuple[Problem, ...]

    @property
    def newest_s(self) -> int:
        """Time of the newest link."""
        return max((link.time_s for link in self.links), default=0)


def look(session: SessionFacts, links: Sequence[AnchorLink], used: set[int], trust: Trust) -> Anchors:
    """Judge the links; `used` are those that frames lie in."""
    heads = link_heads(links)
    trusted = trusted_links(links, heads, trust)
    problems = _order(links, heads)
    foreign = _foreign(session, trust)
    if not foreign:
        problems += _against_file(links, heads, trust)
    made_s = dict(zip(heads, [link.time_s for link in links], strict=True))
    return Anchors(links, made_s, trusted, foreign or _doubt(links, heads, trusted, used, trust), tuple(problems))


def _foreign(session: SessionFacts, trust: Trust) -> str:
    if trust.chain_id is not None and (trust.chain_id, trust.anchor_log) != (session.chain_id, session.anchor_log):
        mine, theirs = short(trust.anchor_log or b""), short(session.anchor_log)
        return f"the links you keep are of chain {trust.chain_id}, log {mine}; the bill's are of chain {session.chain_id}, log {theirs}"
    return ""


def _order(links: Sequence[AnchorLink], heads: Sequence[bytes]) -> list[Problem]:
    """A chain's block times never fall."""
    problems = []
    for i, (before, now) in enumerate(pairwise(links), 1):
        if now.time_s < before.time_s and now.previous_head == heads[i - 1]:
            problems.append(Problem("links", f"link {i}", f"is dated {now.time_s} s, before the link before it ({before.time_s} s)"))
    return problems


def _against_file(links: Sequence[AnchorLink], heads: Sequence[bytes], trust: Trust) -> list[Problem]:
    """The file is complete up to its time, so what it does not hold was never anchored; and it knows block and transaction too."""
    problems = []
    anchorer, chain = b"", _NO_CHAIN
    for i, link in enumerate(links):
        if link.anchorer != anchorer:
            anchorer, chain = link.anchorer, trust.anchors.get(link.anchorer, _NO_CHAIN)
        known = chain.get(heads[i])
        if known == link:
            continue
        if known is None:
            if trust.chain_id is not None and link.time_s <= trust.until_s:
                problems.append(Problem("links", f"link {i}", "is not in the chain you keep: it was changed, or never anchored"))
        elif (known.block_number, known.transaction) != (link.block_number, link.transaction or known.transaction):
            problems.append(Problem("links", f"link {i}", "names another block or transaction than the chain you keep"))
    return problems


def _doubt(links: Sequence[AnchorLink], heads: Sequence[bytes], trusted: Sequence[bool], used: set[int], trust: Trust) -> str:
    if trust.nothing:
        return NO_TRUST
    open_links = [i for i in sorted(used) if i < len(links) and not trusted[i]]
    if not open_links:
        return ""
    if not trust.heads.intersection(heads):
        return "no link of the file leads to a head you trust: it was changed, or your head is not of these chains or not of that time"
    newest = links[open_links[0]].time_s
    return f"{len(open_links)} epochs, from {newest} s on, come after the newest head you trust: anybody could have added them"


def clock_end_s(frame: CheckedFrame) -> int | None:
    """When the last record of a frame ended by a clock that its agent did not flag as wrong; None: no record says."""
    for record in reversed(frame.records):
        if type(record) is Record and not record.flags & _UNSYNCHRONISED:
            return record.end_s
    return None


def time_problems(log: Log, anchors: Anchors) -> list[Problem]:
    """Records dated after their anchor, or long before the head that their frame had seen. Clocks flagged as wrong are skipped."""
    links, made_s = anchors.links, anchors.made_s
    problems = []
    for frame in log.frames:
        end_s = clock_end_s(frame)
        if end_s is None:
            continue
        if frame.link is not None and frame.link < len(links) and end_s > links[frame.link].time_s + CLOCK_TOLERANCE_S:
            what = f"ends at {end_s} s, after its anchor was made ({links[frame.link].time_s} s)"
            problems.append(Problem("times", frame.name, what))
        seen_s = made_s.get(frame.frame.head_seen)
        if seen_s is not None and end_s + FRAME_OPEN_S + CLOCK_TOLERANCE_S < seen_s:
            what = f"ends at {end_s} s, and its frame names a head that was made only at {seen_s} s"
            problems.append(Problem("times", frame.name, what))
    return problems


def anchor_checks(log: Log, anchors: Anchors, problems: Sequence[Problem]) -> list[Check]:
    """The verdicts on epochs and links."""
    waiting = [frame.name for frame in log.frames if frame.link is None]
    some = f"{waiting[0]} (and {len(waiting) - 1} more)" if len(waiting) > 1 else "".join(waiting)
    used = len({frame.link for frame in log.frames if frame.link is not None})
    return [
        judge(
            "epoch-inclusion",
            problems,
            f"{len(log.frames)} frames in {used} epochs",
            unchecked=f"not anchored yet: {some}" if waiting else "",
        ),
        judge("times", problems, "records end before their anchor, and after the head they saw", unchecked=anchors.doubt),
        judge("links", problems, f"{len(anchors.links)} links, all leading to a trusted head", unchecked=anchors.doubt),
    ]
