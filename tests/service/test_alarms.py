"""Alarms reach people: a real SMTP server and a real web server take them, at once or after they were away."""

from __future__ import annotations

import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.people.alarms import AlarmKind, clear_alarm, raise_alarm
from backend.people.notify import round_
from backend.store.keyring import write_private
from tests.service.inside import Inside


class SmtpHandler(socketserver.StreamRequestHandler):
    """Enough of RFC 5321 to take a message."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line.split(b" ")[0].strip().upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text)
                self.server.messages.append(b"".join(lines).decode())  # type: ignore[attr-defined]
                self.wfile.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


class HookHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append((self.headers["X-Wattproof-Signature"], body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Smtp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture
def far_ends() -> Iterator[tuple[Any, Any]]:
    servers: list[Any] = [Smtp(("127.0.0.1", 0), SmtpHandler), ThreadingHTTPServer(("127.0.0.1", 0), HookHandler)]
    for server in servers:
        server.messages, server.status = [], 204
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield servers[0], servers[1]
    for server in servers:
        server.shutdown()
        server.server_close()


def settings(smtp: Any, hook: Any, secret: Path) -> dict[str, Any]:
    mail = {"host": "127.0.0.1", "port": smtp.server_address[1], "security": "none", "sender": "w@example", "to": ["o@example"]}
    return {"mail": mail, "webhook": {"url": f"http://127.0.0.1:{hook.server_address[1]}/x", "secret_file": secret}}


def test_mail_and_webhook_take_alarms_and_their_end(
    new_inside: Callable[..., Inside], far_ends: tuple[Any, Any], tmp_path: Path
) -> None:  # fmt: skip
    smtp, hook = far_ends
    secret = tmp_path / "hook.secret"
    write_private(secret, "quite secret\n")
    inside = new_inside(alarms=settings(smtp, hook, secret))
    service = inside.service
    for _ in range(3):  # the same again only counts up
        with service.db.writing() as db:
            raise_alarm(db, service, 1, AlarmKind.NOT_DISCONNECTED, "device 0x12", "auxiliary contact closed, 230000 mV")
    round_(service, service.db.writing)
    round_(service, service.db.writing)
    assert len(smtp.messages) == len(hook.messages) == 1
    assert "Subject: [wattproof] not-disconnected: device 0x12" in smtp.messages[0]
    assert "230000 mV" in smtp.messages[0]
    header, body = hook.messages[0]
    at, signature = (part.partition("=")[2] for part in header.split(","))
    assert hmac.compare_digest(signature, hmac.new(b"quite secret", at.encode() + b"." + body, hashlib.sha256).hexdigest())
    assert json.loads(body)["alarm"]["kind"] == "not-disconnected"
    with service.db.writing() as db:
        clear_alarm(db, service, 1, AlarmKind.NOT_DISCONNECTED, "device 0x12")
    round_(service, service.db.writing)
    assert "over: not-disconnected" in smtp.messages[1]
    assert json.loads(hook.messages[1][1])["cleared"] is True


def test_what_was_away_gets_it_later(new_inside: Callable[..., Inside], far_ends: tuple[Any, Any], tmp_path: Path) -> None:
    smtp, hook = far_ends
    secret = tmp_path / "hook.secret"
    write_private(secret, "quite secret\n")
    inside = new_inside(alarms=settings(smtp, hook, secret))
    service = inside.service
    hook.status = 500
    with service.db.writing() as db:
        raise_alarm(db, service, 1, AlarmKind.RECONCILIATION, "books", "they differ")
    round_(service, service.db.writing)
    assert len(smtp.messages) == 1
    hook.status = 200
    round_(service, service.db.writing)
    assert len(hook.messages) == 1  # not yet due again
    inside.at(60)
    round_(service, service.db.writing)
    round_(service, service.db.writing)
    assert len(hook.messages) == 2
    assert len(smtp.messages) == 1
