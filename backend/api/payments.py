"""Payments of many sessions at once: for a buyer's fleet, or whoever gathers what devices sign."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ..sessions.many_payments import read_payments, take_payments
from .core_answers import PaymentsAnswer
from .depends import RawBody, TheService

router = APIRouter(prefix="/api/v1", tags=["payers"])
MAX_BODY_BYTES = 256 << 10
"""256 payments of some 400 characters each, and room to write them prettily."""


@router.post("/payments", response_model=PaymentsAnswer, max_body_size=MAX_BODY_BYTES)
def post_payments(body: RawBody, service: TheService) -> dict[str, Any]:
    """Up to 256 signed payments `{"payments":[{"session","amountMicro","frame","signature"}…]}` in one transaction. A repeat is a success,
    a refused one does not undo the others.
    """
    signed, refused = read_payments(service, body)  # the work is here, before anybody is kept waiting
    with service.db.writing() as db:
        return take_payments(db, service, signed, refused).to_document()
