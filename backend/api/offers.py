"""Offers: posted and withdrawn by who sells, read by anybody; and who may sell at a point."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from ..accounts.depends import Actor, Reader
from ..devices.points import get_point
from ..hexes import id_in_path, signature_in, to_hex
from ..offers import sellers
from ..offers.shelf import offer_document, open_offers, put_offer, state_of, withdraw_offer
from .bodies import OfferBody, SellersBody, WithdrawOfferBody
from .core_answers import OfferPutAnswer, OffersAnswer, SellersAnswer
from .depends import Db, ReadDb, TheService
from .reports import PointId

router = APIRouter(prefix="/api/v1", tags=["offers"])


@router.post("/offers", status_code=201, response_model=OfferPutAnswer)
def post_offer(body: OfferBody, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """Keep an offer its provider signed, and publish it on the chain. The same again is a success."""
    row = put_offer(db, service, caller.operator_id, body.model_dump())
    return {"offerHash": to_hex(row.hash), "state": state_of(db, row, service.now_s())}


@router.get("/offers", response_model=OffersAnswer)
def get_offers(
    service: TheService, db: ReadDb, pointId: Annotated[str | None, Query(pattern=r"^[0-9A-Za-z_-]{1,32}$")] = None
) -> dict[str, Any]:  # fmt: skip
    """What stands now or begins later (at a point), by provider and number. Check each by yourself: it is signed."""
    now = service.now_s()
    return {"items": [offer_document(db, row, now) for row in open_offers(db, now, pointId)]}


@router.post("/offers/{offer_hash}/withdraw", status_code=202, response_model=OfferPutAnswer)
def post_withdrawal(offer_hash: str, body: WithdrawOfferBody, caller: Actor, service: TheService, db: Db) -> JSONResponse:
    """Take an offer back, for ever: no quote under it from now on, and the chain is told. What was opened under it goes on."""
    signature = None if body.signature is None else signature_in(body.signature, "signature")
    row = withdraw_offer(db, service, caller.operator_id, id_in_path(offer_hash, "offerHash"), signature)
    return JSONResponse({"offerHash": to_hex(row.hash), "state": state_of(db, row, service.now_s())}, 202)


@router.put("/points/{point_id}/sellers", response_model=SellersAnswer)
def put_sellers(point_id: PointId, body: SellersBody, caller: Actor, db: Db) -> dict[str, Any]:
    """Let exactly these operators sell at a point of the caller's, besides its own."""
    return {"operatorIds": sellers.set_sellers(db, caller.operator_id, point_id, body.operatorIds)}


@router.get("/points/{point_id}/sellers", response_model=SellersAnswer)
def get_sellers(point_id: PointId, caller: Reader, db: ReadDb) -> dict[str, Any]:
    """Operators that may sell at a point of the caller's, besides its own."""
    return {"operatorIds": sellers.sellers_of(db, get_point(db, point_id, caller.operator_id).id)}
