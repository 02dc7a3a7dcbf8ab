"""Epochs: which frames stand under which root, in which transaction, and why one is not anchored yet.

An epoch holds frames of all operators here; each sees the epochs that hold frames of its own, and counts only those.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..errors import NotFound
from ..models import AnchorLinkRow, AttemptRow, Epoch, FrameRow, IntentRow
from ..onchain.outbox import OPEN
from .cursors import number_in
from .pages import Page, page_of


class EpochLine(NamedTuple):
    """An epoch with this operator's frames in it, its link on the chain once that is final, and why it is pending (empty: it is not)."""

    epoch: Epoch
    frames: int
    link: AnchorLinkRow | None
    pending: str


class Waiting(NamedTuple):
    """Frames that no final anchor holds yet."""

    frames: int
    oldest_received_at_s: int | None


def page(db: Session, operator_id: int, after: str | None, limit: int) -> Page[EpochLine]:
    """Epochs, the newest first."""
    own = (
        select(FrameRow.epoch_id, func.count().label("frames"))
        .where(FrameRow.operator_id == operator_id, FrameRow.epoch_id.is_not(None))
        .group_by(FrameRow.epoch_id)
    )
    before = number_in(after)
    if before is not None:
        own = own.where(FrameRow.epoch_id < before)
    mine = own.order_by(FrameRow.epoch_id.desc()).limit(limit + 1).subquery()
    query = (
        select(Epoch, mine.c.frames, AnchorLinkRow)
        .join(mine, mine.c.epoch_id == Epoch.id)
        .outerjoin(AnchorLinkRow, AnchorLinkRow.id == Epoch.link_id)
        .order_by(Epoch.id.desc())
    )
    lines = [EpochLine(epoch, int(count), link, why_pending(db, epoch)) for epoch, count, link in db.execute(query)]
    return page_of(lines, limit, lambda line: str(line.epoch.id))


def get(db: Session, operator_id: int, epoch_id: int) -> EpochLine:
    """One epoch that holds frames of this operator. Raises `NotFound`."""
    epoch = db.get(Epoch, epoch_id)
    own = select(func.count()).select_from(FrameRow).where(FrameRow.operator_id == operator_id, FrameRow.epoch_id == epoch_id)
    count = 0 if epoch is None else int(db.scalar(own) or 0)
    if epoch is None or count == 0:
        raise NotFound(f"no epoch {epoch_id}", "epochId")
    link = None if epoch.link_id is None else db.get(AnchorLinkRow, epoch.link_id)
    return EpochLine(epoch, count, link, why_pending(db, epoch))


def frames(db: Session, operator_id: int, epoch_id: int, after: str | None, limit: int) -> Page[FrameRow]:
    """This operator's frames in one epoch, in the order they arrived."""
    query = select(FrameRow).where(FrameRow.operator_id == operator_id, FrameRow.epoch_id == epoch_id)
    query = query.where(FrameRow.id > (number_in(after) or 0))
    return page_of(db.scalars(query.order_by(FrameRow.id).limit(limit + 1)).all(), limit, lambda row: str(row.id))


def waiting(db: Session, operator_id: int) -> Waiting:
    """Frames that are in no epoch, or in one that is not anchored."""
    query = (
        select(func.count(), func.min(FrameRow.received_at_s))
        .select_from(FrameRow)
        .outerjoin(Epoch, Epoch.id == FrameRow.epoch_id)
        .where(FrameRow.operator_id == operator_id, FrameRow.epoch_id.is_(None) | (Epoch.state != "anchored"))
    )
    count, oldest = db.execute(query).one()
    return Waiting(int(count), oldest)


def last_anchored_at_s(db: Session, operator_id: int) -> int | None:
    """Block time of the newest final anchor that holds frames of this operator."""
    newest = (
        select(FrameRow.epoch_id)
        .join(Epoch, Epoch.id == FrameRow.epoch_id)
        .where(FrameRow.operator_id == operator_id, Epoch.state == "anchored")
        .order_by(FrameRow.epoch_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return db.scalar(select(AnchorLinkRow.time_s).join(Epoch, Epoch.link_id == AnchorLinkRow.id).where(Epoch.id == newest))


def why_pending(db: Session, epoch: Epoch) -> str:
    """Why an epoch is not anchored, in words."""
    if epoch.state == "anchored":
        return ""
    intent = None if epoch.intent_id is None else db.get(IntentRow, epoch.intent_id)
    return intent_words(db, intent) or "closed; its transaction is not written yet"


def intent_words(db: Session, intent: IntentRow | None) -> str:
    """What a transaction waits for; empty where it is done or there is none."""
    if intent is None or intent.state == "succeeded":
        return ""
    if intent.state != OPEN:
        return f"the chain refused its transaction: {intent.reason or 'no reason given'}"
    if intent.mined_block_number is not None:
        return f"in block {intent.mined_block_number}; waiting for the blocks on top that make it final"
    attempts = select(AttemptRow).where(AttemptRow.intent_id == intent.id, AttemptRow.released.is_(False)).order_by(AttemptRow.id)
    sent = db.scalars(attempts).all()
    if not sent:
        return "its transaction waits for its turn with the sender"
    again = f", with a higher fee {len(sent) - 1} times" if len(sent) > 1 else ""
    return f"transaction {sent[-1].nonce} is signed and sent{again}; no block has it yet"
