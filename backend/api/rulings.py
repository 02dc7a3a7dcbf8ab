"""Rulings on what is disputed: by whoever holds the signatures they take."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request

from protocol.eip712 import EVIDENCE, digest, from_json
from protocol.evidence import Ruling

from ..accounts.acts import note
from ..accounts.depends import find_caller
from ..accounts.roles import Permission
from ..errors import BadRequest, NotFound
from ..evidence.rulings import arbiter_of, take_ruling
from ..hexes import id_in_path, signature_in, to_hex
from ..money.disputes import rulings_of
from ..sessions.life import get_session
from ..sessions.views import session_view
from .bodies import RulingBody
from .core_answers import SessionAnswer
from .depends import Db, TheService

router = APIRouter(prefix="/api/v1", tags=["payers"])


@router.post("/sessions/{session}/rulings", response_model=SessionAnswer)
def post_ruling(
    session: str, body: RulingBody, request: Request, service: TheService, db: Db,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> dict[str, Any]:  # fmt: skip
    """Rule on a disputed stretch. Proven by its signatures: operator's and payer's, or the arbiter's the agreement names.

    An operator's account that may act posts it with the payer's signature alone: posting it is the operator's word, and the service signs.
    """
    row = get_session(db, id_in_path(session, "session"), lock=True)
    ruling = from_json(Ruling, body.ruling, "ruling")
    signatures = [signature_in(text, f"signatures.{i}") for i, text in enumerate(body.signatures)]
    who = "operator and payer" if len(signatures) == 2 else "arbiter"
    if len(signatures) == 1 and (authorization is not None or arbiter_of(row) is None):
        if authorization is None:
            raise BadRequest("takes operator's and payer's; the payer's alone where an operator's account posts it", "signatures")
        caller = find_caller(request, service, authorization)
        caller.require(Permission.ACT)
        if caller.operator_id != row.operator_id:
            raise NotFound("there is no such session here", "session")
        signatures.insert(0, service.keys.sender.sign(digest(EVIDENCE, ruling)))
        who = caller.name
    before = len(rulings_of(db, row.session))
    take_ruling(db, service, row, ruling, signatures)
    if len(rulings_of(db, row.session)) == before:
        return session_view(db, service, row)  # the same again
    detail = f"records {ruling.first_sequence} to {ruling.last_sequence}: {to_hex(ruling.accepted_frame)} stands"
    note(db, row.operator_id, who, "ruling", f"session {to_hex(row.session)}", detail, service.now_s())
    return session_view(db, service, row)
