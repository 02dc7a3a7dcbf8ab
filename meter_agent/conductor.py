"""What the service and the payer ask for, judged and carried out: grants, payments, commands; and what a session
needs from step to step.

Every request is judged by a pure module (`grants`, `commands`, `session`) and acted on here; the switching itself is
`supply`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import structlog

from protocol.control import Action, Cause
from protocol.evidence import Flag
from protocol.keys import Signer

from . import commands, grants
from . import rotation as rotations
from .clock import Clock
from .commands import Do, Verdict
from .config import Config
from .confirmations import Notary, with_own_key
from .journal import Journal
from .keystore import ChargeKeys
from .line import LineError
from .metering import Metering
from .session import Session
from .state import Live, Phase, following
from .stream import Courier
from .supply import LOOKS, Supply

DOOR = Flag.TAMPER | Flag.DOOR_OPEN | Flag.SEAL_BROKEN

logger = structlog.get_logger("wattproof.agent.session")


class Conductor:
    """Acts on events for the one point. Used by the measuring loop alone; raises `DiskFull`/`LogFailed` from the log."""

    def __init__(
        self, config: Config, clock: Clock, journal: Journal, metering: Metering, supply: Supply, notary: Notary, signer: Signer,
        charge_keys: ChargeKeys, courier: Courier, lock_out: Path,
    ) -> None:  # fmt: skip
        self._config, self._clock, self._journal, self._metering = config, clock, journal, metering
        self._supply, self._notary, self._meter_key = supply, notary, signer.address
        self._charge_keys, self._courier, self._lock_out = charge_keys, courier, lock_out
        self._nonce = b""

    @property
    def phase(self) -> Phase | None:
        """Where the session stands."""
        live = self._journal.state.live
        return live.phase if live else None

    def begin(self) -> None:
        """After a restart: what was owed is posted again, and what was ready must be measured ready anew."""
        state = with_own_key(self._journal.state, self._notary)
        if state is not self._journal.state:
            logger.warning("the meter key was changed: what the old one said and nobody took is said again")
            self._journal.save(state)
        for document in state.unsent:
            self._supply.post(document)
        if state.live is not None and state.live.phase is Phase.READY:
            self._journal.amend(state.with_(live=state.live.model_copy(update={"phase": Phase.GRANTED})))
        if state.enrolled_key != self._config.control_key:  # agent.toml was given another one by hand
            self.obey(self._config.control_key, self._config.control_key)

    def connected(self) -> None:
        """The stream is open (again): say what the service may have missed."""
        self._vouch()
        self._say_ready()

    def posted(self, key: str) -> None:
        """The service took a post."""
        state = self._journal.state
        unsent = tuple(document for document in state.unsent if document["signature"] != key)
        if len(unsent) != len(state.unsent):
            self._journal.amend(state.with_(unsent=unsent))

    def grant(self, document: dict[str, Any]) -> None:
        """A grant event. Raises `Refused` or `Malformed`."""
        state = self._journal.state
        live = state.live
        if live is not None and document == live.granted:
            self._say_ready()  # a repeat
            return
        mine = {self._charge_address(): state.charge_index}
        if live is not None and self._superseded(document, live):
            others = state.with_(live=None)
            grants.check(document, others, self._config, self._meter_key, self._clock.utc_s(), mine)
            self._supply.end(Cause.OPERATOR, "the control key granted another session while supply was off")
            state = self._journal.state
            live = state.live
        granted = grants.check(document, state, self._config, self._meter_key, self._clock.utc_s(), mine)
        state = state.with_(highest_number=granted.grant.number)
        if live is not None:
            self._journal.save(state.with_(live=live.model_copy(update={"granted": document})))
            if self._metering.session is not None:
                self._metering.session.renewed(granted)
            if live.phase is Phase.READY:  # whoever renews while supply is off has lost our nonce, or let it lapse
                self._issue_nonce()
            logger.info("grant renewed", session="0x" + granted.session.hex(), lock_micro=granted.grant.lock_micro)
            return
        index = state.charge_index if granted.terms.metered else None
        live = Live(session=granted.session, granted=document, phase=following(None, "grant") or Phase.GRANTED, charge_index=index)
        self._journal.save(state.with_(live=live, charge_index=state.charge_index + granted.terms.metered))
        self._metering.swapped = False
        self._metering.session = Session(live, self._metering.modulus_milliwatt_hours)
        logger.info("granted", session="0x" + granted.session.hex(), lock_micro=granted.grant.lock_micro, metered=granted.terms.metered)
        if index is not None:
            self._vouch()
        self.settle()

    def _superseded(self, document: dict[str, Any], live: Live) -> bool:
        """Whether this grant is for another session, and ours does not supply: the service has given ours up, so it ends here too."""
        return live.phase in (Phase.GRANTED, Phase.READY) and grants.parse(document)[0].session != live.session

    def payment(self, document: dict[str, Any]) -> None:
        """A payment by the payer. Raises `Refused` or `Malformed`."""
        state, session = self._journal.state, self._metering.session
        if state.live is None or session is None or state.live.payment == document:
            return
        amount = session.check_payment(document)
        self._journal.save(state.with_(live=state.live.model_copy(update={"payment": document})))
        session.paid(amount)
        logger.info("paid", amount_micro=amount)

    def close(self, session: bytes) -> None:
        """The payer asked to close. Unsigned, and taken all the same: it can only end supply."""
        live = self._journal.state.live
        if live is not None and live.session == session and live.phase is not Phase.ENDING:
            self._supply.end(Cause.PAYER_STOP, "the payer asked to close")

    def rotate(self, document: dict[str, Any]) -> None:
        """Another control key. What the old one granted is void: a session ends. Raises `Refused` or `Malformed`."""
        state = self._journal.state
        if type(document.get("rotation")) is dict and document["rotation"].get("newKey") == "0x" + state.control_key.hex():
            return  # a repeat
        rotation = rotations.check_control(document, state, self._config, self._clock.utc_s())
        self.obey(rotation.new_key, state.enrolled_key)

    def obey(self, control_key: bytes, enrolled_key: bytes) -> None:
        """Follow this control key from now on."""
        if self.phase is not None:
            self._supply.end(Cause.OPERATOR, "the control key was changed")
        changed = {"control_key": control_key, "enrolled_key": enrolled_key, "highest_number": 0, "answers": ()}
        self._journal.save(self._journal.state.with_(**changed))
        self._nonce = b""
        logger.warning("control key changed", control_key="0x" + control_key.hex())

    def command(self, document: dict[str, Any]) -> None:
        """A supply command. Raises `Refused` or `Malformed` for one that is ignored."""
        verdict = commands.judge(document, self._journal.state, self._config, self._clock.utc_s(), self._nonce, self.interlock())
        number = verdict.command.number
        match verdict.do:
            case Do.REPEAT:
                if verdict.again is not None:
                    self._supply.post(verdict.again)
            case Do.DISCONNECT:
                if self.phase is None:
                    self._supply.answer(verdict.command.session, Cause.NONE, verdict.digest, number, disconnect=True)
                else:
                    self._supply.end(Cause.OPERATOR, f"command {number}", verdict.digest, number)
            case Do.RECONNECT:
                self._reconnect(verdict)
            case Do.ENDED if verdict.command.action == Action.DISCONNECT and self.phase not in (Phase.SUPPLYING, Phase.ENDING):
                # Nobody may be supplied now: a contact that would not open is tried once more, and what is measured is the answer.
                self._answer(verdict, disconnect=True)
            case Do.REFUSE | Do.ENDED:
                logger.warning("command not obeyed", number=number, reason=verdict.why)
                self._answer(verdict)

    def interlock(self) -> str:
        """Why reconnecting would be unsafe or unpaid; empty if nothing stands against it."""
        session, point = self._metering.session, self._metering.point
        if self._lock_out.exists():
            return f"locked out by hand ({self._lock_out} exists)"
        if point.failed or (point.on and point.looks >= LOOKS):
            return f"the contact has a fault: {point.failed or 'supply is on already'}"
        if self._metering.status & DOOR:
            return "the meter's cover or door is open"
        if session is None:
            return ""
        forecast = self._metering.forecast()
        limit = session.limit_micro(heard=True, max_credit_micro=self._config.max_credit_micro)
        if forecast is not None and forecast.total_micro(self._clock.monotonic_ns()) >= limit:
            return "the money of this session is used up"
        return session.may_start()

    def settle(self) -> None:
        """What has to happen by itself: get ready, finish an end, keep off what must be off. Called after every look."""
        match self.phase:
            case Phase.SUPPLYING:
                point = self._metering.point
                if point.on is False and point.looks >= LOOKS:
                    self._supply.suspend()
                else:
                    self._supply.say_unsaid()
            case Phase.ENDING:
                self._supply.finish()
            case None | Phase.GRANTED | Phase.READY:
                self._supply.keep_off()
                self._give_up_waiting()
                if self.phase is Phase.GRANTED and self._supply.isolated:
                    self._supply.say_unsaid()
                    self._make_ready()

    def _reconnect(self, verdict: Verdict) -> None:
        self._nonce = b""  # used up, whatever comes of it
        self._courier.withdraw("ready")
        try:
            self._supply.start(verdict.digest, verdict.command.number)
        except LineError as error:
            logger.error("not reconnected: the meter cannot be read", reason=str(error))
            self._answer(verdict)

    def _answer(self, verdict: Verdict, *, disconnect: bool = False) -> None:
        """A command that was not obeyed: its number is spent, and the answer says how the point stands."""
        cause = Cause.NONE if verdict.again is None else Cause(verdict.again["cause"])
        self._supply.answer(verdict.command.session, cause, verdict.digest, verdict.command.number, disconnect=disconnect)
        if self.phase is Phase.READY:
            self._issue_nonce()

    def _make_ready(self) -> None:
        state = self._journal.state
        if state.live is None:
            return
        phase = following(state.live.phase, "isolated")
        self._journal.save(state.with_(live=state.live.model_copy(update={"phase": phase})))
        self._issue_nonce()

    def _issue_nonce(self) -> None:
        self._nonce = os.urandom(32)
        self._say_ready()

    def _say_ready(self) -> None:
        live = self._journal.state.live
        if live is not None and live.phase is Phase.READY and self._nonce:
            self._courier.post("ready", "ready", {"session": "0x" + live.session.hex(), "nonce": "0x" + self._nonce.hex()})

    def _give_up_waiting(self) -> None:
        """A session that does not (or no longer) supply ends with its grant."""
        session, live = self._metering.session, self._journal.state.live
        if live is None or session is None or self._clock.utc_s() < session.end_s():
            return
        never = live.first_sequence is None
        self._supply.end(Cause.NEVER_STARTED if never else Cause.OPERATOR, "the grant or the terms ended while supply was off")

    def _vouch(self) -> None:
        """The meter key's word for the next charge key."""
        self._courier.post("voucher", "vouchers", self._notary.vouch(self._charge_address(), self._clock.utc_s()))

    def _charge_address(self) -> bytes:
        index = self._journal.state.charge_index
        return self._charge_keys.key(self._config.device, self._config.channel, index).address
