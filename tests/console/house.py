"""A service over real HTTP with a real database, real frames and real signatures, but without its loops and without a chain.

What the chain would say (a session opened, an anchor final) is applied through the service's own functions for final events. The tests that
need a living chain use `tests.service.world`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import uvicorn

from backend.app import build
from backend.context import Service
from backend.evidence.epochs import round_ as close_epochs
from backend.models import AnchorLinkRow, ChainEventRow, Epoch
from backend.onchain.chainbooks import apply
from backend.people.alarms import AlarmKind, raise_alarm
from backend.settings import load_settings
from backend.setup import initialize
from backend.store.facts import CHAIN, ChainStatus, remember
from chain.event_types import OfferPublished, PolicySet, ProviderAdmitted, SessionOpened, WalletCreated
from protocol.eip712 import digest, money_domain, to_json
from protocol.evidence import Reason
from protocol.hashing import document_hash
from protocol.keys import Signer
from protocol.money import Open
from protocol.task import Description, Proof, Task, task_id
from protocol.wallet import Policy, WalletNote, policy_hash, wallet_domain
from tests.service.bench_agent import BenchAgent
from tests.service.buyers import signed_offer
from tests.service.world import eventually, free_port

PASSWORD = "correct horse battery staple"
LOCK_MICRO = 2_000_000
CONTRACTS = ("DeviceRegistry", "AnchorLog", "EnergyEscrow", "SettlementToken")
LATER = ("ProviderBook", "TaskEscrow", "DeviceWallet", "DeviceWalletFactory")
ROLES = ("admin", "operator", "auditor", "read-only")


class House:
    """One service. Looks like a `World` to a `BenchAgent`."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        self.folder, self.home = folder, folder / "service"
        addresses = {name: "0x" + os.urandom(20).hex() for name in (*CONTRACTS, *LATER)}
        document = {"chainId": 31337, "genesisHash": "0x" + "11" * 32, "blockNumber": 1, "contracts": addresses}
        (folder / "deployment.json").write_text(json.dumps(document))
        initialize(self.home, "http://127.0.0.1:1", folder / "deployment.json")
        self.token = (self.home / "operator.token").read_text().strip()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        toml = self.home / "service.toml"
        text = toml.read_text().replace("127.0.0.1:8400", f"127.0.0.1:{self.port}")
        toml.write_text(text.replace('database_url = ""', f'database_url = "{database_url}"'))
        settings = load_settings(toml)
        self.service = Service.from_settings(settings)
        self.deployment = self.service.deployment
        self.payees = {1: self.service.keys.sender}  # operator → the account that is paid
        self.money = money_domain(self.deployment.chain_id, self.deployment.escrow)
        self.app = build(self.service, with_loops=False)
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=self.port, log_config=None, timeout_graceful_shutdown=2))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        eventually("the service", lambda: self._server.started)

    def close(self) -> None:
        self.service.hub.stop()
        self._server.should_exit = True
        self._thread.join(10)

    def request(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx2.Response:
        headers = more.pop("headers", {}) | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return httpx2.request(method, self.url + path, headers=headers, timeout=20, **more)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, expect: int | None = None) -> Any:
        answer = self.request(method, path, token=token or self.token, json=body)
        good = answer.status_code == expect if expect else answer.status_code < 300
        assert good, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def final(self, body: Any, session: bytes | None = None) -> None:
        """An event in a block that is final, applied as the reader's loop does."""
        with self.service.db.writing() as db:
            row = ChainEventRow(
                operator_id=0, block_number=10, block_hash=os.urandom(32), time_s=int(time.time()),
                log_index=int.from_bytes(os.urandom(4), "big"), transaction_hash=os.urandom(32), name=type(body).__name__, values="{}",
                session=session, applied=True,
            )  # fmt: skip
            db.add(row)
            db.flush()
            assert apply(db, self.service, row, body)

    def operator(self, name: str) -> int:
        """Another operator, whose account's key the test holds."""
        payee = Signer.create()
        made: int = self.call("POST", "/api/v1/operators", {"name": name, "payee": "0x" + payee.address.hex()})["operatorId"]
        self.payees[made] = payee
        return made

    def user(self, name: str, role: str, operator_id: int, **more: Any) -> dict[str, Any]:
        body = {"name": name, "role": role, "operatorId": operator_id, "password": PASSWORD} | more
        made: dict[str, Any] = self.call("POST", "/api/v1/users", body)
        return made

    def browser(self, name: str, password: str = PASSWORD) -> Browser:
        return Browser(self, name, password)


class Browser:
    """A log-in with its cookie, as a browser without scripts would hold it."""

    def __init__(self, house: House, name: str, password: str) -> None:
        self.house = house
        answer = house.request("POST", "/console/log-in", data={"name": name, "password": password})
        assert answer.status_code == 303, answer.text
        self.cookie = answer.cookies["wattproof_login"]
        self.csrf = csrf_of(self.get("/console/account").text)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.send("GET", path, **more)

    def post(self, path: str, data: dict[str, Any] | None = None, **more: Any) -> httpx2.Response:
        return self.send("POST", path, data={"csrf": self.csrf} | (data or {}), **more)

    def send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Cookie": f"wattproof_login={self.cookie}"} | more.pop("headers", {})
        return self.house.request(method, path, headers=headers, **more)

    def token(self, label: str = "test") -> str:
        answer = self.send("POST", "/api/v1/tokens", json={"label": label}, headers={"X-CSRF-Token": self.csrf})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


def csrf_of(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


class Holding(NamedTuple):
    """What one operator has: a point with a running session, frames, an epoch, an alarm; and a token for each role."""

    operator_id: int
    agent: BenchAgent
    point_id: str
    session: str
    epoch_id: int
    alarm_id: int
    tariff_hash: str
    users: dict[str, int]
    tokens: dict[str, str]
    offer_hash: str
    wallet: str
    task: str

    def marks(self) -> list[str]:
        """Texts that are nobody else's business."""
        short = f"0x{self.session[2:8]}…{self.session[-4:]}"
        named = [f"{noun}-of-{self.operator_id}" for noun in ("name", "alarm", "tariff", "label", "offer", "choice", "refusal", "task")]
        return [
            self.task[2:],
            self.offer_hash[2:],
            self.wallet[2:],
            self.point_id,
            self.session[2:],
            short,
            self.agent.device.hex(),
            *named,
        ]


def furnish(house: House, operator_id: int) -> Holding:
    """Give an operator one of everything, through the service's own doors."""
    users, tokens = {}, {}
    for role in ROLES:
        name = f"{role}.{operator_id}"
        users[role] = house.user(name, role, operator_id)["userId"]
        tokens[role] = house.browser(name).token(f"label-of-{operator_id}")
    agent = BenchAgent(_As(house, tokens["admin"]))  # type: ignore[arg-type]
    tariff = {
        "id": f"tariff-of-{operator_id}", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin",
        "elements": [{"priceComponents": [{"type": "ENERGY", "microPerKwh": 300_000 + operator_id, "taxPpm": 190_000}]}],
    }  # fmt: skip
    point_id = agent.enrol(tariff, on_chain=False)
    with house.service.db.writing() as db:
        from backend.models import Point

        db.get_one(Point, point_id).name = f"name-of-{operator_id}"
    agent.vouch()
    agent.connect()
    payer = Signer.create()
    session = open_session(house, point_id, payer=payer)
    eventually("supply", lambda: house.call("GET", f"/api/v1/sessions/{session}", token=tokens["admin"])["state"] == "running")
    agent.send(agent.frame(agent.record(Reason.START)))
    agent.clock = max(agent.clock, int(time.time()) - 3)
    agent.send(agent.frame(agent.record(rise=1_000, power=3_600_000)), agent.frame(agent.record(rise=1_000, power=3_600_000)))
    with house.service.db.writing() as db:
        kind, place = AlarmKind.NOT_CONNECTED, f"alarm-of-{operator_id}"
        alarm_id = raise_alarm(db, house.service, operator_id, kind, place, f"alarm-of-{operator_id}: raised by the test").id
    tariff_hash = "0x" + agent.tariff.hash.hex()
    offer_hash = offer(house, operator_id, tokens["admin"], point_id)
    wallet(house, payer.address, session, operator_id)
    return Holding(
        operator_id, agent, point_id, session, anchor(house), alarm_id, tariff_hash, users, tokens, offer_hash,
        f"0x{payer.address.hex()}", task(house, payer, agent, operator_id),
    )  # fmt: skip


def task(house: House, requester: Signer, agent: BenchAgent, operator_id: int) -> str:
    """A task at this operator's meter, as it stands when its opening has been taken."""
    from backend.models import TaskRow
    from backend.tasks.opening import describe

    description = Description(f"task-of-{operator_id}", "charging", ())
    terms = Task(
        requester.address, Signer.create().address, requester.address, requester.address, Signer.create().address, description.hash, 1_000,
        int(time.time()) + 600, 0, int(Proof.ENERGY), agent.device, agent.channel, agent.meter_key.address, 1_000, 0, os.urandom(32),
    )  # fmt: skip
    identity = task_id(terms, house.deployment.chain_id, house.deployment.address_of("TaskEscrow"))
    with house.service.db.writing() as db:
        row = TaskRow(
            operator_id=operator_id, task=identity, terms=json.dumps(to_json(terms)), description=json.dumps(description.to_document()),
            requester=terms.requester, node=terms.node, state="opening", created_at_s=int(time.time()), price_micro=terms.price_micro,
        )  # fmt: skip
        db.add(row)
        db.flush()
        return str(describe(row)["task"])


def offer(house: House, operator_id: int, token: str, point_id: str, number: int = 1) -> str:
    """An offer of this operator that the chain has."""
    payee, book = house.payees[operator_id], house.deployment.provider_book
    assert book is not None
    house.final(ProviderAdmitted(payee.address))
    body = signed_offer(book, payee, [point_id], number, name=f"offer-of-{operator_id}")
    found: str = house.call("POST", "/api/v1/offers", body, token=token)["offerHash"]
    stated = body["offer"]
    house.final(OfferPublished(payee.address, bytes.fromhex(found[2:]), number, stated["validFromS"], stated["validUntilS"]))
    return found


def wallet(house: House, address: bytes, session: str, operator_id: int) -> None:
    """A payer that is a device's wallet, with a policy, and an agent that has something to say."""
    pay_key = Signer.create()
    policy = Policy(pay_key.address, (house.payees[operator_id].address,), 400_000, 0, 0, 5_000_000, 10_000_000, int(time.time()) + 86_400)
    house.final(WalletCreated(address, os.urandom(32), os.urandom(20)))
    house.final(PolicySet(address, policy_hash(policy), pay_key.address, tuple(policy)))
    weighed = [{"name": "Sunside", "micro": 357_000}]
    choice = {"kind": "choice", "why": f"choice-of-{operator_id}: 0.357 a kWh is the least", "offers": weighed}
    refusal = {"kind": "refusal", "session": session, "frame": "0x" + "11" * 32, "why": f"refusal-of-{operator_id}: 20 % more than mine",
               "ownMilliwattHours": 1_000_000, "sellerMilliwattHours": 1_200_000}  # fmt: skip
    for document in (choice, refusal):
        said = WalletNote(address, document_hash(document), int(time.time()))
        signature = "0x" + pay_key.sign(digest(wallet_domain(house.deployment.chain_id, address), said)).hex()
        body = {"document": document, "madeAtS": said.made_at_s, "signature": signature}
        house.call("POST", f"/api/v1/wallets/0x{address.hex()}/notes", body)


class _As:
    """The house as one operator's program sees it."""

    def __init__(self, house: House, token: str) -> None:
        self._house, self._token = house, token
        self.url, self.deployment, self.money = house.url, house.deployment, house.money

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, expect: int | None = None) -> Any:
        return self._house.call(method, path, body, token=token or self._token, expect=expect)

    def request(
        self, method: str, url: Callable[[], str], headers: Callable[[], dict[str, str]] = dict, **more: Any
    ) -> httpx2.Response:  # fmt: skip
        """As a `World` asks for an agent."""
        return httpx2.request(method, url(), headers=headers(), timeout=20, **more)


def open_session(house: House, point_id: str, lock_micro: int = LOCK_MICRO, payer: Signer | None = None) -> str:
    """A session, opened by a payer's signature; the chain's event is applied as final."""
    payer = payer or Signer.create()
    me = "0x" + payer.address.hex()
    wish = {"pointId": point_id, "payer": me, "refundTo": me, "metered": True, "lockMicro": lock_micro}
    quoted = house.call("POST", "/api/v1/quotes", wish)
    session, deadline_s = bytes.fromhex(quoted["session"][2:]), int(time.time()) + 600
    signature = payer.sign(digest(house.money, Open(session, lock_micro, deadline_s)))
    body = {"quoteId": quoted["quoteId"], "lockMicro": lock_micro, "deadlineS": deadline_s, "signature": "0x" + signature.hex()}
    house.call("POST", "/api/v1/sessions", body)
    payee = bytes.fromhex(quoted["terms"]["payee"][2:])
    house.final(SessionOpened(session, payer.address, payee, lock_micro), session)
    return str(quoted["session"])


def anchor(house: House) -> int:
    """Close the frames that wait into an epoch, and let its link be final."""
    with house.service.db.writing() as db:
        now = int(time.time())
        remember(db, CHAIN, ChainStatus(12, now, 10, now - 2, now, True)._asdict())
        for epoch in db.query(Epoch):
            epoch.closed_at_s -= 10_000  # the next one is due now
    close_epochs(house.service, house.service.db.writing)
    with house.service.db.writing() as db:
        epoch = db.query(Epoch).order_by(Epoch.id.desc()).first()
        assert epoch is not None
        link = AnchorLinkRow(
            operator_id=0, anchorer=epoch.anchorer, previous_head=os.urandom(32), root=epoch.root, head=os.urandom(32),
            time_s=int(time.time()), block_number=11, transaction_hash=os.urandom(32),
        )  # fmt: skip
        db.add(link)
        db.flush()
        epoch.state, epoch.link_id = "anchored", link.id
        return epoch.id
