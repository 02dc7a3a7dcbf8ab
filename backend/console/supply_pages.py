"""Overview, points and sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ..accounts.callers import Caller
from ..accounts.depends import Actor, Auditor, Reader
from ..api.depends import Db, ReadDb, TheService
from ..context import Service
from ..devices.policies import stored_policy
from ..evidence import bundles
from ..hexes import id_in_path
from ..models import SessionRow
from ..money.rating import pricer_of
from ..readiness import checks
from ..reports import bills, overview, points, sessions, supply
from ..reports.pages import DEFAULT_PAGE
from ..sessions.life import get_session
from ..sessions.views import waiting_for
from ..supply.orders import disconnect_point
from .pages import next_page, page

router = APIRouter()
READY_EACH_S = 15
After = Annotated[str, Query(pattern="^[0-9a-z-]{0,120}$")]


class DisconnectForm(BaseModel):
    model_config = ConfigDict(extra="ignore")
    reason: Annotated[str, Field(min_length=3, max_length=200)]


@router.get("/")
def get_overview(request: Request, service: TheService, caller: Reader, db: ReadDb) -> HTMLResponse:
    not_ready = _not_ready(service) if caller.of_installation else []
    o = overview.overview(db, service, caller.scope, with_money=caller.may("audit"), not_ready=not_ready)
    return page(request, service, db, caller, "overview.html", "/console/", o=o)


@router.get("/points")
def get_points(request: Request, service: TheService, caller: Reader, db: ReadDb, after: After = "") -> HTMLResponse:
    found = points.page(db, service, caller.operator_id, after, DEFAULT_PAGE)
    return page(request, service, db, caller, "points.html", "/console/points", lines=found.items, next=next_page(request, found.next))


@router.get("/points/{point_id}")
def get_point(point_id: str, request: Request, service: TheService, caller: Reader, db: ReadDb) -> HTMLResponse:
    line = points.get(db, service, caller.operator_id, point_id)
    return page(
        request,
        service,
        db,
        caller,
        "point.html",
        "/console/points",
        line=line,
        supply=supply.of_point(db, caller.operator_id, line.point),
        flags=points.flag_words(line.reading.flags) if line.reading else [],
        policy_words=points.policy_words(stored_policy(line.point.policy)),
    )


@router.post("/points/{point_id}/disconnect")
def post_disconnect(point_id: str, form: Annotated[DisconnectForm, Form()], service: TheService, caller: Actor, db: Db) -> Response:
    disconnect_point(db, service, caller, point_id, form.reason)
    return RedirectResponse(f"/console/points/{point_id}?done=disconnect", 303)


@router.get("/sessions")
def get_sessions(
    request: Request,
    service: TheService,
    caller: Reader,
    db: ReadDb,
    after: After = "",
    state: Annotated[str, Query(pattern="^(live|ended|settled|quoted)?$")] = "",
) -> HTMLResponse:
    found = sessions.page(db, caller.operator_id, after, DEFAULT_PAGE, state or None)
    filters = [("/console/sessions", "all", not state)]
    filters += [(f"/console/sessions?state={group}", group, state == group) for group in sessions.GROUPS]
    return page(
        request,
        service,
        db,
        caller,
        "sessions.html",
        "/console/sessions",
        lines=found.items,
        next=next_page(request, found.next),
        filters=filters,
        chosen_state=state,
    )


@router.get("/sessions/{session}")
def get_one_session(session: str, request: Request, service: TheService, caller: Reader, db: ReadDb) -> HTMLResponse:
    row = get_session(db, id_in_path(session, "session"), caller.operator_id)
    names = points.names(db, {row.point_id})
    return page(
        request,
        service,
        db,
        caller,
        "session.html",
        "/console/sessions",
        row=row,
        point_name=names.get(row.point_id, row.point_id),
        cause=supply.cause_words(row.end_cause),
        waiting=waiting_for(row),
        pending=sessions.pending(db, row),
        timeline=sessions.timeline(db, row),
        terms=sessions.terms_words(row),
        bill=_bill(db, service, caller, row),
        pending_claims=sessions.claim_pending(db, row),
    )


@router.get("/sessions/{session}/bundle")
def get_bundle(session: str, service: TheService, caller: Auditor, db: ReadDb) -> Response:
    """The same file as the API's, for a browser that is logged in."""
    row = get_session(db, id_in_path(session, "session"), caller.operator_id)
    name = f"wattproof-{row.session.hex()[:16]}.bundle.gz"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(bundles.export(db, service, row), media_type="application/gzip", headers=headers)


def _not_ready(service: Service) -> list[tuple[str, str]]:
    """Checks of /readyz that fail. Looked at each `READY_EACH_S`: a node that does not answer must not hold up every page."""
    checked_at, found = service.caches.get("console_readiness", (0, []))
    now = service.now_s()
    if now - checked_at >= READY_EACH_S:
        found = [(check["name"], check["detail"]) for check in checks(service) if not check["ok"]]
        service.caches["console_readiness"] = (now, found)
    return list(found)


def _bill(db: Session, service: Service, caller: Caller, row: SessionRow) -> bills.BillPage | None:
    """The bill, for those who may see whose money it is."""
    if not caller.may("audit"):
        return None
    return bills.BillPage([], 0) if row.first_frame_id is None else bills.written_out(pricer_of(db, service, row).bill())
