"""`python -m auditor`: the auditor's commands. Each ends with a report and an exit code that says which kind of check failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .commands import RpcUrl, audit, read_file, run_sync, trust_from

EXIT_CODES = """
Exit codes: 0 nothing failed · 2 wrong use · 10 form · 11 records · 12 completeness · 13 anchoring · 14 keys · 15 bill · 16 money ·
17 attached · 18 chain · 69 the node cannot be asked · 70 a fault of this program. Where several kinds failed, the lowest.
"""

app = typer.Typer(
    help="Check evidence of metering and money without asking whoever made it.", epilog=EXIT_CODES, no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

Trusted = Annotated[Path | None, typer.Option("--trust", metavar="LINKS", help="File of links that `sync` kept.")]
Heads = Annotated[list[str] | None, typer.Option("--head", metavar="HEX", help="Head you recorded yourself; may be given several times.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines in place of the table.")]


@app.callback()
def main() -> None:
    """Check evidence of metering and money without asking whoever made it."""


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Proof bundle of one bill.")],
    trust: Trusted = None,
    head: Heads = None,
    as_json: AsJson = False,
) -> None:
    """Check one proof bundle, offline. Without --trust or --head, verdicts on time and keys are `not checked`."""
    from .verify import verify as check  # after the arguments are known to be right: --help stays quick

    audit(lambda: check(read_file(bundle), trust_from(trust, head or []), subject=str(bundle)), as_json)


@app.command(name="verify-meter")
def verify_meter(
    files: Annotated[list[Path], typer.Argument(help="Bundles of one device, and files of its bare frames.")],
    trust: Trusted = None,
    head: Heads = None,
    as_json: AsJson = False,
) -> None:
    """Check several files of one device as one history: gaps, conflicting frames, registers, records billed twice. Offline."""
    from .period import verify_period

    audit(lambda: verify_period([(str(path), read_file(path)) for path in files], trust_from(trust, head or [])), as_json)


@app.command(name="compare-chain")
def compare_chain(
    bundle: Annotated[Path, typer.Argument(help="Proof bundle of one bill.")],
    rpc: RpcUrl,
    finality_depth: Annotated[
        int | None, typer.Option(min=0, help="Blocks below the head that count as final; default: ask the node.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof bundle against your own node: epochs, keys, claims, lock, and the contracts' code."""
    from .compare import compare

    audit(lambda: compare(read_file(bundle), rpc, subject=str(bundle), finality_depth=finality_depth), as_json)


@app.command()
def sync(
    links: Annotated[Path, typer.Argument(metavar="LINKS", help="File to bring up to date; made with --deployment if it is not there.")],
    rpc: RpcUrl,
    deployment: Annotated[Path | None, typer.Option(help="Deployment file, for a new LINKS.")] = None,
    finality_depth: Annotated[
        int | None, typer.Option(min=0, help="Blocks below the head that count as final; default: ask the node.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep all links of a chain from your own node, each recomputed, in an append-only file for `verify --trust`."""
    run_sync(links, rpc, deployment, finality_depth, as_json)


if __name__ == "__main__":
    sys.exit(app())
