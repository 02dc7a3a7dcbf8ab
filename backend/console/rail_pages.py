"""Money over rails: the fourth book, deposits and payouts, and why anything is pending."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ..accounts.acts import note
from ..accounts.depends import Actor, Auditor
from ..api.depends import Db, ReadDb, TheService
from ..errors import NotFound
from ..hexes import id_in_path, to_hex
from ..rails import fourth_book, payouts
from ..rails.rounds import last_reading
from ..reports import rails as report
from ..reports.pages import DEFAULT_PAGE, Page
from .pages import next_page, page
from .supply_pages import After

router = APIRouter()
SHOWN_PAYOUTS = 20


@router.get("/rails")
def get_rails(request: Request, service: TheService, caller: Auditor, db: ReadDb, after: After = "") -> HTMLResponse:
    mine = caller.of_installation
    found: Page[report.DepositLine] = report.deposits(db, after, DEFAULT_PAGE) if mine else Page([], None)
    paid_back: Page[report.PayoutLine] = report.payouts(db, None, SHOWN_PAYOUTS) if mine else Page([], None)
    return page(
        request,
        service,
        db,
        caller,
        "rails.html",
        "/console/rails",
        mine=mine,
        book=fourth_book.read(db, service) if mine else None,
        rails=[(name, last_reading(db, name)) for name in service.rails] if mine else [],
        deposits=found.items,
        payouts=paid_back.items,
        next=next_page(request, found.next),
    )


@router.post("/rails/payouts/{payout_id}/retry")
def post_retry(payout_id: str, service: TheService, caller: Actor, db: Db) -> Response:
    if not caller.of_installation:
        raise NotFound("there is no such payout", "payout")
    row = payouts.retry(db, service, id_in_path(payout_id, "payout"))
    note(db, row.operator_id, caller.name, "payout tried again", to_hex(row.id), "", service.now_s())
    return RedirectResponse("/console/rails?done=payout-retried", 303)
