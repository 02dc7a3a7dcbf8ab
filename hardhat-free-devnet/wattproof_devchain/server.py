"""HTTP/1.1 in front of the JSON-RPC table: POST only, keep-alive, one thread a connection, loopback only.

The keys of this chain are public, so the door is kept narrow: only JSON bodies (a web page of another origin cannot send
one unasked) and only loopback names in `Host` (a web page cannot reach it by rebinding a name).
"""

import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import orjson

from wattproof_devchain import rpc
from wattproof_devchain.chain import Chain

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A batch of 1,000 claims fits many times over."""
IDLE_S = 120
"""A silent connection is closed after this, so that forgotten clients do not hold threads."""
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "[::1]"}


class Server(ThreadingHTTPServer):
    """Serves one chain. `url` is where."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, host: str, port: int, chain: Chain) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.chain = chain
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[int] = IDLE_S
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet an answer, not one a header
    server: Server

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self.headers.get("Host", "").rpartition(":")[0].lower() not in LOOPBACK_NAMES:
            self._refuse(HTTPStatus.FORBIDDEN, "call this chain by a loopback address")
        elif not length.isdecimal() or len(length) > 12:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        elif int(length) > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {MAX_BODY_BYTES} bytes")
        elif kind != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
        else:
            self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        try:
            # Not the standard library's parser: py-evm raises the recursion limit so far that deep nesting would crash that.
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            error = {"code": -32700, "message": "the body is not JSON"}
            self._send(HTTPStatus.OK, {"jsonrpc": "2.0", "id": None, "error": error})
            return
        response = rpc.answer(self.server.chain, request)
        if response is None:
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            self._send(HTTPStatus.OK, response)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # the body was not read
        error = {"code": -32600, "message": f"{why} (this is a JSON-RPC server: POST JSON to /)"}
        self._send(status, {"jsonrpc": "2.0", "id": None, "error": error})

    def _send(self, status: HTTPStatus, document: Any) -> None:
        body = orjson.dumps(document)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "use POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for every call would bury what matters."""
