"""What goes onto an agent's stream. Each call is one short transaction; the stream itself holds none open."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from protocol.hashing import ZERO32

from .. import jsons
from ..context import Service
from ..devices.points import get_device
from ..evidence.epochs import standing_head
from ..hexes import to_hex
from ..models import FrameRow
from .commands import waiting_messages


class Event(NamedTuple):
    event: str
    data: str
    id: str | None


class Cursor:
    """How far one stream has been told."""

    def __init__(self) -> None:
        self.message_id = 0
        self.head = b""


def have(service: Service, device_id: bytes) -> str:
    """The last frame of this device that is held here: later ones are to be sent again."""
    with service.db.reading() as db:
        device = get_device(db, device_id)
        tip = None if device.tip_frame_id is None else db.scalar(select(FrameRow).where(FrameRow.id == device.tip_frame_id))
        if tip is None:
            return jsons.dumps({"incarnation": to_hex(ZERO32), "throughSequence": 0, "frame": to_hex(ZERO32)})
        return jsons.dumps({"incarnation": to_hex(tip.incarnation), "throughSequence": tip.last_sequence, "frame": to_hex(tip.digest)})


def news(service: Service, device_id: bytes, cursor: Cursor) -> list[Event]:
    """What this stream has not been told yet, in order."""
    with service.db.reading() as db:
        messages = waiting_messages(db, device_id, cursor.message_id)
        events = [Event(message.event, message.data, str(message.id)) for message in messages]
        if messages:
            cursor.message_id = messages[-1].id
        head = standing_head(db, service.keys.sender.address)
        if head is not None and head.head != cursor.head:
            cursor.head = head.head
            data = {"anchorer": to_hex(head.anchorer), "head": to_hex(head.head), "blockNumber": head.block_number, "timeS": head.time_s}
            events.append(Event("head", jsons.dumps(data), None))
        return events
