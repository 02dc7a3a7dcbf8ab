"""JSON-RPC over HTTP for web3, with our errors and our limits.

web3's own HTTP provider keeps one connection pool a thread and cannot be closed; this one shares a pool, closes it, and turns
every failure into an error that says whether trying again can help. A node's URL may hold a key: only host and port are shown.
"""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chain.abi import decode_revert
from chain.errors import BadAnswer, Busy, ChainError, Permanent, Reverted, RpcRefused, Unreachable

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A node that answers more is broken or hostile; the largest honest answer (20,000 logs) has about 15 MB."""
REVERT_CODE = 3
"""geth's and anvil's code for a revert that carries data."""
PASSING_TROUBLES = ("header not found", "block not found", "unknown block", "missing trie node", "timeout", "too many requests",
                    "limit exceeded", "header for hash not found")  # fmt: skip
"""What nodes say about a state they do not have *yet* or *any more*, or when they are busy."""
PASSING_CODES = {-32603, -32005, -32001}
"""Internal error, limit exceeded, resource not found (EIP-1474)."""


class HttpProvider(JSONBaseProvider):
    """A web3 provider that may be used from many threads."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Permanent("the RPC address must be an http:// or https:// URL")
        self._where = f"the node at {parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
        self._url = url
        self._ids = itertools.count(1)
        loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
        # A proxy from the environment is for the world outside, not for a node on this machine.
        self._http = httpx2.Client(timeout=timeout_s, trust_env=not loopback)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One call. Raises a `ChainError`; the answer always has a `result`."""
        identity = next(self._ids)
        body = orjson.dumps({"jsonrpc": "2.0", "id": identity, "method": method, "params": list(params or [])}, default=_plain)
        answer = self._post(method, body)
        if not isinstance(answer, dict) or answer.get("id") != identity:
            raise BadAnswer(f"{method}: {self._where} did not answer in JSON-RPC 2.0")
        if answer.get("error") is not None:
            raise _refusal(method, answer["error"])
        if "result" not in answer:
            raise BadAnswer(f"{method}: {self._where} answered neither a result nor an error")
        return {"jsonrpc": "2.0", "id": identity, "result": answer["result"]}

    def _post(self, method: str, body: bytes) -> Any:
        try:
            with self._http.stream("POST", self._url, content=body, headers={"Content-Type": "application/json"}) as response:
                parts, size = [], 0
                for part in response.iter_bytes():
                    size += len(part)
                    if size > MAX_ANSWER_BYTES:
                        raise BadAnswer(f"{method}: {self._where} answers more than {MAX_ANSWER_BYTES} bytes")
                    parts.append(part)
        except httpx2.HTTPError as error:
            raise Unreachable(f"{method}: {self._where} does not answer ({type(error).__name__}); is it running?") from error
        if response.status_code == 429 or response.status_code >= 500:
            raise Unreachable(f"{method}: {self._where} answers HTTP {response.status_code}; it is busy or broken")
        if response.status_code >= 400:
            raise Permanent(f"{method}: {self._where} answers HTTP {response.status_code}; check the RPC address and its access rules")
        try:
            return orjson.loads(b"".join(parts))
        except orjson.JSONDecodeError as error:
            raise BadAnswer(f"{method}: {self._where} did not answer in JSON") from error


def _plain(value: Any) -> Any:
    """web3 leaves bytes in some parameters."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    raise TypeError(type(value).__name__)


def _refusal(method: str, error: Any) -> ChainError:
    """A node's error as one of ours. Nodes agree on little, so codes and words are both looked at."""
    if not isinstance(error, dict):
        return BadAnswer(f"{method}: the node's error is not an object")
    code = error.get("code") if isinstance(error.get("code"), int) else 0
    words = str(error.get("message", ""))[:500]
    data = _revert_data(error.get("data"))
    if code == REVERT_CODE or data or "revert" in words.lower():
        name, arguments = decode_revert(data)
        return Reverted(name, arguments, words)
    if code in PASSING_CODES or any(each in words.lower() for each in PASSING_TROUBLES):
        return Busy(f"{method}: the node cannot answer now: {words} (code {code})")
    return RpcRefused(method, int(code or 0), words)


def _revert_data(data: Any) -> bytes:
    """The bytes a revert carries: as a string (geth, anvil), or inside an object (older nodes)."""
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return b""
    return b""
