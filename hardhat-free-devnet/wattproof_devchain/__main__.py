"""`python -m wattproof_devchain`: start the chain, say where it is and who has money, run until Ctrl-C or SIGTERM."""

import ipaddress
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

JOURNAL_NAME = "journal.jsonl"
DESCRIPTION_NAME = "devchain.json"


def main(
    state: Annotated[Path, typer.Option(help="Folder the chain lives in; made if it is not there.")],
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8545,
    block_time: Annotated[int, typer.Option(min=0, max=3600, help="Seconds from block to block; 0 mines when a transaction comes.")] = 1,
    accounts: Annotated[
        int | None, typer.Option(min=1, max=100, help="How many accounts to fund (a new chain only; 10 by default).")
    ] = None,
) -> None:
    """Run a development chain (chain id 31337) on this machine. Its keys are public: never use them elsewhere."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    if not _is_loopback(host):
        _fail(f"--host {host}: the keys of this chain are public, so it listens on loopback only (127.0.0.1 or ::1)")
    # Imported late: py-evm takes a second, and --help and mistakes should not.
    from wattproof_devchain.chain import Chain
    from wattproof_devchain.journal import Journal, JournalError
    from wattproof_devchain.server import Server

    try:
        state.mkdir(parents=True, exist_ok=True)
        journal = Journal(state / JOURNAL_NAME)
        chain = Chain(journal, block_time, accounts)
    except JournalError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"--state {state}: {error.strerror or error}")
    if journal.dropped_bytes:
        print(f"The last line of the journal was torn ({journal.dropped_bytes} bytes) and was dropped.", flush=True)
    try:
        server = Server(host, port, chain)
    except OSError as error:
        _fail(f"cannot listen on {host}:{port}: {error.strerror or error}; is another chain running? Try another --port")
    sys.exit(_serve(chain, server, state))


def _serve(chain: Any, server: Any, state: Path) -> int:
    """Run until told to stop. Returns the exit code: 1 if the chain could not go on."""
    stop = threading.Event()
    failed = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    def mine() -> None:
        try:
            chain.run()
        except OSError as error:
            print(f"The chain stopped: its journal cannot be written ({error}).", file=sys.stderr, flush=True)
            failed.set()
        finally:
            stop.set()

    threading.Thread(target=mine, name="miner", daemon=True).start()
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    description = _describe(chain, server.url)
    _write_private(state / DESCRIPTION_NAME, json.dumps(description, indent=1).encode() + b"\n")
    _greet(description, chain.head.number)
    stop.wait()
    chain.stop()
    print("Stopped; the chain goes on from here at the next start.", flush=True)
    return 1 if failed.is_set() else 0


def _describe(chain: Any, url: str) -> dict[str, Any]:
    from wattproof_devchain import CHAIN_ID

    accounts = [{"address": "0x" + each.address.hex(), "key": "0x" + each.key.hex()} for each in chain.accounts]
    return {"url": url, "chainId": CHAIN_ID, "pid": os.getpid(), "accounts": accounts}


def _greet(description: dict[str, Any], head: int) -> None:
    lines = ["Accounts with 10,000 ether each. Their keys are public; never use them on another chain."]
    for index, each in enumerate(description["accounts"]):
        lines.append(f"  {index:>2}  {each['address']}  key {each['key']}")
    lines.append(f"Chain {description['chainId']} at block {head} listens on {description['url']} (Ctrl-C stops it)")
    print("\n".join(lines), flush=True)


def _write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by the owner only."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as target:
        target.write(content)
    temporary.replace(path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fail(message: str) -> Any:
    print(f"wattproof_devchain: {message}", file=sys.stderr)
    raise typer.Exit(2)


if __name__ == "__main__":
    typer.run(main)
