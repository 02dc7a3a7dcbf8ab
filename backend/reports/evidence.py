"""Evidence beside the frames themselves: conflicts kept as proof, and tariffs as hashed."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import NotFound
from ..models import ConflictRow, FrameRow, TariffRow
from .cursors import number_in, time_and_key_in
from .pages import Page, page_of


class ConflictLine(NamedTuple):
    """A refused frame, and the digest of the one accepted before it."""

    conflict: ConflictRow
    accepted: bytes


def conflicts(db: Session, operator_id: int, after: str | None, limit: int) -> Page[ConflictLine]:
    """Conflicts, the newest first."""
    query = select(ConflictRow, FrameRow.digest).join(FrameRow, FrameRow.id == ConflictRow.accepted_frame_id)
    query = query.where(ConflictRow.operator_id == operator_id)
    before = number_in(after)
    if before is not None:
        query = query.where(ConflictRow.id < before)
    rows = db.execute(query.order_by(ConflictRow.id.desc()).limit(limit + 1)).all()
    return page_of([ConflictLine(*row) for row in rows], limit, lambda line: str(line.conflict.id))


def tariffs(db: Session, operator_id: int, after: str | None, limit: int) -> Page[TariffRow]:
    """Tariffs, the newest first."""
    query = select(TariffRow).where(TariffRow.operator_id == operator_id)
    cursor = time_and_key_in(after)
    if cursor is not None:
        at_s, key = cursor
        query = query.where((TariffRow.created_at_s < at_s) | ((TariffRow.created_at_s == at_s) & (TariffRow.hash < key)))
    rows = db.scalars(query.order_by(TariffRow.created_at_s.desc(), TariffRow.hash.desc()).limit(limit + 1)).all()
    return page_of(rows, limit, lambda row: f"{row.created_at_s}-{row.hash.hex()}")


def tariff(db: Session, operator_id: int, tariff_hash: bytes) -> TariffRow:
    """One tariff of this operator. Raises `NotFound`."""
    row = db.get(TariffRow, (operator_id, tariff_hash))
    if row is None:
        raise NotFound("no such tariff here", "tariffHash")
    return row
