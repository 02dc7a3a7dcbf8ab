"""Offers and device wallets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from .. import jsons
from ..accounts.acts import note
from ..accounts.depends import Actor, Reader
from ..api.depends import Db, ReadDb, TheService
from ..context import Service
from ..errors import Unavailable
from ..hexes import address_in, id_in_path, to_hex
from ..offers.shelf import withdraw_offer
from ..reports import offers, points, wallets
from ..reports.pages import DEFAULT_PAGE
from ..wallets.views import Seen, ask
from .pages import next_page, page

router = APIRouter()
After = Annotated[str, Query(pattern="^[0-9a-f-]{0,120}$")]
WalletAfter = Annotated[str, Query(pattern="^([0-9a-f]{40})?$")]
Address = Annotated[str, Path(pattern="^0x[0-9a-fA-F]{40}$")]
ASK_AGAIN_S = 15
"""A node that did not answer must not hold up every page."""


@router.get("/offers")
def get_offers(request: Request, service: TheService, caller: Reader, db: ReadDb, after: After = "") -> HTMLResponse:
    found = offers.page(db, caller.operator_id, after, DEFAULT_PAGE, service.now_s())
    return page(
        request, service, db, caller, "offers.html", "/console/offers", lines=found.items, next=next_page(request, found.next),
        sellers=offers.sellers(db, caller.operator_id), on_the_book=offers.on_the_book(db, caller.operator_id),
    )  # fmt: skip


@router.post("/offers/{offer_hash}/withdraw")
def post_withdrawal(offer_hash: str, service: TheService, caller: Actor, db: Db) -> Response:
    row = withdraw_offer(db, service, caller.operator_id, id_in_path(offer_hash, "offerHash"))
    note(db, caller.operator_id, caller.name, "offer withdrawn", f"offer {to_hex(row.hash)}", "", service.now_s())
    return RedirectResponse("/console/offers?done=offer-withdrawn", 303)


@router.get("/wallets")
def get_wallets(request: Request, service: TheService, caller: Reader, db: ReadDb, after: WalletAfter = "") -> HTMLResponse:
    found = wallets.page(db, caller.operator_id, after, DEFAULT_PAGE)
    return page(
        request, service, db, caller, "wallets.html", "/console/wallets", lines=found.items, next=next_page(request, found.next)
    )  # fmt: skip


@router.get("/wallets/{address}")
def get_wallet(address: Address, request: Request, service: TheService, caller: Reader, db: ReadDb) -> HTMLResponse:
    wallet = address_in(address, "address")
    seen = _ask(service, wallet)
    line = wallets.get(db, caller.operator_id, wallet)
    rows = wallets.sessions(db, caller.operator_id, wallet)
    policy = None if line.row.policy is None else jsons.loads(line.row.policy)
    return page(
        request, service, db, caller, "wallet.html", "/console/wallets", line=line, seen=seen, policy=policy, rows=rows,
        point_names=points.names(db, {row.point_id for row in rows}), choices=wallets.choices(db, wallet),
        disagreements=wallets.disagreements(db, caller.operator_id, wallet), offer_words=wallets.offer_words,
    )  # fmt: skip


def _ask(service: Service, wallet: bytes) -> Seen | None:
    """The wallet as the chain has it; None where the chain does not answer now."""
    not_before_s: int = service.caches.get("console_node_not_before", 0)
    if service.now_s() < not_before_s:
        return None
    try:
        return ask(service, wallet)
    except Unavailable:
        service.caches["console_node_not_before"] = service.now_s() + ASK_AGAIN_S
        return None
