"""What payers call: quotes, opening, top-up, stop, payments, and reading their session, bill and bundle."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select

from protocol.money import Open, Payment, RequestClose, TopUp

from ..context import Service
from ..errors import BadRequest, Conflict, NotFound
from ..evidence import bundles
from ..hexes import address_in, any_signature_in, hash_in, id_in_path, signature_in
from ..models import SessionRow
from ..money.rating import pricer_of
from ..sessions.life import get_session
from ..sessions.payments import pay
from ..sessions.quotes import Wish, quote
from ..sessions.signed import is_known, open_session, stop, top_up
from ..sessions.states import State
from ..sessions.views import quote_view, session_view
from ..wallets.door import Proof, prove
from .bodies import OpenBody, PaymentBody, QuoteBody, StopBody, TopUpBody
from .core_answers import BillAnswer, OpenedAnswer, PaymentAnswer, QuoteAnswer, SessionAnswer
from .depends import BillReader, Db, ReadDb, SessionReader, TheService
from .idempotency import Once

router = APIRouter(prefix="/api/v1", tags=["payers"])


class BundleResponse(Response):
    media_type = "application/gzip"


@router.post("/quotes", response_model=QuoteAnswer, status_code=201)
def post_quote(body: QuoteBody, service: TheService, db: Db, once: Once) -> Response:
    """Terms for a session at a point, ready to be signed. Anybody may ask."""
    wish = Wish(
        body.pointId, address_in(body.payer, "payer"), address_in(body.refundTo, "refundTo"), body.metered,
        None if body.signer is None else address_in(body.signer, "signer"), body.lockMicro,
        None if body.offerHash is None else hash_in(body.offerHash, "offerHash"),
        None if body.follows is None else hash_in(body.follows, "follows"),
    )  # fmt: skip
    return once.once(db, service, lambda: (201, quote_view(db, service, quote(db, service, wish))))


@router.post(
    "/sessions", status_code=201, response_model=OpenedAnswer,
    responses={200: {"model": OpenedAnswer, "description": "It was opened before"}},
)  # fmt: skip
def post_session(body: OpenBody, service: TheService, db: Db) -> JSONResponse:
    """Open a session on the payer's signed Open; the service relays it. 201 the first time, 200 for the same again."""
    signature = any_signature_in(body.signature, "signature")
    proof = _word(service, _quoted(service, body.quoteId), Open(bytes(32), body.lockMicro, body.deadlineS), signature, body.wallet)
    row = open_session(db, service, body.quoteId, (body.lockMicro, body.deadlineS), signature, proof)
    return JSONResponse(session_view(db, service, row, with_token=True), 201 if row.state == State.OPENING else 200)


def _quoted(service: Service, quote_id: str) -> bytes:
    with service.db.reading() as db:
        session = db.scalar(select(SessionRow.session).where(SessionRow.quote_id == quote_id))
    if session is None:
        raise NotFound("no such quote; quotes run out within minutes", "quoteId")
    return session


def _word(
    service: Service, session: bytes, message: Open | TopUp | RequestClose, signature: bytes, wallet: dict[str, Any] | None
) -> Proof | None:  # fmt: skip
    """Whose word this is, asked before the call's own transaction; nothing where exactly this was taken before."""
    message = message._replace(session=session)
    with service.db.reading() as db:
        row = get_session(db, session)
        if is_known(db, session, message):
            return Proof(signature)
    return prove(service, row, message, signature, wallet)


def _same_session(stated: str | None, path: bytes) -> None:
    if stated is not None and hash_in(stated, "session") != path:
        raise BadRequest("names another session than the path", "session")


@router.post("/sessions/{session}/top-up", response_model=SessionAnswer)
def post_top_up(session: str, body: TopUpBody, service: TheService, db: Db) -> dict[str, Any]:
    """Raise the lock on the payer's signed TopUp. It counts once it is final on the chain."""
    session_id = id_in_path(session, "session")
    _same_session(body.session, session_id)
    message, signature = TopUp(session_id, body.totalLockMicro, body.deadlineS), any_signature_in(body.signature, "signature")
    proof = _word(service, session_id, message, signature, body.wallet)
    row = get_session(db, session_id, lock=True)
    top_up(db, service, row, message, signature, proof)
    return session_view(db, service, row)


@router.post("/sessions/{session}/stop", response_model=SessionAnswer)
def post_stop(session: str, body: StopBody, service: TheService, db: Db) -> dict[str, Any]:
    """The stop button: a signed RequestClose. Supply goes off at once; the request goes to the chain too."""
    session_id = id_in_path(session, "session")
    _same_session(body.session, session_id)
    message, signature = RequestClose(session_id, body.deadlineS), any_signature_in(body.signature, "signature")
    proof = _word(service, session_id, message, signature, body.wallet)
    row = get_session(db, session_id, lock=True)
    stop(db, service, row, message, signature, proof)
    return session_view(db, service, row)


@router.post("/sessions/{session}/payments", response_model=PaymentAnswer)
def post_payment(session: str, body: PaymentBody, service: TheService, db: Db) -> dict[str, Any]:
    """A signed payment, cumulative; passed on to the agent, which checks it itself."""
    session_id = id_in_path(session, "session")
    _same_session(body.session, session_id)
    row = get_session(db, session_id, lock=True)
    payment = Payment(session_id, body.amountMicro, hash_in(body.frame, "frame"))
    amount = pay(db, service, row, payment, signature_in(body.signature, "signature"))
    return {"amountMicro": amount.amount_micro, "claimable": amount.claimable, "session": session_view(db, service, row)}


@router.get("/sessions/{session}", response_model=SessionAnswer)
def get_one_session(session: SessionReader, service: TheService, db: ReadDb) -> dict[str, Any]:
    """A session as it stands."""
    return session_view(db, service, get_session(db, session))


@router.get("/sessions/{session}/bill", response_model=BillAnswer)
def get_bill(session: BillReader, service: TheService, db: ReadDb) -> dict[str, Any]:
    """The bill so far: every line with component, quantity, price, first and last record."""
    row = get_session(db, session)
    if row.first_frame_id is None:
        raise Conflict("nothing was measured for this session yet, so there is no bill", "session")
    return pricer_of(db, service, row).bill().to_document()


@router.get("/sessions/{session}/bundle", response_class=BundleResponse)
def get_bundle(session: BillReader, service: TheService, db: ReadDb) -> Response:
    """The proof bundle: a gzip file that `python -m auditor verify` checks offline."""
    packed = bundles.export(db, service, get_session(db, session))
    name = f"wattproof-{session.hex()[:16]}.bundle.gz"
    return BundleResponse(packed, headers={"Content-Disposition": f'attachment; filename="{name}"'})
