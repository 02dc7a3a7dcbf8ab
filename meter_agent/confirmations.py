"""What the meter key says about supply and charge keys: confirmations of what was measured, and vouchers. Pure but
for the signing.
"""

from __future__ import annotations

from typing import Any

from protocol.control import Cause, SupplyConfirmation
from protocol.eip712 import EVIDENCE, control_domain, digest, from_json, hex_bytes, to_json
from protocol.errors import BadSignature
from protocol.evidence import ChargeKeyVoucher
from protocol.keys import SIGNATURE_SIZE, Signer, check_signature

from .config import Config
from .line import Disconnection, SupplyState
from .state import KEPT_ANSWERS, KEPT_ENDED, Answer, Ended, State

NOT_MEASURED_MILLIVOLTS = 2**32 - 1
"""A voltage the meter does not report: 0 would say *measured dead*."""


class Notary:
    """Signs for one point."""

    def __init__(self, config: Config, signer: Signer) -> None:
        self._device, self._channel = config.device, config.channel
        self._domain = control_domain(config.chain_id, config.registry)
        self._signer = signer

    def confirm(
        self, measured: Disconnection, at_s: int, *, session: bytes, highest_number: int, command: bytes, cause: Cause
    ) -> dict[str, Any]:
        """A signed SupplyConfirmation, as it is posted."""
        voltage, power = measured.voltage_millivolts, measured.power_milliwatts
        confirmation = SupplyConfirmation(
            self._device, self._channel, int(measured.state), session, highest_number, command, at_s,
            bool(measured.auxiliary_open), NOT_MEASURED_MILLIVOLTS if voltage is None else max(0, voltage), power or 0, int(cause),
        )  # fmt: skip
        return self._signed(confirmation)

    def said_again(self, document: dict[str, Any]) -> dict[str, Any]:
        """A confirmation of this point's own log, under the key it has now: the service knows no other."""
        confirmation = from_json(SupplyConfirmation, {name: value for name, value in document.items() if name != "signature"})
        signature = hex_bytes(document["signature"], SIGNATURE_SIZE, "SupplyConfirmation.signature")
        try:
            check_signature(digest(self._domain, confirmation), signature, self._signer.address)
        except BadSignature:
            return self._signed(confirmation)
        return document

    def _signed(self, confirmation: SupplyConfirmation) -> dict[str, Any]:
        return {**to_json(confirmation), "signature": "0x" + self._signer.sign(digest(self._domain, confirmation)).hex()}

    def vouch(self, charge_key: bytes, at_s: int) -> dict[str, Any]:
        """The meter key's word for a fresh charge key, as it is posted."""
        voucher = ChargeKeyVoucher(self._device, self._channel, charge_key, at_s)
        return {"voucher": to_json(voucher), "signature": "0x" + self._signer.sign(digest(EVIDENCE, voucher)).hex()}


def as_measured(on: bool, auxiliary_open: bool | None, voltage_millivolts: int | None, power_milliwatts: int | None) -> Disconnection:
    """The last looks at a point as a result, where nothing was switched."""
    state = SupplyState.CONNECTED if on else SupplyState.DISCONNECTED
    return Disconnection(state, auxiliary_open, voltage_millivolts, power_milliwatts, 0, 0, "")


def with_confirmation(state: State, document: dict[str, Any], command: bytes | None) -> State:
    """The state that owes this confirmation to the service and, where it answers a command, repeats it to that
    command.
    """
    changed = state.with_(unsent=(*state.unsent, document))
    if command is None:
        return changed
    others = tuple(answer for answer in state.answers if answer.command != command)
    answers = (*others, Answer(command=command, confirmation=document))
    return changed.with_(answers=answers[-KEPT_ANSWERS:])


def with_own_key(state: State, notary: Notary) -> State:
    """The state whose confirmations, owed or kept to be repeated, are under the meter key of now (which may have been
    rotated).
    """
    unsent = tuple(notary.said_again(document) for document in state.unsent)
    answers = tuple(one.model_copy(update={"confirmation": notary.said_again(one.confirmation)}) for one in state.answers)
    ended = tuple(
        one if one.confirmation is None else one.model_copy(update={"confirmation": notary.said_again(one.confirmation)})
        for one in state.ended
    )
    changed = (unsent, answers, ended) != (state.unsent, state.answers, state.ended)
    return state.with_(unsent=unsent, answers=answers, ended=ended) if changed else state


def with_ended(state: State, ended: Ended, now_s: int) -> State:
    """The state without a live session. Ended ones are remembered as long as a grant for them could still be valid."""
    kept = tuple(one for one in state.ended if one.latest_end_s >= now_s or one.session == ended.session)
    return state.with_(live=None, ended=(*kept, ended)[-KEPT_ENDED:])
