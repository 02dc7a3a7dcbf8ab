"""What the service needs to do its work, each with a name: database, chain, code on the chain, loops, a backup that caught up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from chain.client import ChainClient
from chain.errors import ChainError

from .context import Service
from .store.facts import RESTORED, chain_status, recall
from .store.migrate import is_current

CODE_EACH_S = 300
"""The code on the chain is compared at the start and then this often: it cannot change, the node behind the URL can."""
CHAIN_TIMEOUT_S = 3


def checks(service: Service) -> list[dict[str, Any]]:
    """Every check: name, ok, and what is wrong."""
    named: tuple[tuple[str, Callable[[Service], str]], ...] = (
        ("database", _database), ("schema", _schema), ("chain", _chain), ("contracts", _contracts), ("chain-read", _read),
        ("restored-backup", _restored),
    )  # fmt: skip
    found = []
    for name, check in named:
        try:
            problem = check(service)
        except Exception as error:  # whatever is wrong, it is this check that is not well
            problem = f"{type(error).__name__}: {error}"
        found.append({"name": name, "ok": not problem, "detail": problem})
    loops = service.caches.get("loops")
    for name, problem in (loops.problems() if loops is not None else {"loops": "not started"}).items():
        found.append({"name": f"loop {name}", "ok": not problem, "detail": problem})
    return found


def _database(service: Service) -> str:
    service.db.now_writable()
    return ""


def _schema(service: Service) -> str:
    return "" if is_current(service.db) else "the database has another schema than this program; run: python -m backend migrate"


def _client(service: Service) -> ChainClient:
    client: ChainClient | None = service.caches.get("readiness_client")
    if client is None:
        client = ChainClient(service.settings.chain.rpc_url, service.deployment, finality_depth=0, timeout_s=CHAIN_TIMEOUT_S)
        service.caches["readiness_client"] = client
    return client


def _chain(service: Service) -> str:
    try:
        chain_id = _client(service).chain_id()
    except ChainError as error:
        return str(error)
    expected = service.deployment.chain_id
    return "" if chain_id == expected else f"the node serves chain {chain_id}, the deployment is on chain {expected}"


def _contracts(service: Service) -> str:
    """Chain, genesis and code equal the deployment file and our artifacts."""
    checked_at, problem = service.caches.get("contracts_checked", (0.0, "not compared yet"))
    if problem or time.monotonic() - checked_at > CODE_EACH_S:
        try:
            _client(service).check()
            problem = ""
        except ChainError as error:
            problem = str(error)
        service.caches["contracts_checked"] = (time.monotonic(), problem)
    return str(problem)


def _read(service: Service) -> str:
    with service.db.reading() as db:
        status = chain_status(db)
    if status is None:
        return "the chain has not been read yet"
    return "" if status.caught_up else f"still reading the chain (block {status.head_number})"


def _restored(service: Service) -> str:
    with service.db.reading() as db:
        waiting = recall(db, RESTORED)
    return "" if waiting is None else f"a restored backup catches up before it acts: {waiting}"
