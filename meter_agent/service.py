"""The agent's calls to the service: one HTTP client, every call signed by the meter key, errors in two kinds.

TLS is verified by the system's authorities; what the service *promises* is checked against the pinned service key
(uplink). Nothing here decides anything.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import orjson

from onsite.http import Http
from protocol.control import AgentHello
from protocol.eip712 import control_domain, digest, to_json
from protocol.keys import Signer

from .clock import Clock
from .config import Config

MAX_EVENT_BYTES = 256 << 10
"""A grant with a tariff of 32 elements stays below 64 KiB."""


class Service:
    """Calls of one agent. Thread-safe."""

    def __init__(self, config: Config, signer: Signer, clock: Clock) -> None:
        self._agent = f"/agents/0x{config.device.hex()}"
        self._device = config.device
        self._domain = control_domain(config.chain_id, config.registry)
        self._signer, self._clock = signer, clock
        self._http = Http(f"{config.service_url}/api/v1")

    def authorization(self) -> str:
        """The header that says who calls: a fresh AgentHello signed by the meter key."""
        hello = AgentHello(self._device, self._clock.utc_s(), os.urandom(32))
        document = {**to_json(hello), "signature": "0x" + self._signer.sign(digest(self._domain, hello)).hex()}
        return "Wattproof " + base64.urlsafe_b64encode(orjson.dumps(document)).decode()

    def send_frames(self, body: bytes) -> dict[str, Any]:
        """`POST /frames`."""
        return self._post("/frames", body)

    def send(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """`POST /agents/{device}/<name>`."""
        return self._post(f"{self._agent}/{name}", orjson.dumps(document))

    def stream(self) -> AbstractContextManager[Iterator[tuple[str, str]]]:
        """The event stream: yields (event, data) until it breaks. Raises `ServiceFault` or `ServiceRefused`."""
        return self._http.stream(f"{self._agent}/stream", {"Authorization": self.authorization()}, MAX_EVENT_BYTES)

    def close(self) -> None:
        self._http.close()

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        return self._http.post(path, body, {"Authorization": self.authorization()})
