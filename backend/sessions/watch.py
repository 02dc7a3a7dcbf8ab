"""What a payer's stream tells of one session: its frames as signed, none left out, and how it stands.

Nothing is carried here: each look reads the rows. Frames are told from the one with the START record on, in the order of the log, also
those that could not be priced; the last thing told of a session is that it is settled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import select

from .. import jsons
from ..context import Service
from ..models import FrameRow, SessionRow
from .life import get_session
from .states import POWERED, State
from .views import session_view

FRAMES_AT_ONCE = 200
"""Frames of one look: a payer that comes back after an hour gets them in a second."""


class Told(NamedTuple):
    """One event of the stream."""

    event: str
    data: str
    id: str | None


class Watch:
    """How far one stream has been told. `more`: there is more to tell at once. `over`: everything was."""

    def __init__(self, session: bytes, after_sequence: int) -> None:
        self.session, self.after_sequence = session, after_sequence
        self.frame_id = 0
        self.state: tuple[Any, ...] = ()
        self.more = self.over = False

    def look(self, service: Service) -> list[Told]:
        """What is new."""
        with service.db.reading() as db:
            row = get_session(db, self.session)
            told = []
            if row.first_frame_id is not None:
                query = select(FrameRow.id, FrameRow.last_sequence, FrameRow.body).where(
                    FrameRow.device == row.device, FrameRow.id >= row.first_frame_id, FrameRow.id > self.frame_id,
                    FrameRow.last_sequence > self.after_sequence,
                )  # fmt: skip
                if row.stop_record_seen or row.state not in POWERED:  # what comes later is not of this session
                    query = query.where(FrameRow.id <= (row.last_frame_id or 0))
                frames = db.execute(query.order_by(FrameRow.id).limit(FRAMES_AT_ONCE)).all()
                told = [Told("frame", _line(body), str(sequence)) for _, sequence, body in frames]
                self.frame_id = frames[-1][0] if frames else self.frame_id
            self.more = len(told) == FRAMES_AT_ONCE
            state = _state(row)
            if state != self.state and not self.more:
                self.state = state
                told.append(Told("state", jsons.dumps(session_view(db, service, row)), None))
                self.over = row.state == State.SETTLED
            return told


def _line(body: bytes) -> str:
    """A frame as received, on one line: what ends a line would end the event."""
    return (jsons.dumps(jsons.loads(body)) if b"\n" in body or b"\r" in body else body.decode()).strip()


def _state(row: SessionRow) -> tuple[Any, ...]:
    """Enough of a session to see that it changed. Not its bill: the payer prices the frames by itself."""
    return (
        row.state, row.lock_micro, row.charge_micro, row.claimed_micro, row.returned_micro, row.credit_note_micro, row.close_requested_at_s,
        row.disconnected_at_s, row.blocked, row.disputed_from_s, row.waits, row.ready_nonce is None, row.tail_micro,
    )  # fmt: skip
