"""The keys a running service holds, one role each. See `keyring` for the files."""

from __future__ import annotations

from typing import NamedTuple

from protocol.keys import Signer

from ..settings import Settings
from .keyring import ControlKeys, load_key, read_secret


class ServiceKeys(NamedTuple):
    """`service` signs receipts, `control` grants and commands, `sender` transactions, `payee` closes and payouts.

    `till` mints, pays in and burns; None where there are no rails.
    """

    service: Signer
    control: ControlKeys
    sender: Signer
    payee: Signer
    further_payees: tuple[Signer, ...] = ()
    till: Signer | None = None

    @property
    def payees(self) -> dict[bytes, Signer]:
        """Every account whose key is here and that can send: it may be an operator's payee."""
        return {key.address: key for key in (self.sender, self.payee, *self.further_payees)}


def load_keys(settings: Settings) -> ServiceKeys:
    """All keys the settings name. Raises `Misconfigured`."""
    files = settings.keys
    passphrase = read_secret(settings.path(files.passphrase_file), "keys.passphrase_file")
    service = load_key(settings.path(files.service_file), passphrase, "keys.service_file")
    control = ControlKeys(load_key(settings.path(files.control_file), passphrase, "keys.control_file"))
    sender = load_key(settings.path(files.sender_file), passphrase, "keys.sender_file")
    payee = sender if files.payee_file is None else load_key(settings.path(files.payee_file), passphrase, "keys.payee_file")
    further = tuple(load_key(settings.path(file), passphrase, "keys.further_payee_files") for file in files.further_payee_files)
    till = load_key(settings.path(files.till_file), passphrase, "keys.till_file") if settings.rails else None
    return ServiceKeys(service, control, sender, payee, further, till)
