"""docs/openapi.json is what the code makes, and it names every call with every answer it may give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.__main__ import app as commands
from tests.console.house import House

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in json.loads(COMMITTED.read_text())["paths"].items()
    for method, operation in methods.items()
]


def test_the_committed_document_is_what_the_code_makes(tmp_path: Path) -> None:
    made = CliRunner().invoke(commands, ["openapi", "--out", str(tmp_path / "openapi.json")])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "openapi.json").read_text() == COMMITTED.read_text(), "run: python -m backend openapi"


def test_the_service_serves_the_same_document(house: House) -> None:
    assert house.request("GET", "/api/v1/openapi.json").json() == json.loads(COMMITTED.read_text())


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_every_call_says_what_it_is_for_and_how_it_refuses(name: str, operation: dict) -> None:  # type: ignore[type-arg]
    assert operation.get("description"), f"{name} has no docstring"
    for status in ("400", "404", "409", "422", "429", "503"):
        content = operation["responses"][status]["content"]
        assert "application/problem+json" in content or (status == "503" and name == "GET /readyz"), (name, status)
    if "security" in operation:
        assert {"401", "403"} <= set(operation["responses"])


def test_lists_page_the_same_way() -> None:
    """Every list takes limit and after, and answers items and next."""
    schemas = json.loads(COMMITTED.read_text())["components"]["schemas"]
    lists = [schema for name, schema in schemas.items() if name.startswith("PageAnswer")]
    assert len(lists) >= 10
    assert all(set(schema["properties"]) == {"items", "next"} for schema in lists)
