"""Epochs: frames of all devices under one root, anchored one after the other on the sender's own chain.

One epoch is under way at a time: each link's head holds its block's time, so the next can only be named once the link before is final.
Nothing is lost by that: frames of the meantime wait for the next epoch. An anchor whose head has moved cannot apply, and is wanted anew.
"""

from __future__ import annotations

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from protocol.evidence import epoch_tree
from protocol.hashing import ZERO32
from protocol.merkle import Tree

from ..context import Service
from ..models import HOUSE, AnchorLinkRow, Epoch, FrameRow, IntentRow, RuledOutFrame
from ..onchain.outbox import OPEN, Writing, intend
from ..people.alarms import AlarmKind, clear_alarm, open_alarm, raise_alarm
from ..store.facts import chain_status

log = structlog.get_logger()
MAX_FRAMES = 65_536
"""Leaves of one epoch: its tree takes 72 ms; what is more waits for the next."""


def standing_head(db: Session, anchorer: bytes) -> AnchorLinkRow | None:
    """The last final link of an anchorer's chain."""
    return db.scalar(select(AnchorLinkRow).where(AnchorLinkRow.anchorer == anchorer).order_by(AnchorLinkRow.id.desc()).limit(1))


def round_(service: Service, writing: Writing) -> None:
    """Follow the epoch under way; close the next when its time has come. Writes only where there is something to write."""
    with service.db.reading() as db:
        idle = not db.scalars(select(Epoch.id).where(Epoch.state == "closed")).all() and not _time_to_close(db, service)
        late = _overdue(db, service)
        said = open_alarm(db, HOUSE, AlarmKind.RECEIPT_OVERDUE, "anchors") is not None
    if bool(late) != said:
        with writing() as db:
            _say_overdue(db, service, late)
    if idle:
        return
    with writing() as db:
        under_way = db.scalars(select(Epoch).where(Epoch.state == "closed").order_by(Epoch.id)).all()
        for epoch in under_way:
            if not _anchored(db, service, epoch):
                _want(db, service, epoch)
        if all(epoch.state == "anchored" for epoch in under_way) and _time_to_close(db, service):
            _close_next(db, service)


def _anchored(db: Session, service: Service, epoch: Epoch) -> bool:
    link = db.scalar(select(AnchorLinkRow).where(AnchorLinkRow.anchorer == epoch.anchorer, AnchorLinkRow.root == epoch.root).limit(1))
    if link is None:
        return False
    epoch.state, epoch.link_id = "anchored", link.id
    service.after_commit(db, service.hub.wake_all)  # agents put the head they saw into their next frames
    service.after_commit(db, lambda: service.hub.wake_loop("settlement"))
    return True


def _want(db: Session, service: Service, epoch: Epoch) -> None:
    """Want the anchor, again if the transaction before came to nothing."""
    if epoch.intent_id is not None and db.get_one(IntentRow, epoch.intent_id).state in (OPEN, "succeeded"):
        return  # under way, or mined and about to be read from the chain
    status = chain_status(db)
    if status is None or not status.caught_up:
        return  # the head we know may not be the head that stands
    last = standing_head(db, epoch.anchorer)
    head = ZERO32 if last is None else last.head
    call = service.calls.anchor(head, epoch.root)
    intent = intend(db, service, HOUSE, call, kind="anchor", cause=(epoch.root, head, epoch.intent_id or 0), reference=epoch.root)
    epoch.intent_id = intent.id


def _time_to_close(db: Session, service: Service) -> bool:
    last_closed = db.scalar(select(func.max(Epoch.closed_at_s)))
    if last_closed is not None and service.now_s() < last_closed + service.settings.settlement.epoch_seconds:
        return False
    return db.scalar(select(FrameRow.id).where(FrameRow.epoch_id.is_(None)).limit(1)) is not None


def _close_next(db: Session, service: Service) -> None:
    waiting = db.execute(
        select(FrameRow.id, FrameRow.digest).where(FrameRow.epoch_id.is_(None)).order_by(FrameRow.id).limit(MAX_FRAMES)
    ).all()
    if not waiting:
        return
    tree = epoch_tree([row.digest for row in waiting])
    epoch = Epoch(
        operator_id=HOUSE, anchorer=service.keys.sender.address, root=tree.root, frame_count=len(waiting), state="closed",
        closed_at_s=service.now_s(),
    )  # fmt: skip
    db.add(epoch)
    db.flush()
    last_id = waiting[-1].id
    done = db.execute(
        update(FrameRow).where(FrameRow.epoch_id.is_(None), FrameRow.id <= last_id).values(epoch_id=epoch.id).returning(FrameRow.id)
    ).all()
    assert len(done) == len(waiting), "a frame came in between under an id that was read already"
    _want(db, service, epoch)
    log.info("epoch closed", frames=len(waiting), root=tree.root.hex())


def _overdue(db: Session, service: Service) -> int:
    """Frames that are not anchored by the time their receipts name."""
    under_way = select(Epoch.id).where(Epoch.state == "closed")
    waiting = FrameRow.epoch_id.is_(None) | FrameRow.epoch_id.in_(under_way)
    return int(db.scalar(select(func.count()).select_from(FrameRow).where(waiting, FrameRow.anchor_by_s < service.now_s())) or 0)


def _say_overdue(db: Session, service: Service, late: int) -> None:
    """Receipts promise a time; a service that breaks it says so before others do."""
    if late:
        detail = f"{late} frames are not anchored by the time their receipts name"
        raise_alarm(db, service, HOUSE, AlarmKind.RECEIPT_OVERDUE, "anchors", detail)
    else:
        clear_alarm(db, service, HOUSE, AlarmKind.RECEIPT_OVERDUE, "anchors")


def tree_of(db: Session, epoch: Epoch) -> Tree:
    """An epoch's tree, rebuilt; its root is checked against what was anchored."""
    digests = [*db.scalars(select(FrameRow.digest).where(FrameRow.epoch_id == epoch.id))]
    tree = epoch_tree([*digests, *db.scalars(select(RuledOutFrame.digest).where(RuledOutFrame.epoch_id == epoch.id))])
    assert tree.root == epoch.root, f"epoch {epoch.id} does not rebuild to its root"
    return tree
