"""What protects the console in browsers: headers on every answer, the host it is reached under, and where forms come from."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Forbidden
from ..settings import Settings

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'", "form-action 'self'",
    "base-uri 'none'", "frame-ancestors 'none'",
))  # fmt: skip
"""No script or style in a page, nothing from elsewhere. Pico's icons are data: images."""
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "same-origin", "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin", "permissions-policy": "camera=(), geolocation=(), microphone=()",
}  # fmt: skip
FOR_EVER = "public, max-age=31536000, immutable"


def own_hosts(settings: Settings) -> frozenset[str]:
    """Hosts under which this console answers: those of `public_url`, of `listen`, and this machine's own names."""
    public = urlsplit(settings.public_url).hostname if settings.public_url else None
    return frozenset(host for host in (public, settings.host, "127.0.0.1", "localhost", "::1") if host)


class ConsoleGuard:
    """ASGI middleware: refuses foreign hosts (a page elsewhere must not reach us under its own name), adds the headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname not in self._hosts:
            answer = PlainTextResponse("This console is not served under this name; set public_url in the service's settings.\n", 421)
            await answer(scope, receive, send)
            return
        is_static = "/static/" in scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["cache-control"] = FOR_EVER if is_static and message["status"] == 200 else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)


def same_origin(request: Request) -> None:
    """Refuse a form that another site sent: log-in has no session whose token it could carry. Raises `Forbidden`."""
    origin, fetched_from = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or fetched_from not in (None, "same-origin", "none"):
        raise Forbidden("this form was sent from another site", "Origin")
