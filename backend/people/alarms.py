"""Alarms: something a person should know. One open row for each kind and place; raised again, it only counts up.

Raising is part of the transaction that found the fault; `notify` takes it to people (mail, webhook).
"""

from __future__ import annotations

from enum import StrEnum

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..context import Service
from ..models import Alarm, Delivery

log = structlog.get_logger()
MAX_DETAIL = 2_000


class AlarmKind(StrEnum):
    """What can be wrong, in words that stay the same: people write rules on them."""

    EQUIVOCATION = "equivocation"
    LOG_ROLLED_BACK = "log-rolled-back"
    IMPLAUSIBLE_REGISTER = "implausible-register"
    PRICING_BLOCKED = "pricing-blocked"
    CHARGE_DIFFERS = "charge-differs"
    NOT_DISCONNECTED = "not-disconnected"
    NOT_CONNECTED = "not-connected"
    SUPPLY_WITHOUT_SESSION = "supply-without-session"
    ENERGY_WITHOUT_SESSION = "energy-without-session"
    FOREIGN_SESSION = "foreign-session"
    CLAIM_REFUSED = "claim-refused"
    TRANSACTION_REVERTED = "transaction-reverted"
    TRANSACTION_STUCK = "transaction-stuck"
    RECEIPT_OVERDUE = "receipt-overdue"
    CHAIN_STANDS_STILL = "chain-stands-still"
    CHAIN_DIFFERS = "chain-differs"
    RECONCILIATION = "reconciliation"
    RESTORED_INCOMPLETE = "restored-incomplete"
    LOOP_FAILED = "loop-failed"
    DAILY_CAP = "daily-cap-reached"
    MINT_BLOCKED = "mint-blocked"
    CHARGE_BACK = "charge-back"
    RAIL_CLAIM = "rail-claim"
    RAIL_UNMATCHED = "rail-unmatched"
    PAYOUT_FAILED = "payout-failed"


CRITICAL = frozenset({
    AlarmKind.EQUIVOCATION, AlarmKind.NOT_DISCONNECTED, AlarmKind.SUPPLY_WITHOUT_SESSION, AlarmKind.RECONCILIATION, AlarmKind.CHAIN_DIFFERS,
    AlarmKind.CHARGE_BACK,
})  # fmt: skip


def raise_alarm(db: Session, service: Service, operator_id: int, kind: AlarmKind, place: str, detail: str) -> Alarm:
    """Raise, or count up, the alarm of this kind and place. People are told of new ones."""
    now = service.now_s()
    alarm = open_alarm(db, operator_id, kind, place)
    if alarm is not None:
        alarm.times += 1
        alarm.last_seen_at_s = now
        alarm.detail = detail[:MAX_DETAIL]
        return alarm
    severity = "critical" if kind in CRITICAL else "warning"
    alarm = Alarm(
        operator_id=operator_id, kind=kind, place=place[:200], detail=detail[:MAX_DETAIL], severity=severity, raised_at_s=now,
        last_seen_at_s=now, times=1,
    )  # fmt: skip
    db.add(alarm)
    db.flush()
    _queue(db, service, alarm, cleared=False)
    log.warning("alarm", kind=kind.value, place=place, detail=detail, severity=severity)
    return alarm


def clear_alarm(db: Session, service: Service, operator_id: int, kind: AlarmKind, place: str) -> None:
    """What was wrong is not so any more."""
    alarm = open_alarm(db, operator_id, kind, place)
    if alarm is not None:
        alarm.cleared_at_s = service.now_s()
        _queue(db, service, alarm, cleared=True)
        log.info("alarm cleared", kind=kind.value, place=place)


def open_alarm(db: Session, operator_id: int, kind: AlarmKind, place: str) -> Alarm | None:
    return db.scalar(
        select(Alarm).where(Alarm.operator_id == operator_id, Alarm.kind == kind, Alarm.place == place[:200], Alarm.cleared_at_s.is_(None))
    )


def open_alarms(db: Session, operator_id: int | None = None) -> list[Alarm]:
    query = select(Alarm).where(Alarm.cleared_at_s.is_(None)).order_by(Alarm.id)
    return list(db.scalars(query if operator_id is None else query.where(Alarm.operator_id == operator_id)))


def _queue(db: Session, service: Service, alarm: Alarm, *, cleared: bool) -> None:
    settings = service.settings.alarms
    for channel, wanted in (("mail", settings.mail), ("webhook", settings.webhook)):
        if wanted is not None:
            db.add(Delivery(
                operator_id=alarm.operator_id, alarm_id=alarm.id, channel=channel, cleared=cleared, attempts=0, due_at_s=service.now_s()
            ))  # fmt: skip
    service.after_commit(db, lambda: service.hub.wake_loop("alarms"))
