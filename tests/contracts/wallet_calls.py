"""Random calls for a wallet, the escrow around it, and their models: every door of both, with values near the bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from eth_abi import encode as abi_encode

from protocol.eip712 import digest
from protocol.hashing import keccak
from protocol.money import Open, RequestClose, Terms, TopUp
from protocol.wallet import OwnerCall, Policy, wallet_address, wallet_domain
from tests.contracts.engines import Engine
from tests.contracts.escrow_model import Event
from tests.contracts.model_calls import RandomCalls
from tests.contracts.model_pair import KEYS, LIVE, TERMS_TYPE, THIEF, ZERO, selector, word
from tests.contracts.support import ARTIFACTS, person
from tests.contracts.wallet_model import POLICY_TYPE, WalletModel

OWNER, DEVICE = person("model owner"), keccak(b"model device")


def shown(value: Any) -> Any:
    """As eth_abi takes it: addresses as text."""
    if isinstance(value, tuple):
        return tuple(shown(each) for each in value)
    return "0x" + value.hex() if isinstance(value, bytes) and len(value) == 20 else value


class WalletCalls(RandomCalls):
    """The calls of the escrow's test, with a wallet among the payers."""

    def __init__(self, engine: Engine, seed: int) -> None:
        super().__init__(engine, seed)
        book = engine.deploy(self.code(ARTIFACTS / "ProviderBook.json") + word(THIEF.address))
        implementation = engine.deploy(self.code(ARTIFACTS / "DeviceWallet.json") + word(self.escrow) + word(ZERO) + word(book))
        factory = engine.deploy(self.code(ARTIFACTS / "DeviceWalletFactory.json") + word(implementation))
        assert self.send(ZERO, "create(bytes32,address)", [DEVICE, OWNER.address], to=factory).success
        self.wallet = wallet_address(factory, implementation, DEVICE, OWNER.address)
        for item in json.loads((ARTIFACTS / "DeviceWallet.json").read_text())["abi"]:
            if item["type"] in ("error", "event"):
                kinds = (POLICY_TYPE if part["type"] == "tuple" else part["type"] for part in item["inputs"])
                hashed = keccak(f"{item['name']}({','.join(kinds)})".encode())
                (self.errors if item["type"] == "error" else self.topics)[hashed[: 4 if item["type"] == "error" else 32]] = item["name"]
        registered = set(self.addresses[:2])
        for address in registered:
            assert self.send(THIEF.address, "admit(address)", [address], to=book).success
        self.mine = WalletModel(self.wallet, OWNER.address, self.model, registered=registered)
        self.keys[OWNER.address] = OWNER
        self.send(self.addresses[0], "depositFor(address,uint128)", [self.wallet, 5 * 10**8])
        self.model.outside[self.addresses[0]] -= 5 * 10**8
        self.model.free[self.wallet] += 5 * 10**8
        self.own: list[bytes] = []

    # ---------------------------------------------------------------- helpers

    def call(self, name: str, kinds: list[str], arguments: list[Any]) -> bytes:
        return selector(f"{name}({','.join(kinds)})") + abi_encode(kinds, [shown(each) for each in arguments])

    def both(self, name: str, sender: bytes, function: str, arguments: list[Any], expected: Callable[[], list[Event]]) -> None:
        if sender != self.wallet:  # an account with code sends no transactions (EIP-3607)
            super().both(name, sender, function, arguments, expected)

    def ask(self, name: str, sender: bytes, data: bytes, expected: Callable[[], list[Event]]) -> None:
        self.judge(f"wallet {name}", self.engine.call(sender, self.wallet, data), expected, (self.wallet,))

    def word_of(self, message: Any, signer: bytes) -> tuple[bytes, bytes | None]:
        """Signed for the wallet by `signer`; now and then by another, or elsewhere."""
        if self.chance(0.02):
            return b"\x01" * 65, None
        key = self.random.choice((THIEF, OWNER, *KEYS[:3])) if self.chance(0.05) else self.keys[signer]
        domain = self.domain if self.chance(0.02) else wallet_domain(self.engine.chain_id, self.wallet)
        return key.sign(digest(domain, message)), key.address if domain != self.domain else None

    def new_policy(self) -> Policy:
        r = self.random
        return Policy(
            pay_key=r.choice((ZERO, OWNER.address)) if self.chance(0.05) else r.choice(KEYS[:3]).address,
            providers=tuple(r.sample(self.addresses, r.randint(0, 3))),
            max_micro_per_kwh=r.choice((300_000, 2**64 - 1)),
            max_micro_per_hour=r.choice((100_000, 2**64 - 1)),
            max_flat_micro=50_000,
            max_session_micro=r.randint(1, 2 * 10**6),
            max_day_micro=r.randint(1, 2 * 10**7),
            expires_at_s=self.time_s + r.randint(-1, 60_000),
        )

    def policy(self) -> Policy:
        if self.mine.policy is None or self.chance(0.03):
            return self.new_policy()._replace(pay_key=KEYS[0].address)
        return self.mine.policy

    def own_terms(self, policy: Policy) -> Terms:
        terms = self.new_terms()
        payee = self.random.choice(policy.providers or tuple(self.mine.registered)) if self.chance(0.9) else self.someone()
        return terms._replace(
            payer=self.someone() if self.chance(0.02) else self.wallet,
            payee=payee,
            refund_to=self.someone() if self.chance(0.03) else self.wallet,
            signer=terms.signer if terms.metered or self.chance(0.03) else policy.pay_key,
            **({} if self.chance(0.05) else dict(zip(Terms._fields[8:11], map(min, terms[8:11], policy[2:5]), strict=True))),
        )

    # ---------------------------------------------------------------- doors

    def do_wallet_open(self) -> None:
        policy, deadline = self.policy(), self.deadline()
        terms = self.terms[self.random.choice(self.own)] if self.own and self.chance(0.03) else self.own_terms(policy)
        session = self.name(terms)
        lock = self.near(policy.max_session_micro) if self.chance(0.3) else self.random.randint(1, policy.max_session_micro)
        signature, signer = self.word_of(Open(session, lock, deadline), policy.pay_key)
        data = self.call(
            "openBySignature", [TERMS_TYPE, "uint64", "uint64", POLICY_TYPE, "bytes"], [terms, lock, deadline, policy, signature]
        )
        self.ask("open", self.someone(), data, lambda: self.mine.open(session, terms, lock, deadline, policy, signer))
        if session in self.model.sessions and session not in self.own:
            self.own.append(session)
            self.known.append(session)
        self.compare_wallet(session)

    def do_wallet_top_up(self) -> None:
        session, terms = self.own_session()
        policy, deadline, kept = self.policy(), self.deadline(), self.model.sessions.get(session)
        total = self.near(policy.max_session_micro) if self.chance(0.3) else (kept.lock if kept else 0) + self.random.randint(0, 10**5)
        signature, signer = self.word_of(TopUp(session, total, deadline), policy.pay_key)
        data = self.call(
            "topUpBySignature", [TERMS_TYPE, "uint64", "uint64", POLICY_TYPE, "bytes"], [terms, total, deadline, policy, signature]
        )
        self.ask("top up", self.someone(), data, lambda: self.mine.top_up(session, terms, total, deadline, policy, signer))
        self.compare_wallet(session)

    def do_wallet_request(self) -> None:
        session, terms = self.own_session()
        policy, deadline = self.policy(), self.deadline()
        signature, signer = self.word_of(RequestClose(session, deadline), policy.pay_key)
        data = self.call("requestCloseBySignature", [TERMS_TYPE, "uint64", POLICY_TYPE, "bytes"], [terms, deadline, policy, signature])
        self.ask("request close", self.someone(), data, lambda: self.mine.request_close(session, terms, deadline, policy, signer))
        self.compare_wallet(session)

    def do_wallet_owner(self) -> None:
        name, data, act = self.random.choice((self._policy, self._policy, self._freeze, self._unfreeze, self._unfreeze, self._withdraw))()
        if self.chance(0.5):
            sender = self.someone() if self.chance(0.1) else OWNER.address
            self.ask(name, sender, data, lambda: self.mine.owner_acts(sender, act))
        else:
            nonce, deadline = self.near(self.mine.nonce) if self.chance(0.1) else self.mine.nonce, self.deadline()
            signature, signer = self.word_of(OwnerCall(keccak(data), nonce, deadline), OWNER.address)
            call = self.call("ownerCall", ["bytes", "uint256", "uint64", "bytes"], [data, nonce, deadline, signature])
            self.ask(f"{name} relayed", self.someone(), call, lambda: self.mine.owner_call(data, nonce, deadline, signer, act))
        self.compare_wallet()

    def _policy(self) -> tuple[str, bytes, Callable[[], list[Event]]]:
        policy = self.new_policy()
        return "policy", self.call("setPolicy", [POLICY_TYPE], [policy]), lambda: self.mine.set_policy(policy)

    def _freeze(self) -> tuple[str, bytes, Callable[[], list[Event]]]:
        return "freeze", self.call("freeze", [], []), lambda: self.mine.set_frozen(True)

    def _unfreeze(self) -> tuple[str, bytes, Callable[[], list[Event]]]:
        return "unfreeze", self.call("unfreeze", [], []), lambda: self.mine.set_frozen(False)

    def _withdraw(self) -> tuple[str, bytes, Callable[[], list[Event]]]:
        to, amount = self.someone(), self.near(self.model.free[self.wallet] // (1 if self.chance(0.05) else 50), 2**128 - 1)
        data = self.call("withdraw", ["address", "uint128"], [to, amount])
        return "withdraw", data, lambda: self.model.withdraw(self.wallet, to, amount)

    def own_session(self) -> tuple[bytes, Terms]:
        if not self.own or self.chance(0.03):
            terms = self.own_terms(self.policy())
            return self.name(terms), terms
        session = self.random.choice(self.own[-LIVE // 3 :])
        return session, self.terms[session]

    # ---------------------------------------------------------------- comparison

    def compare_wallet(self, session: bytes | None = None) -> None:
        if session is not None:
            self.compare(session)
        assert self.read("freeMicroOf(address)", self.wallet) == [self.model.free[self.wallet]]
        for function, value in (
            ("lockedTodayMicro()", self.mine.locked_today()), ("frozen()", int(self.mine.frozen)), ("ownerNonce()", self.mine.nonce),
        ):  # fmt: skip
            outcome = self.send(ZERO, function, [], to=self.wallet)
            assert int.from_bytes(outcome.output, "big") == value, function

    def run(self, calls: int) -> None:
        own = [self.do_wallet_open, self.do_wallet_open, self.do_wallet_top_up, self.do_wallet_top_up, self.do_wallet_request]
        escrow = [self.do_deposit, self.do_open, self.do_claim, self.do_claim, self.do_close, self.do_credit_note, self.do_request]
        for number in range(calls):
            if self.chance(0.4):
                self.wait()
            self.do_wallet_owner() if self.chance(0.04) else self.random.choice(own if self.chance(0.6) else escrow)()
            if number % 100 == 0:
                self.compare_balances()
        self.compare_balances()
        self.compare_wallet()
        self.compare_tokens()
