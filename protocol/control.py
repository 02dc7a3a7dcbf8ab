"""The control structs: who may switch and how it is confirmed. Domain: chain and registry (`eip712.control_domain`).

DISCONNECT never expires. RECONNECT names a session, answers a nonce the agent has just issued and expires in seconds. Numbers strictly
rise per control key, by at most `MAX_NUMBER_STEP` at once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .eip712 import struct
from .hashing import document_hash as document_hash
from .money import Terms

MAX_NUMBER_STEP = 1_000_000
"""A stolen key cannot burn the number space in one command; an honest service never skips that many."""


class Action(IntEnum):
    DISCONNECT = 1
    RECONNECT = 2


class SupplyState(IntEnum):
    DISCONNECTED = 1
    CONNECTED = 2
    FAILED = 3


class Cause(IntEnum):
    """Why supply ended. 0 where it did not end."""

    NONE = 0
    PAYER_STOP = 1
    CREDIT = 2
    OPERATOR = 3
    FAULT = 4
    LOAD_FINISHED = 5
    NEVER_STARTED = 6
    LOST_COMMUNICATION = 7


class KeyRole(IntEnum):
    METER = 1
    CONTROL = 2


@struct(
    "SessionGrant(Terms terms,uint256 chainId,address escrow,uint64 lockMicro,uint64 creditMicro,uint64 creditMilliwattHours,"
    "bytes32 policyHash,uint64 number,uint64 validUntilS)"
)
class SessionGrant(NamedTuple):
    """The control key's leave to supply one session; a later number may only raise the lock or renew."""

    terms: Terms
    chain_id: int
    escrow: bytes
    lock_micro: int
    credit_micro: int
    credit_milliwatt_hours: int
    policy_hash: bytes
    number: int
    valid_until_s: int


@struct(
    "SupplyCommand(bytes32 device,uint32 channel,uint8 action,bytes32 session,uint64 number,bytes32 nonce,uint64 expiresAtS)"
)
class SupplyCommand(NamedTuple):
    device: bytes
    channel: int
    action: int
    session: bytes
    number: int
    nonce: bytes
    expires_at_s: int


@struct(
    "SupplyConfirmation(bytes32 device,uint32 channel,uint8 state,bytes32 session,uint64 highestNumber,bytes32 command,"
    "uint64 measuredAtS,bool auxiliaryOpen,uint32 voltageMillivolts,int64 powerMilliwatts,uint8 cause)"
)
class SupplyConfirmation(NamedTuple):
    """The meter key's word on what was *measured*, carrying the highest number obeyed."""

    device: bytes
    channel: int
    state: int
    session: bytes
    highest_number: int
    command: bytes
    measured_at_s: int
    auxiliary_open: bool
    voltage_millivolts: int
    power_milliwatts: int
    cause: int


@struct("AgentHello(bytes32 device,uint64 atS,bytes32 nonce)")
class AgentHello(NamedTuple):
    """Who opens the agent's stream, signed by the meter key."""

    device: bytes
    at_s: int
    nonce: bytes


@struct("KeyBinding(bytes32 device,uint8 role,address key,uint64 deadlineS)")
class KeyBinding(NamedTuple):
    """Signed by the key being bound: nobody registers a key that is not there."""

    device: bytes
    role: int
    key: bytes
    deadline_s: int


@struct("KeyRotation(bytes32 device,uint8 role,address oldKey,address newKey,bytes32 lastFrame,uint64 deadlineS)")
class KeyRotation(NamedTuple):
    """Signed by both keys, or by owner and operator where the old key is lost; `last_frame` is the old key's last."""

    device: bytes
    role: int
    old_key: bytes
    new_key: bytes
    last_frame: bytes
    deadline_s: int
