"""EnergyEscrow on an engine beside its model: one call on both, a comparison of what came of it, random values."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from protocol.eip712 import digest, money_domain
from protocol.hashing import keccak
from protocol.money import Terms, session_id
from tests.contracts.engines import Engine, Outcome
from tests.contracts.escrow_model import Event, Model, Refused, Value
from tests.contracts.support import ARTIFACTS, DOUBLES, GENESIS_S, person

PEOPLE = [person(f"model person {n}") for n in range(6)]
KEYS = [person(f"model key {n}") for n in range(12)]
THIEF = person("thief")
GUARDIAN = b"\x6a" * 20
ZERO = bytes(20)
LIVE = 60  # sessions that calls are about at any time
TERMS_TYPE = (
    "(address,address,address,bytes32,bool,address,bytes32,bytes32,"
    "uint64,uint64,uint64,uint32,uint64,uint32,uint32,uint32,bytes32)"
)


def word(value: Value) -> bytes:
    if isinstance(value, int):
        return int(value).to_bytes(32, "big")
    return value.rjust(32, b"\0") if len(value) == 20 else value.ljust(32, b"\0")


def signatures(kind: str) -> dict[bytes, str]:
    """Names of the errors (by selector) or events (by topic) of the contracts the calls run through."""
    found = {}
    for path in (ARTIFACTS / "EnergyEscrow.json", ARTIFACTS / "TaskEscrow.json", DOUBLES / "TrickyToken.json"):
        for item in json.loads(path.read_text())["abi"]:
            if item["type"] == kind:
                text = f"{item['name']}({','.join(part['type'] for part in item['inputs'])})"
                found[keccak(text.encode())[: 4 if kind == "error" else 32]] = item["name"]
    return found


class Blob(bytes):
    """Bytes of any length (`bytes`), where plain bytes are one word (`bytes32`, `address`)."""


class Raw(bytes):
    """All of a call's arguments, encoded already."""


def words(value: Any) -> bytes:
    """A static value or tuple of such, as the ABI has it."""
    return b"".join(map(words, value)) if isinstance(value, tuple) else word(value)


def encode(arguments: list[Any]) -> bytes:
    """ABI encoding of static values, of `Blob`s and of lists of static tuples: all that the escrow takes.

    The general encoder is a hundred times slower, and would be nearly all that this test does.
    """
    parts = []
    for argument in arguments:
        if isinstance(argument, Raw):
            return bytes(argument)
        if isinstance(argument, Blob):
            parts.append((True, word(len(argument)) + argument + bytes(-len(argument) % 32)))
        elif isinstance(argument, list):
            parts.append((True, word(len(argument)) + b"".join(map(words, argument))))
        else:
            parts.append((False, words(argument)))
    offset = sum(32 if dynamic else len(part) for dynamic, part in parts)
    head, tail = b"", b""
    for dynamic, part in parts:
        head += word(offset + len(tail)) if dynamic else part
        tail += part if dynamic else b""
    return head + tail


@cache
def selector(function: str) -> bytes:
    return keccak(function.encode())[:4]


class ModelPair:
    """The contract on an engine and the model, driven by the same random calls."""

    contract = "EnergyEscrow"

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.random = engine, random.Random(seed)
        self.errors, self.topics = signatures("error"), signatures("event")
        self.time_s, self.block = GENESIS_S, 1_000
        engine.at(self.time_s, self.block)
        # the tricky token without tricks: it mints freely, which the settlement token rightly does not
        self.token = engine.deploy(self.code(DOUBLES / "TrickyToken.json") + word(6))
        self.escrow = engine.deploy(self.code(ARTIFACTS / f"{self.contract}.json") + word(self.token) + word(GUARDIAN))
        self.domain = money_domain(engine.chain_id, self.escrow)
        self.model = self.make_model()
        self.keys = {signer.address: signer for signer in (*PEOPLE, *KEYS, THIEF)}
        self.addresses = [signer.address for signer in PEOPLE]
        self.known: list[bytes] = []
        self.terms: dict[bytes, Terms] = {}
        self.counts: Counter[str] = Counter()
        for address in self.addresses:
            self.send(address, "mint(address,uint256)", [address, 10**9], to=self.token)
            self.send(address, "approve(address,uint256)", [self.escrow, 2**256 - 1], to=self.token)
            self.model.outside[address] += 10**9

    def make_model(self) -> Any:
        return Model(self.escrow, GUARDIAN, self.time_s, self.block)

    @staticmethod
    def code(path: Any) -> bytes:
        return bytes.fromhex(json.loads(path.read_text())["bytecode"][2:])

    def send(self, sender: bytes, function: str, arguments: list[Any], to: bytes | None = None) -> Outcome:
        return self.engine.call(sender, to or self.escrow, selector(function) + encode(arguments))

    def read(self, function: str, *arguments: Any) -> list[int]:
        outcome = self.send(ZERO, function, list(arguments))
        assert outcome.success, function
        return [int.from_bytes(outcome.output[at : at + 32], "big") for at in range(0, len(outcome.output), 32)]

    # ---------------------------------------------------------------- one call on both

    def both(self, name: str, sender: bytes, function: str, arguments: list[Any], expected: Callable[[], list[Event]]) -> None:
        """Runs one call on both sides and compares what came of it."""
        self.judge(name, self.send(sender, function, arguments), expected)

    def judge(self, name: str, outcome: Outcome, expected: Callable[[], list[Event]], places: tuple[bytes, ...] = ()) -> None:
        """Compares an outcome with what the model makes of the same call: error, or events of the escrow and of `places`."""
        events: list[Event] = []
        refused: Refused | None = None
        try:
            events = expected()
        except Refused as raised:
            refused = raised
        if refused is not None:
            assert not outcome.success, f"{name}: the model refuses with {refused}, the contract does not"
            got = self.errors.get(outcome.output[:4], outcome.output.hex())
            assert got == refused.name, f"{name}: the contract refuses with {got}, the model with {refused}"
            wanted = b"".join(map(word, refused.values))
            assert outcome.output[4:][: len(wanted)] == wanted, f"{name}: {got} carries other values than {refused}"
            self.counts[f"{name}: {got}"] += 1
            return
        assert outcome.success, f"{name}: the contract refuses with {self.errors.get(outcome.output[:4])}, the model not"
        logs = [
            (self.topics[log.topics[0]], b"".join(log.topics[1:]) + log.data)
            for log in outcome.logs
            if log.address == self.escrow or log.address in places
        ]
        assert logs == [(event, b"".join(map(word, values))) for event, values in events], name
        for event, values in events:
            self.counts[f"{name}: {event}{values[1]!r}" if event == "ClaimSkipped" else f"{name}: {event}"] += 1

    def compare(self, session: bytes | None = None) -> None:
        """One session, or all of them."""
        for name in [session] if session else list(self.model.sessions):
            kept = self.model.sessions.get(name)
            state = [0] * 6
            if kept is not None:
                state = [kept.lock, kept.claimed, kept.opened_at, kept.requested_at, kept.requested_block, int(kept.closed)]
            assert self.read(f"sessionOf({TERMS_TYPE})", self.terms[name]) == state

    def compare_balances(self) -> None:
        for address in self.addresses:
            assert self.read("freeMicroOf(address)", address) == [self.model.free[address]]

    def compare_tokens(self) -> None:
        """The law, and every outside balance and nonce."""
        for address in self.addresses:
            outcome = self.send(ZERO, "balanceOf(address)", [address], to=self.token)
            assert int.from_bytes(outcome.output, "big") == self.model.outside[address]
            assert self.read("nonceOf(address)", address) == [self.model.nonces[address]]
        outcome = self.send(ZERO, "balanceOf(address)", [self.escrow], to=self.token)
        assert int.from_bytes(outcome.output, "big") == self.model.held()

    # ---------------------------------------------------------------- random values

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def someone(self) -> bytes:
        return self.random.choice(self.addresses)

    def near(self, value: int, most: int = 2**64 - 1) -> int:
        """Around `value`, which is where a bound usually is."""
        choice = self.random.random()
        if choice < 0.4:
            found = value + self.random.randint(-2, 2)
        elif choice < 0.9:
            found = self.random.randint(0, max(value, 1))
        else:
            found = self.random.choice((0, most, value * 2))
        return min(max(found, 0), most)

    def deadline(self) -> int:
        return self.time_s + self.random.choice((-1, 0, 1, 600, 600, 600))

    def pick(self) -> tuple[bytes, Terms]:
        """A session that is or was there, or terms nobody opened; sometimes with a member changed."""
        if self.known and not self.chance(0.03):
            name = self.random.choice(self.known[-LIVE:] if not self.chance(0.05) else self.known)
            return name, self.terms[name]
        terms = self.new_terms()
        return self.name(terms), terms

    def name(self, terms: Terms) -> bytes:
        session = session_id(terms, self.engine.chain_id, self.escrow)
        self.terms[session] = terms
        return session

    def new_terms(self) -> Terms:
        r = self.random
        payer, payee, refund_to = (r.choice(self.addresses) for _ in range(3))
        delay = r.choice((0, 60, 3_600, 7 * 86_400, 7 * 86_400 + 1)) if self.chance(0.1) else r.randint(60, 4_000)
        return Terms(
            payer=payer,
            payee=ZERO if self.chance(0.01) else payee,
            refund_to=ZERO if self.chance(0.01) else refund_to,
            point_commitment=r.randbytes(32),
            metered=self.chance(0.5),
            signer=ZERO if self.chance(0.01) else r.choice(KEYS).address,
            tariff_hash=bytes(32),
            agreement_hash=bytes(32),
            max_micro_per_kwh=r.choice((0, 1, 300_000, 2**64 - 1)),
            max_micro_per_hour=r.choice((0, 1, 100_000, 2**64 - 1)),
            max_flat_micro=r.choice((0, 1, 50_000)),
            rated_watts=r.choice((0, 1, 3_680, 2**32 - 1)),
            latest_end_s=self.time_s + (self.near(62 * 86_400, 2**32) if self.chance(0.1) else r.randint(1, 40_000)),
            stop_grace_s=min(self.near(delay, 2**32 - 1), 2**32 - 1) if self.chance(0.1) else r.randint(0, min(delay, 900)),
            close_delay_s=delay,
            close_delay_blocks=self.near(1_000, 2**32 - 1) if self.chance(0.03) else r.randint(0, 20),
            salt=r.randbytes(32),
        )

    def signed(self, message: Any, signer: bytes) -> tuple[Blob, bytes | None]:
        """A signature over `message` by `signer` or, now and then, by nobody who counts; and who signed."""
        if self.chance(0.04):
            return Blob(self.random.choice((bytes(65), b"", self.random.randbytes(64) + b"\x1b"))), None
        key = THIEF if self.chance(0.03) or signer not in self.keys else self.keys[signer]
        return Blob(key.sign(digest(self.domain, message))), key.address
