"""Accounts, tokens, operators and the record of acts, for administrators, auditors and everybody's own programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from ..accounts import acts, manage, operators, tokens, users
from ..accounts.depends import Admin, Auditor, Reader
from ..accounts.roles import GRANTS, Role
from ..errors import Forbidden
from ..hexes import address_in
from ..reports.cursors import number_in
from ..reports.pages import DEFAULT_PAGE, page_of
from . import shapes
from .answers import ActAnswer, MeAnswer, OperatorAnswer, PageAnswer, TokenAnswer, UserAnswer
from .bodies import Body, Hex20
from .depends import Db, ReadDb, TheService
from .idempotency import Once
from .reports import After, Limit, RowId

router = APIRouter(prefix="/api/v1", tags=["accounts"])
Password = Annotated[str, Field(min_length=users.MIN_PASSWORD, max_length=users.MAX_PASSWORD)]


class NewUserBody(Body):
    name: Annotated[str, Field(pattern=f"^{users.NAME.pattern}$")]
    role: Annotated[Role, Field(strict=False)]
    operatorId: Annotated[int, Field(ge=0, le=2**31)] | None = None
    password: Password | None = None
    wallet: Hex20 | None = None


class ChangeUserBody(Body):
    role: Annotated[Role, Field(strict=False)] | None = None
    enabled: bool | None = None
    password: Password | None = None


class NewTokenBody(Body):
    label: Annotated[str, Field(min_length=1, max_length=100)]
    days: Annotated[int, Field(ge=1, le=tokens.MAX_DAYS)] = 90


class NewOperatorBody(Body):
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
    payee: Hex20


@router.get("/me")
def get_me(caller: Reader) -> MeAnswer:
    """Who the caller is here, and what it may do."""
    permissions = sorted(permission.value for permission in GRANTS[caller.role])
    return MeAnswer(
        name=caller.name, role=caller.role.value, permissions=permissions, operatorId=caller.operator_id,
        ofInstallation=caller.of_installation,
    )  # fmt: skip


@router.get("/users")
def get_users(caller: Admin, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[UserAnswer]:
    """Accounts: all for the installation's administrators, else the operator's own."""
    rows = users.page(db, caller.home, number_in(after) or 0, limit + 1)
    return shapes.page_answer(page_of(rows, limit, lambda user: str(user.id)), shapes.user_answer)


@router.post("/users", status_code=201, response_model=UserAnswer)
def post_user(body: NewUserBody, caller: Admin, service: TheService, db: Db, once: Once) -> Response:
    """A new account, with a password, a wallet, or both."""

    def make() -> tuple[int, dict[str, object]]:
        user = manage.add(db, caller, body.name, body.role, body.operatorId, body.password, body.wallet, service.now_s())
        return 201, shapes.user_answer(user).model_dump()

    return once.once(db, service, make)


@router.patch("/users/{user_id}")
def patch_user(user_id: RowId, body: ChangeUserBody, caller: Admin, service: TheService, db: Db) -> UserAnswer:
    """Change role, state or password; the account is logged out everywhere. The same again is a success."""
    user = manage.change(db, caller, user_id, body.role, body.enabled, body.password, service.now_s())
    return shapes.user_answer(user)


@router.get("/tokens")
def get_tokens(caller: Reader, service: TheService, db: ReadDb) -> PageAnswer[TokenAnswer]:
    """Tokens of the caller's own account that are valid now."""
    rows = [] if caller.user_id is None else tokens.of_user(db, caller.user_id, service.now_s())
    return PageAnswer(items=[shapes.token_answer(row) for row in rows], next=None)


@router.post("/tokens", status_code=201)
def post_token(body: NewTokenBody, caller: Reader, service: TheService, db: Db) -> TokenAnswer:
    """A token for the caller's own account; only this answer shows it. It takes no idempotency key: a kept answer would keep the token."""
    row, token = manage.make_token(db, caller, body.label, body.days, service.now_s())
    return shapes.token_answer(row, token)


@router.delete("/tokens/{token_id}", status_code=204)
def delete_token(token_id: RowId, caller: Reader, service: TheService, db: Db) -> None:
    """Revoke a token of the caller's own account. The same again is a success."""
    manage.revoke_token(db, caller, token_id, service.now_s())


@router.get("/operators")
def get_operators(caller: Admin, db: ReadDb) -> PageAnswer[OperatorAnswer]:
    """Operators here that the caller administers."""
    return PageAnswer(items=[shapes.operator_answer(row) for row in operators.rows(db, caller.home)], next=None)


@router.post("/operators", status_code=201)
def post_operator(body: NewOperatorBody, caller: Admin, service: TheService, db: Db) -> OperatorAnswer:
    """A new operator, kept apart from the others. Administrators of the installation only. The same again is a success."""
    if not caller.of_installation:
        raise Forbidden("only administrators of the installation add operators", "operatorId")
    row = operators.add(db, body.name, address_in(body.payee, "payee"), service.now_s())
    acts.note(db, row.id, caller.name, "operator added", row.name, body.payee, service.now_s())
    return shapes.operator_answer(row)


@router.get("/acts")
def get_acts(
    caller: Auditor, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: Annotated[str, Query(pattern="^[0-9]{0,19}$")] = ""
) -> PageAnswer[ActAnswer]:
    """What people and programs did here, the newest first."""
    rows = acts.page(db, caller.scope, number_in(after), limit + 1)
    return shapes.page_answer(page_of(rows, limit, lambda act: str(act.id)), shapes.act_answer)
