"""Accounts for administrators and auditors, and everybody's own page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ..accounts import acts, attempts, log_ins, manage, operators, tokens, users
from ..accounts.callers import Caller
from ..accounts.depends import Admin, Auditor, Reader
from ..accounts.roles import Role
from ..api.depends import Db, ReadDb, TheService
from ..context import Service
from ..errors import BadRequest, Conflict
from ..reports.cursors import number_in
from ..reports.pages import DEFAULT_PAGE, page_of
from .money_pages import RowId
from .pages import next_page, page
from .supply_pages import After

router = APIRouter()


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore")


class NewAccountForm(_Form):
    name: Annotated[str, Field(max_length=64)]
    role: Role
    operatorId: int | None = None
    password: Annotated[str, Field(max_length=users.MAX_PASSWORD)] = ""
    wallet: Annotated[str, Field(pattern="^(0x[0-9a-fA-F]{40})?$")] = ""


class ChangeForm(_Form):
    role: Role
    enabled: Annotated[str, Field(pattern="^(yes|no)$")]
    password: Annotated[str, Field(max_length=users.MAX_PASSWORD)] = ""


class PasswordForm(_Form):
    old: Annotated[str, Field(max_length=users.MAX_PASSWORD)]
    new: Annotated[str, Field(max_length=users.MAX_PASSWORD)]


class TokenForm(_Form):
    label: Annotated[str, Field(min_length=1, max_length=100)]
    days: Annotated[int, Field(ge=1, le=tokens.MAX_DAYS)]


class OperatorForm(_Form):
    operatorId: Annotated[int, Field(ge=1, le=2**31)]


@router.get("/accounts")
def get_accounts(request: Request, service: TheService, caller: Auditor, db: ReadDb, after: After = "") -> HTMLResponse:
    done = acts.page(db, caller.scope, None, DEFAULT_PAGE)
    rows = users.page(db, caller.home, number_in(after) or 0, DEFAULT_PAGE + 1) if caller.may("administer") else []
    found = page_of(rows, DEFAULT_PAGE, lambda user: str(user.id))
    return page(
        request,
        service,
        db,
        caller,
        "accounts.html",
        "/console/accounts",
        users=found.items,
        next=next_page(request, found.next),
        operator_names=operators.names(db, caller.home),
        roles=[role.value for role in Role],
        acts=done,
    )


@router.post("/accounts")
def post_account(form: Annotated[NewAccountForm, Form()], service: TheService, caller: Admin, db: Db) -> Response:
    manage.add(db, caller, form.name, form.role, form.operatorId, form.password or None, form.wallet or None, service.now_s())
    return RedirectResponse("/console/accounts?done=account-added", 303)


@router.post("/accounts/{user_id}")
def post_change(user_id: RowId, form: Annotated[ChangeForm, Form()], service: TheService, caller: Admin, db: Db) -> Response:
    manage.change(db, caller, user_id, form.role, form.enabled == "yes", form.password or None, service.now_s())
    return RedirectResponse("/console/accounts?done=account-changed", 303)


@router.get("/account")
def get_own_account(request: Request, service: TheService, caller: Reader, db: ReadDb) -> HTMLResponse:
    return _own(request, service, db, caller)


@router.post("/account/password")
def post_password(request: Request, form: Annotated[PasswordForm, Form()], service: TheService, caller: Reader) -> Response:
    """Change one's own password; all log-ins end. Wrong present passwords count as failed log-ins."""
    attempt_id = attempts.attempt(service.db, caller.name, "own account", service.now_s())
    with service.db.reading() as db:
        user = users.by_name(db, caller.name)
        if not users.right_password(user, form.old) or user is None:
            return _own(request, service, db, caller, problem="The present password is not right.")
    with service.db.writing() as db:
        attempts.forgive(db, attempt_id)
        users.change(db, db.merge(user), password=form.new)
        acts.note(db, caller.home, caller.name, "password changed", caller.name, "", service.now_s())
    answer = RedirectResponse("/console/log-in?done=password", 303)
    answer.delete_cookie(log_ins.COOKIE, path="/")
    return answer


@router.post("/account/tokens")
def post_token(request: Request, form: Annotated[TokenForm, Form()], service: TheService, caller: Reader, db: Db) -> HTMLResponse:
    """Make a token; this one answer shows it."""
    _, token = manage.make_token(db, caller, form.label, form.days, service.now_s())
    return _own(request, service, db, caller, new_token=token)


@router.post("/account/tokens/{token_id}/revoke")
def post_revoke(token_id: RowId, service: TheService, caller: Reader, db: Db) -> Response:
    manage.revoke_token(db, caller, token_id, service.now_s())
    return RedirectResponse("/console/account?done=token-revoked", 303)


@router.post("/account/operator")
def post_operator(form: Annotated[OperatorForm, Form()], service: TheService, caller: Reader, db: Db) -> Response:
    """Act for another operator from now on; accounts of the installation only."""
    if caller.login is None or not caller.of_installation:
        raise Conflict("only log-ins of accounts of the installation act for several operators", "operatorId")
    if form.operatorId not in operators.names(db, caller.home):
        raise BadRequest("there is no such operator", "operatorId")
    log_ins.act_for(db, caller.login, form.operatorId)
    return RedirectResponse("/console/?done=operator", 303)


def _own(request: Request, service: Service, db: Session, caller: Caller, problem: str = "", new_token: str = "") -> HTMLResponse:
    user = None if caller.user_id is None else users.get(db, caller.user_id, caller.home)
    has_password = user is not None and user.password_hash is not None
    own_tokens = [] if user is None else tokens.of_user(db, user.id, service.now_s())
    choices = operators.names(db, caller.home, with_house=False)
    return page(
        request,
        service,
        db,
        caller,
        "account.html",
        problem=problem,
        new_token=new_token,
        has_password=has_password,
        tokens=own_tokens,
        operators=choices,
    )
