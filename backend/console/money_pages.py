"""Money, anchors and alarms."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ..accounts.acts import note
from ..accounts.depends import Actor, Auditor, Reader
from ..api.depends import Db, ReadDb, TheService
from ..money.exposure import exposure
from ..reports import alarms, anchors, books, transactions
from ..reports.pages import DEFAULT_PAGE
from ..store.facts import chain_status
from .pages import next_page, page
from .supply_pages import After

router = APIRouter()
SHOWN_ACCOUNTS = 20
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("/money")
def get_money(
    request: Request,
    service: TheService,
    caller: Auditor,
    db: ReadDb,
    after: After = "",
    account: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> HTMLResponse:
    chosen = None if account is None else books.get_account(db, caller.operator_id, account)
    moved = books.transfers(db, caller.operator_id, after, DEFAULT_PAGE, account)
    accounts = books.newest_accounts(db, caller.operator_id, SHOWN_ACCOUNTS)
    return page(
        request,
        service,
        db,
        caller,
        "money.html",
        "/console/money",
        summary=books.summary(db, caller.operator_id, service.now_s()),
        exposure=exposure(db, service, caller.operator_id),
        differences=books.differences(db, caller.scope),
        transfers=moved.items,
        next=next_page(request, moved.next),
        account=chosen,
        accounts=accounts,
        more_accounts=len(accounts) == SHOWN_ACCOUNTS,
    )


@router.get("/anchors")
def get_anchors(request: Request, service: TheService, caller: Reader, db: ReadDb, after: After = "") -> HTMLResponse:
    found = anchors.page(db, caller.operator_id, after, DEFAULT_PAGE)
    return page(
        request,
        service,
        db,
        caller,
        "anchors.html",
        "/console/anchors",
        lines=found.items,
        next=next_page(request, found.next),
        waiting=anchors.waiting(db, caller.operator_id),
        anchored_at_s=anchors.last_anchored_at_s(db, caller.operator_id),
        head=chain_status(db),
        epoch_seconds=service.settings.settlement.epoch_seconds,
        intents=transactions.under_way(db, caller.scope),
    )


@router.get("/anchors/{epoch_id}")
def get_anchor(epoch_id: RowId, request: Request, service: TheService, caller: Reader, db: ReadDb, after: After = "") -> HTMLResponse:
    line = anchors.get(db, caller.operator_id, epoch_id)
    found = anchors.frames(db, caller.operator_id, epoch_id, after, DEFAULT_PAGE)
    return page(
        request, service, db, caller, "anchor.html", "/console/anchors", line=line, frames=found.items, next=next_page(request, found.next)
    )


@router.get("/alarms")
def get_alarms(
    request: Request,
    service: TheService,
    caller: Reader,
    db: ReadDb,
    after: After = "",
    which: Annotated[str, Query(pattern="^(open|all)$")] = "open",
) -> HTMLResponse:
    found = alarms.page(db, caller.scope, after, DEFAULT_PAGE, only_open=True if which == "open" else None)
    filters = [("/console/alarms", "open", which == "open"), ("/console/alarms?which=all", "all", which == "all")]
    return page(
        request,
        service,
        db,
        caller,
        "alarms.html",
        "/console/alarms",
        lines=found.items,
        next=next_page(request, found.next),
        filters=filters,
        only_open=which == "open",
    )


@router.post("/alarms/{alarm_id}/acknowledge")
def post_acknowledge(alarm_id: RowId, service: TheService, caller: Actor, db: Db) -> Response:
    line = alarms.acknowledge(db, caller.scope, alarm_id, caller.name, service.now_s())
    note(db, line.alarm.operator_id, caller.name, "alarm acknowledged", f"{line.alarm.kind} {line.alarm.place}", "", service.now_s())
    return RedirectResponse("/console/alarms?done=acknowledged", 303)
