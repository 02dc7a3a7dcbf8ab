"""Wallets' events: kept from wallets of the factory only, taken back when the chain reorganises, applied at finality; and payees' keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select

from backend.accounts.desk import make_payee_key
from backend.errors import Unavailable
from backend.models import ChainEventRow, WalletRow
from backend.onchain.chainbooks import ChainBooks
from backend.settings import load_settings
from backend.setup import initialize
from backend.store.keys import load_keys
from backend.wallets.door import prove
from backend.wallets.views import locked_micro
from chain import event_types
from chain.client import ChainClient
from chain.events import Batch, ChainEvent
from chain.rpc import BlockRef
from chain.wallet_views import CLONE_BYTES
from protocol.eip712 import digest
from protocol.keys import Signer
from protocol.money import RequestClose
from protocol.wallet import Policy, policy_document, policy_hash, wallet_domain
from tests.chain.test_transport import StrangeNode
from tests.service.bench_agent import Meter
from tests.service.inside import LOCK_MICRO, Inside

WALLET, STRANGER, PAY_KEY = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20


def policy(day_micro: int) -> Policy:
    return Policy(PAY_KEY, (b"\x44" * 20,), 1, 2, 3, 4, day_micro, 2**63 - 1)


def policy_set(wallet: bytes, day_micro: int) -> event_types.PolicySet:
    chosen = policy(day_micro)
    return event_types.PolicySet(wallet, policy_hash(chosen), PAY_KEY, tuple(chosen))


class Books:
    """The reader's loop with batches given by hand."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.books = ChainBooks(inside.service, ChainClient("http://127.0.0.1:1", inside.service.deployment))

    def read(self, number: int, *bodies: Any, back_to: int | None = None, final: int = 0) -> None:
        ref = BlockRef(number, os.urandom(32))
        events = tuple(ChainEvent(ref, 1_000 + number, os.urandom(32), i, WALLET, body) for i, body in enumerate(bodies))
        with self.inside.service.db.writing() as db:
            self.books._keep(db, Batch(back_to, events, (ref,), ref, ref))
            self.books._apply(db, final)

    def wallet(self) -> WalletRow | None:
        with self.inside.service.db.reading() as db:
            return db.get(WalletRow, WALLET)


def test_a_wallets_word_is_followed_reorganised_and_applied_at_finality(inside: Inside) -> None:
    books = Books(inside)
    created = event_types.WalletCreated(WALLET, b"\x55" * 32, b"\x66" * 20)
    books.read(10, policy_set(STRANGER, 1), event_types.Frozen(WALLET), created, policy_set(WALLET, 100), policy_set(STRANGER, 2))
    with inside.service.db.reading() as db:
        kept = db.scalars(select(ChainEventRow.name).order_by(ChainEventRow.log_index)).all()
    assert kept == ["WalletCreated", "PolicySet"]  # a stranger's, and what was said before the wallet was there, are not
    assert books.wallet() is None  # not final yet
    books.read(10, created, policy_set(WALLET, 200), back_to=9)  # another block took its place
    books.read(11, event_types.Frozen(WALLET), event_types.Frozen(STRANGER), final=10)
    row = books.wallet()
    assert row is not None
    assert (row.policy_hash, row.frozen, row.owner) == (policy_hash(policy(200)), False, b"\x66" * 20)
    assert json.loads(row.policy or "") == policy_document(policy(200))
    books.read(12, event_types.Unfrozen(WALLET), policy_set(WALLET, 300), final=11)
    row = books.wallet()
    assert row is not None
    assert (row.frozen, row.policy_hash) == (True, policy_hash(policy(200)))
    books.read(13, event_types.Withdrawn(WALLET, b"\x77" * 20, 5), event_types.Withdrawn(STRANGER, STRANGER, 5), final=13)
    row = books.wallet()
    assert row is not None
    assert (row.frozen, row.policy_hash, row.withdrawn_micro) == (False, policy_hash(policy(300)), 5)


def test_what_a_wallet_has_locked_here_falls_as_it_is_claimed_and_returned(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()

    def locked() -> int:
        with inside.service.db.reading() as db:
            return locked_micro(db, inside.payer.address)

    assert locked() == LOCK_MICRO
    inside.final(event_types.ChargeClaimed(session.session, inside.service.payee, 300, bytes(32)))
    assert locked() == LOCK_MICRO - 300
    inside.final(event_types.SessionClosed(session.session, 300, LOCK_MICRO - 300))
    assert locked() == 0


def test_accounts_of_further_operators_can_be_left_with_the_service(tmp_path: Path) -> None:
    home = tmp_path / "service"
    initialize(home, "http://127.0.0.1:1", Path("deployment.json"))
    toml = home / "service.toml"
    make_payee_key(toml, Path("keys/harbour.json"))
    assert (home / "keys" / "harbour.json").stat().st_mode & 0o077 == 0
    settings = load_settings(toml)
    assert len(load_keys(settings).payees) == 1
    toml.write_text(toml.read_text() + '\n[keys]\nfurther_payee_files = ["keys/harbour.json"]\n')
    keys = load_keys(load_settings(toml))
    assert len(keys.payees) == 2
    assert keys.further_payees[0].address in keys.payees


def test_a_deployment_without_wallets_is_said_at_the_stop_button(inside: Inside, strange_node: StrangeNode) -> None:
    meter, pay_key = Meter(), Signer.create()
    row = inside.session(meter, inside.enrol(meter)).row()
    service, order = inside.service, RequestClose(row.session, inside.service.now_s() + 600)
    shown = policy_document(policy(1)._replace(pay_key=pay_key.address))
    signature = pay_key.sign(digest(wallet_domain(service.deployment.chain_id, row.payer), order))
    service._node = ChainClient(strange_node.url, service.deployment)
    strange_node.say(result="0x" + "5b" * (CLONE_BYTES + 52))  # it might be a clone, of a factory that this deployment has not
    with pytest.raises(Unavailable, match="has no DeviceWalletFactory"):
        prove(service, row, order, signature, shown)


@pytest.fixture
def strange_node() -> Iterator[StrangeNode]:
    server = StrangeNode()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
