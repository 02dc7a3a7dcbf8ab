"""POST /frames: evidence in, receipts out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ..evidence.ingest import MAX_BODY_BYTES, Tally, decode_frames, ingest, of_strangers, parse_upload
from ..metrics import FRAMES
from .core_answers import FramesAnswer
from .depends import Db, RawBody, TheService

router = APIRouter(prefix="/api/v1", tags=["agents"])


@router.post("/frames", response_model=FramesAnswer, max_body_size=MAX_BODY_BYTES)
def post_frames(body: RawBody, service: TheService, db: Db) -> dict[str, Any]:
    """Take frames, charges and OCMF texts in one transaction; answer after the commit with a signed receipt. A repeat is a success."""
    tally = Tally()
    upload = parse_upload(body)
    arrived = decode_frames(upload, tally)
    if of_strangers(service, upload, arrived, tally):  # `db` has not begun yet: on SQLite nobody waits for what a stranger sends
        return tally.to_document()
    ingest(db, service, upload, arrived, tally)
    service.after_commit(db, lambda: FRAMES.count(tally))
    return tally.to_document()
