"""What needs no process: the cap's day, exact amounts, settings that are refused, secrets that stay in their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadRequest, Misconfigured
from backend.providers.accounts import load_rails
from backend.providers.rail import minor_of, receipt_of
from backend.rails.deposits import DAY_S, Room, room_left
from backend.settings import Settings, load_settings
from chain.client import MintLimit
from protocol.hashing import keccak

DAY = 20_000


def test_the_caps_day_is_utcs_and_counts_what_is_under_way() -> None:
    limit = MintLimit(bytes(20), 100, DAY, 70)
    last_second, first_second = (DAY + 1) * DAY_S - 1, (DAY + 1) * DAY_S
    assert room_left(limit, last_second, 20) == Room(100, 90)
    assert room_left(limit, last_second, 20).holds(10)
    assert not room_left(limit, last_second, 20).holds(11)
    assert room_left(limit, first_second, 0) == Room(100, 0)
    assert not room_left(limit, first_second, 1).holds(100)
    assert not room_left(limit._replace(cap_micro=0), first_second, 0).holds(1)


def test_amounts_divide_or_are_refused() -> None:
    assert minor_of(25_000_000, 10_000, "x") == 2_500
    with pytest.raises(BadRequest, match="take 20000 or 30000"):
        minor_of(29_999, 10_000, "x")
    assert receipt_of("card", "ch_1") == keccak(b"card\x00ch_1")


def a_rail(folder: Path, **changes: Any) -> Settings:
    for name, text in (("key", "sk_test_x\n"), ("hook", "whsec_a\nwhsec_b\n")):
        file = folder / name
        file.write_text(text)
        file.chmod(0o600)
    return Settings(base=folder, rails={"card": {"api_key_file": "key", "webhook_secret_file": "hook"} | changes})


def test_secrets_come_from_private_files_and_show_nowhere(tmp_path: Path) -> None:
    settings = a_rail(tmp_path)
    account = load_rails(settings)["card"]
    assert account.webhook_secrets == ("whsec_a", "whsec_b")
    assert "whsec" not in repr(account) + repr(settings)
    (tmp_path / "hook").chmod(0o640)
    with pytest.raises(Misconfigured, match="can be read by others"):
        load_rails(settings)


@pytest.mark.parametrize(
    "line", ['url = "http://provider.example"', 'currency = "EURO"', "minor_unit_micro = 0", 'kind = "odd"', 'api_key = "sk_live_x"']
)
def test_bad_settings_are_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "service.toml"
    file.write_text(f'[rails.card]\napi_key_file = "key"\nwebhook_secret_file = "hook"\n{line}\n')
    with pytest.raises(Misconfigured, match=r"rails\.card\."):
        load_settings(file)
    file.write_text('[rails."no name"]\napi_key_file = "key"\nwebhook_secret_file = "hook"\n')
    with pytest.raises(Misconfigured, match="rails"):
        load_settings(file)
