"""CSV exports: whole lists, exact integers, no formula, nothing of another operator (that: test_apart)."""

from __future__ import annotations

import csv
import io

import pytest

from backend.api.exports import EXPORTS, Noun
from backend.models import Point
from tests.console.house import Holding, House


def read(house: House, holding: Holding, path: str) -> list[dict[str, str]]:
    answer = house.request("GET", f"/api/v1/exports/{path}", token=holding.tokens["auditor"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.mark.parametrize("noun", list(Noun))
def test_every_export_has_its_columns_and_rows(house: House, first: Holding, noun: Noun) -> None:
    rows = read(house, first, f"{noun.value}.csv")
    assert rows
    assert tuple(rows[0]) == EXPORTS[noun].columns
    assert all(None not in row and None not in row.values() for row in rows)  # as many cells as columns


def test_a_points_name_cannot_become_a_formula(house: House, first: Holding) -> None:
    with house.service.db.writing() as db:
        point = db.get_one(Point, first.point_id)
        kept, point.name = point.name, '=HYPERLINK("https://evil.example","name")'
    try:
        row = next(row for row in read(house, first, "points.csv") if row["point"] == first.point_id)
        assert row["name"] == '\'=HYPERLINK("https://evil.example","name")'
    finally:
        with house.service.db.writing() as db:
            db.get_one(Point, first.point_id).name = kept


def test_exports_add_up(house: House, first: Holding) -> None:
    """What is exported is what the books say: transfers and accounts balance, the bill's lines make its total."""
    accounts = read(house, first, "accounts.csv")
    assert sum(int(row["debits_posted_micro"]) for row in accounts) == sum(int(row["credits_posted_micro"]) for row in accounts) > 0
    moved = sum(int(row["amount_micro"]) for row in read(house, first, "transfers.csv") if row["kind"] in ("posted", "post"))
    assert moved == sum(int(row["debits_posted_micro"]) for row in accounts)
    lines = read(house, first, f"bill.csv?session={first.session}")
    bill = house.call("GET", f"/api/v1/sessions/{first.session}/bill", token=first.tokens["auditor"])
    assert sum(int(line["amount_micro"]) for line in lines) == bill["totalMicro"]


def test_pages_follow_each_other_without_gap_or_repeat(house: House, first: Holding) -> None:
    for path, key in (("/api/v1/ledger/transfers", "transferId"), ("/api/v1/acts", "actId"), ("/api/v1/points", "pointId")):
        whole = house.call("GET", f"{path}?limit=200", token=first.tokens["auditor"])["items"]
        seen, after = [], ""
        while True:
            page = house.call("GET", f"{path}?limit=2&after={after}", token=first.tokens["auditor"])
            seen += [item[key] for item in page["items"]]
            if page["next"] is None:
                break
            after = page["next"]
        assert seen == [item[key] for item in whole]


def test_the_same_post_with_the_same_key_is_one(house: House, first: Holding) -> None:
    body = {"name": "made-once", "role": "read-only", "password": "a password long enough"}
    headers = {"Idempotency-Key": "a1"}
    answers = [house.request("POST", "/api/v1/users", token=first.tokens["admin"], json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    other = house.request("POST", "/api/v1/users", token=first.tokens["admin"], json=body | {"role": "auditor"}, headers=headers)
    assert other.status_code == 409
