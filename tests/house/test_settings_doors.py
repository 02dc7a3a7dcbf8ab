"""The settings files of agent and service: whatever is in them is read, or refused by one kind of error that names the setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from backend.errors import Misconfigured
from backend.settings import Settings, load_settings
from meter_agent.config import Config, load_config
from onsite.errors import ConfigError

QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=30),
    st.sampled_from(["0x" + "11" * 20, "0x" + "22" * 32, "::1:x", "/"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text("abc", min_size=1, max_size=3), SCALARS, max_size=2))
GOOD_AGENT: dict[str, Any] = {
    "device": "0x" + "11" * 32, "channel": 1, "placement": "Stall 7", "ratedWatts": 3_680, "meter": "m", "relay": "r",
    "serviceUrl": "https://service.example", "serviceKey": "0x" + "22" * 20, "controlKey": "0x" + "33" * 20, "chainId": 31_337,
    "escrow": "0x" + "44" * 20, "registry": "0x" + "55" * 20, "maxLockMicro": 10_000_000,
}  # fmt: skip


def toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(value), repr(value))
    if isinstance(value, str):
        return json.dumps(value.replace("\x7f", ""))
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(item)}" for name, item in value.items()) + "}"
    return str(value)


def names_of(model: type[BaseModel], *, camel: bool) -> list[str]:
    return [(field.alias if camel else None) or name for name, field in model.model_fields.items()]


def agent(path: Path) -> str:
    """What is wrong with an agent's settings; nothing if they are read."""
    try:
        load_config(path)
    except ConfigError as refused:
        return str(refused)
    return ""


def service(path: Path) -> str:
    """What is wrong with a service's settings; nothing if they are read."""
    try:
        load_settings(path)
    except Misconfigured as refused:
        return str(refused)
    return ""


@QUIET
@given(st.binary(max_size=300))
@pytest.mark.parametrize("read", [agent, service])
def test_any_bytes_are_settings_or_one_error(read: Callable[[Path], str], tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(raw)
    wrong = read(file)
    assert not wrong or str(file) in wrong


@QUIET
@given(st.sampled_from(names_of(Config, camel=True)), VALUES)
def test_any_value_of_any_setting_of_the_agent_is_taken_or_named(tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "agent.toml"
    lines = "".join(f"{key} = {toml(each)}\n" for key, each in (GOOD_AGENT | {name: value}).items())
    file.write_text(lines, encoding="utf-8", errors="replace")
    wrong = agent(file)
    assert not wrong or name in wrong or "not TOML" in wrong


@QUIET
@given(st.sampled_from(names_of(Settings, camel=False)), VALUES)
def test_any_value_of_any_setting_of_the_service_is_taken_or_named(tmp_path: Path, name: str, value: Any) -> None:
    file = tmp_path / "service.toml"
    file.write_text(f"{name} = {toml(value)}\n", encoding="utf-8", errors="replace")
    wrong = service(file)
    assert not wrong or name in wrong or "not TOML" in wrong


@pytest.mark.parametrize("read", [agent, service])
def test_what_is_no_file_is_named(read: Callable[[Path], str], tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.toml", tmp_path):
        assert str(path) in read(path)
