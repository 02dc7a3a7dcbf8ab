"""frames.json: frames on the wire, good and with each fault a door must name. logs.json: several in a row. epochs.json: their anchors."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from protocol import evidence
from protocol.eip712 import digest
from protocol.evidence import Flag, Frame, Reason, Record, anchor_link, epoch_tree, frame_digest, make_frame
from protocol.hashing import ZERO32, keccak
from protocol.wire import SignedFrame, frame_document

from .signed import hexed, signer, word, wrong_signatures
from .structs import DOMAINS

METER = signer("meter key")
DEVICE, MODULUS = word("device"), 10_000_000_000
DETAILS = (("1.8.0", b"0001234.567*kWh"), ("1-0:16.7.0", b""), ("", bytes(range(256))))


def record(sequence: int, at_s: int, register: int, seconds: int = 900, **changes: Any) -> tuple[Record, evidence.Details]:
    """A quarter-hour with details and salt of its own."""
    details = DETAILS[: sequence % 4]
    made = Record(
        DEVICE, 1, sequence, at_s, at_s + seconds, register, 17, 1_000, 230_100, 4_350, 1_000_935, 0, Reason.PERIODIC,
        evidence.meter_hash("SDM230-0042", "cabinet 7, rail 2"), evidence.details_hash(details), word(f"salt {sequence}"),
    )  # fmt: skip
    return made._replace(**changes), details


def frame(
    first: int,
    count: int,
    at_s: int = 1_774_738_800,
    register: int = 5_000,
    previous: bytes = ZERO32,
    incarnation: str = "first",
    **changes: Any,
) -> SignedFrame:
    """`count` quarter-hours from record `first` on, signed by the meter key."""
    pairs = [record(first + i, at_s + 900 * i, (register + 250_234 * i) % MODULUS, **changes) for i in range(count)]
    made = make_frame([pair[0] for pair in pairs], word(f"incarnation {incarnation}"), previous, word("head seen"))
    return SignedFrame(made, METER.sign(frame_digest(made)), tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))  # fmt: skip


def _entry(name: str, document: dict[str, Any], refusal: str = "", where: str = "", by: bytes = METER.address) -> dict[str, Any]:
    fault = name if refusal else ""
    return {"name": name, "good": not refusal, "fault": fault, "refusal": refusal, "where": where, "meterKey": hexed(by), "frame": document}


def _resigned(signed: SignedFrame, **changes: Any) -> dict[str, Any]:
    """The frame with other members, honestly signed: a device that signs what is not so."""
    changed = signed.frame._replace(**changes)
    return frame_document(signed._replace(frame=changed, signature=METER.sign(frame_digest(changed))))


def frames() -> list[dict[str, Any]]:
    """frames.json"""
    one, three = frame(7, 1), frame(100, 3)
    negative = frame(9, 1, power_milliwatts=-3_000_000, flags=int(Flag.CLOCK_NOT_SYNCHRONISED | Flag.DOOR_OPEN))
    entries = [
        _entry("one record", frame_document(one)),
        _entry("three records", frame_document(three)),
        _entry("256 records", frame_document(frame(0, 256))),
        _entry("negative power and flags", frame_document(negative)),
    ]

    def changed(name: str, change: Callable[[dict[str, Any]], object], where: str) -> None:
        document = deepcopy(frame_document(three))
        change(document)
        entries.append(_entry(name, document, "malformed", where))

    for field, where in (("importMilliwattHours", "changed register"), ("endS", "changed time"), ("flags", "changed flags")):
        changed(where, lambda d, f=field: d["records"][1].update({f: d["records"][1][f] ^ 1}), "frame.recordsRoot")
    changed("changed salt", lambda d: d["records"][0].update(salt=hexed(word("another salt"))), "frame.recordsRoot")
    changed("changed detail", lambda d: d["records"][1].update(details=[["1.8.0", "0x00"]]), "frame.recordsRoot")
    changed("missing record", lambda d: d["records"].pop(1), "frame.records[1]")
    changed("missing last record", lambda d: d["records"].pop(), "frame.records")
    changed("record added", lambda d: d["records"].append(d["records"][2] | {"sequence": 103}), "frame.records")
    changed("records out of order", lambda d: d["records"].reverse(), "frame.records[0]")
    changed("wrong count", lambda d: d.update(count=2), "frame.records")
    changed("wrong root", lambda d: d.update(recordsRoot=hexed(word("another root"))), "frame.recordsRoot")
    changed("upper-case hex", lambda d: d.update(headSeen=d["headSeen"].upper().replace("0X", "0x")), "frame.headSeen")
    changed("short hash", lambda d: d.update(device=d["device"][:-2]), "frame.device")
    changed("no records", lambda d: d.update(records=[]), "frame.records")
    changed("unknown field", lambda d: d.update(comment="x"), "frame")
    changed("missing field", lambda d: d.pop("headSeen"), "frame")
    changed("true for a number", lambda d: d["records"][0].update(flags=True), "frame.records[0].flags")
    changed("negative register", lambda d: d["records"][0].update(importMilliwattHours=-1), "frame.records[0].importMilliwattHours")
    changed("integer of 2^53", lambda d: d["records"][0].update(exportMilliwattHours=2**53), "frame.records[0].exportMilliwattHours")
    changed(
        "raw bytes that are not hexadecimal", lambda d: d["records"][2].update(details=[["1.8.0", "0x0g"]]), "frame.records[2].details[0]"
    )
    entries.append(_entry("gap within the frame", _resigned(three, first_sequence=101), "malformed", "frame.records[0]"))
    entries.append(_entry("signed over another count", _resigned(three, count=4), "malformed", "frame.records"))
    document = frame_document(one)
    for fault, signature in wrong_signatures(one.signature).items():
        size = len(signature) == 65
        refusal, where = ("bad signature", "") if size else ("malformed", "frame.signature")
        entries.append(_entry(fault, document | {"signature": hexed(signature)}, refusal, where))
    for own, domain in DOMAINS.items():
        if own != "evidence":
            wrong = METER.sign(digest(domain, one.frame))
            entries.append(_entry(f"signed in the {own} domain", document | {"signature": hexed(wrong)}, "bad signature"))
    stranger = signer("a stranger").sign(frame_digest(one.frame))
    entries.append(_entry("signed by another key", document | {"signature": hexed(stranger)}, "bad signature"))
    entries.append(_entry("wrong incarnation", document | {"incarnation": hexed(word("incarnation second"))}, "bad signature"))
    entries.append(_entry("another frame before it", document | {"previousFrame": hexed(word("another frame"))}, "bad signature"))
    entries.append(_entry("the zero address as meter key", document, "bad signature", by=bytes(20)))
    return entries


def _log(
    name: str, frames: list[SignedFrame], problems: tuple[str, ...] = (), rolled_back: bool = False, conflicts: tuple[SignedFrame, ...] = ()
) -> dict[str, Any]:
    return {
        "name": name, "good": not problems, "fault": name if problems else "", "problems": sorted(problems),
        "rolledBack": rolled_back, "registerModulusMilliwattHours": MODULUS,
        "frames": [frame_document(f) for f in frames], "conflicts": [frame_document(f) for f in conflicts],
    }  # fmt: skip


def _chain(*parts: tuple[int, int, str], at_s: int = 1_774_738_800) -> list[SignedFrame]:
    """Frames in a row, each naming the one before: (first, count, incarnation)."""
    out: list[SignedFrame] = []
    for first, count, incarnation in parts:
        previous = out[-1].digest if out else ZERO32
        out.append(frame(first, count, at_s + 900 * first, 5_000 + 250_234 * first, previous, incarnation))
    return out


def logs() -> list[dict[str, Any]]:
    """logs.json: `problems` are the families of checks that must fail, and no other."""
    start = 1_774_738_800
    good = _chain((1, 2, "first"), (3, 1, "first"), (4, 3, "first"))
    restarted = _chain((1, 2, "first"), (3, 1, "second"), (4, 3, "second"))
    rolled = _chain((1, 2, "first"), (3, 1, "first"), (4, 1, "first"))
    later = frame(4, 1, start + 900 * 5, 5_000 + 250_234 * 5, rolled[1].digest, "second")
    overlapping = frame(4, 1, start + 900 * 4, 5_000 + 250_234 * 4, rolled[1].digest, "second")
    other = frame(4, 3, start + 900 * 4, 6_000, good[1].digest, "first")
    gap = _chain((1, 2, "first"), (4, 3, "first"))
    returning = [*_chain((1, 2, "first"), (3, 1, "second"), (4, 1, "first"))]
    stranger = [good[0], frame(3, 1, start + 2700, 5_000 + 250_234 * 3, word("another frame"), "first")]
    unnamed = [good[0], frame(3, 1, start + 2700, 5_000 + 250_234 * 3, ZERO32, "second")]
    high = frame(1, 1, start, MODULUS - 100, ZERO32, "first")
    rollover = frame(2, 1, start + 900, 150, high.digest, "first", flags=int(Flag.ROLLOVER))
    fell = frame(2, 1, start + 900, 150, high.digest, "first")
    return [
        _log("frames in a row", good),
        _log("the agent started again", restarted),
        _log("rolled back, branches do not overlap in time", [*rolled, later], rolled_back=True),
        _log("a rollover of the register, flagged", [high, rollover]),
        _log("a register that fell without a rollover", [high, fell], ("registers",)),
        _log("gap: records between two frames are missing", gap, ("sequence",)),
        _log("a frame that names another before it", stranger, ("frame-chain",)),
        _log("wrong incarnation: a second start that names no frame", unnamed, ("frame-chain",)),
        _log("wrong incarnation: the first comes back", returning, ("incarnations",)),
        _log("equivocation: two branches overlap in time", [*rolled, overlapping], ("equivocation",)),
        _log("equivocation: two frames for one place", good, ("equivocation",), conflicts=(other,)),
    ]


def epochs() -> list[dict[str, Any]]:
    """epochs.json: three epochs of one anchorer, and a frame anchored by itself."""
    head, out = ZERO32, []
    for number, count in enumerate((5, 1, 8)):
        digests = [frame(10 * number + i, 1, incarnation=f"device {i}").digest for i in range(count)]
        tree, time_s = epoch_tree(digests), 1_774_740_000 + 10 * number
        link = anchor_link(head, tree.root, time_s)
        paths = [{"leaf": hexed(leaf), "path": [hexed(p) for p in tree.path(leaf)]} for leaf in digests]
        common = {
            "previousHead": hexed(head),
            "timeS": time_s,
            "frames": [hexed(d) for d in digests],
            "paths": paths,
            "root": hexed(tree.root),
        }
        out.append({"name": f"epoch of {count}", "good": True, "fault": "", **common, "head": hexed(link)})
        head = link
    last = {k: v for k, v in out[2].items() if k not in ("name", "good", "fault")}

    def bad(fault: str, **changes: Any) -> None:
        out.append({"name": fault, "good": False, "fault": fault, **deepcopy(last | changes)})

    bad("wrong root", root=hexed(word("another root")))
    bad("wrong time", timeS=last["timeS"] + 1)
    bad("wrong head before it", previousHead=hexed(ZERO32))
    bad("wrong head", head=hexed(word("another head")))
    bad("path of another leaf", paths=[last["paths"][0] | {"leaf": last["paths"][1]["leaf"]}])
    bad("path cut short", paths=[{"leaf": last["paths"][0]["leaf"], "path": last["paths"][0]["path"][:-1]}])
    bad("a frame that was not anchored", paths=[last["paths"][0] | {"leaf": hexed(word("another frame"))}])
    bad("an inner node as a leaf", paths=[_inner(last["paths"][0])])
    return out


def _inner(path: dict[str, Any]) -> dict[str, Any]:
    """A path from one node further up: it leads to the root, but its start is no frame."""
    a, b = sorted((path["leaf"], path["path"][0]))
    return {"leaf": hexed(keccak(bytes.fromhex(a[2:] + b[2:]))), "path": path["path"][1:]}


__all__ = ["Frame", "epochs", "frames", "logs"]
