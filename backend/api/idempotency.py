"""Idempotency keys: the same POST with the same key gets the answer it got, in the same transaction as what it did.

Most calls need none: they are named by what was signed. This serves those that make something new each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request
from fastapi.responses import Response
from sqlalchemy import delete
from sqlalchemy.orm import Session

from protocol.hashing import keccak

from ..context import Service
from ..errors import BadRequest, Conflict
from ..models import HOUSE, IdempotencyKey

MAX_KEY_LENGTH = 200
KEEP_S = 86_400
"""A client that repeats a request does so within a day."""


class Idempotency:
    """One request's idempotency key, if it has one."""

    def __init__(self, call: str, caller: str, key: str | None, request_hash: bytes) -> None:
        self._id = None if key is None else keccak(f"{call}\n{caller}\n{key}".encode())
        self._request_hash = request_hash

    def once(self, db: Session, service: Service, do: Callable[[], tuple[int, Any]]) -> Response:
        """The kept answer, or `do()` and keep what it answers. `do` gives status and document."""
        if self._id is not None:
            kept = db.get(IdempotencyKey, self._id)
            if kept is not None:
                if kept.request_hash != self._request_hash:
                    raise Conflict("this idempotency key was used with another request", "Idempotency-Key")
                return _answer(kept.status, kept.response.encode(), replayed=True)
        status, document = do()
        body = orjson.dumps(document)
        if self._id is not None:
            now = service.now_s()
            db.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at_s < now - KEEP_S))
            db.add(IdempotencyKey(
                id=self._id, operator_id=HOUSE, request_hash=self._request_hash, status=status, response=body.decode(), created_at_s=now
            ))  # fmt: skip
        return _answer(status, body)


def _answer(status: int, body: bytes, *, replayed: bool = False) -> Response:
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Response(body, status, media_type="application/json", headers=headers)


async def idempotency(request: Request, idempotency_key: Annotated[str | None, Header()] = None) -> Idempotency:
    """Reads the key and hashes the body; the body itself is parsed by the route."""
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_KEY_LENGTH:
        raise BadRequest(f"has 1…{MAX_KEY_LENGTH} characters", "Idempotency-Key")
    caller = keccak((request.headers.get("authorization") or "").encode()).hex()
    return Idempotency(f"{request.method} {request.url.path}", caller, idempotency_key, keccak(await request.body()))


Once = Annotated[Idempotency, Depends(idempotency)]
