"""The doors of the console: logging in by password or wallet, logging out, and the payer's page, which needs no account."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from ..accounts import attempts, log_ins, users, wallets
from ..accounts.acts import note
from ..accounts.callers import BOOTSTRAP_OPERATOR, Caller
from ..accounts.depends import MAX_CREDENTIAL, get_service, require_caller
from ..context import Service
from ..errors import TooMany, Unauthorized
from ..hexes import address_in, signature_in
from ..models import User
from ..models.base import HOUSE
from .guard import same_origin
from .pages import bare_page

router = APIRouter()
TheService = Annotated[Service, Depends(get_service)]
WRONG = "This name and password do not belong together, or the account is disabled."


class LogInForm(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=users.MAX_PASSWORD)]


class WalletText(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    wallet: Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]


class WalletAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    nonce: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    text: Annotated[str, Field(max_length=2_000)]
    signature: Annotated[str, Field(pattern="^0x[0-9a-fA-F]{130}$")]


@router.get("/log-in")
def get_log_in(request: Request, service: TheService) -> HTMLResponse:
    return bare_page(request, service, "log_in.html", name="", problem="")


@router.post("/log-in", dependencies=[Depends(same_origin)])
def post_log_in(request: Request, form: Annotated[LogInForm, Form()], service: TheService) -> Response:
    """A new log-in with a new cookie, whatever cookie came."""
    now = service.now_s()
    try:
        attempt_id = attempts.attempt(service.db, form.name.strip().lower(), _address(request), now)
        with service.db.reading() as db:
            user = users.by_name(db, form.name)
        if not users.right_password(user, form.password) or user is None:
            raise Unauthorized(WRONG, "password")
    except (TooMany, Unauthorized) as error:
        return bare_page(request, service, "log_in.html", error.status, name=form.name, problem=error.detail)
    return _logged_in(request, RedirectResponse("/console/", 303), service, user, "password", attempt_id)


@router.post("/log-in/wallet/text", dependencies=[Depends(same_origin)])
def post_wallet_text(request: Request, body: WalletText, service: TheService) -> dict[str, str]:
    """The text a wallet is to sign. It counts as an attempt until it is answered rightly."""
    wallet = address_in(body.wallet, "wallet")
    attempts.attempt(service.db, f"wallet {wallet.hex()}", _address(request), service.now_s())
    uri = service.settings.public_url or f"http://{service.settings.listen}"
    with service.db.writing() as db:
        row = wallets.write_text(db, wallet, urlsplit(uri).netloc, uri, service.deployment.chain_id, service.now_s())
    return {"nonce": row.nonce, "text": row.text.decode()}


@router.post("/log-in/wallet", dependencies=[Depends(same_origin)])
def post_wallet(request: Request, body: WalletAnswer, service: TheService) -> Response:
    """Log in the account of the wallet that signed the stored text."""
    now = service.now_s()
    with service.db.writing() as db:
        row = wallets.take(db, body.nonce, now)
    wallet = wallets.check(row, body.text.encode(), signature_in(body.signature.lower(), "signature"))
    with service.db.writing() as db:
        attempts.forgive_all(db, f"wallet {wallet.hex()}", _address(request))
        user = users.by_wallet(db, wallet)
    if user is None or not user.enabled:
        raise Unauthorized("no account here has this wallet, or it is disabled; an administrator can add it", "wallet")
    return _logged_in(request, JSONResponse({"to": "/console/"}), service, user, "wallet", None)


@router.get("/pay/{session}")
def get_pay(session: Annotated[str, Path(pattern="^0x[0-9a-f]{64}$")], request: Request, service: TheService) -> HTMLResponse:
    """A payer's own page. It is the same for every session: what it shows is fetched with the access token behind the address's #."""
    return bare_page(request, service, "pay.html", session=session)


@router.post("/log-out")
def post_log_out(service: TheService, caller: Annotated[Caller, Depends(require_caller)]) -> Response:
    with service.db.writing() as db:
        if caller.login is not None:
            log_ins.end(db, caller.login)
    answer = RedirectResponse("/console/log-in?done=logged-out", 303)
    answer.delete_cookie(log_ins.COOKIE, path="/")
    return answer


def _logged_in(request: Request, answer: Response, service: Service, user: User, method: str, attempt_id: int | None) -> Response:
    now, old = service.now_s(), request.cookies.get(log_ins.COOKIE)
    with service.db.writing() as db:
        if attempt_id is not None:
            attempts.forgive(db, attempt_id)
        if old is not None and len(old) <= MAX_CREDENTIAL:
            log_ins.end(db, log_ins.digest(old))
        acts_for = BOOTSTRAP_OPERATOR if user.operator_id == HOUSE else user.operator_id
        cookie = log_ins.start(db, user, acts_for, method, now)
        note(db, user.operator_id, user.name, "logged in", method, _address(request), now)
    answer.set_cookie(
        log_ins.COOKIE, cookie, max_age=log_ins.LIFETIME_S, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return answer


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
