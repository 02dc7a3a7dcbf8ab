"""Making pages: the templates, their filters, and what every page shows (who, for whom, open alarms)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.orm import Session

from ..accounts.callers import Caller
from ..accounts.roles import Permission
from ..context import Service
from ..models import Operator
from ..reports import alarms, words

STATIC = Path(__file__).parent / "static"
TABS: tuple[tuple[str, str, Permission], ...] = (
    ("/console/", "Overview", Permission.READ),
    ("/console/points", "Points", Permission.READ),
    ("/console/sessions", "Sessions", Permission.READ),
    ("/console/offers", "Offers", Permission.READ),
    ("/console/wallets", "Wallets", Permission.READ),
    ("/console/money", "Money", Permission.AUDIT),
    ("/console/rails", "Deposits", Permission.AUDIT),
    ("/console/anchors", "Anchors", Permission.READ),
    ("/console/alarms", "Alarms", Permission.READ),
    ("/console/accounts", "Accounts", Permission.AUDIT),
)
TONES = {
    "good": ("connected", "running", "settled", "anchored", "confirmed", "enrolled", "heard", "enabled", "over", "posted", "post",
             "credited", "paid-back", "published"),
    "busy": ("opening", "open session", "sent", "settling", "ending", "pending", "quoted", "ended",
             "awaiting", "paid", "minting", "crediting", "requested", "withdrawing", "burning", "refunding", "publishing"),
    "warn": ("warning", "not measured", "superseded", "void", "not asked", "out of service", "expired", "withdrawn"),
    "bad": ("critical", "switching failed", "failed", "not heard", "open", "refused", "disabled", "implausible register",
            "charge-back open", "charge-back lost", "frozen"),
}
"""Which words of a chip are shown in which colour; all others are neutral. The word itself says it: colour only repeats."""
SAID = {
    "disconnect": "The command to disconnect is on its way. It counts once the agent has measured it.",
    "acknowledged": "Acknowledged. The alarm stays open until what it says is over.",
    "account-added": "The account is there.",
    "account-changed": "Changed. The account is logged out everywhere.",
    "password": "The password is changed. Log in with the new one.",
    "token-revoked": "The token is revoked.",
    "payout-retried": "The payment provider is being asked again.",
    "operator": "You act for another operator now.",
    "offer-withdrawn": "The offer is withdrawn: no quote is made under it any more, and the chain is told.",
    "logged-out": "You are logged out.",
}
"""What a page says after a form was taken, by the code in its address: never a text from the address itself."""
_LONG_HEX = re.compile(r"(0x)?([0-9a-f]{6})[0-9a-f]{20,}([0-9a-f]{4})")


def tone(text: str) -> str:
    return next((name for name, texts in TONES.items() if text in texts), "")


def short_hashes(text: str) -> str:
    """A sentence with its long hashes shortened to their ends."""
    return _LONG_HEX.sub(r"0x\2…\3", text)


@cache
def asset(name: str) -> str:
    """The address of a static file; it changes with the file, so browsers may keep it for ever."""
    return f"/console/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


@cache
def environment() -> Environment:
    env = Environment(
        loader=PackageLoader("backend.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., Any]] = {
        "money": words.money,
        "energy": words.energy,
        "power": words.power,
        "volts": words.volts,
        "instant": words.instant,
        "iso": words.iso,
        "ago": words.ago,
        "span": words.span,
        "short": words.short,
        "tone": tone,
        "short_hashes": short_hashes,
        "spaced": lambda text: text.replace("-", " "),
    }
    env.filters.update(filters)
    env.globals["asset"] = asset
    return env


def page(request: Request, service: Service, db: Session, caller: Caller, template: str, tab: str = "", **values: Any) -> HTMLResponse:
    """A page for a caller."""
    operator = db.get(Operator, caller.operator_id)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return _render(
        service,
        template,
        values
        | {
            "me": caller,
            "operator_name": "" if operator is None else operator.name,
            "tab": tab,
            "tabs": [(path, name) for path, name, permission in TABS if caller.may(permission)],
            "open_alarms": alarms.count_open(db, caller.scope)[0],
            "here": here,
            "said": SAID.get(request.query_params.get("done", "")),
            "after": request.query_params.get("after", ""),
            "first_page": _without_after(request),
        },
    )


def bare_page(request: Request, service: Service, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for somebody who is not logged in."""
    said = SAID.get(request.query_params.get("done", ""))
    return _render(service, template, values | {"me": None, "said": said}, status)


def next_page(request: Request, cursor: str | None) -> str | None:
    """The address of the next page of the list in this one."""
    return None if cursor is None else str(request.url.include_query_params(after=cursor).replace(scheme="", netloc=""))


def _without_after(request: Request) -> str:
    return str(request.url.remove_query_params(["after", "done"]).replace(scheme="", netloc=""))


def _render(service: Service, template: str, values: dict[str, Any], status: int = 200) -> HTMLResponse:
    shared = {"chain_id": service.deployment.chain_id, "now_s": service.now_s()}
    return HTMLResponse(environment().get_template(template).render(shared | values), status)
