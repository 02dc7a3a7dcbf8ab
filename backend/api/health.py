"""/healthz: the process lives. /readyz: each thing it needs, by name. /metrics: for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select

from ..metrics import ALARMS, CHAIN_BLOCK, OUTBOX, REGISTRY, SESSIONS
from ..models import Alarm, IntentRow, SessionRow
from ..onchain.outbox import OPEN
from ..readiness import checks
from ..store.facts import chain_status
from .core_answers import HealthAnswer, ReadinessAnswer
from .depends import ReadDb, TheService

router = APIRouter(tags=["health"])


class MetricsResponse(Response):
    media_type = CONTENT_TYPE_LATEST


@router.get("/healthz", response_model=HealthAnswer)
def get_health() -> dict[str, str]:
    """The process lives and answers."""
    return {"status": "alive"}


@router.get("/readyz", response_model=ReadinessAnswer, responses={503: {"model": ReadinessAnswer, "description": "Something is not well"}})
def get_readiness(service: TheService) -> JSONResponse:
    """200 if every check is well, 503 otherwise; each with its name and what is wrong."""
    found = checks(service)
    ready = all(check["ok"] for check in found)
    return JSONResponse({"ready": ready, "checks": found}, 200 if ready else 503)


@router.get("/metrics", response_class=MetricsResponse)
def get_metrics(db: ReadDb) -> Response:
    """Counts and times over the whole installation, for Prometheus; no operator, session or amount is named."""
    _gather(db)
    return MetricsResponse(generate_latest(REGISTRY))


def _gather(db: Any) -> None:
    SESSIONS.clear()
    for state, count in db.execute(select(SessionRow.state, func.count()).group_by(SessionRow.state)).all():
        SESSIONS.labels(state).set(count)
    ALARMS.clear()
    for severity, count in db.execute(
        select(Alarm.severity, func.count()).where(Alarm.cleared_at_s.is_(None)).group_by(Alarm.severity)
    ).all():
        ALARMS.labels(severity).set(count)
    OUTBOX.labels(OPEN).set(db.scalar(select(func.count()).where(IntentRow.state == OPEN)) or 0)
    status = chain_status(db)
    if status is not None:
        CHAIN_BLOCK.labels("read").set(status.head_number)
        CHAIN_BLOCK.labels("final").set(status.final_number)
