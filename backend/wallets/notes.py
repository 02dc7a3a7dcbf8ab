"""What a wallet's agent says for people to see, signed by its pay key: why it chose, what it did not pay, why it stopped.

A note decides nothing. The latest `KEPT` of a wallet are kept.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from protocol.eip712 import digest, hex_bytes
from protocol.errors import BadSignature
from protocol.hashing import document_hash
from protocol.keys import check_signature
from protocol.wallet import WalletNote as SignedNote
from protocol.wallet import wallet_domain

from .. import jsons
from ..context import Service
from ..errors import BadRequest, NotFound
from ..models import HOUSE, WalletNote, WalletRow

MAX_BYTES = 8 << 10
"""A choice among a point's 32 sellers, each with a line of reasons."""
KEPT = 1_000
"""Some weeks of choices and refusals: a page shows the latest, the agent's own journal has all."""
MAX_WHY = 1_000
AHEAD_S = 300
"""A clock may be so far ahead of ours; a note of tomorrow would stand on top for a day."""
_FIELDS = {
    "choice": {"kind", "why", "offers"},
    "refusal": {"kind", "session", "frame", "why", "ownMilliwattHours", "sellerMilliwattHours"},
    "stopped": {"kind", "why"},
}


def add_note(db: Session, service: Service, wallet: bytes, document: dict[str, Any], made_at_s: int, signature: bytes) -> WalletNote:
    """Keep a note. The same again is a success."""
    row = db.get(WalletRow, wallet, with_for_update=True)
    if row is None or row.policy is None:
        raise NotFound("no wallet with a policy at this address (or its events are not final yet)", "address")
    _check(document)
    if made_at_s > service.now_s() + AHEAD_S:
        raise BadRequest(f"lies more than {AHEAD_S} s ahead", "madeAtS")
    signed = digest(wallet_domain(service.deployment.chain_id, wallet), SignedNote(wallet, document_hash(document), made_at_s))
    pay_key = hex_bytes(jsons.loads(row.policy)["payKey"], 20, "payKey")
    try:
        check_signature(signed, signature, pay_key)
    except BadSignature as error:
        raise BadRequest(f"{error}; the standing policy's pay key signs WalletNote in the wallet's domain", "signature") from None
    kept = db.scalar(select(WalletNote).where(WalletNote.digest == signed))
    if kept is not None:
        return kept
    session = hex_bytes(document["session"], 32, "document.session") if document["kind"] == "refusal" else None
    note = WalletNote(
        operator_id=HOUSE, wallet=wallet, digest=signed, kind=document["kind"], session=session, document=jsons.canonical(document),
        made_at_s=made_at_s, signature=signature, received_at_s=service.now_s(),
    )  # fmt: skip
    db.add(note)
    db.flush()
    oldest = select(WalletNote.id).where(WalletNote.wallet == wallet).order_by(WalletNote.id.desc()).offset(KEPT).limit(1)
    last_gone = db.scalar(oldest)
    if last_gone is not None:
        db.execute(delete(WalletNote).where(WalletNote.wallet == wallet, WalletNote.id <= last_gone))
    return note


def _check(document: dict[str, Any]) -> None:
    """Raise `BadRequest` unless this is one of the three kinds, with exactly its fields, and not too long."""
    fields = _FIELDS.get(document.get("kind", "")) if isinstance(document.get("kind"), str) else None
    if fields is None:
        raise BadRequest(f"must be one of {', '.join(_FIELDS)}", "document.kind")
    for name in sorted(fields ^ set(document)):
        raise BadRequest("is missing" if name in fields else "unknown field", f"document.{name}")
    why = document["why"]
    if not isinstance(why, str) or not 1 <= len(why) <= MAX_WHY or "\0" in why:
        raise BadRequest(f"must be 1…{MAX_WHY} characters", "document.why")
    if document["kind"] == "choice" and not isinstance(document["offers"], list):
        raise BadRequest("must be a list", "document.offers")
    if document["kind"] == "refusal":
        for name in ("session", "frame"):
            hex_bytes(document[name], 32, f"document.{name}")
        for name in ("ownMilliwattHours", "sellerMilliwattHours"):
            if type(document[name]) is not int or not 0 <= document[name] < 1 << 53:
                raise BadRequest("must be an integer below 2^53", f"document.{name}")
    if len(jsons.dumps(document)) > MAX_BYTES:
        raise BadRequest(f"has more than {MAX_BYTES} bytes", "document")


def notes_of(db: Session, wallet: bytes, limit: int, kind: str | None = None) -> list[WalletNote]:
    """The latest notes, the newest first."""
    query = select(WalletNote).where(WalletNote.wallet == wallet)
    if kind is not None:
        query = query.where(WalletNote.kind == kind)
    return list(db.scalars(query.order_by(WalletNote.id.desc()).limit(limit)))
