"""The agent's calls to the service: one HTTP client, every call signed by the meter key, errors in two kinds.

TLS is verified by the system's authorities; what the service *promises* is checked against the pinned service key
(uplink). Nothing here decides anything.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

from protocol.control import AgentHello
from protocol.eip712 import control_domain, digest, to_json
from protocol.keys import Signer

from .clock import Clock
from .config import Config
from .errors import ServiceFault, ServiceRefused

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
"""A batch of frames is checked, priced and committed before the answer."""
STREAM_SILENCE_S = 15.0
"""The service sends at least a comment every 5 s; three missing ones and the stream is dead."""
MAX_ANSWER_BYTES = 1 << 20
MAX_EVENT_BYTES = 256 << 10
"""A grant with a tariff of 32 elements stays below 64 KiB."""


class Service:
    """Calls of one agent. Thread-safe."""

    def __init__(self, config: Config, signer: Signer, clock: Clock) -> None:
        self._base = f"{config.service_url}/api/v1"
        self._agent = f"{self._base}/agents/0x{config.device.hex()}"
        self._device = config.device
        self._domain = control_domain(config.chain_id, config.registry)
        self._signer, self._clock = signer, clock
        timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx2.Client(timeout=timeout, follow_redirects=False)

    def authorization(self) -> str:
        """The header that says who calls: a fresh AgentHello signed by the meter key."""
        hello = AgentHello(self._device, self._clock.utc_s(), os.urandom(32))
        document = {**to_json(hello), "signature": "0x" + self._signer.sign(digest(self._domain, hello)).hex()}
        return "Wattproof " + base64.urlsafe_b64encode(orjson.dumps(document)).decode()

    def send_frames(self, body: bytes) -> dict[str, Any]:
        """`POST /frames`."""
        return self._post(f"{self._base}/frames", body)

    def send(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """`POST /agents/{device}/<name>`."""
        return self._post(f"{self._agent}/{name}", orjson.dumps(document))

    @contextmanager
    def stream(self) -> Iterator[Iterator[tuple[str, str]]]:
        """The event stream: yields (event, data) until it breaks. Raises `ServiceFault` or `ServiceRefused`."""
        headers = {"Authorization": self.authorization(), "Accept": "text/event-stream"}
        timeout = httpx2.Timeout(STREAM_SILENCE_S, connect=CONNECT_TIMEOUT_S)
        url = f"{self._agent}/stream"
        try:
            with self._client.stream("GET", url, headers=headers, timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(url, response)
                source = httpx2.EventSource(response, max_event_size=MAX_EVENT_BYTES)
                yield ((event.event, event.data) for event in source)
        except httpx2.HTTPError as error:
            raise ServiceFault(f"{url}: {_words(error)}") from None

    def close(self) -> None:
        self._client.close()

    def _post(self, url: str, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": self.authorization()}
        try:
            response = self._client.post(url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise ServiceFault(f"{url}: {_words(error)}") from None
        if response.status_code not in (200, 201, 202, 204):
            raise _refusal(url, response)
        if not response.content:
            return {}
        try:
            if len(response.content) > MAX_ANSWER_BYTES:
                raise ValueError
            answer = orjson.loads(response.content)
        except ValueError:
            raise ServiceFault(f"{url} answered what is not JSON: is this the service's address?") from None
        if not isinstance(answer, dict):
            raise ServiceFault(f"{url} answered what is not an object")
        return answer


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def _refusal(url: str, response: httpx2.Response) -> ServiceFault:
    """429 and 5xx pass; another 4xx means this request will never be taken."""
    detail = response.text[:200].replace("\n", " ")
    kind = ServiceRefused if 400 <= response.status_code < 500 and response.status_code not in (401, 408, 429) else ServiceFault
    return kind(f"{url} answered {response.status_code}: {detail}")
