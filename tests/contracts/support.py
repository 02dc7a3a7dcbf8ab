"""The contracts on an embedded chain, with the people who use them.

Everything is deployed from the committed artifacts; messages are hashed and signed by `protocol`. `World.at` sets the
time of the next block exactly; all amounts are micro-units, energy milliwatt-hours, time UTC seconds.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils.address import to_checksum_address

with warnings.catch_warnings():  # web3 still imports a deprecated websockets name
    warnings.simplefilter("ignore", DeprecationWarning)
    from web3 import EthereumTesterProvider, Web3
    from web3.contract import Contract
    from web3.types import TxReceipt, Wei

from protocol.control import KeyBinding, KeyRotation
from protocol.eip712 import EVIDENCE, Domain, control_domain, digest, money_domain
from protocol.evidence import Frame
from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.money import MeteredCharge, Open, Payment, RequestClose, Terms, TopUp, Withdraw, session_id

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = Path(os.environ.get("WATTPROOF_TEST_ARTIFACTS", ROOT / "chain" / "artifacts"))  # mutants come in this way
DOUBLES = ROOT / "tests" / "contracts" / "artifacts"
PEOPLE = ("admin", "operator", "owner", "payer", "payee", "refund", "guardian", "minter", "cap_keeper", "stranger")
GENESIS_S = 1_900_000_000  # a fixed time (March 2030): gas depends on the zero bytes of what is sent
HOUR_S = 3600
DAY_S = 86_400
FRAME = keccak(b"a frame")
ZERO = bytes(20)
REFUSALS = (
    "None",
    "UnknownSession",
    "SessionClosed",
    "NothingNew",
    "AboveLock",
    "ElapsedBeyondTime",
    "EnergyBeyondRating",
    "AmountBeyondCeilings",
    "SignatureRefused",
)


def load_artifact(name: str, folder: Path = ARTIFACTS) -> dict[str, Any]:
    artifact: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return artifact


@cache
def person(name: str) -> Signer:
    """The key of a named person: the same in every run."""
    return Signer(keccak(name.encode()))


class World:
    """A chain with the four contracts, people with gas, and a payer with money in the escrow."""

    def __init__(self) -> None:
        self.backend = PyEVMBackend()
        self.tester = EthereumTester(self.backend)
        self.at(GENESIS_S)
        self.w3 = Web3(EthereumTesterProvider(self.tester))
        self.chain_id: int = self.w3.eth.chain_id
        rich = self.tester.get_accounts()[0]
        self.signers = {name: person(name) for name in PEOPLE}
        for signer in self.signers.values():
            self.tester.add_account("0x" + signer.secret.hex())
            self.w3.eth.send_transaction(
                {"from": rich, "to": to_checksum_address(signer.address), "value": Wei(10**21), "gas": 21_000}
            )
        minter, cap_keeper = self.address("minter"), self.address("cap_keeper")
        self.registry = self.deploy("DeviceRegistry", self.address("admin"))
        self.anchors = self.deploy("AnchorLog")
        self.token = self.deploy("SettlementToken", "Settlement", "SET", minter, cap_keeper, 10**15)
        self.escrow = self.deploy("EnergyEscrow", self.token.address, self.address("guardian"))
        self.fund("payer", 10**12)

    # ---------------------------------------------------------------- chain

    def deploy(self, name: str, *arguments: Any, folder: Path = ARTIFACTS) -> Contract:
        artifact = load_artifact(name, folder)
        contract: Any = self.w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        sent = contract.constructor(*arguments).transact({"from": self.address("admin"), "gas": 8_000_000})
        receipt = self.w3.eth.wait_for_transaction_receipt(sent)
        assert receipt["status"] == 1, f"{name} was not deployed"
        address: Any = receipt["contractAddress"]
        return self.contract(address, artifact["abi"])

    def contract(self, address: Any, abi: Any) -> Contract:
        found: Any = self.w3.eth.contract(address=address, abi=abi)
        assert isinstance(found, Contract)
        return found

    def over(self, token: Contract) -> World:
        """The same people on an escrow of their own over another token."""
        other = copy.copy(self)
        other.token = token
        other.escrow = self.deploy("EnergyEscrow", token.address, self.address("guardian"))
        return other

    def double(self, name: str, *arguments: Any) -> Contract:
        """Deploys one of contracts/test/doubles."""
        return self.deploy(name, *arguments, folder=DOUBLES)

    def address(self, name: str) -> bytes:
        return self.signers[name].address

    def now(self) -> int:
        """The time of the block the next transaction will be in."""
        return int(self.backend.chain.header.timestamp)

    def at(self, time_s: int) -> None:
        """The next transaction's block is made at `time_s`."""
        self.backend.chain.header = self.backend.chain.header.copy(timestamp=time_s)

    def mine(self, blocks: int) -> None:
        self.tester.mine_blocks(blocks)

    def send(self, call: Any, sender: str, gas: int = 5_000_000) -> TxReceipt:
        """Sends `call` from a person and returns its receipt; fails if it reverts."""
        account = to_checksum_address(self.address(sender))
        at_s = self.now()
        receipt = self.w3.eth.wait_for_transaction_receipt(call.transact({"from": account, "gas": gas}))
        if receipt["status"] != 1:
            self.at(at_s)
            call.call({"from": account, "gas": gas}, "pending")  # raises with the contract's own error
            raise AssertionError("the transaction failed, out of gas?")
        return receipt

    def reverts(self, call: Any, sender: str, error: str, *values: Any) -> None:
        """`call` from a person reverts with the custom error named, carrying at least the values given, in order."""
        try:
            call.call({"from": to_checksum_address(self.address(sender)), "gas": 5_000_000}, "pending")
        except TransactionFailed as raised:
            # eth-tester hands the revert data on as the text of a bytes literal
            data = ast.literal_eval(str(raised).removeprefix("execution reverted: "))
        else:
            raise AssertionError(f"did not revert with {error}")
        found, carried = self.w3.eth.contract(abi=self.all_errors()).decode_function_input(data)
        assert found.fn_name == error, f"reverted with {found.fn_name}{carried}, not with {error}"
        got = [plain(value) for value in carried.values()]
        wanted = [plain(value) for value in values]
        assert got[: len(wanted)] == wanted, f"{error} carried {got}, not {wanted}"

    def all_errors(self) -> list[dict[str, Any]]:
        """Every custom error of our contracts and the tricky token, as functions, which web3 can decode."""
        names = [(path.stem, ARTIFACTS) for path in sorted(ARTIFACTS.glob("*.json")) if path.stem != "manifest"]
        names += [("TrickyToken", DOUBLES), ("SmartAccount", DOUBLES)]
        found: dict[str, dict[str, Any]] = {}
        for name, folder in names:
            for item in load_artifact(name, folder)["abi"]:
                if item["type"] == "error":
                    key = item["name"] + ",".join(part["type"] for part in item["inputs"])
                    found[key] = {**item, "type": "function", "outputs": [], "stateMutability": "view"}
        return list(found.values())

    def events(self, receipt: TxReceipt, contract: Contract, name: str) -> list[dict[str, Any]]:
        """The arguments of the events `name` in a receipt, in order."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other events in the same receipt
            found = contract.events[name]().process_receipt(receipt)
        return [{key: plain(value) for key, value in item["args"].items()} for item in found]

    # ---------------------------------------------------------------- money

    @property
    def money(self) -> Domain:
        return money_domain(self.chain_id, bytes.fromhex(self.escrow.address[2:]))

    @property
    def control(self) -> Domain:
        return control_domain(self.chain_id, bytes.fromhex(self.registry.address[2:]))

    def fund(self, name: str, amount_micro: int) -> None:
        """Mints to a person and deposits all of it."""
        receipt = keccak(f"{name} {amount_micro} {self.w3.eth.block_number}".encode())
        self.send(self.token.functions.mint(receipt, self.address(name), amount_micro), "minter")
        self.send(self.token.functions.approve(self.escrow.address, amount_micro), name)
        self.send(self.escrow.functions.deposit(amount_micro), name)

    def free(self, name: str | bytes) -> int:
        address = self.address(name) if isinstance(name, str) else name
        return int(self.escrow.functions.freeMicroOf(address).call())

    def terms(self, number: int = 0, **changes: Any) -> Terms:
        """Terms number `number` between payer and payee; `metered=True` for a charge key."""
        metered = bool(changes.get("metered", False))
        base = Terms(
            payer=self.address("payer"),
            payee=self.address("payee"),
            refund_to=self.address("refund"),
            point_commitment=keccak(b"point %d" % number),
            metered=metered,
            signer=self.key_of(number).address,
            tariff_hash=keccak(b"tariff"),
            agreement_hash=keccak(b"agreement"),
            max_micro_per_kwh=300_000,
            max_micro_per_hour=100_000,
            max_flat_micro=50_000,
            rated_watts=3_680,
            latest_end_s=self.now() + 2 * DAY_S,
            stop_grace_s=120,
            close_delay_s=HOUR_S,
            close_delay_blocks=10,
            salt=keccak(b"salt %d" % number),
        )
        return base._replace(**changes)

    def key_of(self, number: int) -> Signer:
        """The pay or charge key of session number `number`."""
        return person(f"signer {number}")

    def id_of(self, terms: Terms) -> bytes:
        return session_id(terms, self.chain_id, bytes.fromhex(self.escrow.address[2:]))

    def session(self, terms: Terms) -> dict[str, Any]:
        """The state of a session by the names of the contract's struct."""
        names = ("lockMicro", "claimedMicro", "openedAtS", "closeRequestedAtS", "closeRequestedBlock", "closed")
        values = self.escrow.functions.sessionOf(terms).call()
        values = tuple(values.values()) if isinstance(values, dict) else tuple(values)
        return dict(zip(names, values, strict=True))

    def open(self, terms: Terms, lock_micro: int = 1_000_000) -> Terms:
        self.send(self.escrow.functions.openAsPayer(terms, lock_micro), "payer")
        return terms

    def open_signed(self, terms: Terms, lock_micro: int, deadline_s: int, signer: Signer | None = None) -> bytes:
        return self.sign(self.money, Open(self.id_of(terms), lock_micro, deadline_s), signer or self.signers["payer"])

    def top_up_signed(self, terms: Terms, total_micro: int, deadline_s: int, signer: Signer | None = None) -> bytes:
        return self.sign(self.money, TopUp(self.id_of(terms), total_micro, deadline_s), signer or self.signers["payer"])

    def close_signed(self, terms: Terms, deadline_s: int, signer: Signer) -> bytes:
        return self.sign(self.money, RequestClose(self.id_of(terms), deadline_s), signer)

    def withdraw_signed(self, name: str, to: bytes, amount_micro: int, nonce: int, deadline_s: int) -> bytes:
        message = Withdraw(self.address(name), to, amount_micro, nonce, deadline_s)
        return self.sign(self.money, message, self.signers[name])

    def sign(self, domain: Domain, message: Any, signer: Signer) -> bytes:
        return signer.sign(digest(domain, message))

    def paid_row(self, terms: Terms, amount_micro: int, signer: Signer | None = None, **changes: Any) -> tuple[Any, ...]:
        """A row of `claimPaid`; `signature=` or `signer_address=` put something else in."""
        session = changes.get("session", self.id_of(terms))
        signature = changes.get("signature")
        if signature is None:
            message = Payment(self.id_of(terms), amount_micro, FRAME)
            signature = self.sign(changes.get("domain", self.money), message, signer or self.key_by(terms))
        address = changes.get("signer_address", terms.signer)
        payment = (session, changes.get("amount", amount_micro), FRAME)
        return (payment, address, *split(signature))

    def metered_row(
        self, terms: Terms, amount_micro: int, energy: int, elapsed_s: int, signer: Signer | None = None, **changes: Any
    ) -> tuple[Any, ...]:
        """A row of `claimMetered`; `limits=`, `signature=` … put something else in than what was signed."""
        session = changes.get("session", self.id_of(terms))
        signature = changes.get("signature")
        if signature is None:
            message = MeteredCharge(self.id_of(terms), amount_micro, energy, elapsed_s, FRAME)
            signature = self.sign(changes.get("domain", self.money), message, signer or self.key_by(terms))
        address = changes.get("signer_address", terms.signer)
        limits = changes.get("limits", limits_of(terms))
        charge = (session, changes.get("amount", amount_micro), energy, elapsed_s, FRAME)
        return (charge, address, limits, *split(signature))

    def key_by(self, terms: Terms) -> Signer:
        """The key behind `terms.signer`, among the first thousand made by `key_of`."""
        return next(key for key in map(self.key_of, range(1000)) if key.address == terms.signer)

    def claim_paid(self, *rows: tuple[Any, ...], payee: bytes | None = None, sender: str = "stranger") -> TxReceipt:
        return self.send(self.escrow.functions.claimPaid(payee or self.address("payee"), list(rows)), sender, 12_000_000)

    def claim_metered(self, *rows: tuple[Any, ...], payee: bytes | None = None, sender: str = "stranger") -> TxReceipt:
        call = self.escrow.functions.claimMetered(payee or self.address("payee"), list(rows))
        return self.send(call, sender, 12_000_000)

    def skipped(self, receipt: TxReceipt) -> list[str]:
        """Why rows of a batch were not paid, in order."""
        return [REFUSALS[item["refusal"]] for item in self.events(receipt, self.escrow, "ClaimSkipped")]

    # ---------------------------------------------------------------- devices

    def binding(self, device: bytes, role: int, key: Signer, deadline_s: int) -> bytes:
        return self.sign(self.control, KeyBinding(device, role, key.address, deadline_s), key)

    def rotation(self, message: KeyRotation, signer: Signer) -> bytes:
        return self.sign(self.control, message, signer)

    def frame(self, device: bytes, first_sequence: int = 1) -> Frame:
        return Frame(device, keccak(b"incarnation"), first_sequence, 1, keccak(b"root"), bytes(32), bytes(32))

    def frame_signed(self, frame: Frame, signer: Signer) -> bytes:
        return self.sign(EVIDENCE, frame, signer)


def limits_of(terms: Terms) -> tuple[int, int, int, int, int, int]:
    """The terms a metered claim brings along, in the order of `MoneyTypes.Limits`."""
    return (
        terms.max_micro_per_kwh,
        terms.max_micro_per_hour,
        terms.max_flat_micro,
        terms.rated_watts,
        terms.latest_end_s,
        terms.stop_grace_s,
    )


def split(signature: bytes) -> tuple[int, bytes, bytes]:
    """v, r, s of a 65-byte signature."""
    return signature[64], signature[:32], signature[32:64]


def plain(value: Any) -> Any:
    """Addresses as lower-case text and bytes as bytes, so that what a chain answers compares with what was given."""
    if isinstance(value, str) and value.startswith("0x") and len(value) == 42:
        return value.lower()
    if isinstance(value, bytes | bytearray):
        return "0x" + value.hex() if len(value) == 20 else bytes(value)
    return value
