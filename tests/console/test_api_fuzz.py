"""Every documented call, fuzzed from its own OpenAPI: no 5xx, no status, content type or body that the document does not name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.console.house import Holding, House, furnish

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
STREAMS = ["/api/v1/events", "/api/v1/agents/{device}/stream", "/api/v1/sessions/{session}/stream"]
"""They do not end by themselves; test_events.py reads them."""
EXAMPLES = 5
"""For each call. The long run takes more."""
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
schema = schemathesis.openapi.from_path(str(COMMITTED)).exclude(path=STREAMS)


def bounded(examples: int) -> Any:
    return settings(
        max_examples=examples, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate], database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(house: House) -> Iterator[Holding]:
    """An operator of its own: whatever the calls end, switch off or disable is not another test's."""
    holding = furnish(house, house.operator("Fuzzed"))
    yield holding
    holding.agent.close()


def hold_to_its_word(case: Any, house: House, holding: Holding) -> None:
    """Real ids half of the time: what never gets past `not found` tests little."""
    real = {
        "point_id": holding.point_id, "session": holding.session, "epoch_id": holding.epoch_id, "tariff_hash": holding.tariff_hash,
        "offer_hash": holding.offer_hash, "address": holding.wallet,
    }  # fmt: skip
    if case.path_parameters and len(str(case.path_parameters)) % 2:
        case.path_parameters = {name: real.get(name, value) for name, value in case.path_parameters.items()}
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {holding.tokens['admin']}"}
    case.cookies = {}
    # Without a chain this house is not ready, and what asks the chain says so with 503: as its document says.
    checks = CHECKS[1:] if case.path in ("/readyz", "/api/v1/wallets/{address}") else CHECKS
    case.call_and_validate(base_url=house.url, checks=checks, timeout=20)


@schema.parametrize()
@bounded(EXAMPLES)
def test_no_call_breaks_its_word(case: Any, house: House, fuzzed: Holding) -> None:
    hold_to_its_word(case, house, fuzzed)


@pytest.mark.slow
@schema.parametrize()
@bounded(60)
def test_no_call_breaks_its_word_at_length(case: Any, house: House, fuzzed: Holding) -> None:
    hold_to_its_word(case, house, fuzzed)


def test_what_fuzzing_left_still_balances(house: House, fuzzed: Holding) -> None:
    assert house.call("GET", "/api/v1/ledger", token=fuzzed.tokens["auditor"])["balanced"]


def test_a_number_beyond_64_bits_in_a_path_is_a_bad_request(house: House) -> None:
    """Found by the long run: it used to reach the database and fail there."""
    for path in ("/api/v1/hand-overs/26121736825384873984/approve", "/api/v1/alarms/9223372036854775808/acknowledge"):
        assert house.request("POST", path, token=house.token).status_code == 422
