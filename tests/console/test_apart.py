"""Several operators in one installation: none sees or touches anything of another's. Every GET route is asked, not a choice of them."""

from __future__ import annotations

import threading
from typing import Any

import httpx2
import pytest

from backend.models import Alarm, AlarmNote, Command, Point, SessionRow, User
from tests.console.house import PASSWORD, Holding, House
from tests.console.test_roles import AGENT, OPEN, ROUTES, filled
from tests.service.world import eventually

GUARDED = sorted(route for route, who in ROUTES.items() if who not in (OPEN, AGENT) and not route.endswith(("/events", "/stream")))
READ = [route for route in GUARDED if route.startswith("GET ")]
CHANGING = [route for route in GUARDED if not route.startswith("GET ") and "{" in route]


@pytest.mark.parametrize("route", READ)
def test_no_answer_shows_anothers(house: House, first: Holding, second: Holding, route: str) -> None:
    """With the administrator's token of one operator and the ids of the other: not found, or a list without a trace of it."""
    path = filled(route.removeprefix("GET "), first)
    if path.endswith("bill.csv"):
        path += f"?session={first.session}"
    answer = house.request("GET", path, token=second.tokens["admin"])
    ids = (
        first.point_id,
        first.session,
        f"epochs/{first.epoch_id}",
        f"anchors/{first.epoch_id}",
        first.tariff_hash,
        first.wallet,
        first.task,
    )
    names_another = any(value in path for value in ids)
    assert answer.status_code == (404 if names_another else 200), answer.text
    for mark in first.marks():
        assert mark in path or mark not in answer.text, f"{path} shows {mark}"


@pytest.mark.parametrize("route", READ)
def test_each_sees_its_own(house: House, second: Holding, route: str) -> None:
    """The other half: the same calls with own ids answer, so the test above cannot pass by everything being refused."""
    path = filled(route.removeprefix("GET "), second)
    if path.endswith("bill.csv"):
        path += f"?session={second.session}"
    assert house.request("GET", path, token=second.tokens["admin"]).status_code == 200


@pytest.mark.parametrize("route", CHANGING)
def test_nothing_of_anothers_can_be_changed(house: House, first: Holding, second: Holding, route: str) -> None:
    method, path = filled(route, first).split(" ", 1)
    path = path.replace(str(2**40), str(first.users["operator"]))
    form = {"reason": "not mine", "role": "admin", "enabled": "no", "password": PASSWORD + "x"}
    body: dict[str, Any] = {"data": form} if path.startswith("/console") else {"json": {"reason": "not mine"}}
    if route.startswith("PATCH"):
        body = {"json": {"role": "admin", "enabled": False}}
    if route.startswith("PUT"):
        body = {"json": {"operatorIds": [second.operator_id]}}
    if route.endswith("/ocmf-key"):
        body = {"json": {"publicKey": "0x" + "30" * 88}}
    if route.startswith("POST /api/v1/offers"):
        body = {"json": {}}
    before = state(house, first)
    answer = house.request(method, path, token=second.tokens["admin"], **body)
    assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text}"
    assert state(house, first) == before


def state(house: House, holding: Holding) -> list[Any]:
    """Everything of an operator that a caller could change."""
    with house.service.db.reading() as db:
        commands = db.query(Command).where(Command.operator_id == holding.operator_id).count()
        notes = db.query(AlarmNote).where(AlarmNote.operator_id == holding.operator_id).count()
        users = [(u.name, u.role, u.enabled, u.password_hash) for u in db.query(User).where(User.operator_id == holding.operator_id)]
        session = db.get_one(SessionRow, bytes.fromhex(holding.session[2:]))
        point, alarm = db.get_one(Point, holding.point_id), db.get_one(Alarm, holding.alarm_id)
        return [commands, notes, sorted(users), session.state, point.enabled, alarm.times]


def test_an_operators_administrator_makes_accounts_of_its_own_only(house: House, second: Holding) -> None:
    body = {"name": "intruder", "role": "admin", "password": PASSWORD}
    for operator_id in (0, 1):
        answer = house.request("POST", "/api/v1/users", token=second.tokens["admin"], json=body | {"operatorId": operator_id})
        assert answer.status_code == 403
    answer = house.request("POST", "/api/v1/operators", token=second.tokens["admin"], json={"name": "third", "payee": "0x" + "33" * 20})
    assert answer.status_code == 403
    listed = house.call("GET", "/api/v1/users", token=second.tokens["admin"])["items"]
    assert {user["operatorId"] for user in listed} == {second.operator_id}


def test_events_of_another_are_not_told(house: House, first: Holding, second: Holding) -> None:
    """Both listen while both meters read: each hears its own point only."""
    heard: dict[int, list[str]] = {1: [], 2: []}
    stop = threading.Event()

    def listen(holding: Holding, number: int) -> None:
        headers = {"Authorization": f"Bearer {holding.tokens['read-only']}"}
        with httpx2.stream("GET", f"{house.url}/api/v1/events", headers=headers, timeout=20) as answer:
            for line in answer.iter_lines():
                heard[number].append(line)
                if stop.is_set():
                    return

    threads = [threading.Thread(target=listen, args=(holding, number), daemon=True) for number, holding in ((1, first), (2, second))]
    for thread in threads:
        thread.start()
    eventually("both hellos", lambda: all(any("hello" in line for line in lines) for lines in heard.values()))
    for holding in (first, second):
        holding.agent.send(holding.agent.frame(holding.agent.record(rise=1_000, power=3_600_000)))

    def told(number: int, point_id: str) -> bool:
        return any(point_id in line for line in heard[number])

    eventually("both readings", lambda: told(1, first.point_id) and told(2, second.point_id))
    stop.set()
    for holding in (first, second):
        holding.agent.send(holding.agent.frame(holding.agent.record(rise=1_000, power=3_600_000)))
    for thread in threads:
        thread.join(10)
    assert not any(second.point_id in line for line in heard[1])
    assert not any(first.point_id in line for line in heard[2])


def test_an_account_of_the_installation_switches_operators(house: House, first: Holding, second: Holding) -> None:
    house.user("chief", "admin", 0)
    browser = house.browser("chief")
    assert first.point_id in browser.get("/console/points").text
    assert browser.post("/console/account/operator", {"operatorId": second.operator_id}).status_code == 303
    page = browser.get("/console/points").text
    assert second.point_id in page
    assert first.point_id not in page
    assert house.browser("admin.1").post("/console/account/operator", {"operatorId": second.operator_id}).status_code == 409
