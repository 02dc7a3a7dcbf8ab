"""A report for people: a table of checks, the verdict in one line, and what to do next."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .report import Check, Report, Verdict, known_check

_MARKS = {
    Verdict.PASS: "[green]✔ pass[/]",
    Verdict.FAIL: "[bold red]✘ FAIL[/]",
    Verdict.NOT_CHECKED: "[yellow]? not checked[/]",
    Verdict.ERASED: "[blue]∅ erased[/]",
}
MAX_SHOWN = 400
"""Characters of a detail shown: bundles are foreign text."""


def show(report: Report, console: Console) -> None:
    """Print a report. Foreign text is escaped, so that no file can write to the terminal what it likes."""
    console.print(f"[bold]{_clean(report.subject)}[/]")
    for name, value in report.facts.items():
        if value is not None:
            console.print(f"  [dim]{name:22}[/] {_fact(name, value)}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was found")
    for check in report.checks:
        table.add_row(_MARKS[check.verdict], check.name, _detail(check))
    console.print(table)
    _sum_up(report, console)


def _sum_up(report: Report, console: Console) -> None:
    open_checks = ", ".join(check.name for check in report.unchecked)
    if report.failed:
        names = ", ".join(check.name for check in report.failed)
        console.print(f"[bold red]FAILED[/]: {names} (exit code {report.exit_code})")
    else:
        passed = sum(check.verdict is Verdict.PASS for check in report.checks)
        console.print(f"[bold green]Nothing failed[/]: {passed} of {len(report.checks)} checks passed")
    if open_checks:
        console.print(f"[yellow]Not checked[/]: {open_checks}")


def _detail(check: Check) -> str:
    title = known_check(check.name).title
    return f"{_clean(check.detail)} [dim]({title})[/]" if check.verdict is Verdict.FAIL else _clean(check.detail) or f"[dim]{title}[/]"


def _clean(text: str) -> str:
    shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return escape("".join(c if c.isprintable() else "·" for c in shown))


def _fact(name: str, value: object) -> str:
    if name.endswith("AtS") and isinstance(value, int) and 0 <= value < 1 << 37:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if name.endswith("Micro") and type(value) is int:
        return f"{value // 1_000_000:,}.{value % 1_000_000:06d}"
    if name == "energyMilliwattHours" and type(value) is int:
        return f"{value // 1_000_000:,}.{value % 1_000_000:06d} kWh"
    return _clean(str(value))
