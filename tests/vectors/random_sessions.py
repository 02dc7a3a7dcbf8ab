"""Random sessions as evidence: signed frames on the wire, their epoch, and what the tariff makes of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from protocol import evidence
from protocol.eip712 import to_json
from protocol.evidence import anchor_link, epoch_tree, frame_digest, make_frame
from protocol.hashing import ZERO32
from protocol.pricing import price
from protocol.tariff import Tariff
from protocol.wire import SignedFrame, frame_document
from tests.protocol.sessions import Dice, random_session

from .signed import hexed, signer, word

METER = signer("meter key")


def evidence_of(seed: int, most_records: int = 40) -> dict[str, Any]:
    """A session with everything the reference needs to verify and price it."""
    session, rng = random_session(seed, most_records), Dice(seed + 1_000_000)
    frames = _framed(session.records, rng)
    digests = [signed.digest for signed in frames]
    tree, time_s = epoch_tree(digests), session.records[-1].end_s + 300
    paths = [{"leaf": hexed(leaf), "path": [hexed(node) for node in tree.path(leaf)]} for leaf in digests]
    head = anchor_link(ZERO32, tree.root, time_s)
    return {
        "seed": seed, "tariff": session.tariff, "openedAtS": session.opened_at_s,
        "registerModulusMilliwattHours": session.register_modulus_milliwatt_hours, "handOvers": [to_json(h) for h in session.hand_overs],
        "meterKey": hexed(METER.address), "frames": [frame_document(signed) for signed in frames],
        "epoch": {"previousHead": hexed(ZERO32), "root": hexed(tree.root), "timeS": time_s, "head": hexed(head), "paths": paths},
    }  # fmt: skip


def _framed(records: list[evidence.Record], rng: Dice) -> list[SignedFrame]:
    """The records, salted and detailed, in frames of 1…16; where the sequence jumps (another channel's record) a frame ends."""
    ends = [i + 1 for i, (a, b) in enumerate(pairwise(records)) if b.sequence != a.sequence + 1 or rng.random() < 0.3]
    frames: list[SignedFrame] = []
    for start, end in pairwise([0, *ends, len(records)]):
        for first in range(start, end, 16):
            part = records[first : min(first + 16, end)]
            details = [tuple(("1.8.0", word(f"raw {r.sequence}")[: rng.randrange(33)]) for _ in range(rng.randrange(3))) for r in part]
            full = [
                r._replace(details_hash=evidence.details_hash(d), salt=word(f"salt {r.sequence}"))
                for r, d in zip(part, details, strict=True)
            ]
            made = make_frame(full, word("incarnation first"), frames[-1].digest if frames else ZERO32, word("head seen"))
            frames.append(SignedFrame(made, METER.sign(frame_digest(made)), tuple(full), tuple(details)))
    return frames


def answer_of(seed: int, most_records: int = 40) -> dict[str, Any]:
    """What we say of a session, in the words of the reference's answer."""
    session, document = random_session(seed, most_records), evidence_of(seed, most_records)
    tariff = Tariff.from_document(session.tariff)
    bill = price(tariff, *session[1:]).to_document()
    return {
        "seed": seed, "tariffHash": hexed(tariff.hash), "lastFrame": document["epoch"]["paths"][-1]["leaf"],
        "epochRoot": document["epoch"]["root"], "bill": reference_bill(bill),
    }  # fmt: skip


def reference_bill(bill: dict[str, Any]) -> dict[str, Any]:
    """The part of a bill that the reference works out."""
    left_out = {"unit", "per", "amountMicro"}
    lines = [{name: value for name, value in line.items() if name not in left_out} for line in bill["lines"]]
    return {name: bill[name] for name in ("energyMilliwattHours", "quarantinedRecords", "totalMicro")} | {"lines": lines}
