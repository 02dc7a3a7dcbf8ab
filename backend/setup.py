"""`init`: keys, token and settings in a new folder."""

from __future__ import annotations

import secrets
from pathlib import Path

from .hexes import to_hex
from .store.keyring import create_key, write_private

_SETTINGS = """\
# Settings of the Wattproof service. Paths are relative to this file; secrets are in files of their own (0600).
listen = "127.0.0.1:8400"          # loopback; put a TLS proxy in front before you open it to others
public_url = ""                    # https://power.example: how browsers reach the console, if not under `listen`
database_url = ""                  # empty: SQLite in state_dir; or postgresql+psycopg://user@host/name for several processes
state_dir = "state"
operator_name = "operator"

[chain]
rpc_url = "{rpc_url}"
deployment_file = "{deployment}"
confirmations = 2                  # blocks on top of a block before money moves in the books

[settlement]
epoch_seconds = 300                # frames are anchored this often
claim_amount_micro = 1000000       # a running session is claimed from this much on, or after claim_age_seconds
claim_age_seconds = 86400

[terms]
session_seconds = 2678400
stop_grace_seconds = 300
close_delay_seconds = 3600
close_delay_blocks = 30
start_within_seconds = 900

[blind]                            # how far a session goes on while the chain is not heard
milliwatt_hours = 0
seconds = 0

# [rails.card]                     # a payment provider; see docs/operations.md
# url = "https://api.stripe.com"
# api_key_file = "card.key"
# webhook_secret_file = "card.webhook"
# currency = "eur"

# [alarms.mail]
# host = "mail.example"
# sender = "wattproof@example"
# to = ["operator@example"]
# [alarms.webhook]
# url = "https://example/hook"
# secret_file = "webhook.secret"
"""
_ROLES = {
    "service": "signs receipts; agents pin it",
    "control": "seed of the control keys, one a device",
    "sender": "sends transactions: anchorer, operator and payee",
    "till": "mints and burns tokens where there are rails; else unused",
}


def initialize(directory: Path, rpc_url: str, deployment: Path) -> None:
    """Make everything a service needs besides chain and contracts. Raises `Misconfigured` where a file exists."""
    (directory / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / "state").mkdir(exist_ok=True, mode=0o700)
    passphrase = secrets.token_hex(32)
    write_private(directory / "passphrase", passphrase + "\n")
    write_private(directory / "operator.token", secrets.token_urlsafe(32) + "\n")
    print(f"settings  {directory / 'service.toml'}")
    for role, what in _ROLES.items():
        key = create_key(directory / "keys" / f"{role}.json", passphrase)
        print(f"{role:9} {to_hex(key.address)}  {what}")
    target = directory / "service.toml"
    write_private(target, _SETTINGS.format(rpc_url=rpc_url, deployment=deployment))
    print("The sender needs the chain's coin for gas, and must be admitted as operator (python -m chain deploy --operator …).")
    print(f"The passphrase is in {directory / 'passphrase'}: keep it away from the folder's backups.")
