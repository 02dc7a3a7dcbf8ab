"""Keys on the device, the passphrase, the identity, and agent.toml."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from meter_agent.config import Config, load_config
from meter_agent.enrolment import initialise, read_identity
from meter_agent.keystore import Keystore
from onsite.errors import ConfigError, KeystoreError
from onsite.keyfile import read_passphrase
from protocol.control import KeyBinding, KeyRole
from protocol.eip712 import control_domain, digest
from protocol.keys import check_signature

PASSPHRASE = b"correct horse battery staple"


def test_keys_are_encrypted_private_and_never_replaced(tmp_path: Path) -> None:
    store = Keystore(tmp_path / "keys")
    meter = store.create(PASSPHRASE)
    for path in (tmp_path / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert meter.secret.hex() not in path.read_text()
        assert json.loads(path.read_text())["crypto"]["kdf"] == "scrypt"
    assert Keystore(tmp_path / "keys").meter(PASSPHRASE).address == meter.address
    with pytest.raises(KeystoreError, match="already holds keys"):
        store.create(PASSPHRASE)
    with pytest.raises(KeystoreError, match="wrong passphrase") as caught:
        store.meter(b"some other passphrase")
    assert meter.secret.hex() not in str(caught.value)


def test_key_files_others_can_read_are_refused(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    store.create(PASSPHRASE)
    (tmp_path / "meter.json").chmod(0o644)
    with pytest.raises(KeystoreError, match="chmod 600"):
        store.meter(PASSPHRASE)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"version": 3, "crypto": {}}', '{"version": 9}'])
def test_a_damaged_key_file_is_named(tmp_path: Path, content: str) -> None:
    store = Keystore(tmp_path)
    store.create(PASSPHRASE)
    (tmp_path / "meter.json").write_text(content)
    with pytest.raises(KeystoreError, match=r"meter\.json"):
        store.meter(PASSPHRASE)


def test_charge_keys_are_fresh_repeatable_and_not_the_meter_key(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    meter = store.create(PASSPHRASE)
    device = os.urandom(32)
    keys = store.charge_keys(PASSPHRASE)
    addresses = {keys.key(device, channel, index).address for channel in (1, 2) for index in range(5)}
    assert len(addresses) == 10
    assert meter.address not in addresses
    assert store.charge_keys(PASSPHRASE).key(device, 1, 3).address == keys.key(device, 1, 3).address
    assert repr(keys) == "ChargeKeys(…)"


def test_where_the_passphrase_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(PASSPHRASE + b"\n")
    file.chmod(0o600)
    assert read_passphrase(file, None) == PASSPHRASE
    with file.open("rb") as stream:
        assert read_passphrase(None, stream.fileno()) == PASSPHRASE
    with pytest.raises(KeystoreError, match="no passphrase"):
        read_passphrase(None, None)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "wattproof-agent").write_bytes(PASSPHRASE)
    (tmp_path / "wattproof-agent").chmod(0o400)
    assert read_passphrase(None, None) == PASSPHRASE
    file.chmod(0o644)
    with pytest.raises(KeystoreError, match="everybody"):
        read_passphrase(file, None)
    file.chmod(0o600)
    file.write_bytes(b"short")
    with pytest.raises(KeystoreError, match="12"):
        read_passphrase(file, None)
    with pytest.raises(KeystoreError, match="cannot be read"):
        read_passphrase(tmp_path / "nothing", None)


def test_init_keeps_keys_and_device_and_renews_the_binding(tmp_path: Path) -> None:
    first = initialise(tmp_path, PASSPHRASE, None, 3, None)
    registry = os.urandom(20)
    second = initialise(tmp_path, PASSPHRASE, None, 1, (31_337, registry, 2_000_000_000))
    assert {name: second[name] for name in first} == first
    assert read_identity(tmp_path) == second
    device, key = bytes.fromhex(first["device"][2:]), bytes.fromhex(first["meterKey"][2:])
    binding = KeyBinding(device, KeyRole.METER, key, 2_000_000_000)
    signature = bytes.fromhex(second["binding"]["signature"][2:])
    check_signature(digest(control_domain(31_337, registry), binding), signature, key)
    with pytest.raises(ConfigError, match="another state folder"):
        initialise(tmp_path, PASSPHRASE, os.urandom(32), 1, None)


def settings(**changes: object) -> str:
    values: dict[str, object] = {
        "device": "0x" + "11" * 32, "channel": 1, "placement": "Stall 7", "ratedWatts": 3_680, "meter": "bench/meter",
        "relay": "/dev/ttyUSB1", "serviceUrl": "https://service.example",
        "serviceKey": "0x" + "22" * 20, "controlKey": "0x" + "33" * 20, "chainId": 31_337,
        "escrow": "0x" + "44" * 20, "registry": "0x" + "55" * 20, "maxLockMicro": 10_000_000,
    }  # fmt: skip
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in (values | changes).items() if value is not None)


def load(tmp_path: Path, text: str) -> Config:
    (tmp_path / "agent.toml").write_text(text)
    return load_config(tmp_path / "agent.toml")


def test_settings_are_read_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, settings() + '[lostCommunication]\naction = "disconnect"\n')
    assert config.device == b"\x11" * 32
    assert (config.meter, config.relay) == (str(tmp_path / "bench/meter"), "/dev/ttyUSB1")
    assert config.lost_communication.action == "disconnect"
    assert config.keep_acknowledged_days == 30


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (settings(ratedWats=1), ["ratedWats", "is not a setting"]),
        (settings(device=None), ["device", "is missing"]),
        (settings(device="0x11"), ["device", "32 bytes"]),
        (settings(serviceUrl="http://service.example"), ["serviceUrl", "https"]),
        (settings(serviceUrl="https://user:secret@service.example"), ["serviceUrl", "password"]),
        (settings(serviceUrl="ftp://service.example"), ["serviceUrl", "http"]),
        (settings(chainId="31337"), ["chainId"]),
        (settings(ratedWatts=0), ["ratedWatts"]),
        (settings(keepAcknowledgedDays=7), ["keepAcknowledgedDays"]),
        (settings(ratedWatts=True), ["ratedWatts"]),
        ("this is not toml", ["is not TOML"]),
        (settings() + '[lostCommunication]\naction = "shrug"\n', ["lostCommunication.action"]),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for name in names:
        assert name in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        load_config(tmp_path / "agent.toml")
