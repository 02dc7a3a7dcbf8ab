"""Changing keys: a new control key the agent obeys from now on, and a new meter key it signs with.

A control key is replaced by a `KeyRotation` signed by the old key and the new, or, where the old one is lost, by the
owner's and the operator's key that `agent.toml` names. The new key's numbers start at 1; grants and commands of the
old one are void, so a running session ends with a last charge. A meter key is rotated at the device, with the agent
stopped and no session open.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onsite.errors import ConfigError
from onsite.keyfile import write_durably
from protocol.control import KeyRole, KeyRotation
from protocol.eip712 import control_domain, digest, from_json, hex_bytes, to_json
from protocol.errors import ProtocolError
from protocol.keys import SIGNATURE_SIZE, Signer, recover_address

from .config import Config
from .enrolment import bind, read_identity
from .errors import Refused
from .journal import Journal
from .keystore import Keystore
from .state import State

ROTATION_VALID_S = 7 * 86_400


def check_control(document: Any, state: State, config: Config, now_s: int) -> KeyRotation:
    """The rotation of an event `{"rotation": {…}, "signatures": [two]}`. Raises `Refused` or `Malformed`."""
    if type(document) is not dict or type(document.get("signatures")) is not list or len(document["signatures"]) != 2:
        raise Refused("rotation", 'a rotation event is {"rotation": {…}, "signatures": [two signatures]}')
    rotation = from_json(KeyRotation, document.get("rotation"))
    if (rotation.device, rotation.role) != (config.device, KeyRole.CONTROL):
        raise Refused("rotation", "the rotation is for another device, or not of the control key")
    if rotation.old_key != state.control_key:
        raise Refused("rotation", f"the rotation replaces 0x{rotation.old_key.hex()}, this agent obeys 0x{state.control_key.hex()}")
    if rotation.new_key in (bytes(20), rotation.old_key):
        raise Refused("rotation", "the rotation names no new key")
    if now_s > rotation.deadline_s:
        raise Refused("rotation", f"the rotation was good until {rotation.deadline_s}, it is {now_s}")
    identity = digest(control_domain(config.chain_id, config.registry), rotation)
    signatures = [hex_bytes(raw, SIGNATURE_SIZE, f"signatures[{i}]") for i, raw in enumerate(document["signatures"])]
    try:
        signers = {recover_address(identity, signature) for signature in signatures}
    except ProtocolError as error:
        raise Refused("rotation", str(error)) from None
    by_both = {rotation.old_key, rotation.new_key}
    by_people = {config.owner_key, config.operator_key} if config.owner_key and config.operator_key else None
    if signers != by_both and (by_people is None or len(by_people) < 2 or signers != by_people):
        raise Refused("rotation", "signed neither by the old and the new key, nor by the owner and the operator this agent was told of")
    return rotation


def rotate_meter_key(directory: Path, passphrase: bytes, config: Config, deadline_s: int) -> dict[str, Any]:
    """Make a new meter key, put it in place, and write `rotation.json`: the KeyRotation signed by both keys, and the
    new binding.

    Raises `ConfigError` while a session is open here, `LogFailed` while the agent runs.
    """
    journal = Journal(directory / "log", State(control_key=config.control_key, enrolled_key=config.control_key))
    try:
        if journal.state.live is not None:
            session = journal.state.live.session.hex()
            raise ConfigError(f"session 0x{session} is open here: let it end first (a DISCONNECT command ends it), then rotate")
        keystore = Keystore(directory / "keys")
        old, new = keystore.meter(passphrase), Signer.create()
        rotation = KeyRotation(config.device, KeyRole.METER, old.address, new.address, journal.tip.previous_frame, deadline_s)
        identity = digest(control_domain(config.chain_id, config.registry), rotation)
        signatures = ["0x" + signer.sign(identity).hex() for signer in (old, new)]
        document = {"rotation": to_json(rotation), "signatures": signatures}
        public = read_identity(directory)
        public["meterKey"] = "0x" + new.address.hex()
        public["binding"] = bind(config.device, new, config.chain_id, config.registry, deadline_s)
        # The new key is on the disk before anything names it; until identity.json says so the old one is beside it.
        write_durably(directory / "rotation.json", (json.dumps(document, indent=1) + "\n").encode(), 0o644)
        keystore.replace_meter(new, passphrase, old.address.hex())
        write_durably(directory / "identity.json", (json.dumps(public, indent=1) + "\n").encode(), 0o644)
        return document
    finally:
        journal.close()
