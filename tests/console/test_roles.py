"""The matrix of roles: every route, every role. A route that is not in the table fails the test, so a new one states who may call it."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from backend.accounts.roles import GRANTS, Permission, Role
from tests.console.house import Holding, House

OPEN = "open"  # anybody: facts, health, and what is proven by a signature inside the request
AGENT = "agent"
ROUTES: dict[str, str] = {
    "POST /api/v1/frames": OPEN,
    "GET /api/v1/agents/{device}/stream": AGENT,
    "POST /api/v1/agents/{device}/ready": AGENT,
    "POST /api/v1/agents/{device}/vouchers": OPEN,
    "POST /api/v1/agents/{device}/hand-overs": OPEN,
    "POST /api/v1/agents/{device}/confirmations": OPEN,
    "POST /api/v1/quotes": OPEN,
    "POST /api/v1/sessions": OPEN,
    "POST /api/v1/sessions/{session}/top-up": OPEN,
    "POST /api/v1/sessions/{session}/stop": OPEN,
    "POST /api/v1/sessions/{session}/payments": OPEN,
    "POST /api/v1/payments": OPEN,
    "POST /api/v1/offers": "act",
    "GET /api/v1/offers": OPEN,
    "POST /api/v1/offers/{offer_hash}/withdraw": "act",
    "PUT /api/v1/points/{point_id}/sellers": "act",
    "GET /api/v1/points/{point_id}/sellers": "read",
    "GET /api/v1/wallets/{address}": OPEN,
    "POST /api/v1/wallets/{address}/notes": OPEN,
    "POST /api/v1/tasks": OPEN,
    "POST /api/v1/tasks/{task}/completions": OPEN,
    "POST /api/v1/tasks/{task}/payments": OPEN,
    "POST /api/v1/tasks/{task}/stop": OPEN,
    "POST /api/v1/tasks/{task}/give-up": OPEN,
    "GET /api/v1/tasks/{task}": "read",
    "POST /api/v1/sessions/{session}/rulings": OPEN,
    "GET /api/v1/sessions/{session}": "read",
    "GET /api/v1/sessions/{session}/bill": "audit",
    "GET /api/v1/sessions/{session}/stream": "audit",
    "GET /api/v1/sessions/{session}/bundle": "audit",
    "GET /api/v1/rails": OPEN,
    "POST /api/v1/rails/{rail}/webhook": OPEN,  # proven by its signature
    "POST /api/v1/deposits": OPEN,
    "GET /api/v1/deposits": "audit",
    "GET /api/v1/deposits/{deposit_id}": OPEN,
    "POST /api/v1/payouts": OPEN,
    "GET /api/v1/payouts": "audit",
    "GET /api/v1/payouts/{payout_id}": OPEN,
    "POST /api/v1/payouts/{payout_id}/retry": "act",
    "GET /console/rails": "audit",
    "POST /console/rails/payouts/{payout_id}/retry": "act",
    "GET /api/v1/service": OPEN,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": OPEN,
    "POST /api/v1/tariffs": "act",
    "GET /api/v1/tariffs": "read",
    "GET /api/v1/tariffs/{tariff_hash}": "read",
    "POST /api/v1/points": "act",
    "GET /api/v1/points": "read",
    "GET /api/v1/points/{point_id}": "read",
    "GET /api/v1/points/{point_id}/readings": "read",
    "GET /api/v1/points/{point_id}/supply": "read",
    "POST /api/v1/points/{point_id}/disconnect": "act",
    "POST /api/v1/points/{point_id}/enabled/{enabled}": "act",
    "POST /api/v1/points/{point_id}/ocmf-key": "act",
    "POST /api/v1/disconnections": "act",
    "GET /api/v1/disconnections": "read",
    "POST /api/v1/disconnections/{disconnection_id}/approve": "act",
    "GET /api/v1/sessions": "read",
    "GET /api/v1/sessions/{session}/timeline": "read",
    "POST /api/v1/sessions/{session}/end": "act",
    "POST /api/v1/hand-overs/{hand_over_id}/approve": "act",
    "GET /api/v1/alarms": "read",
    "POST /api/v1/alarms/{alarm_id}/acknowledge": "act",
    "GET /api/v1/overview": "read",
    "GET /api/v1/ledger": "audit",
    "GET /api/v1/ledger/exposure": "audit",
    "GET /api/v1/ledger/accounts": "audit",
    "GET /api/v1/ledger/transfers": "audit",
    "GET /api/v1/ledger/differences": "audit",
    "GET /api/v1/epochs": "read",
    "GET /api/v1/epochs/{epoch_id}": "read",
    "GET /api/v1/epochs/{epoch_id}/frames": "read",
    "GET /api/v1/transactions": "read",
    "GET /api/v1/conflicts": "audit",
    "GET /api/v1/events": "read",
    "GET /api/v1/exports/{noun}.csv": "audit",
    "GET /api/v1/exports/bill.csv": "audit",
    "GET /api/v1/me": "read",
    "GET /api/v1/users": "administer",
    "POST /api/v1/users": "administer",
    "PATCH /api/v1/users/{user_id}": "administer",
    "GET /api/v1/tokens": "read",
    "POST /api/v1/tokens": "read",
    "DELETE /api/v1/tokens/{token_id}": "read",
    "GET /api/v1/operators": "administer",
    "POST /api/v1/operators": "administer",
    "GET /api/v1/acts": "audit",
    "GET /console/log-in": OPEN,
    "POST /console/log-in": OPEN,
    "POST /console/log-in/wallet/text": OPEN,
    "POST /console/log-in/wallet": OPEN,
    "GET /console/pay/{session}": OPEN,
    "POST /console/log-out": "read",
    "GET /console/": "read",
    "GET /console/points": "read",
    "GET /console/points/{point_id}": "read",
    "POST /console/points/{point_id}/disconnect": "act",
    "GET /console/sessions": "read",
    "GET /console/sessions/{session}": "read",
    "GET /console/sessions/{session}/bundle": "audit",
    "GET /console/offers": "read",
    "POST /console/offers/{offer_hash}/withdraw": "act",
    "GET /console/wallets": "read",
    "GET /console/wallets/{address}": "read",
    "GET /console/money": "audit",
    "GET /console/anchors": "read",
    "GET /console/anchors/{epoch_id}": "read",
    "GET /console/alarms": "read",
    "POST /console/alarms/{alarm_id}/acknowledge": "act",
    "GET /console/accounts": "audit",
    "POST /console/accounts": "administer",
    "POST /console/accounts/{user_id}": "administer",
    "GET /console/account": "read",
    "POST /console/account/password": "read",
    "POST /console/account/tokens": "read",
    "POST /console/account/tokens/{token_id}/revoke": "read",
    "POST /console/account/operator": "read",
}
GUARDED = sorted(route for route, who in ROUTES.items() if who not in (OPEN, AGENT))


def routes_of(app: FastAPI, prefix: str = "") -> set[str]:
    """Every call of an application and of those mounted in it, static files and the OpenAPI document aside."""
    found = set()
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            found |= {f"{method} {prefix}{context.original_route.path}" for method in context.original_route.methods or ()}
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            found |= routes_of(route.app, prefix + route.path)
    return found


def filled(path: str, holding: Holding) -> str:
    """A path with ids that exist, where reading them changes nothing, and ids of nothing where calling would."""
    values: dict[str, Any] = {
        "point_id": holding.point_id, "session": holding.session, "epoch_id": holding.epoch_id, "alarm_id": holding.alarm_id,
        "tariff_hash": holding.tariff_hash, "noun": "points", "enabled": "true", "user_id": 2**40, "token_id": 2**40,
        "hand_over_id": 2**40, "disconnection_id": 2**40, "task": holding.task, "device": "0x" + "00" * 32,
        "offer_hash": holding.offer_hash, "address": holding.wallet,
        "payout_id": "0x" + "00" * 32,
    }  # fmt: skip
    return re.sub(r"{(\w+)}", lambda match: str(values[match[1]]), path)


def asked(house: House, route: str, holding: Holding, **more: Any) -> int:
    """The status of a call with an empty body. Streams are left after their first line."""
    method, path = route.split(" ", 1)
    url = house.url + filled(path, holding)
    with httpx2.stream(method, url, timeout=20, **more) as answer:
        return answer.status_code


def test_every_route_states_who_may_call_it(house: House) -> None:
    assert routes_of(house.app) == set(ROUTES)


@pytest.mark.parametrize("route", GUARDED)
def test_nobody_unproven_gets_in(house: House, first: Holding, route: str) -> None:
    status = asked(house, route, first)
    assert status == (303 if route.startswith("GET /console") else 401)
    assert asked(house, route, first, headers={"Authorization": "Bearer wpt_wrong"}) == status
    assert asked(house, route, first, headers={"Cookie": "wattproof_login=wrong"}) == status


ENDS_THE_CALLER = {"POST /console/log-out", "POST /console/account/tokens", "POST /api/v1/tokens"}
"""Every role may call these; they change the caller's own account and are tested in test_log_in.py."""


@pytest.mark.parametrize("route", [route for route in GUARDED if route not in ENDS_THE_CALLER])
@pytest.mark.parametrize("role", [role.value for role in Role])
def test_each_role_may_do_what_the_table_says(house: House, first: Holding, role: str, route: str) -> None:
    if route.endswith("/points/{point_id}/disconnect") or route.endswith("/sessions/{session}/end"):
        first = first._replace(point_id="p0", session="0x" + "00" * 32)  # nothing there: a granted call finds nothing
    if "{offer_hash}" in route:
        first = first._replace(offer_hash="0x" + "00" * 32)
    status = asked(house, route, first, headers={"Authorization": f"Bearer {first.tokens[role]}"})
    if Permission(ROUTES[route]) in GRANTS[Role(role)]:
        assert status not in (401, 403, 405) or route == "POST /api/v1/operators"  # of the installation only
        assert status < 500
    else:
        assert status == 403


@pytest.mark.parametrize("route", sorted(route for route, who in ROUTES.items() if who == AGENT))
def test_agents_calls_take_an_agents_hello(house: House, first: Holding, route: str) -> None:
    own = first.agent.device.hex()
    method, path = route.replace("{device}", "0x" + own).split(" ", 1)
    body = {"session": "0x" + "00" * 32, "nonce": "0x" + "00" * 32}
    for headers in ({}, {"Authorization": f"Bearer {house.token}"}, {"Authorization": "Wattproof e30"}):
        with httpx2.stream(method, house.url + path, headers=headers, timeout=20, json=body) as answer:
            assert answer.status_code == 401


def test_the_bootstrap_token_is_an_administrator_of_the_installation(house: House) -> None:
    me = house.call("GET", "/api/v1/me")
    assert (me["role"], me["ofInstallation"], me["operatorId"]) == ("admin", True, 1)
    assert house.request("POST", "/api/v1/tokens", token=house.token, json={"label": "x"}).status_code == 409
