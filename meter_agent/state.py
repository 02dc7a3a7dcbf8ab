"""What the agent must remember across restarts, besides its frames: small, written whole into the log whenever it
changes.

Documents that came from outside (grants, payments) are kept as they came, so that the signature over them can be
shown again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from onsite.errors import LogDamaged
from onsite.log import Position
from onsite.settings import Address, Bytes32, Strict
from protocol.control import Cause

KEPT_ANSWERS = 32
"""Commands whose confirmation is kept to be repeated: the service retries one at a time, each under a new number."""
KEPT_ENDED = 256
"""Ended sessions remembered at most. Each is forgotten earlier, once its terms' latest end has passed and its grant
with it.
"""


class Phase(StrEnum):
    """Where the point's one session stands. No session: `State.live` is None; ended ones are in `State.ended`."""

    GRANTED = "granted"
    READY = "ready"
    SUPPLYING = "supplying"
    ENDING = "ending"


class IllegalTransition(AssertionError):
    """A step the table does not have: a fault in this program, never in its input."""


TRANSITIONS: dict[tuple[Phase | None, str], Phase | None] = {
    (None, "grant"): Phase.GRANTED,
    (Phase.GRANTED, "isolated"): Phase.READY,  # measured disconnected: a nonce has been issued
    (Phase.GRANTED, "abandon"): None,  # ended without ever starting
    (Phase.GRANTED, "end"): Phase.ENDING,  # ended while suspended
    (Phase.READY, "reconnect"): Phase.SUPPLYING,
    (Phase.READY, "abandon"): None,
    (Phase.READY, "end"): Phase.ENDING,
    (Phase.SUPPLYING, "suspend"): Phase.GRANTED,  # supply dropped out by itself: only RECONNECT closes a contact
    (Phase.SUPPLYING, "end"): Phase.ENDING,
    (Phase.ENDING, "stopped"): None,
}


def following(phase: Phase | None, step: str) -> Phase | None:
    """The phase after a step. Raises `IllegalTransition`."""
    try:
        return TRANSITIONS[phase, step]
    except KeyError:
        raise IllegalTransition(f"no step {step!r} from {phase}") from None


class Live(Strict):
    """The session this point serves. `granted` is the grant event with the highest number, as received."""

    session: Bytes32
    granted: dict[str, Any]
    phase: Phase
    charge_index: int | None  # of our charge key in metered mode
    start: Position | None = None  # where in the log the START frame begins; None before supply began
    first_sequence: int | None = None
    cause: Cause = Cause.NONE
    ending_since_s: int = 0
    payment: dict[str, Any] | None = None  # payment mode: the highest payment, signature and all
    confirmation: dict[str, Any] | None = None  # the last thing said about supply in this session


class Ended(Strict):
    """A session that is over. `confirmation` repeats what was measured when it ended, None if it never started."""

    session: Bytes32
    latest_end_s: int
    cause: Cause
    confirmation: dict[str, Any] | None


class Answer(Strict):
    """The confirmation given to a command, by the command's digest."""

    command: Bytes32
    confirmation: dict[str, Any]


class State(Strict):
    """The whole of it. `highest_number` is the highest grant or command number of `control_key` that was obeyed."""

    control_key: Address
    enrolled_key: Address  # the control key agent.toml named when this state began
    highest_number: int = 0
    live: Live | None = None
    ended: tuple[Ended, ...] = ()
    answers: tuple[Answer, ...] = ()
    unsent: tuple[dict[str, Any], ...] = ()  # confirmations the service has not taken yet, oldest first
    charge_index: int = 0  # the next unused charge key

    def with_(self, **changes: Any) -> State:
        """A changed copy."""
        return self.model_copy(update=changes)

    def encode(self) -> bytes:
        """For the log."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def decode(cls, raw: bytes) -> State:
        """From the log."""
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            faults = error.error_count()
            raise LogDamaged(f"the log's state is not this program's ({faults} faults): was it written by a newer version?") from None
