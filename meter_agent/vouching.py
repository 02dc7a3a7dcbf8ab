"""`python -m meter_agent vouch`: the meter key's word for a key of somebody who sells its energy by task.

The key is used by whoever proves energy to `TaskEscrow` (docs/decisions/tasks.md). It lets that key say which of this meter's
records pay which task; it can sign no reading, no charge and no command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onsite.errors import ConfigError
from protocol.eip712 import EVIDENCE, digest, hex_bytes, to_json
from protocol.evidence import ChargeKeyVoucher

from .enrolment import read_identity
from .keystore import Keystore


def vouch_for(state: Path, passphrase: bytes, key: bytes, at_s: int) -> dict[str, Any]:
    """`{"voucher":{…},"signature"}` by the meter key. Raises `ConfigError` if the state folder holds another meter key than it says."""
    identity = read_identity(state)
    signer = Keystore(state / "keys").meter(passphrase)
    if identity["meterKey"] != "0x" + signer.address.hex():
        raise ConfigError(f"{state / 'identity.json'} names another meter key than its key file; run init again to renew it")
    if key == signer.address or not any(key):
        raise ConfigError("--key: must be a key of its own, not the meter key and not zero")
    voucher = ChargeKeyVoucher(hex_bytes(identity["device"], 32, "device"), identity["channel"], key, at_s)
    return {"voucher": to_json(voucher), "signature": "0x" + signer.sign(digest(EVIDENCE, voucher)).hex()}
