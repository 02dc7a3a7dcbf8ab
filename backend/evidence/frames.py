"""Frames as stored: their place in a device's log, and the queries about them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.wire import SignedFrame, decode_frame

from ..models import ConflictRow, Device, FrameRow, Incarnation, ReceiptRow

MAX_FRAMES_AT_ONCE = 500
"""Stored frames decoded at once when pricing or a bundle reads many: bounds the memory of one step."""


class Place(NamedTuple):
    """How a frame stands to the log held here. Exactly one of the four is set, or none: it follows."""

    repeated: FrameRow | None = None
    gap: str = ""
    contradiction: str = ""  # signed by the meter key and yet impossible: its own previous frame says otherwise
    rival: FrameRow | None = None  # another accepted frame at its place, or in its time
    kind: str = ""  # of the rivalry: same-place, overlap-in-time
    rolled_back: bool = False  # it follows, on a branch that begins before the device's last frame


def locate(db: Session, device: Device, signed: SignedFrame) -> Place:
    """Where a frame with a valid signature belongs. See docs/walls.md and design §5 (incarnations)."""
    frame = signed.frame
    same = db.scalar(select(FrameRow).where(
        FrameRow.device == frame.device, FrameRow.incarnation == frame.incarnation, FrameRow.first_sequence <= signed.last_sequence,
        FrameRow.last_sequence >= frame.first_sequence,
    ).order_by(FrameRow.first_sequence).limit(1))  # fmt: skip
    if same is not None:
        return Place(repeated=same) if same.digest == signed.digest else Place(rival=same, kind="same-place")
    branch = db.get(Incarnation, (frame.device, frame.incarnation))
    if branch is not None:
        return _on_branch(db, branch, signed)
    return _new_branch(db, device, signed)


def _on_branch(db: Session, branch: Incarnation, signed: SignedFrame) -> Place:
    """The next frame of a branch we hold: it names the branch's last frame and goes on from its sequence."""
    tip = db.get_one(FrameRow, branch.tip_frame_id)
    if signed.frame.previous_frame == tip.digest:
        if signed.frame.first_sequence != tip.last_sequence + 1:
            first = signed.frame.first_sequence
            return Place(contradiction=f"names record {tip.last_sequence}'s frame as the one before it, but starts at record {first}")
        return _newer(db, tip, signed, rolled_back=branch.rolled_back)
    if signed.frame.first_sequence <= tip.last_sequence:  # before the branch's own first frame
        return Place(contradiction="stands before its incarnation's first frame")
    return Place(gap=f"the service holds this incarnation up to record {tip.last_sequence}")


def _new_branch(db: Session, device: Device, signed: SignedFrame) -> Place:
    """The first frame of an incarnation: it names the last frame of the log it goes on from."""
    previous = signed.frame.previous_frame
    tip = None if device.tip_frame_id is None else db.get_one(FrameRow, device.tip_frame_id)
    if tip is None:
        return Place() if previous == bytes(32) else Place(gap="the service holds nothing of this device yet; send its log from the start")
    if previous == tip.digest:
        if signed.frame.first_sequence != tip.last_sequence + 1:
            return Place(contradiction=f"goes on from record {tip.last_sequence}, but starts at record {signed.frame.first_sequence}")
        return _newer(db, tip, signed, rolled_back=False)
    parent = None
    if previous != bytes(32):
        parent = db.scalar(select(FrameRow).where(FrameRow.device == device.device, FrameRow.digest == previous))
        if parent is None:
            return Place(gap=f"the service does not hold the frame it goes on from; it holds record {tip.last_sequence} as the last")
        if signed.frame.first_sequence != parent.last_sequence + 1:
            what = f"goes on from record {parent.last_sequence}, but starts at record {signed.frame.first_sequence}"
            return Place(contradiction=what)
    # A log that was rolled back: harmless where its branch lies wholly after what the other branch measured, equivocation otherwise.
    since = 0 if parent is None else parent.id
    rival = db.scalar(select(FrameRow).where(
        FrameRow.device == device.device, FrameRow.id > since, FrameRow.end_s > signed.records[0].start_s
    ).order_by(FrameRow.id).limit(1))  # fmt: skip
    if rival is not None:
        return Place(rival=rival, kind="overlap-in-time")
    return Place(rolled_back=True)


def _newer(db: Session, tip: FrameRow, signed: SignedFrame, *, rolled_back: bool) -> Place:
    """On the device's newest branch nothing can overlap; on an older one, later frames of the other branch can."""
    rival = db.scalar(select(FrameRow).where(
        FrameRow.device == tip.device, FrameRow.id > tip.id, FrameRow.end_s > signed.records[0].start_s
    ).order_by(FrameRow.id).limit(1))  # fmt: skip
    return Place(rival=rival, kind="overlap-in-time") if rival is not None else Place(rolled_back=rolled_back)


def last_frame(db: Session, device: bytes) -> FrameRow | None:
    """The last frame that arrived of a device."""
    return db.scalar(select(FrameRow).where(FrameRow.device == device).order_by(FrameRow.id.desc()).limit(1))


def frame_by_digest(db: Session, digest: bytes) -> FrameRow | None:
    return db.scalar(select(FrameRow).where(FrameRow.digest == digest))


def frames_after(db: Session, device: bytes, after_id: int, limit: int = MAX_FRAMES_AT_ONCE) -> list[FrameRow]:
    """Accepted frames of a device in the order of arrival, which is the order of its log."""
    query = select(FrameRow).where(FrameRow.device == device, FrameRow.id > after_id).order_by(FrameRow.id).limit(limit)
    return list(db.scalars(query))


def frames_between(db: Session, device: bytes, first_id: int, last_id: int) -> list[FrameRow]:
    query = select(FrameRow).where(FrameRow.device == device, FrameRow.id >= first_id, FrameRow.id <= last_id).order_by(FrameRow.id)
    return list(db.scalars(query))


def conflicts_of(db: Session, device: bytes) -> list[ConflictRow]:
    return list(db.scalars(select(ConflictRow).where(ConflictRow.device == device).order_by(ConflictRow.id)))


def latest_receipt(db: Session, device: bytes) -> ReceiptRow | None:
    return db.get(ReceiptRow, device)


def decode(row: FrameRow) -> SignedFrame:
    """A stored frame, its hashes recomputed: what was accepted is checked again whenever it is used."""
    signed = decode_frame(row.body)
    assert signed.digest == row.digest, f"stored frame {row.id} does not hash to its digest"
    return signed
