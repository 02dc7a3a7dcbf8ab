"""`python -m wattproof_paybox`: start the sandbox, say where it is, run until Ctrl-C or SIGTERM."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

DESCRIPTION_NAME = "paybox.json"
KEY_NAME = "api.key"


def main(
    state: Annotated[Path, typer.Option(help="Folder the sandbox lives in; made if it is not there.")],
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8480,
    currency: Annotated[str, typer.Option(help="Three letters; two decimals.")] = "eur",
    settle_seconds: Annotated[int, typer.Option(min=0, max=86_400, help="How long a payment stays pending in the balance.")] = 5,
    fee_ppm: Annotated[int, typer.Option(min=0, max=500_000, help="The provider's fee on a payment, parts per million.")] = 0,
    dispute_fee: Annotated[int, typer.Option(min=0, max=100_000, help="What a charge-back costs besides, minor units.")] = 0,
) -> None:
    """Play a payment provider: the API at /v1, pay pages at /pay, and what only happens to real accounts at /sandbox."""
    if not _is_loopback(host):
        _fail(f"--host {host}: a sandbox listens on loopback only (127.0.0.1 or ::1)")
    import uvicorn

    from .api import build
    from .delivery import Deliverer
    from .provider import Provider, Rules
    from .store import Store

    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _key(state / KEY_NAME)
        listener = _listen(host, port)
    except OSError as error:
        _fail(f"cannot start on {host}:{port} in {state}: {error.strerror or error}; is another one running?")
    url = f"http://{'[' + host + ']' if ':' in host else host}:{listener.getsockname()[1]}"
    store = Store(state / "paybox.db")
    provider = Provider(store, Rules(currency, settle_seconds, fee_ppm, dispute_fee), url)
    deliverer = Deliverer(provider)
    deliverer.start()
    description = {"url": url, "apiKeyFile": str((state / KEY_NAME).resolve()), "currency": currency, "pid": os.getpid()}
    _write_private(state / DESCRIPTION_NAME, json.dumps(description, indent=1) + "\n")
    print(f"The sandbox listens on {url}; its API key is in {state / KEY_NAME}.", flush=True)
    config = uvicorn.Config(build(provider, deliverer, key), log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        deliverer.stopping.set()
        deliverer.join(15)
        (state / DESCRIPTION_NAME).unlink(missing_ok=True)
        store.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    return listener


def _key(path: Path) -> str:
    if not path.exists():
        _write_private(path, f"sk_test_{secrets.token_urlsafe(32)}\n")
    return path.read_text(encoding="utf-8").strip()


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, synced, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    typer.run(main)
