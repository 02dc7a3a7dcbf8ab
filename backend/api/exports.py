"""CSV exports: whole lists of one operator, streamed page by page, in the units their column names say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from ..accounts import acts
from ..accounts.callers import Caller
from ..accounts.depends import Auditor
from ..context import Service
from ..errors import Conflict
from ..hexes import id_in_path
from ..models import Act
from ..money.rating import pricer_of
from ..reports import alarms, anchors, books, points, sessions
from ..reports.csv_text import Cell, csv_lines
from ..reports.cursors import number_in
from ..reports.pages import MAX_PAGE, Page, all_pages, page_of
from ..reports.words import iso
from ..sessions.life import get_session
from .depends import ReadDb, TheService

router = APIRouter(prefix="/api/v1/exports", tags=["exports"])
Rows = Iterator[Sequence[Cell]]


class Noun(StrEnum):
    POINTS = "points"
    SESSIONS = "sessions"
    TRANSFERS = "transfers"
    ACCOUNTS = "accounts"
    EPOCHS = "epochs"
    ALARMS = "alarms"
    ACTS = "acts"


class Export(NamedTuple):
    columns: tuple[str, ...]
    rows: Callable[[Session, Service, Caller], Rows]


def _points(db: Session, service: Service, caller: Caller) -> Rows:
    for line in all_pages(lambda after: points.page(db, service, caller.operator_id, after, MAX_PAGE)):
        p, r = line.point, line.reading
        reading = (None,) * 4 if r is None else (iso(r.end_s), r.power_milliwatts, r.import_milliwatt_hours, r.export_milliwatt_hours)
        yield (p.id, p.device, p.channel, p.name, p.placement, p.serial, p.rated_watts, p.tariff_hash, p.enabled, line.supply, *reading)


def _sessions(db: Session, _service: Service, caller: Caller) -> Rows:
    for line in all_pages(lambda after: sessions.page(db, caller.operator_id, after, MAX_PAGE)):
        r = line.row
        moments = (r.quoted_at_s, r.opened_at_s, r.running_at_s, r.ended_at_s, r.settled_at_s)
        times = [None if at_s is None else iso(at_s) for at_s in moments]
        yield (
            r.session, r.point_id, line.point_name, r.state, line.cause, r.payer, r.metered, *times, r.energy_milliwatt_hours, r.lock_micro,
            r.bill_micro, r.charge_micro, r.claimed_micro, r.returned_micro, r.tail_micro, r.credit_note_micro,
        )  # fmt: skip


def _transfers(db: Session, _service: Service, caller: Caller) -> Rows:
    for line in all_pages(lambda after: books.transfers(db, caller.operator_id, after, MAX_PAGE)):
        t = line.transfer
        yield (
            t.id, iso(t.at_s), t.kind, t.cause, t.debit_account_id, line.debit.kind, t.credit_account_id, line.credit.kind, t.amount_micro,
            t.pending_id, t.reference,
        )  # fmt: skip


def _accounts(db: Session, _service: Service, caller: Caller) -> Rows:
    for a in all_pages(lambda after: books.accounts(db, caller.operator_id, after, MAX_PAGE)):
        yield (a.id, a.kind, a.reference, a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending)


def _epochs(db: Session, _service: Service, caller: Caller) -> Rows:
    for line in all_pages(lambda after: anchors.page(db, caller.operator_id, after, MAX_PAGE)):
        link = line.link
        on_chain = (None, None, None) if link is None else (link.transaction_hash, link.block_number, iso(link.time_s))
        yield (line.epoch.id, line.epoch.root, line.frames, iso(line.epoch.closed_at_s), line.epoch.state, *on_chain, line.pending)


def _alarms(db: Session, _service: Service, caller: Caller) -> Rows:
    for line in all_pages(lambda after: alarms.page(db, caller.scope, after, MAX_PAGE)):
        a, n = line
        cleared = None if a.cleared_at_s is None else iso(a.cleared_at_s)
        yield (a.id, a.kind, a.severity, a.place, a.detail, iso(a.raised_at_s), a.times, cleared, None if n is None else n.who)


def _acts(db: Session, _service: Service, caller: Caller) -> Rows:
    def read(after: str | None) -> Page[Act]:
        return page_of(acts.page(db, caller.scope, number_in(after), MAX_PAGE + 1), MAX_PAGE, lambda act: str(act.id))

    for act in all_pages(read):
        yield (act.id, iso(act.at_s), act.who, act.what, act.place, act.detail)


EXPORTS: dict[Noun, Export] = {
    Noun.POINTS: Export((
        "point", "device", "channel", "name", "placement", "serial", "rated_watts", "tariff_hash", "enabled", "supply", "reading_at",
        "power_milliwatts", "import_milliwatt_hours", "export_milliwatt_hours",
    ), _points),
    Noun.SESSIONS: Export((
        "session", "point", "point_name", "state", "end_cause", "payer", "metered", "quoted_at", "opened_at", "running_at", "ended_at",
        "settled_at", "energy_milliwatt_hours", "lock_micro", "bill_micro", "charge_micro", "claimed_micro", "returned_micro", "tail_micro",
        "credit_note_micro",
    ), _sessions),
    Noun.TRANSFERS: Export((
        "transfer", "at", "kind", "cause", "debit_account", "debit_kind", "credit_account", "credit_kind", "amount_micro", "pending",
        "reference",
    ), _transfers),
    Noun.ACCOUNTS: Export((
        "account", "kind", "reference", "debits_posted_micro", "credits_posted_micro", "debits_pending_micro", "credits_pending_micro",
    ), _accounts),
    Noun.EPOCHS: Export(("epoch", "root", "frames", "closed_at", "state", "transaction", "block", "block_time", "pending"), _epochs),
    Noun.ALARMS: Export(("alarm", "kind", "severity", "place", "detail", "raised_at", "times", "cleared_at", "acknowledged_by"), _alarms),
    Noun.ACTS: Export(("act", "at", "who", "what", "place", "detail"), _acts),
}  # fmt: skip
BILL_COLUMNS = (
    "component", "element", "quantity", "unit", "price_micro", "per", "tax_ppm", "net_micro", "tax_micro", "amount_micro", "first_sequence",
    "last_sequence", "spanning_records",
)  # fmt: skip


class CsvResponse(StreamingResponse):
    media_type = "text/csv"


@router.get("/bill.csv", response_class=CsvResponse)
def get_bill_csv(caller: Auditor, service: TheService, db: ReadDb, session: Annotated[str, Query(max_length=66)]) -> CsvResponse:
    """The lines of one session's bill. Raises `Conflict` while nothing was measured."""
    row = get_session(db, id_in_path(session, "session"), caller.operator_id)
    if row.first_frame_id is None:
        raise Conflict("nothing was measured for this session yet, so there is no bill", "session")
    lines = [tuple(line.to_document().values()) for line in pricer_of(db, service, row).bill().lines]
    return _csv(f"bill-{row.session.hex()[:16]}", BILL_COLUMNS, lines)


@router.get("/{noun}.csv", response_class=CsvResponse)
def get_csv(noun: Noun, caller: Auditor, service: TheService) -> CsvResponse:
    """A whole list of the caller's operator."""
    export = EXPORTS[noun]

    def rows() -> Rows:  # a session of its own: the answer is still being made when the route's own has ended
        with service.db.reading() as db:
            yield from export.rows(db, service, caller)

    return _csv(noun.value, export.columns, rows())


def _csv(name: str, columns: Sequence[str], rows: Rows | list[tuple[Cell, ...]]) -> CsvResponse:
    headers = {"Content-Disposition": f'attachment; filename="wattproof-{name}.csv"'}
    return CsvResponse(csv_lines(columns, rows), media_type="text/csv; charset=utf-8", headers=headers)
