"""What all commands share: files in, trust in, a report out, and never a stack trace."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from protocol.eip712 import hex_bytes
from protocol.errors import Malformed
from protocol.packed import MAX_PACKED_BYTES

from .report import Kind, Report
from .trust import Trust, trust_heads

WRONG_USE, NO_NODE, OUR_FAULT = 2, 69, 70  # the latter two as in sysexits.h: EX_UNAVAILABLE, EX_SOFTWARE

RpcUrl = Annotated[str, typer.Option("--rpc", metavar="URL", help="JSON-RPC endpoint of your own node.")]


class Unusable(Exception):
    """An argument that cannot be used, in a sentence that says what to do."""


def read_file(path: Path) -> bytes:
    """A file's bytes, one more than the limit at most. Raises `Unusable`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_PACKED_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror or error}") from None


def trust_from(links: Path | None, heads: Sequence[str]) -> Trust:
    """What `--trust` and `--head` say together. Raises `Unusable`."""
    from .links_file import load_trust

    try:
        given = [hex_bytes(head if head.startswith("0x") else "0x" + head, 32, "--head") for head in heads]
        kept = load_trust(links) if links is not None else Trust()
    except Malformed as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        raise Unusable(f"{links}: {error.strerror or error}") from None
    return kept._replace(heads=kept.heads | trust_heads(given).heads)


def fail(message: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    typer.echo(f"auditor: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def _sentences() -> Iterator[None]:
    """Whatever goes wrong inside becomes one sentence and an exit code."""
    try:
        yield
    except typer.Exit:
        raise
    except Unusable as error:
        fail(str(error), WRONG_USE)
    except (MemoryError, BrokenProcessPool):  # the latter: the system killed a worker, which it does for memory
        fail("not enough memory for this file", OUR_FAULT)
    except Exception as error:  # the last net: whatever the bytes, a person gets a sentence
        if is_chain_error(error):
            fail(str(error), NO_NODE)
        fail(f"a fault of this program, please report it with the file: {type(error).__name__}: {error}", OUR_FAULT)


def is_chain_error(error: Exception) -> bool:
    """Whether the node is to blame. (Its module is loaded only where a node was asked.)"""
    module = sys.modules.get("chain.errors")
    return module is not None and isinstance(error, module.ChainError)


def audit(make: Callable[[], Report], as_json: bool) -> None:
    """Run an audit, show its report, and exit with its code."""
    with _sentences():
        report = make()
        _plain_output()
        if as_json:
            sys.stdout.write(json.dumps(report.document(), indent=1) + "\n")
        else:
            from rich.console import Console

            from .show import show

            show(report, Console(soft_wrap=False))
        raise typer.Exit(report.exit_code)


def _plain_output() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✔ still gets its report


def run_sync(links: Path, url: str, deployment_file: Path | None, finality_depth: int | None, as_json: bool) -> None:
    """`sync`: make the file if need be, bring it up to date, say what was found."""
    with _sentences():
        from chain.client import ChainClient
        from chain.deployment import load
        from chain.errors import DeploymentError

        from .links_file import read_links
        from .sync import Rewound, Withheld, deployment_of, start_file, sync

        try:
            if not links.exists():
                if deployment_file is None:
                    raise Unusable(f"{links}: is not there; name a --deployment file to begin one")
                start_file(links, load(deployment_file))
            deployment = deployment_of(read_links(links).header)
            with ChainClient(url, deployment, finality_depth=finality_depth) as client:
                done = sync(links, client, lambda text: typer.echo(text, err=True))
        except OSError as error:
            raise Unusable(f"{error.filename or links}: {error.strerror or error}") from None
        except (Malformed, DeploymentError) as error:
            raise Unusable(str(error)) from None
        except (Rewound, Withheld) as error:
            fail(str(error), int(Kind.CHAIN))
        if as_json:
            sys.stdout.write(json.dumps(done._asdict()) + "\n")
        else:
            typer.echo(f"{links}: {done.links} new links, {done.key_events} new key events, through block {done.through}")
