"""Making a device: its id, its keys, and the public file that enrols it.

`identity.json` holds nothing secret: `{"device","channel","meterKey"}` and, once chain and registry are known, the
key's own signature that it wants to be registered (`"binding": {"deadlineS","signature"}` of KeyBinding).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from onsite.errors import ConfigError
from onsite.keyfile import write_durably
from protocol.control import KeyBinding, KeyRole
from protocol.eip712 import control_domain, digest, hex_bytes
from protocol.errors import Malformed
from protocol.keys import Signer

from .keystore import Keystore

BINDING_VALID_S = 7 * 86_400
"""From init to the registration on the chain, where --deadline says nothing else."""


def bind(device: bytes, signer: Signer, chain_id: int, registry: bytes, deadline_s: int | None) -> dict[str, Any]:
    """The meter key's agreement to be registered for `device`."""
    deadline = deadline_s if deadline_s is not None else int(time.time()) + BINDING_VALID_S
    binding = KeyBinding(device, KeyRole.METER, signer.address, deadline)
    signature = signer.sign(digest(control_domain(chain_id, registry), binding))
    return {"deadlineS": deadline, "signature": "0x" + signature.hex(), "chainId": chain_id, "registry": "0x" + registry.hex()}


def read_identity(directory: Path) -> dict[str, Any]:
    """The public identity in a state folder. Raises `ConfigError`."""
    path = directory / "identity.json"
    try:
        identity = json.loads(path.read_text())
        hex_bytes(identity["device"], 32, "device")
        hex_bytes(identity["meterKey"], 20, "meterKey")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make it with: python -m meter_agent init --state {directory}") from None
    except (ValueError, KeyError, TypeError, Malformed):
        raise ConfigError(f"{path} is not an identity file; run init again, it keeps the keys") from None
    return dict(identity)


def initialise(
    directory: Path, passphrase: bytes, device: bytes | None, channel: int, binding: tuple[int, bytes, int | None] | None
) -> dict[str, Any]:
    """Make keys where there are none, and write `identity.json`. Running it again keeps keys and device id and renews
    the binding.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    keystore = Keystore(directory / "keys")
    if keystore.exists:
        before = read_identity(directory)
        known = hex_bytes(before["device"], 32, "device")
        if device is not None and device != known:
            raise ConfigError(f"{directory} is device {before['device']}; another device needs another state folder")
        device, channel = known, before["channel"]
        signer = keystore.meter(passphrase)
    else:
        device = device or os.urandom(32)
        # The id is written first: keys without a device id would be useless, an id without keys is completed by the next init.
        document = {"device": "0x" + device.hex(), "channel": channel, "meterKey": "0x" + bytes(20).hex()}
        write_durably(directory / "identity.json", (json.dumps(document, indent=1) + "\n").encode(), 0o644)
        signer = keystore.create(passphrase)
    identity: dict[str, Any] = {"device": "0x" + device.hex(), "channel": channel, "meterKey": "0x" + signer.address.hex()}
    if binding is not None:
        identity["binding"] = bind(device, signer, *binding)
    write_durably(directory / "identity.json", (json.dumps(identity, indent=1) + "\n").encode(), 0o644)
    return identity
