"""Whose word a payer's signature is: its key's, that of a device wallet's pay key under the standing policy, or that of an account with
code (ERC-1271).

Ask outside a transaction: the chain may take seconds to answer, and on SQLite a transaction keeps everybody else waiting. What is proven
stays proven: a session's terms never change, and of two relays of one intent the chain takes one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chain.calls import Call
from chain.errors import BadAnswer, ChainError, Reverted, Transient
from chain.wallet_views import WalletState, WalletViews
from protocol.eip712 import digest
from protocol.errors import BadSignature
from protocol.keys import SIGNATURE_SIZE, check_signature
from protocol.money import Open, RequestClose, Terms, TopUp
from protocol.wallet import Policy, parse_policy, policy_hash, refusal, wallet_domain

from ..context import Service
from ..errors import BadRequest, Refused, Unavailable
from ..hexes import to_hex
from ..models import SessionRow, WalletRow
from ..supply.commands import terms_of


class Proof(NamedTuple):
    """A signature that holds. `policy`: the pay key's of a wallet, and the standing policy to show the wallet with it."""

    signature: bytes
    policy: Policy | None = None

    def open(self, service: Service, terms: Terms, message: Open) -> Call:
        if self.policy is None:
            return service.calls.open_by_signature(terms, message, self.signature)
        return service.wallets.open_by_signature(terms, message, self.policy, self.signature)

    def top_up(self, service: Service, terms: Terms, message: TopUp) -> Call:
        if self.policy is None:
            return service.calls.top_up_by_signature(terms, message, self.signature)
        return service.wallets.top_up_by_signature(terms, message, self.policy, self.signature)

    def close(self, service: Service, terms: Terms, message: RequestClose) -> Call:
        if self.policy is None:
            return service.calls.request_close_by_signature(terms, message, self.signature)
        return service.wallets.request_close_by_signature(terms, message, self.policy, self.signature)


def by_key(service: Service, row: SessionRow, message: Any, signature: bytes, *, or_pay_key: bool = False) -> Proof:
    """Proof by the payer's own key (or the pay key of the terms, which may also close). Raises `BadRequest`."""
    problem = _not_by_key(service, row, message, signature, or_pay_key)
    if problem:
        raise BadRequest(f"{problem}; the payer signs {type(message).__name__} in the money domain", "signature")
    return Proof(signature)


def _not_by_key(service: Service, row: SessionRow, message: Any, signature: bytes, or_pay_key: bool) -> str:
    problem, signed = "", digest(service.money, message)
    for address in (row.payer, row.signer) if or_pay_key else (row.payer,):
        try:
            check_signature(signed, signature, address)
            return ""
        except BadSignature as error:
            problem = str(error)
    return problem


def prove(service: Service, row: SessionRow, message: Any, signature: bytes, policy: dict[str, Any] | None) -> Proof:
    """Whose word this is; asks the chain where the payer's key has not signed. Raises `BadRequest`, `Refused` or `Unavailable`."""
    or_pay_key = isinstance(message, RequestClose) and not row.metered
    if policy is not None:
        return _by_wallet(service, row, message, signature, parse_policy(policy, "wallet"))
    problem = _not_by_key(service, row, message, signature, or_pay_key)
    if problem:
        _ask_account(service, row.payer, "payer", message, signature, problem)
    return Proof(signature)


def check_account(service: Service, account: bytes, message: Any, signature: bytes) -> None:
    """The word of any account: its key's, else what it takes as an account with code (ERC-1271). Raises `BadRequest` or `Unavailable`."""
    try:
        check_signature(digest(service.money, message), signature, account)
    except BadSignature as error:
        _ask_account(service, account, "account", message, signature, str(error))


def _ask_account(service: Service, account: bytes, who: str, message: Any, signature: bytes, problem: str) -> None:
    """Ask the chain whether an account with code takes what its key, as `problem` says, has not signed."""
    try:
        holds = service.node().is_valid_signature(account, digest(service.money, message), signature)
    except ChainError as error:
        raise Unavailable(
            f"{problem}; whether the {who} is an account with code that takes it cannot be asked now: {error}", "signature"
        ) from None
    if holds is None:
        raise BadRequest(f"{problem}; the {who} signs {type(message).__name__} in the money domain", "signature")
    if not holds:
        raise BadRequest(f"the {who} {to_hex(account)} is an account with code, and does not take this signature (ERC-1271)", "signature")


def _by_wallet(service: Service, row: SessionRow, message: Any, signature: bytes, policy: Policy) -> Proof:
    """Proof by a wallet's pay key. Everything the wallet will check, asked before gas is spent on it."""
    wallet = row.payer
    try:
        if len(signature) != SIGNATURE_SIZE:
            raise BadSignature(f"a pay key's signature has {SIGNATURE_SIZE} bytes")
        check_signature(digest(wallet_domain(service.deployment.chain_id, wallet), message), signature, policy.pay_key)
    except BadSignature as error:
        detail = f"{error}; the pay key signs {type(message).__name__} in the domain of the wallet {to_hex(wallet)}"
        raise Refused("SignatureRefused", detail, "signature") from None
    if isinstance(message, RequestClose):
        _check_standing(_standing_hash(service, wallet), policy)
        return Proof(signature, policy)
    terms = terms_of(row)
    seen = _look(service, wallet, terms)
    _check_standing(None if seen is None else seen.state.policy_hash, policy)
    assert seen is not None
    name = refusal(policy, terms, wallet, seen.registered)
    if name:
        raise Refused(name, _WORDS[name], "wallet")
    _check_sums(service, policy, seen, message)
    return Proof(signature, policy)


_WORDS = {
    "NotPayer": "the terms name another payer than this wallet",
    "RefundToNotWallet": "what is not used must come back to the wallet: quote with refundTo = payer",
    "SignerNotPayKey": "in payment mode the policy's pay key signs: quote with it as signer",
    "KwhCeilingAbovePolicy": "the price a kWh in the terms is above what the owner allows",
    "HourCeilingAbovePolicy": "the price an hour in the terms is above what the owner allows",
    "FlatCeilingAbovePolicy": "the flat price in the terms is above what the owner allows",
    "ProviderNotListed": "the owner does not allow this provider",
    "ProviderNotRegistered": "the provider book does not have this provider",
}


def _check_standing(standing: bytes | None, policy: Policy) -> None:
    given = policy_hash(policy)
    if standing is None or not any(standing):
        raise Refused("WalletWithoutPolicy", "there is no wallet at the payer's address, or its owner has set no policy", "wallet")
    if standing != given:
        raise Refused("PolicyNotStanding", f"the wallet's policy is {to_hex(standing)}, this one hashes to {to_hex(given)}", "wallet")


class _Seen(NamedTuple):
    """What the chain says, all in one block: the wallet, whether the book has the payee, and the session's lock so far."""

    state: WalletState
    registered: bool
    lock_micro: int


def _check_sums(service: Service, policy: Policy, seen: _Seen, message: Open | TopUp) -> None:
    """Frozen, expired, and the limits a session and a day; the wallet itself counts what is on its way."""
    state = seen.state
    if state.frozen:
        raise Refused("WalletFrozen", "the owner has stopped all new money of this wallet", "wallet")
    if service.now_s() > policy.expires_at_s:
        raise Refused("PolicyExpired", f"the policy was good until {policy.expires_at_s}, it is {service.now_s()}", "wallet")
    total = message.lock_micro if isinstance(message, Open) else message.total_lock_micro
    added = total - seen.lock_micro
    if total > policy.max_session_micro:
        raise Refused("AboveSessionLimit", f"{total} for one session is above the owner's {policy.max_session_micro}", "wallet")
    if state.locked_today_micro + added > policy.max_day_micro:
        detail = f"{state.locked_today_micro} is newly locked today (UTC); {added} more is above the owner's {policy.max_day_micro} a day"
        raise Refused("AboveDayLimit", detail, "wallet")
    if added > state.free_micro:
        raise Refused("BalanceTooLow", f"{added} is wanted, the wallet's free balance is {state.free_micro}", "wallet")


def _look(service: Service, wallet: bytes, terms: Terms) -> _Seen | None:
    node = service.node()
    try:
        at = node.head().hash
        state = WalletViews(node).state(wallet, at)
        return None if state is None else _Seen(state, node.is_provider(terms.payee, at), node.session(terms, at).lock_micro)
    except (BadAnswer, Reverted):
        return None  # something stands there, and it is no wallet of this factory
    except ChainError as error:
        raise Unavailable(f"the wallet's policy and limits cannot be asked of the chain now: {error}", "wallet") from None


def _standing_hash(service: Service, wallet: bytes) -> bytes | None:
    """The standing policy's hash: of the chain, or as last read from it. The stop button works while the chain does not answer."""
    try:
        state = WalletViews(service.node()).state(wallet)
        return None if state is None else state.policy_hash
    except (BadAnswer, Reverted):
        return None
    except Transient:
        with service.db.reading() as db:
            row = db.get(WalletRow, wallet)
            return None if row is None else row.policy_hash
    except ChainError as error:
        raise Unavailable(f"the wallet's policy cannot be asked of the chain: {error}", "wallet") from None
