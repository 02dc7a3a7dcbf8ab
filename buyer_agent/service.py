"""The buyer's calls to the service: offers, quotes, sessions, payments, notes, and the stream of a session's frames.

The service is a postman: nothing it says moves money here that was not recomputed (quote, follow) or signed by somebody named in the terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import orjson

from onsite.http import Http
from protocol.wire import MAX_FRAME_BYTES

MAX_EVENT_BYTES = MAX_FRAME_BYTES + 65_536


def hexed(raw: bytes) -> str:
    return "0x" + raw.hex()


class Service:
    """Calls of one buyer. Thread-safe. Raises `ServiceFault` and `ServiceRefused`."""

    def __init__(self, url: str) -> None:
        self._http = Http(f"{url}/api/v1")

    def described(self) -> dict[str, Any]:
        return self._http.get("/service")

    def offers(self, point: str) -> list[Any]:
        items = self._http.get(f"/offers?pointId={point}").get("items")
        return items if isinstance(items, list) else []

    def wallet(self, address: bytes) -> dict[str, Any]:
        return self._http.get(f"/wallets/{hexed(address)}")

    def quote(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._post("/quotes", body)

    def open(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._post("/sessions", body)

    def top_up(self, session: bytes, body: dict[str, Any]) -> dict[str, Any]:
        return self._post(f"/sessions/{hexed(session)}/top-up", body)

    def stop(self, session: bytes, body: dict[str, Any]) -> dict[str, Any]:
        return self._post(f"/sessions/{hexed(session)}/stop", body)

    def pay(self, payments: list[dict[str, Any]]) -> list[Any]:
        """Payments in order, at most 256, one transaction there. What it says of those it refused, for the log alone."""
        refused = self._post("/payments", {"payments": payments}).get("refused")
        return refused if isinstance(refused, list) else []

    def note(self, wallet: bytes, body: dict[str, Any]) -> dict[str, Any]:
        return self._post(f"/wallets/{hexed(wallet)}/notes", body)

    def session(self, session: bytes, token: str) -> dict[str, Any]:
        return self._http.get(f"/sessions/{hexed(session)}", {"Authorization": f"Bearer {token}"})

    def stream(self, session: bytes, token: str, after: int) -> AbstractContextManager[Iterator[tuple[str, str]]]:
        """Frames after record `after` of this session, in order, and its states, as (event, data)."""
        path = f"/sessions/{hexed(session)}/stream?after={after}"
        return self._http.stream(path, {"Authorization": f"Bearer {token}"}, MAX_EVENT_BYTES)

    def close(self) -> None:
        self._http.close()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._http.post(path, orjson.dumps(body))
