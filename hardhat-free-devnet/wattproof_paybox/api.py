"""The HTTP face: `/v1/…` as the provider documents it, `/pay/…` for the payer, `/sandbox/…` for what only happens to real accounts.

`/v1` and `/sandbox` take the API key; the pay page needs none. Bodies are forms, at most `MAX_BODY_BYTES`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from .delivery import Deliverer, Sending
from .errors import Refused
from .page import SECURITY, page
from .provider import Provider
from .store import Document

MAX_BODY_BYTES = 64 << 10
"""Forms of this API are a few hundred bytes."""
MAX_LIST = 100
Form = dict[str, str]


def build(provider: Provider, deliverer: Deliverer, api_key: str) -> FastAPI:
    """The application."""
    app = FastAPI(title="Wattproof paybox", docs_url=None, redoc_url=None, openapi_url=None)
    face = _Face(provider, deliverer, api_key)

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> Response:
        return JSONResponse(error.document, error.status)

    app.add_api_route("/pay/{session_id}", face.show_page, methods=["GET"])
    app.add_api_route("/pay/{session_id}", face.pay, methods=["POST"])
    app.add_api_route("/{face}/{path:path}", face.call, methods=["GET", "POST"])
    return app


class _Face:
    """One account's calls."""

    def __init__(self, provider: Provider, deliverer: Deliverer, api_key: str) -> None:
        self._provider, self._deliverer, self._key = provider, deliverer, api_key
        self._store = provider.store

    def show_page(self, session_id: str) -> Response:
        with self._store.changing():
            return HTMLResponse(page(self._provider.checkout(session_id)), headers=SECURITY)

    async def pay(self, session_id: str, request: Request) -> Response:
        form = await _form(request)
        declined = form.get("action") == "decline"

        def do() -> Document:
            with self._store.changing():
                return self._provider.pay(session_id, declined=declined)

        session = await run_in_threadpool(do)
        if declined and session["status"] == "open":
            return HTMLResponse(page(session, "The card was declined. Nothing was paid."), 402, headers=SECURITY)
        return RedirectResponse(f"/pay/{session_id}", 303)

    async def call(self, face: str, path: str, request: Request) -> Response:
        """Everything that takes the key."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(given.strip().encode(), self._key.encode()):
            raise Refused(401, "api_key_invalid", "no valid API key was given: Authorization: Bearer sk_test_…")
        form = dict(request.query_params) if request.method == "GET" else await _form(request)
        parts = path.strip("/").split("/")
        status, document = await run_in_threadpool(self._answer, face, request.method, parts, form, request.headers.get("idempotency-key"))
        return JSONResponse(document, status)

    def _answer(self, face: str, method: str, parts: list[str], form: Form, key: str | None) -> tuple[int, Document]:
        do = (_V1 if face == "v1" else _SANDBOX if face == "sandbox" else {}).get((method, *_shape(parts)))
        if do is None:
            raise Refused(404, "unrecognized_url", f"there is no {method} /{face}/{'/'.join(parts)}")
        if (method, parts[-1]) == ("POST", "send"):
            return 200, do(self, parts, form)  # talks to the endpoint: not while the store is held
        with self._store.changing():
            if method == "GET" or key is None:
                return 200, do(self, parts, form)
            return self._once(key, [face, *parts], form, lambda: do(self, parts, form))

    def _once(self, key: str, place: list[str], form: Form, do: Callable[[], Document]) -> tuple[int, Document]:
        """The kept answer of an idempotency key, or a new one. A refusal is kept too, as the provider does."""
        request = hashlib.sha256(json.dumps([place, sorted(form.items())]).encode()).hexdigest()
        kept = self._store.db.execute("SELECT request, status, document FROM answers WHERE key = ?", (key,)).fetchone()
        if kept is not None:
            if kept[0] != request:
                raise Refused(400, "idempotency_key_in_use", "this idempotency key came with another request before")
            return int(kept[1]), json.loads(kept[2])
        try:
            status, document = 200, do()
        except Refused as error:
            status, document = error.status, error.document
        self._store.db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (key, request, status, json.dumps(document)))
        return status, document

    # --- /v1 ---

    def new_checkout(self, _parts: list[str], form: Form) -> Document:
        unit, count = _integer(form, "line_items[0][price_data][unit_amount]"), _integer(form, "line_items[0][quantity]")
        currency = form.get("line_items[0][price_data][currency]", "")
        metadata = _metadata(form, "payment_intent_data[metadata]")
        return self._provider.create_checkout(unit * count, currency, metadata, form.get("success_url", ""))

    def checkout(self, parts: list[str], form: Form) -> Document:
        found = self._provider.checkout(parts[-1])
        intent = self._store.get("payment_intent", found["payment_intent"])
        if intent is not None and intent["latest_charge"] is not None:
            intent["latest_charge"] = self._store.get("charge", intent["latest_charge"])
        wanted = any(value.startswith("payment_intent") for name, value in form.items() if name.startswith("expand"))
        return found | ({"payment_intent": intent} if wanted else {})

    def one(self, kind: str, parts: list[str]) -> Document:
        found = self._store.get(kind, parts[-1])
        if found is None:
            raise Refused(404, "resource_missing", f"no such {kind}: {parts[-1]}", "id")
        return found

    def new_refund(self, _parts: list[str], form: Form) -> Document:
        amount = _integer(form, "amount") if "amount" in form else None
        return self._provider.refund(form.get("charge", ""), amount, _metadata(form, "metadata"))

    def disputes(self, _parts: list[str], form: Form) -> Document:
        return _page([d for d in reversed(self._store.all("dispute")) if form.get("charge") in (None, d["charge"])], form)

    def movements(self, _parts: list[str], form: Form) -> Document:
        return _page(self._provider.movements(_integer(form, "created[gte]") if "created[gte]" in form else 0), form)

    def events(self, _parts: list[str], form: Form) -> Document:
        return _page(list(reversed(self._store.all("event"))), form)

    def new_endpoint(self, _parts: list[str], form: Form) -> Document:
        """The secret is in this answer only."""
        made = self._provider._new(
            "we", "webhook_endpoint", url=form.get("url", ""), secret=_new_secret(), old_secrets=[], status="enabled"
        )
        return self._store.add("webhook_endpoint", made)

    # --- /sandbox ---

    def hold(self, _parts: list[str], form: Form) -> Document:
        """on=true: webhooks wait; on=false: they go."""
        switch = {"id": "held", "on": form.get("on") == "true"}
        if self._store.get("switch", "held") is None:
            return self._store.add("switch", switch)
        self._store.put(switch)
        return switch

    def roll(self, parts: list[str], form: Form) -> Document:
        """A new secret; the old one counts for `overlap_s` more."""
        endpoint = self.one("webhook_endpoint", parts[:-1])
        overlap = _integer(form, "overlap_s") if "overlap_s" in form else 86_400
        endpoint["old_secrets"].insert(0, {"secret": endpoint["secret"], "until": time.time() + overlap})
        endpoint["secret"] = _new_secret()
        self._store.put(endpoint)
        return endpoint

    def send(self, parts: list[str], form: Form) -> Document:
        """An event by hand: `endpoint`, `age_s` (late), `secret` (forged), `body` (another body under the true signature)."""
        age = _integer(form, "age_s") if "age_s" in form else 0
        how = Sending(age, form.get("secret"), form["body"].encode() if "body" in form else None)
        return {"status": self._deliverer.send(parts[1], form.get("endpoint", ""), how)}

    def charge(self, _parts: list[str], form: Form) -> Document:
        """A payment to this account that came over no checkout."""
        return self._provider.charge(_integer(form, "amount"), _metadata(form, "metadata"), None)


_V1: dict[tuple[str, ...], Callable[[_Face, list[str], Form], Document]] = {
    ("POST", "checkout", "sessions"): _Face.new_checkout,
    ("GET", "checkout", "sessions", "*"): _Face.checkout,
    ("GET", "payment_intents", "*"): lambda f, p, _: f.one("payment_intent", p),
    ("GET", "charges", "*"): lambda f, p, _: f.one("charge", p),
    ("POST", "refunds"): _Face.new_refund,
    ("GET", "refunds", "*"): lambda f, p, _: f.one("refund", p),
    ("GET", "disputes"): _Face.disputes,
    ("GET", "balance"): lambda f, _p, _: f._provider.balance(),
    ("GET", "balance_transactions"): _Face.movements,
    ("GET", "events"): _Face.events,
    ("POST", "payouts"): lambda f, _p, form: f._provider.payout(_integer(form, "amount")),
    ("POST", "topups"): lambda f, _p, form: f._provider.top_up(_integer(form, "amount")),
    ("POST", "webhook_endpoints"): _Face.new_endpoint,
}
_SANDBOX: dict[tuple[str, ...], Callable[[_Face, list[str], Form], Document]] = {
    ("POST", "webhooks", "hold"): _Face.hold,
    ("POST", "webhook_endpoints", "*", "roll"): _Face.roll,
    ("POST", "events", "*", "send"): _Face.send,
    ("POST", "charges"): _Face.charge,
    ("POST", "charges", "*", "dispute"): lambda f, p, form: f._provider.dispute(
        p[1], _integer(form, "amount") if "amount" in form else None
    ),
    ("POST", "disputes", "*", "close"): lambda f, p, form: f._provider.close_dispute(p[1], form.get("status", "")),
    ("POST", "refunds", "*", "fail"): lambda f, p, _: f._provider.fail_refund(p[1]),
}
_IDS = ("cs_", "pi_", "ch_", "re_", "dp_", "po_", "evt_", "we_")


def _shape(parts: list[str]) -> list[str]:
    """The path with ids as `*`."""
    return ["*" if part.startswith(_IDS) else part for part in parts]


async def _form(request: Request) -> Form:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, "request_too_large", f"a body has at most {MAX_BODY_BYTES} bytes")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=200))
    except ValueError:
        raise Refused(400, "parameter_invalid", "the body is not form-encoded") from None


def _integer(form: Form, name: str) -> int:
    text = form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise Refused(400, "parameter_invalid_integer", f"{name} must be a whole number of minor units or seconds", name)
    return int(text)


def _metadata(form: Form, name: str) -> dict[str, str]:
    return {key[len(name) + 1 : -1]: value for key, value in form.items() if key.startswith(name + "[") and key.endswith("]")}


def _page(items: list[Document], form: Form) -> Document:
    """Newest first, after `starting_after`."""
    after = form.get("starting_after")
    if after is not None:
        places = [index for index, item in enumerate(items) if item["id"] == after]
        items = items[places[0] + 1 :] if places else []
    limit = min(_integer(form, "limit") if "limit" in form else 10, MAX_LIST)
    return {"object": "list", "data": items[:limit], "has_more": len(items) > limit}


def _new_secret() -> str:
    return "whsec_" + secrets.token_urlsafe(32)
