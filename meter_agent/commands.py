"""Which supply command is obeyed: the rules of switching, as one pure function.

- DISCONNECT never expires and asks for nothing but a valid signature and a number above the highest obeyed.
- RECONNECT names the live session, answers the nonce just issued, expires in seconds, and is refused while an
  interlock stands.
- Numbers strictly rise per control key, by at most `MAX_NUMBER_STEP` at once; grants and commands share them.
- The same command again gets the same confirmation and does nothing. An older one is ignored.
- A command for a session that has ended here never touches the next session's supply: it is answered with how supply
  stands, after a DISCONNECT has been tried again where nobody is supplied.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple

from protocol.control import MAX_NUMBER_STEP, Action, SupplyCommand
from protocol.eip712 import control_domain, digest, from_json, hex_bytes
from protocol.errors import BadSignature
from protocol.hashing import ZERO32
from protocol.keys import SIGNATURE_SIZE, check_signature

from .config import Config
from .errors import Refused
from .state import Phase, State

MAX_RECONNECT_S = 60
"""A RECONNECT that is valid for longer than this could be kept back and sprung on somebody who is working on the
wires.
"""


class Do(Enum):
    """What a valid command asks of this agent now."""

    DISCONNECT = auto()
    RECONNECT = auto()
    REFUSE = auto()  # valid, but must not be obeyed: the number is spent, the answer says DISCONNECTED
    REPEAT = auto()  # answer again what was answered
    ENDED = auto()  # for a session that is over here


class Verdict(NamedTuple):
    """`why` explains a refusal. `again` is the confirmation to repeat."""

    do: Do
    command: SupplyCommand
    digest: bytes
    why: str = ""
    again: dict[str, Any] | None = None


def judge(document: Any, state: State, config: Config, now_s: int, nonce: bytes, interlock: str) -> Verdict:
    """What to do about a command. `nonce` is the one just issued (empty: none); `interlock` why reconnecting is
    unsafe (empty: it is not).

    Raises `Malformed` for what is no command and `Refused` for one that is ignored: wrong key, other point, stale or
    leaping number.
    """
    fields = {name: value for name, value in document.items() if name != "signature"} if isinstance(document, dict) else document
    command = from_json(SupplyCommand, fields)
    signature = hex_bytes(document.get("signature"), SIGNATURE_SIZE, "SupplyCommand.signature")
    identity = digest(control_domain(config.chain_id, config.registry), command)
    try:
        check_signature(identity, signature, state.control_key)
    except BadSignature as error:
        raise Refused("signature", f"the command is not signed by this point's control key: {error}") from None
    if (command.device, command.channel) != (config.device, config.channel):
        raise Refused("point", "the command is for another device or channel")
    if command.action not in (Action.DISCONNECT, Action.RECONNECT):
        raise Refused("action", f"there is no action {command.action}")
    for answer in state.answers:
        if answer.command == identity:
            return Verdict(Do.REPEAT, command, identity, again=answer.confirmation)
    if command.number <= state.highest_number:
        raise Refused("number", f"number {command.number} is not above {state.highest_number}, the highest obeyed")
    if command.number > state.highest_number + MAX_NUMBER_STEP:
        raise Refused("number", f"number {command.number} is more than {MAX_NUMBER_STEP} above {state.highest_number}")
    ended = next((ended for ended in state.ended if ended.session == command.session and command.session != ZERO32), None)
    if ended is not None and (state.live is None or state.live.session != command.session):
        return Verdict(Do.ENDED, command, identity, "the session has ended here", ended.confirmation)
    if command.action == Action.DISCONNECT:
        return Verdict(Do.DISCONNECT, command, identity)
    why = _why_not_reconnect(command, state, now_s, nonce, interlock)
    return Verdict(Do.REFUSE if why else Do.RECONNECT, command, identity, why)


def _why_not_reconnect(command: SupplyCommand, state: State, now_s: int, nonce: bytes, interlock: str) -> str:
    live = state.live
    if live is None or live.session != command.session:
        return "the command names a session this point does not serve"
    if live.phase is not Phase.READY:
        return f"the session is {live.phase.value}, not ready"
    if not nonce or command.nonce != nonce:
        return "the command does not answer the nonce just issued"
    if not now_s < command.expires_at_s <= now_s + MAX_RECONNECT_S:
        return f"the command expires at {command.expires_at_s}, it is {now_s} (at most {MAX_RECONNECT_S} s ahead are taken)"
    return interlock
