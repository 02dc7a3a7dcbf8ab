"""Takes alarms to people: by mail (SMTP) and by webhook (signed with HMAC-SHA256). Tried again until taken, for a day.

A webhook is a POST of `{"alarm":{…}}` with `X-Wattproof-Signature: t=<unix time>,v1=<hex HMAC of "<time>.<body>">`. An alarm may arrive
twice (sent, then killed before it was noted): receivers go by its id.
"""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
from email.message import EmailMessage
from typing import Any

import httpx2
import structlog
from sqlalchemy import select

from .. import jsons
from ..context import Service
from ..models import Alarm, Delivery
from ..onchain.outbox import Writing
from ..store.keyring import read_secret

log = structlog.get_logger()
TIMEOUT_S = 10
GIVE_UP_AFTER = 40
"""Attempts; with the pauses below about a day. The alarm itself stays in the console."""
PAUSE_MOST_S = 3_600
BATCH = 20


def round_(service: Service, writing: Writing) -> None:
    """Send what is due. Nothing is held open in the database while a far end takes its time."""
    with service.db.reading() as db:
        due = db.execute(
            select(Delivery, Alarm).join(Alarm, Alarm.id == Delivery.alarm_id)
            .where(Delivery.done_at_s.is_(None), Delivery.due_at_s <= service.now_s()).order_by(Delivery.id).limit(BATCH)
        ).all()  # fmt: skip
        wanted = [(delivery.id, delivery.channel, delivery.cleared, alarm_view(alarm)) for delivery, alarm in due]
    for delivery_id, channel, cleared, view in wanted:
        problem = _send(service, channel, cleared, view)
        with writing() as db:
            row = db.get_one(Delivery, delivery_id)
            row.attempts += 1
            if not problem:
                row.done_at_s, row.last_error = service.now_s(), None
                continue
            row.last_error = problem[:500]
            row.due_at_s = service.now_s() + min(15 << min(row.attempts, 8), PAUSE_MOST_S)
            if row.attempts >= GIVE_UP_AFTER:
                row.done_at_s = service.now_s()
            log.warning("alarm not delivered", channel=channel, attempt=row.attempts, problem=problem)


def alarm_view(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id, "kind": alarm.kind, "place": alarm.place, "detail": alarm.detail, "severity": alarm.severity,
        "raisedAtS": alarm.raised_at_s, "lastSeenAtS": alarm.last_seen_at_s, "times": alarm.times, "clearedAtS": alarm.cleared_at_s,
    }  # fmt: skip


def _send(service: Service, channel: str, cleared: bool, view: dict[str, Any]) -> str:
    """Deliver once. Returns what went wrong, or nothing."""
    try:
        if channel == "mail":
            _mail(service, cleared, view)
        else:
            _webhook(service, cleared, view)
    except (OSError, smtplib.SMTPException, httpx2.HTTPError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _mail(service: Service, cleared: bool, view: dict[str, Any]) -> None:
    settings = service.settings.alarms.mail
    if settings is None:
        raise ValueError("mail is no longer configured")
    message = EmailMessage()
    message["Subject"] = f"[wattproof] {'over: ' if cleared else ''}{view['kind']}: {view['place']}"[:200].replace("\n", " ")
    message["From"], message["To"] = settings.sender, ", ".join(settings.to)
    lines = [f"{name}: {value}" for name, value in view.items() if value is not None]
    message.set_content("\n".join(["This is over." if cleared else "Please look at this.", "", *lines]))
    context = ssl.create_default_context()
    kind: Any = smtplib.SMTP_SSL if settings.security == "tls" else smtplib.SMTP
    extra = {"context": context} if settings.security == "tls" else {}
    with kind(settings.host, settings.port, timeout=TIMEOUT_S, **extra) as server:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.username is not None and settings.password_file is not None:
            server.login(settings.username, read_secret(service.settings.path(settings.password_file), "alarms.mail.password_file"))
        server.send_message(message)


def _webhook(service: Service, cleared: bool, view: dict[str, Any]) -> None:
    settings = service.settings.alarms.webhook
    if settings is None:
        raise ValueError("the webhook is no longer configured")
    body = jsons.dumps({"alarm": view, "cleared": cleared}).encode()
    at = str(service.now_s())
    secret = read_secret(service.settings.path(settings.secret_file), "alarms.webhook.secret_file")
    signature = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Wattproof-Signature": f"t={at},v1={signature}"}
    answer = httpx2.post(settings.url, content=body, headers=headers, timeout=TIMEOUT_S)
    if answer.status_code >= 300:
        raise ValueError(f"{settings.url} answered {answer.status_code}")
