"""Device wallets as a seller sees them: those that paid it, their sessions with it, and what their agents said.

What stands on the chain is public. Sessions are the caller's own; a disagreement between meters is shown to whose session it is about.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import jsons
from ..errors import NotFound
from ..models import SessionRow, WalletNote, WalletRow
from ..sessions.states import State
from ..wallets.notes import notes_of
from ..wallets.views import locked_micro
from .pages import Page, page_of

SHOWN_NOTES = 20
SHOWN_SESSIONS = 20


class WalletLine(NamedTuple):
    """A wallet in a list, with what it has had with this operator."""

    row: WalletRow
    sessions: int
    live: int
    locked_micro: int
    claimed_micro: int


class NoteLine(NamedTuple):
    note: WalletNote
    document: dict[str, Any]

    @property
    def difference(self) -> str:
        """How much more the seller's meter shows, of what the buyer's own does."""
        own, other = self.document["ownMilliwattHours"], self.document["sellerMilliwattHours"]
        if own == 0:
            return "the own meter shows nothing"
        tenths = (other - own) * 1_000 // own
        sign, tenths = ("−" if tenths < 0 else "+"), abs(tenths)
        return f"{sign}{tenths // 10}.{tenths % 10} %"


def _ours(operator_id: int) -> Any:
    return (SessionRow.operator_id == operator_id, SessionRow.state != State.QUOTED)


def page(db: Session, operator_id: int, after: str | None, limit: int) -> Page[WalletLine]:
    """Wallets with sessions of this operator, by address."""
    payers = select(SessionRow.payer).where(*_ours(operator_id))
    query = select(WalletRow).where(WalletRow.wallet.in_(payers), WalletRow.wallet > bytes.fromhex(after or ""))
    rows = db.scalars(query.order_by(WalletRow.wallet).limit(limit + 1)).all()
    return page_of([_line(db, operator_id, row) for row in rows], limit, lambda line: line.row.wallet.hex())


def get(db: Session, operator_id: int, wallet: bytes) -> WalletLine:
    """A wallet that had a session of this operator. Raises `NotFound`."""
    row = db.get(WalletRow, wallet)
    line = None if row is None else _line(db, operator_id, row)
    if line is None or not line.sessions:
        raise NotFound("no wallet at this address has had a session here", "address")
    return line


def _line(db: Session, operator_id: int, row: WalletRow) -> WalletLine:
    ours = (SessionRow.payer == row.wallet, *_ours(operator_id))
    count, claimed = db.execute(select(func.count(), func.coalesce(func.sum(SessionRow.claimed_micro), 0)).where(*ours)).one()
    live = db.scalar(select(func.count()).where(*ours, SessionRow.settled_at_s.is_(None)))
    return WalletLine(row, int(count), int(live or 0), locked_micro(db, row.wallet, operator_id), int(claimed))


def sessions(db: Session, operator_id: int, wallet: bytes) -> list[SessionRow]:
    """The latest sessions of this wallet with this operator."""
    query = select(SessionRow).where(SessionRow.payer == wallet, *_ours(operator_id))
    return list(db.scalars(query.order_by(SessionRow.quoted_at_s.desc(), SessionRow.session).limit(SHOWN_SESSIONS)))


def choices(db: Session, wallet: bytes) -> list[NoteLine]:
    """Why the wallet's agent chose as it did, and why it stopped, the newest first. Offers are public."""
    latest = notes_of(db, wallet, SHOWN_NOTES, "choice") + notes_of(db, wallet, SHOWN_NOTES, "stopped")
    ordered = sorted(latest, key=lambda note: note.id, reverse=True)[:SHOWN_NOTES]
    return [NoteLine(note, jsons.loads(note.document)) for note in ordered]


def disagreements(db: Session, operator_id: int, wallet: bytes) -> list[NoteLine]:
    """Where the agent's own meter and the seller's did not agree, in sessions of this operator, the newest first."""
    ours = select(SessionRow.session).where(SessionRow.payer == wallet, *_ours(operator_id))
    query = select(WalletNote).where(WalletNote.wallet == wallet, WalletNote.kind == "refusal", WalletNote.session.in_(ours))
    return [NoteLine(note, jsons.loads(note.document)) for note in db.scalars(query.order_by(WalletNote.id.desc()).limit(SHOWN_NOTES))]


def offer_words(item: Any) -> str:
    """An offer among those an agent weighed, in a line, whatever the agent wrote."""
    if not isinstance(item, dict):
        return str(item)[:200]
    return ", ".join(f"{key} {value}" for key, value in item.items() if isinstance(value, str | int))[:300]
