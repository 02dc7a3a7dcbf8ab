"""The HTTP doors, over real HTTP: problems by name, limits, tokens, idempotency keys, nothing readable without its token."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from backend.app import build
from backend.store.keyring import write_private
from tests.service.bench_agent import DIGITS, PLACEMENT, POLICY, RATED_WATTS, SERIAL, STEP, TARIFF, Meter
from tests.service.inside import Inside

TOKEN = {"Authorization": "Bearer a-token"}


@pytest.fixture
def inside_door(tmp_path: Path) -> Iterator[tuple[Inside, TestClient]]:
    inside = Inside(tmp_path)
    write_private(tmp_path / "operator.token", "a-token\n")
    with TestClient(build(inside.service, with_loops=False), raise_server_exceptions=False) as client:
        yield inside, client


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "where"} <= document.keys()
    assert "Traceback" not in answer.text
    return document


def new_point(meter: Meter, tariff_hash: str) -> dict[str, Any]:
    return {
        "device": "0x" + meter.device.hex(), "channel": 1, "name": "Door", "placement": PLACEMENT, "serial": SERIAL,
        "meterKey": "0x" + meter.meter_key.address.hex(), "ratedWatts": RATED_WATTS, "tariffHash": tariff_hash, "policy": POLICY,
        "registerDigits": DIGITS, "stepMilliwattHours": STEP,
    }  # fmt: skip


def test_points_and_tariffs_are_the_operators(inside_door: tuple[Inside, TestClient]) -> None:
    _, client = inside_door
    assert problem(client.post("/api/v1/tariffs", json={"document": TARIFF}), 401)["where"] == "Authorization"
    assert problem(client.post("/api/v1/tariffs", json={"document": TARIFF}, headers={"Authorization": "Bearer other"}), 401)
    tariff_hash = client.post("/api/v1/tariffs", json={"document": TARIFF}, headers=TOKEN).json()["tariffHash"]
    assert problem(client.post("/api/v1/tariffs", json={"document": TARIFF | {"version": 0}}, headers=TOKEN), 400)["where"] == "version"
    meter = Meter()
    body = new_point(meter, tariff_hash)
    first = client.post("/api/v1/points", json=body, headers=TOKEN)
    assert first.status_code == 200
    assert client.post("/api/v1/points", json=body, headers=TOKEN).json()["pointId"] == first.json()["pointId"]
    assert problem(client.post("/api/v1/points", json=body | {"ratedWatts": 1}, headers=TOKEN), 409)["where"] == "rated_watts"
    assert problem(client.post("/api/v1/points", json=body | {"extra": 1}, headers=TOKEN), 422)["where"] == "body.extra"
    assert problem(client.post("/api/v1/points", json=body | {"channel": 1.5}, headers=TOKEN), 422)
    odd = body | {"policy": POLICY | {"mode": "odd"}}
    assert problem(client.post("/api/v1/points", json=odd, headers=TOKEN), 400)["where"].startswith("policy.mode")
    page = client.get("/api/v1/points?limit=1", headers=TOKEN).json()
    assert page["items"][0]["pointId"] == page["next"]
    assert client.get(f"/api/v1/points?limit=1&after={page['next']}", headers=TOKEN).json() == {"items": [], "next": None}
    problem(client.get("/api/v1/points/none", headers=TOKEN), 404)


def test_an_idempotency_key_gives_the_same_answer_and_no_second_quote(inside_door: tuple[Inside, TestClient]) -> None:
    inside, client = inside_door
    point = inside.enrol(Meter())
    me = "0x" + inside.payer.address.hex()
    body = {"pointId": point, "payer": me, "refundTo": me, "metered": True, "lockMicro": 1_000}
    key = {"Idempotency-Key": "one"}
    first = client.post("/api/v1/quotes", json=body, headers=key)
    again = client.post("/api/v1/quotes", json=body, headers=key)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert client.post("/api/v1/quotes", json=body).json()["quoteId"] != first.json()["quoteId"]
    assert problem(client.post("/api/v1/quotes", json=body | {"lockMicro": 2}, headers=key), 409)["where"] == "Idempotency-Key"


def test_a_session_is_read_with_its_own_token_only(inside_door: tuple[Inside, TestClient]) -> None:
    inside, client = inside_door
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    path = "/api/v1/sessions/0x" + session.session.hex()
    own = {"Authorization": f"Bearer {inside.service.access_token(session.session)}"}
    for call in ("", "/bill", "/bundle"):
        problem(client.get(path + call), 401)
        problem(client.get(path + call, headers={"Authorization": "Bearer 00"}), 401)
        assert client.get(path + call, headers=own).status_code == 200
        assert client.get(path + call, headers=TOKEN).status_code == 200
    assert client.get(path + "/bill", headers=own).json()["totalMicro"] == session.row().bill_micro
    problem(client.get("/api/v1/sessions/0x" + "00" * 32, headers=TOKEN), 404)
    problem(client.get("/api/v1/sessions/nonsense", headers=TOKEN), 404)


def test_bodies_have_a_limit_and_odd_ones_an_answer(inside_door: tuple[Inside, TestClient]) -> None:
    _, client = inside_door
    problem(client.post("/api/v1/tariffs", content=b"x" * 300_000, headers=TOKEN | {"Content-Type": "application/json"}), 413)
    for body in (b"", b"{", b"[]", b'{"frames":1}', b'{"frames":[],"x":1}', b"\xff\xfe", b'{"frames":' + b"[" * 5_000):
        problem(client.post("/api/v1/frames", content=body), 400)
    odd = client.post("/api/v1/frames", content=b'{"frames":[{}, 5, null],"charges":[{"session":7}],"ocmf":[{"a":1}]}').json()
    assert [item["code"] for item in odd["refused"]] == ["malformed", "malformed", "malformed", "charge", "ocmf"]
    problem(client.post("/api/v1/frames", content=b'{"frames":[' + b",".join([b"{}"] * 1_001) + b"]}"), 400)


def test_a_stream_takes_a_fresh_hello_once(inside_door: tuple[Inside, TestClient]) -> None:
    inside, client = inside_door
    meter = Meter()
    inside.enrol(meter)
    path = f"/api/v1/agents/0x{meter.device.hex()}/ready"
    body = {"session": "0x" + "00" * 32, "nonce": "0x" + "00" * 32}
    problem(client.post(path, json=body), 401)
    hello = meter.hello(inside.service.control)
    problem(client.post(path, json=body, headers=hello), 404)  # known, and there is no such session
    old = meter.hello(inside.service.control, at_s=int(time.time()) - 100)
    assert "clock" in problem(client.post(path, json=body, headers=old), 401)["detail"]
    stranger = Meter()
    stranger.device = meter.device
    problem(client.post(path, json=body, headers=stranger.hello(inside.service.control)), 401)
    problem(client.post(path, json=body, headers={"Authorization": "Wattproof !!!"}), 401)


def test_openapi_names_every_call(inside_door: tuple[Inside, TestClient]) -> None:
    _, client = inside_door
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert {"/api/v1/frames", "/api/v1/quotes", "/api/v1/sessions/{session}/bundle", "/readyz"} <= paths.keys()
    assert client.get("/healthz").json() == {"status": "alive"}
    assert b"wattproof_sessions" in client.get("/metrics").content
    assert client.get("/readyz").status_code == 503  # no chain, no loops: and it says so
