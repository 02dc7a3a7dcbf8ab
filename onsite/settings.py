"""Settings files in TOML, strict: an unknown or misspelt name is an error that names it."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from protocol.eip712 import hex_bytes
from protocol.errors import Malformed

from .errors import ConfigError


def _parser(size: int) -> BeforeValidator:
    def parse(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return hex_bytes(value, size, "")
        except Malformed as error:
            raise ValueError(error.what) from None

    return BeforeValidator(parse)


_HEX = PlainSerializer(lambda raw: "0x" + raw.hex())
Bytes32 = Annotated[bytes, _parser(32), _HEX]
Address = Annotated[bytes, _parser(20), _HEX]


class Strict(BaseModel):
    """Names in camelCase outside, snake_case inside; no other names; no value changed silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True)


def service_url(url: str) -> str:
    """The address of a service, without a slash at the end; https, but for this machine. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL such as https://service.example")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must not carry a user, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, except on this machine itself (127.0.0.1, localhost)")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


MAX_SETTINGS_BYTES = 1 << 20
Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(path: Path, cls: type[Settings], example: str) -> Settings:
    """The settings in a file. Raises `ConfigError` naming every setting that is wrong; `example` is the page that shows such a file."""
    try:
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise ConfigError(f"{path} is not a settings file ({path.stat().st_size} bytes)")
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; {example}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        return cls.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_complaint(path, item) for item in error.errors())) from None


def line_url(url: str, base: Path) -> str:
    """A serial device in a settings file in `base`: URLs (`socket://…`) as they are, paths made absolute."""
    return url if "://" in url else str(base / url)


def _complaint(path: Path, item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "the file"
    what = {"missing": "is missing", "extra_forbidden": "is not a setting"}.get(item["type"], item["msg"])
    return f"{path}: {where}: {what}"
