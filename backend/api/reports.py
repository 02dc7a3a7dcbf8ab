"""Lists and summaries for operators and their programs. Pages go by `limit` and `after`; bad cursors are bad requests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from ..accounts.depends import Auditor, Reader
from ..hexes import hash_in, id_in_path
from ..money.exposure import exposure
from ..reports import alarms, anchors, books, evidence, overview, points, sessions, supply, transactions
from ..reports.pages import DEFAULT_PAGE, MAX_PAGE
from ..sessions.life import get_session
from . import shapes
from .answers import (
    AlarmAnswer,
    ConflictAnswer,
    EpochAnswer,
    ExposureAnswer,
    FrameAnswer,
    LedgerAccountAnswer,
    LedgerAnswer,
    OverviewAnswer,
    PageAnswer,
    ReadingAnswer,
    SupplyAnswer,
    TariffAnswer,
    TimelineAnswer,
    TransactionAnswer,
    TransferAnswer,
)  # fmt: skip
from .depends import ReadDb, TheService

router = APIRouter(prefix="/api/v1", tags=["reports"])
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
After = Annotated[str, Query(pattern="^[0-9a-z-]{0,120}$", description="`next` of the page before")]
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
PointId = Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,32}$")]
MAX_READINGS = 4_000
"""Readings of one answer: an hour at one a second."""


@router.get("/overview")
def get_overview(service: TheService, caller: Reader, db: ReadDb) -> OverviewAnswer:
    """How everything stands, in one answer."""
    return shapes.overview_answer(overview.overview(db, service, caller.scope, with_money=caller.may("audit"), not_ready=[]))


@router.get("/points/{point_id}/readings")
def get_readings(
    point_id: PointId, service: TheService, caller: Reader, db: ReadDb, seconds: Annotated[int, Query(ge=1, le=31 * 86_400)] = 3_600,
    limit: Annotated[int, Query(ge=1, le=MAX_READINGS)] = 2_000,
) -> PageAnswer[ReadingAnswer]:  # fmt: skip
    """The latest readings of a point within the last `seconds`, the oldest first."""
    line = points.get(db, service, caller.operator_id, point_id)
    found = points.power_history(db, line.point, service.now_s() - seconds, limit)
    return PageAnswer(items=[shapes.reading_answer(reading) for reading in found], next=None)


@router.get("/points/{point_id}/supply")
def get_supply(point_id: PointId, service: TheService, caller: Reader, db: ReadDb) -> PageAnswer[SupplyAnswer]:
    """The latest commands to a point and what its agent measured, the newest first."""
    line = points.get(db, service, caller.operator_id, point_id)
    return PageAnswer(items=[shapes.supply_answer(item) for item in supply.of_point(db, caller.operator_id, line.point)], next=None)


@router.get("/sessions/{session}/timeline")
def get_timeline(session: str, caller: Reader, db: ReadDb) -> TimelineAnswer:
    """What happened to a session, and why anything of it is pending."""
    row = get_session(db, id_in_path(session, "session"), caller.operator_id)
    return shapes.timeline_answer(sessions.timeline(db, row), sessions.pending(db, row))


@router.get("/alarms")
def get_alarms(
    caller: Reader, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "",
    open: Annotated[bool | None, Query(description="only open ones, or only those that are over")] = True,
) -> PageAnswer[AlarmAnswer]:  # fmt: skip
    """Alarms, the newest first."""
    return shapes.page_answer(alarms.page(db, caller.scope, after, limit, only_open=open), shapes.alarm_answer)


@router.get("/ledger")
def get_ledger(service: TheService, caller: Auditor, db: ReadDb) -> LedgerAnswer:
    """The books at a glance, and whether they balance."""
    return shapes.ledger_answer(books.summary(db, caller.operator_id, service.now_s()))


@router.get("/ledger/exposure")
def get_exposure(service: TheService, caller: Auditor, db: ReadDb) -> ExposureAnswer:
    """Signed money that is not claimed yet, use that is not signed yet, and the settings that bound both."""
    return shapes.exposure_answer(exposure(db, service, caller.operator_id))


@router.get("/ledger/accounts")
def get_ledger_accounts(caller: Auditor, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[LedgerAccountAnswer]:
    """Accounts of the books in the order they were opened."""
    return shapes.page_answer(books.accounts(db, caller.operator_id, after, limit), shapes.account_answer)


@router.get("/ledger/transfers")
def get_transfers(
    caller: Auditor, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "", session: str | None = None,
    account: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> PageAnswer[TransferAnswer]:  # fmt: skip
    """Transfers, the newest first; of one session or account where asked."""
    reference = None if session is None else hash_in(session, "session")
    return shapes.page_answer(books.transfers(db, caller.operator_id, after, limit, account, reference), shapes.transfer_answer)


@router.get("/ledger/differences")
def get_differences(caller: Auditor, db: ReadDb) -> PageAnswer[AlarmAnswer]:
    """Where two books disagree now: each with its name, its place and a sentence."""
    return PageAnswer(items=[shapes.alarm_answer(alarms.AlarmLine(row, None)) for row in books.differences(db, caller.scope)], next=None)


@router.get("/epochs")
def get_epochs(caller: Reader, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[EpochAnswer]:
    """Epochs that hold frames of this operator, the newest first."""
    return shapes.page_answer(anchors.page(db, caller.operator_id, after, limit), shapes.epoch_answer)


@router.get("/epochs/{epoch_id}")
def get_epoch(epoch_id: RowId, caller: Reader, db: ReadDb) -> EpochAnswer:
    """One epoch that holds frames of this operator."""
    return shapes.epoch_answer(anchors.get(db, caller.operator_id, epoch_id))


@router.get("/epochs/{epoch_id}/frames")
def get_epoch_frames(
    epoch_id: RowId, caller: Reader, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = ""
) -> PageAnswer[FrameAnswer]:
    """This operator's frames in an epoch, in the order they arrived."""
    anchors.get(db, caller.operator_id, epoch_id)
    return shapes.page_answer(anchors.frames(db, caller.operator_id, epoch_id, after, limit), shapes.frame_answer)


@router.get("/transactions")
def get_transactions(caller: Reader, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[TransactionAnswer]:
    """Transactions the service wants or made, the newest first, and why each is pending."""
    return shapes.page_answer(transactions.page(db, caller.scope, after, limit), shapes.transaction_answer)


@router.get("/conflicts")
def get_conflicts(caller: Auditor, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[ConflictAnswer]:
    """Frames that were refused because another stands at their place, kept as proof; the newest first."""
    return shapes.page_answer(evidence.conflicts(db, caller.operator_id, after, limit), shapes.conflict_answer)


@router.get("/tariffs")
def get_tariffs(caller: Reader, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[TariffAnswer]:
    """Tariffs of this operator, the newest first."""
    return shapes.page_answer(evidence.tariffs(db, caller.operator_id, after, limit), shapes.tariff_answer)


@router.get("/tariffs/{tariff_hash}")
def get_tariff(tariff_hash: str, caller: Reader, db: ReadDb) -> TariffAnswer:
    """A tariff as hashed."""
    return shapes.tariff_answer(evidence.tariff(db, caller.operator_id, id_in_path(tariff_hash, "tariffHash")))
