"""Grants: which session this point may serve, within which limits. Everything in a grant is recomputed, nothing is
believed.

Pure: takes documents, settings and the state; returns a checked grant or raises `Refused` with the first reason.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from protocol.control import MAX_NUMBER_STEP, SessionGrant
from protocol.eip712 import control_domain, digest, from_json, hex_bytes
from protocol.errors import BadSignature, Malformed
from protocol.hashing import document_hash
from protocol.keys import SIGNATURE_SIZE, check_signature
from protocol.money import MAX_SESSION_S, Terms, point_commitment, session_id
from protocol.tariff import Tariff, ceilings

from .config import Config
from .errors import Refused
from .policy import Policy, parse_policy
from .state import State

OPENED_AHEAD_S = 60
"""How far the block time of the opening may be ahead of our clock: skew of both clocks, and blocks stamped ahead."""
_NAMES = frozenset(("grant", "signature", "tariff", "policy", "pointSalt", "openedAtS", "device", "channel"))


class Granted(NamedTuple):
    """A grant whose every part agrees with every other. `document` is the event as received."""

    session: bytes
    grant: SessionGrant
    tariff: Tariff
    policy: Policy
    opened_at_s: int
    document: dict[str, Any]

    @property
    def terms(self) -> Terms:
        return self.grant.terms


def parse(document: Any) -> tuple[Granted, bytes]:
    """The parts of a grant event and the signature over it. Checks form and hashes, not who signed or whether it may
    be.
    """
    if type(document) is not dict or document.keys() != _NAMES:
        raise Malformed(f"must have exactly the fields {', '.join(sorted(_NAMES))}", "grant event")
    grant = from_json(SessionGrant, document["grant"])
    signature = hex_bytes(document["signature"], SIGNATURE_SIZE, "signature")
    opened_at_s = document["openedAtS"]
    if type(opened_at_s) is not int or opened_at_s < 0:
        raise Malformed("must be a UTC second", "openedAtS")
    if type(document["policy"]) is not dict or type(document["tariff"]) is not dict:
        raise Malformed("must be documents", "tariff, policy")
    tariff = Tariff.from_document(document["tariff"])
    if tariff.hash != grant.terms.tariff_hash:
        raise Refused("tariff", "the tariff is not the one the terms name")
    if document_hash(document["policy"]) != grant.policy_hash:
        raise Refused("policy", "the policy is not the one the grant names")
    session = session_id(grant.terms, grant.chain_id, grant.escrow)
    return Granted(session, grant, tariff, parse_policy(document["policy"]), opened_at_s, document), signature


def check(document: Any, state: State, config: Config, meter_key: bytes, now_s: int, charge_keys: dict[bytes, int]) -> Granted:
    """A grant this point may serve. `charge_keys` are our own addresses. Raises `Refused` (or `Malformed` for what is
    no grant).
    """
    granted, signature = parse(document)
    grant, terms = granted.grant, granted.terms
    try:
        check_signature(digest(control_domain(config.chain_id, config.registry), grant), signature, state.control_key)
    except BadSignature as error:
        raise Refused("signature", f"the grant is not signed by this point's control key: {error}") from None
    _check_number(grant.number, state)
    _check_place(granted, config, meter_key)
    _check_limits(granted, config)
    _check_times(granted, now_s)
    if any(ended.session == granted.session for ended in state.ended):
        raise Refused("ended", "the session has ended at this point; a new one needs new terms")
    live = state.live
    if live is not None:
        _check_renewal(granted, live.session, parse(live.granted)[0])
    elif terms.metered and terms.signer not in charge_keys:
        raise Refused("charge_key", "the terms name a charge key that is not this agent's, or one already used")
    elif not terms.metered and terms.signer in charge_keys:
        raise Refused("charge_key", "in payment mode the payer signs, not this agent")
    return granted


def _check_number(number: int, state: State) -> None:
    if number <= state.highest_number:
        raise Refused("number", f"number {number} is not above {state.highest_number}, the highest obeyed")
    if number > state.highest_number + MAX_NUMBER_STEP:
        raise Refused("number", f"number {number} is more than {MAX_NUMBER_STEP} above {state.highest_number}")


def _check_place(granted: Granted, config: Config, meter_key: bytes) -> None:
    document, grant = granted.document, granted.grant
    place = (hex_bytes(document["device"], 32, "device"), document["channel"])
    if place != (config.device, config.channel) or type(document["channel"]) is not int:
        raise Refused("point", "the grant is for another device or channel")
    if (grant.chain_id, grant.escrow) != (config.chain_id, config.escrow):
        raise Refused("escrow", "the grant is for another chain or escrow than this agent was enrolled with")
    salt = hex_bytes(document["pointSalt"], 32, "pointSalt")
    if point_commitment(config.device, config.channel, meter_key, salt) != granted.terms.point_commitment:
        raise Refused("point", "the terms commit to another point, or to another meter key")


def _check_limits(granted: Granted, config: Config) -> None:
    grant, terms = granted.grant, granted.terms
    micro, energy, emergency = config.max_credit_micro, config.max_credit_milliwatt_hours, granted.policy.emergency_micro
    if terms.rated_watts > config.rated_watts:
        raise Refused("rating", f"the terms say {terms.rated_watts} W, the connection is rated {config.rated_watts} W")
    if grant.lock_micro > config.max_lock_micro:
        raise Refused("limit", f"a lock of {grant.lock_micro} is above this agent's limit of {config.max_lock_micro} micro-units")
    if not terms.metered and grant.credit_micro > micro:
        raise Refused("limit", f"a credit of {grant.credit_micro} is above this agent's limit of {micro} micro-units")
    if not terms.metered and grant.credit_milliwatt_hours > energy:
        raise Refused("limit", f"a credit of {grant.credit_milliwatt_hours} mWh is above this agent's limit of {energy}")
    if emergency > micro:
        raise Refused("limit", f"an emergency credit of {emergency} is above this agent's limit of {micro} micro-units")
    asked = ceilings(granted.tariff)
    agreed = (terms.max_micro_per_kwh, terms.max_micro_per_hour, terms.max_flat_micro)
    if any(a > b for a, b in zip(asked, agreed, strict=True)):
        raise Refused("ceilings", f"the tariff can ask {asked} a kWh, an hour and once, but the terms allow only {agreed}")


def _check_times(granted: Granted, now_s: int) -> None:
    if granted.grant.valid_until_s <= now_s:
        raise Refused("expired", f"the grant was valid until {granted.grant.valid_until_s}, it is {now_s}")
    if granted.terms.latest_end_s <= now_s:
        raise Refused("expired", f"the terms ended at {granted.terms.latest_end_s}, it is {now_s}")
    if not now_s - MAX_SESSION_S <= granted.opened_at_s <= now_s + OPENED_AHEAD_S:
        raise Refused("opened", f"the session is said to have opened at {granted.opened_at_s}, it is {now_s}")


def _check_renewal(granted: Granted, session: bytes, before: Granted) -> None:
    """A later grant of the live session may only raise the lock or renew."""
    if granted.session != session:
        raise Refused("busy", f"the point serves session 0x{session.hex()}; end that first")
    old, new = before.grant, granted.grant
    if new.lock_micro < old.lock_micro or new.valid_until_s < old.valid_until_s:
        raise Refused("renewal", "a later grant may only raise the lock or renew")
    if any(getattr(old, name) != getattr(new, name) for name in ("credit_micro", "credit_milliwatt_hours", "policy_hash")):
        raise Refused("renewal", "a later grant may only raise the lock or renew, not change credit or policy")
    if granted.opened_at_s != before.opened_at_s:
        raise Refused("renewal", "a later grant names another opening time")
