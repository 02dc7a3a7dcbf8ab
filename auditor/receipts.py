"""Receipts: the service's signed promises that every frame up to one will be anchored by a time, and whether they were kept.

A missed time counts as omission only if the chain made blocks throughout; otherwise the time moves by the gap (`chainHalts`, which
`compare-chain` checks against a node: a halt that only the file asserts excuses nothing by itself).
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.bundle import Bundle, ChainHalt, Signed
from protocol.eip712 import EVIDENCE, digest
from protocol.errors import BadSignature
from protocol.evidence import Receipt
from protocol.keys import check_signature

from .anchors import Anchors
from .frames import CheckedFrame
from .log import Log
from .report import Check, Problem, judge, short


def excused_until(anchor_by_s: int, received_at_s: int, halts: Sequence[ChainHalt]) -> int:
    """The promised time, moved by every halt that began before it and after the receipt."""
    until_s = anchor_by_s
    for halt in sorted(halts, key=lambda halt: halt.from_s):
        if received_at_s < halt.until_s and halt.from_s <= until_s and halt.until_s > halt.from_s:
            until_s += halt.until_s - max(halt.from_s, received_at_s)
    return until_s


def _sign_problem(bundle: Bundle, signed: Signed[Receipt], name: str) -> list[Problem]:
    try:
        if len(signed.signatures) != 1:
            raise BadSignature(f"has {len(signed.signatures)} signatures, a receipt has one")
        check_signature(digest(EVIDENCE, signed.value), signed.signatures[0], bundle.session.service_key)
    except BadSignature as error:
        return [Problem("receipts", name, str(error))]
    if signed.value.device != bundle.session.device:
        return [Problem("receipts", name, "is for another device")]
    return []


def _covered(receipt: Receipt, log: Log) -> tuple[list[CheckedFrame], Problem | None]:
    """The frames a receipt promises, up to the one it names; or why it does not fit the log."""
    name = f"receipt through record {receipt.through_sequence}"
    covered: list[CheckedFrame] = []
    for frame in log.frames:
        covered.append(frame)
        if frame.digest == receipt.frame:
            if (frame.frame.incarnation, frame.last) != (receipt.incarnation, receipt.through_sequence):
                return covered, Problem("receipts", name, f"names {short(receipt.frame)}, which ends at record {frame.last}")
            return covered, None
        if frame.frame.incarnation == receipt.incarnation and frame.last == receipt.through_sequence:
            what = f"the service acknowledged frame {short(receipt.frame)} there, the file has {short(frame.digest)}"
            return covered, Problem("receipts", name, what)
    if log.frames and receipt.through_sequence < log.frames[0].first:
        return [], None  # about frames before this file
    return covered, Problem("receipts", name, f"the service acknowledged frame {short(receipt.frame)}, which is not in the file")


def receipt_problems(bundle: Bundle, log: Log, anchors: Anchors, confirmed: Sequence[ChainHalt]) -> tuple[list[Problem], str]:
    """Broken promises; and why, if not all can be judged. `confirmed`: halts that a node confirmed."""
    problems: list[Problem] = []
    doubt = "" if bundle.receipts else "the file has no receipts"
    for signed in bundle.receipts:
        receipt = signed.value
        name = f"receipt through record {receipt.through_sequence}"
        bad = _sign_problem(bundle, signed, name)
        covered, misfit = _covered(receipt, log)
        problems += bad + ([misfit] if misfit else [])
        if bad or misfit:
            continue
        late_s = excused_until(receipt.anchor_by_s, receipt.received_at_s, bundle.chain_halts)
        sure_s = excused_until(receipt.anchor_by_s, receipt.received_at_s, confirmed)
        for frame in covered:
            link = None if frame.link is None or frame.link >= len(anchors.links) else anchors.links[frame.link]
            if link is not None and link.time_s <= sure_s:
                continue
            if link is None and anchors.newest_s <= late_s:
                doubt = doubt or f"{frame.name} is not anchored; it was promised by {late_s} s, the newest link is of {anchors.newest_s} s"
            elif link is None or link.time_s > late_s:
                found = "was never anchored" if link is None else f"was anchored at {link.time_s} s"
                problems.append(Problem("receipts", frame.name, f"was promised by {receipt.anchor_by_s} s, and {found}"))
            else:
                doubt = doubt or f"{frame.name} was late; only a halt of the chain excuses it, which compare-chain can confirm"
    return problems, doubt


def receipt_checks(bundle: Bundle, problems: Sequence[Problem], doubt: str, anchors: Anchors) -> list[Check]:
    """The verdict on receipts; times count only on links that lead to a trusted head."""
    return [judge("receipts", problems, f"{len(bundle.receipts)} receipt(s), all kept", unchecked=doubt or anchors.doubt)]
