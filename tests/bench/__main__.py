"""`./scripts/bench --json FILE`: run every group of figures, show a table, write JSON.

Every figure is a ratio to a limit or to a peer measured in the same run, so that a slow machine does not make a slow product.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from .figure import Figure

TABLE_WIDTH = 160
GROUPS = {
    "verify": "verify_records: from wire bytes to checked records",
    "store": "store_records: synced, on SQLite and (where a server is) PostgreSQL",
    "payments": "payments_per_second: many sessions a request, checked, kept and synced",
    "agent_frames": "agent_frames_per_second: read, signed, synced",
    "buyer_frames": "buyer_frames_per_second: a seller's frames verified, priced, compared and answered",
    "gas": "gas of anchors, sessions and claims",
    "trips": "command to disconnected, and energy beyond the lock, on real serial lines",
    "audit_year": "a meter-year audited offline",
}


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def run_groups(names: list[str], console: Console) -> Iterator[Figure]:
    for name in names:
        console.print(f"[dim]· {GROUPS[name]}[/]")
        measure: Callable[[], list[Figure]] = import_module(f"tests.bench.{name}").measure
        yield from measure()


def _writable(path: Path) -> None:
    """Refuse a file that cannot be written now, and not after minutes of measuring."""
    try:
        path.open("a").close()
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--json") from None


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Only these groups: {', '.join(GROUPS)}.")] = None,
) -> None:
    """Measure everything we claim about speed and gas. Exits 0 when measured, whether or not every goal was met."""
    unknown = sorted(set(only or []) - set(GROUPS))
    if unknown:
        raise typer.BadParameter(f"no group {unknown[0]!r}; there are {', '.join(GROUPS)}", param_hint="--only")
    if json_file:
        _writable(json_file)
    console = Console(stderr=True)
    figures = list(run_groups(only or list(GROUPS), console))
    table = Table(Column("figure", no_wrap=True), "value", "reference", "ratio", "goal", "")
    for f in figures:
        mark = "[green]met[/]" if f.met else "[red]not met[/]"
        table.add_row(f.id, f"{f.value:,.4g} {f.unit}", f"{f.reference:,.4g}", f"{f.ratio:.3g}", f.goal, mark)
    # a file or pipe has no width of its own: rather long lines there than figures cut short
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(table)
    if json_file:
        document = {"machine": machine(), "figures": [f.document() for f in figures]}
        json_file.write_text(json.dumps(document, indent=1) + "\n")
        console.print(f"written to {json_file}")


if __name__ == "__main__":
    sys.exit(typer.run(main))
