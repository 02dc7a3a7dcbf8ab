"""Calls to a service that may be away: one HTTP client, JSON in and out, errors in two kinds.

TLS is verified by the system's authorities; what the service *promises* is checked elsewhere, against keys. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

from .errors import ServiceFault, ServiceRefused

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
"""A batch of frames is checked, priced and committed before the answer."""
STREAM_SILENCE_S = 15.0
"""The service sends at least a comment every 5 s; three missing ones and the stream is dead."""
MAX_ANSWER_BYTES = 8 << 20
"""Offers of many providers; anything larger is not an answer of this service."""


class Http:
    """Calls below one address. Thread-safe. Raises `ServiceFault` (later it may work) or `ServiceRefused` (never)."""

    def __init__(self, base: str) -> None:
        self.base = base
        timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx2.Client(timeout=timeout, follow_redirects=False)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A JSON object."""
        return self._call("GET", path, None, dict(headers or {}))

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Post JSON; the answer's object, or an empty one."""
        return self._call("POST", path, body, {"Content-Type": "application/json"} | dict(headers or {}))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str], max_event_bytes: int) -> Iterator[Iterator[tuple[str, str]]]:
        """An event stream: yields (event, data) until it breaks."""
        timeout = httpx2.Timeout(STREAM_SILENCE_S, connect=CONNECT_TIMEOUT_S)
        url = self.base + path
        try:
            with self._client.stream("GET", url, headers={"Accept": "text/event-stream"} | dict(headers), timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(url, response)
                source = httpx2.EventSource(response, max_event_size=max_event_bytes)
                yield ((event.event, event.data) for event in source)
        except httpx2.HTTPError as error:
            raise ServiceFault(f"{url}: {_words(error)}") from None

    def close(self) -> None:
        self._client.close()

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
        url = self.base + path
        try:
            response = self._client.request(method, url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise ServiceFault(f"{url}: {_words(error)}") from None
        if response.status_code not in (200, 201, 202, 204):
            raise _refusal(url, response)
        if not response.content:
            return {}
        try:
            if len(response.content) > MAX_ANSWER_BYTES:
                raise ValueError
            answer = parse_json(response.content)
        except ValueError:
            raise ServiceFault(f"{url} answered what is not JSON: is this the service's address?") from None
        if not isinstance(answer, dict):
            raise ServiceFault(f"{url} answered what is not an object")
        return answer


def parse_json(raw: bytes | str) -> Any:
    """What a service said. Raises `ValueError`, also for what nests too deep to be written again, hashed, or shown in a log."""
    said = orjson.loads(raw)
    try:
        orjson.dumps(said)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return said


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def _refusal(url: str, response: httpx2.Response) -> ServiceFault:
    """429 and 5xx pass, and what the problem document itself calls transient; another 4xx means this request will never be taken."""
    detail = response.text[:300].replace("\n", " ")
    code, transient = "", response.status_code in (401, 408, 429) or response.status_code >= 500
    try:
        problem = parse_json(response.content)
        code = str(problem.get("type", "")).rpartition(":")[2]
        detail = str(problem.get("detail") or detail)[:300]
        transient = transient or problem.get("transient") is True
    except (ValueError, AttributeError):
        pass
    said = f"{url} answered {response.status_code}: {detail}"
    return ServiceFault(said) if transient or response.status_code < 400 else ServiceRefused(said, code)
