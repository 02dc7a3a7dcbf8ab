"""A sender in a process of its own, that can be told where to die.

`python -m tests.chain.outbox_process URL DEPLOYMENT DATABASE ACCOUNT FINALITY_DEPTH [METHOD before|after COUNT]`: run until every
intent is settled, or kill -9 itself before or after the COUNT-th call of METHOD (of the store, or `send` of the client).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain.client import ChainClient
from chain.deployment import load
from chain.errors import Transient
from chain.outbox import Sender
from chain.transactions import TransactionSigner

from .nodes import dev_secret
from .sqlite_store import SqliteStore


def die_at(target: Any, method: str, when: str, count: int) -> None:
    """Make one method of one object fatal at its COUNT-th call."""
    inner: Callable[..., Any] = getattr(target, method)
    left = [count]

    def fatal(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*arguments)
        if left[0] == 0 and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(target, method, fatal)


def main(url: str, deployment: str, database: str, account: str, depth: str, *death: str) -> None:
    store = SqliteStore(Path(database))
    with ChainClient(url, load(Path(deployment)), finality_depth=int(depth)) as client:
        if death:
            method, when, count = death
            die_at(client if method == "send" else store, method, when, int(count))
        sender = Sender(client, TransactionSigner(client, dev_secret(int(account))), store)
        while None in store.outcomes().values():
            try:
                sender.step()
            except Transient as error:
                print(error, flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
