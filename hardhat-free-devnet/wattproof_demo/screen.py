"""What people see: numbered steps, checks with a mark, money and energy written out."""

from __future__ import annotations

import time

from rich.console import Console

from .processes import DemoFailed


class Screen:
    """Prints the demo. Every `check` is a claim: one that is not so ends the demo with a failure."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._started = time.monotonic()
        self.checked = 0

    def step(self, title: str) -> None:
        self.console.print(f"\n[bold cyan]{time.monotonic() - self._started:5.1f} s[/] [bold]{title}[/]")

    def tell(self, text: str) -> None:
        self.console.print(f"        {text}", soft_wrap=True)

    def check(self, claim: str, so: bool, otherwise: str = "") -> None:
        if not so:
            self.console.print(f"      [bold red]✗[/] {claim}")
            raise DemoFailed(f"not so: {claim}{': ' + otherwise if otherwise else ''}")
        self.checked += 1
        self.console.print(f"      [green]✓[/] {claim}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def money(micro: int) -> str:
    """Micro-units as a decimal of the token's 6 places."""
    sign, micro = ("-" if micro < 0 else ""), abs(micro)
    return f"{sign}{micro // 1_000_000}.{micro % 1_000_000:06d}"


def energy(milliwatt_hours: int) -> str:
    """Milliwatt-hours as watt-hours with three places."""
    return f"{milliwatt_hours // 1000}.{milliwatt_hours % 1000:03d} Wh"
