"""Rows and report lines as the answers of the API. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .. import jsons
from ..hexes import to_hex
from ..models import Account, Act, ApiToken, FrameRow, Operator, TariffRow, User
from ..money.exposure import Exposure
from ..reports.alarms import AlarmLine
from ..reports.anchors import EpochLine
from ..reports.books import Summary, TransferLine
from ..reports.evidence import ConflictLine
from ..reports.overview import Overview
from ..reports.pages import Page
from ..reports.points import PowerReading
from ..reports.sessions import Moment
from ..reports.supply import SupplyLine
from ..reports.transactions import TransactionLine
from .answers import (
    ActAnswer,
    AlarmAnswer,
    ConflictAnswer,
    EpochAnswer,
    ExposureAnswer,
    FrameAnswer,
    LedgerAccountAnswer,
    LedgerAnswer,
    MomentAnswer,
    OperatorAnswer,
    OverviewAnswer,
    PageAnswer,
    ReadingAnswer,
    SupplyAnswer,
    TariffAnswer,
    TimelineAnswer,
    TokenAnswer,
    TransactionAnswer,
    TransferAnswer,
    UserAnswer,
)  # fmt: skip

Row = TypeVar("Row")
Item = TypeVar("Item")


def page_answer(page: Page[Row], shape: Callable[[Row], Item]) -> PageAnswer[Item]:
    return PageAnswer(items=[shape(row) for row in page.items], next=page.next)


def _hex(raw: bytes | None) -> str | None:
    return None if raw is None else to_hex(raw)


def overview_answer(o: Overview) -> OverviewAnswer:
    return OverviewAnswer(
        points=o.points, pointsHeard=o.points_up, pointsConnected=o.connected, pointsDisconnected=o.disconnected,
        powerMilliwatts=o.power_milliwatts, liveSessions=o.live_sessions, endedNotSettled=o.settling_sessions, openAlarms=o.open_alarms,
        criticalAlarms=o.critical_alarms, heldMicro=None if o.money is None else o.money.held_micro,
        claimedTodayMicro=None if o.money is None else o.money.claimed_today_micro, lastAnchorAtS=o.anchored_at_s,
        framesNotAnchored=o.frames_waiting, chainBlock=o.block, chainBlockTimeS=o.block_time_s,
    )  # fmt: skip


def reading_answer(reading: PowerReading) -> ReadingAnswer:
    return ReadingAnswer(
        sequence=reading.sequence, endS=reading.end_s, powerMilliwatts=reading.power_milliwatts,
        importMilliwattHours=reading.import_milliwatt_hours, voltageMillivolts=reading.voltage_millivolts,
    )  # fmt: skip


def supply_answer(line: SupplyLine) -> SupplyAnswer:
    return SupplyAnswer(atS=line.at_s, what=line.what, state=line.state, detail=line.detail, session=to_hex(line.session))


def timeline_answer(moments: list[Moment], pending: list[str]) -> TimelineAnswer:
    return TimelineAnswer(moments=[MomentAnswer(atS=m.at_s, what=m.what, detail=m.detail) for m in moments], pending=pending)


def alarm_answer(line: AlarmLine) -> AlarmAnswer:
    alarm, note = line
    return AlarmAnswer(
        id=alarm.id, kind=alarm.kind, place=alarm.place, detail=alarm.detail, severity=alarm.severity, raisedAtS=alarm.raised_at_s,
        lastSeenAtS=alarm.last_seen_at_s, times=alarm.times, clearedAtS=alarm.cleared_at_s,
        acknowledgedBy=None if note is None else note.who, acknowledgedAtS=None if note is None else note.at_s,
    )  # fmt: skip


def exposure_answer(e: Exposure) -> ExposureAnswer:
    return ExposureAnswer(
        sessions=e.sessions, unclaimedMicro=e.unclaimed_micro, oldestAtS=e.oldest_at_s, unsignedMicro=e.unsigned_micro,
        boundMicro=e.bound_micro, claimAmountMicro=e.claim_amount_micro, claimAgeS=e.claim_age_s, creditMicro=e.credit_micro,
    )  # fmt: skip


def ledger_answer(summary: Summary) -> LedgerAnswer:
    return LedgerAnswer(
        heldMicro=summary.held_micro, payeeMicro=summary.payee_micro, paidOutMicro=summary.paid_out_micro, salesMicro=summary.sales_micro,
        writtenOffMicro=summary.written_off_micro, claimedTodayMicro=summary.claimed_today_micro, balanced=summary.balanced,
        trial=summary.trial,
    )  # fmt: skip


def account_answer(row: Account) -> LedgerAccountAnswer:
    return LedgerAccountAnswer(
        accountId=row.id, kind=row.kind, reference=to_hex(row.reference), debitsPostedMicro=row.debits_posted,
        creditsPostedMicro=row.credits_posted, debitsPendingMicro=row.debits_pending, creditsPendingMicro=row.credits_pending,
    )  # fmt: skip


def transfer_answer(line: TransferLine) -> TransferAnswer:
    row = line.transfer
    return TransferAnswer(
        transferId=to_hex(row.id), kind=row.kind, debitAccountId=row.debit_account_id, debitKind=line.debit.kind,
        creditAccountId=row.credit_account_id, creditKind=line.credit.kind, amountMicro=row.amount_micro, pendingId=_hex(row.pending_id),
        cause=row.cause, reference=to_hex(row.reference), atS=row.at_s,
    )  # fmt: skip


def epoch_answer(line: EpochLine) -> EpochAnswer:
    epoch, link = line.epoch, line.link
    return EpochAnswer(
        epochId=epoch.id, anchorer=to_hex(epoch.anchorer), root=to_hex(epoch.root), frames=line.frames, state=epoch.state,
        closedAtS=epoch.closed_at_s, head=None if link is None else to_hex(link.head),
        transaction=None if link is None else to_hex(link.transaction_hash), blockNumber=None if link is None else link.block_number,
        blockTimeS=None if link is None else link.time_s, pending=line.pending,
    )  # fmt: skip


def frame_answer(row: FrameRow) -> FrameAnswer:
    return FrameAnswer(
        frame=to_hex(row.digest), device=to_hex(row.device), incarnation=to_hex(row.incarnation), firstSequence=row.first_sequence,
        lastSequence=row.last_sequence, endS=row.end_s, receivedAtS=row.received_at_s, anchorByS=row.anchor_by_s, flagged=row.flagged,
    )  # fmt: skip


def transaction_answer(line: TransactionLine) -> TransactionAnswer:
    row = line.intent
    return TransactionAnswer(
        transactionId=row.id, kind=row.kind, what=row.what, reference=to_hex(row.reference), state=row.state, createdAtS=row.created_at_s,
        settledAtS=row.settled_at_s, transaction=_hex(row.mined_transaction), blockNumber=row.mined_block_number, gasUsed=row.gas_used,
        reason=row.reason, pending=line.pending,
    )  # fmt: skip


def conflict_answer(line: ConflictLine) -> ConflictAnswer:
    row = line.conflict
    return ConflictAnswer(
        conflictId=row.id, device=to_hex(row.device), incarnation=to_hex(row.incarnation), firstSequence=row.first_sequence, kind=row.kind,
        refusedFrame=to_hex(row.digest), acceptedFrame=to_hex(line.accepted), receivedAtS=row.received_at_s,
        disputedFromS=row.disputed_from_s, ruledAtS=row.ruled_at_s,
    )  # fmt: skip


def tariff_answer(row: TariffRow) -> TariffAnswer:
    return TariffAnswer(tariffHash=to_hex(row.hash), createdAtS=row.created_at_s, document=jsons.loads(row.document))


def user_answer(user: User) -> UserAnswer:
    return UserAnswer(
        userId=user.id, name=user.name, role=user.role, operatorId=user.operator_id, hasPassword=user.password_hash is not None,
        wallet=_hex(user.wallet), enabled=user.enabled, createdAtS=user.created_at_s,
    )  # fmt: skip


def token_answer(row: ApiToken, token: str | None = None) -> TokenAnswer:
    return TokenAnswer(
        tokenId=row.id, label=row.label, operatorId=row.operator_id, createdAtS=row.created_at_s, expiresAtS=row.expires_at_s, token=token
    )


def operator_answer(row: Operator) -> OperatorAnswer:
    return OperatorAnswer(operatorId=row.id, name=row.name, payee=to_hex(row.payee))


def act_answer(act: Act) -> ActAnswer:
    return ActAnswer(actId=act.id, atS=act.at_s, who=act.who, what=act.what, place=act.place, detail=act.detail)
