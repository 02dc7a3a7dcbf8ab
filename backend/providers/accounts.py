"""The rails of the settings: `[rails.NAME]`, each with its provider and its secrets from 0600 files."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import Misconfigured, NotFound
from ..settings import RailSettings, Settings
from ..store.keyring import read_secret
from .rail import Rail, minor_of, rail_reference
from .stripe import StripeRail

MAX_SECRETS = 5
"""Lines of a webhook secret's file: the present one, the one before while it is rolled, and room for a mistake."""


class RailAccount(NamedTuple):
    """One rail, ready to be used. Holds secrets: never logged, never shown."""

    name: str
    settings: RailSettings
    rail: Rail
    webhook_secrets: tuple[str, ...]

    @property
    def reference(self) -> bytes:
        return rail_reference(self.name)

    def minor(self, amount_micro: int, where: str) -> int:
        """In the rail's minor units, exactly. Raises `BadRequest`."""
        return minor_of(amount_micro, self.settings.minor_unit_micro, where)

    def micro(self, amount_minor: int) -> int:
        return amount_minor * self.settings.minor_unit_micro

    def __repr__(self) -> str:
        return f"RailAccount({self.name})"


def load_rails(settings: Settings) -> dict[str, RailAccount]:
    """All rails the settings name. Raises `Misconfigured`."""
    found = {}
    for name, each in settings.rails.items():
        where = f"rails.{name}"
        key = read_secret(settings.path(each.api_key_file), f"{where}.api_key_file")
        secrets = tuple(read_secret(settings.path(each.webhook_secret_file), f"{where}.webhook_secret_file").split())
        if len(secrets) > MAX_SECRETS:
            raise Misconfigured(f"holds more than {MAX_SECRETS} secrets, one a line", f"{where}.webhook_secret_file")
        if len(key.split()) != 1 or not key.isascii():
            raise Misconfigured("holds one key on one line", f"{where}.api_key_file")
        found[name] = RailAccount(name, each, StripeRail(each.url, key, each.currency, each.return_url), secrets)
    return found


def rail_named(rails: dict[str, RailAccount], name: str) -> RailAccount:
    """Raises `NotFound`."""
    if name not in rails:
        raise NotFound("there is no rail of that name here", "rail")
    return rails[name]
