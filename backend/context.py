"""What every part of a running service shares: settings, keys, database, the deployment it works with, and who waits for news."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from chain.calls import Calls
from chain.client import ChainClient
from chain.deployment import Deployment
from chain.deployment import load as load_deployment
from chain.errors import DeploymentError
from chain.wallet_calls import Wallets
from protocol.eip712 import Domain, control_domain, hex_bytes, money_domain
from protocol.hashing import keccak
from protocol.keys import Signer

from .errors import Misconfigured
from .hub import Hub
from .providers.accounts import RailAccount, load_rails
from .settings import Settings
from .store.db import Database
from .store.keys import ServiceKeys, load_keys

NODE_TIMEOUT_S = 3.0
"""A payer waits at the door for so long; loops have a client and patience of their own."""
_ACCESS_LABEL = b"wattproof access token"


class Service:
    """The composition root. One a process; every route and loop gets it."""

    def __init__(self, settings: Settings, keys: ServiceKeys, db: Database, deployment: Deployment) -> None:
        self.settings = settings
        self.keys = keys
        self.db = db
        self.deployment = deployment
        self.calls = Calls(deployment)
        self.wallets = Wallets(deployment)
        self.hub = Hub()
        self.clock: Callable[[], float] = time.time  # UTC seconds; the one clock of the service
        self.started_s = self.now_s()
        self.money: Domain = money_domain(deployment.chain_id, deployment.escrow)
        self.control: Domain = control_domain(deployment.chain_id, deployment.registry)
        self.caches: dict[str, Any] = {}
        self._node: ChainClient | None = None
        self._node_lock = Lock()
        self.rails: dict[str, RailAccount] = {}
        event.listen(db.session_class, "after_commit", self._committed)

    @classmethod
    def from_settings(cls, settings: Settings) -> Service:
        """Load what the settings name. Raises `Misconfigured`."""
        settings.path(settings.state_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = load_keys(settings)
        try:
            deployment = load_deployment(settings.path(settings.chain.deployment_file))
        except DeploymentError as error:
            raise Misconfigured(str(error), "chain.deployment_file") from None
        service = cls(settings, keys, Database(settings.database), deployment)
        service.rails = load_rails(settings)
        return service

    def node(self) -> ChainClient:
        """The chain, for questions a request asks of it; its answers are waited for only a little. Never within a transaction."""
        with self._node_lock:
            if self._node is None:
                self._node = ChainClient(self.settings.chain.rpc_url, self.deployment, timeout_s=NODE_TIMEOUT_S)
            return self._node

    def now_s(self) -> int:
        """UTC seconds by this machine's clock, whole."""
        return int(self.clock())

    @property
    def payee(self) -> bytes:
        """The account that is paid: of the settings, else the payee key's."""
        stated = self.settings.payee
        return self.keys.payee.address if stated is None else hex_bytes(stated.lower(), 20, "payee")

    @property
    def till(self) -> Signer:
        """The key that mints, pays in and burns. Only asked for where there are rails."""
        if self.keys.till is None:
            raise Misconfigured("there are no rails in the settings, so no till", "rails")
        return self.keys.till

    def access_token(self, session: bytes) -> str:
        """What opens a session's bill and bundle to its payer. A function of the service's key, so it is stored nowhere."""
        return keccak(_ACCESS_LABEL + self.keys.service.secret + session).hex()

    def after_commit(self, db: Session, action: Callable[[], None]) -> None:
        """Do `action` once `db` has committed; never if it rolls back."""
        db.info.setdefault("after_commit", []).append(action)

    def wake(self, db: Session, device: bytes) -> None:
        """Tell the agent's stream, once `db` has committed, that there is something for it."""
        self.after_commit(db, lambda: self.hub.wake(device))

    def close(self) -> None:
        """Close what was opened to chain and database."""
        if self._node is not None:
            self._node.close()
        self.db.close()

    @staticmethod
    def _committed(db: Session) -> None:
        for action in db.info.pop("after_commit", []):
            action()
