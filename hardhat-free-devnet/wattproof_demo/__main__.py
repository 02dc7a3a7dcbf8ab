"""`./scripts/demo`: the main job on this machine; `--once [SCENE|all]` walks scenes and exits 0 only if every claim was so."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer
from rich.console import Console

if TYPE_CHECKING:
    from .screen import Screen
    from .stack import Choices, Stack


class Scene(Protocol):
    """A walk through the house. `trust`: what the auditor needs to check its bill, empty where it left none."""

    choices: Choices
    trust: str

    def __init__(self, stack: Stack, screen: Screen) -> None: ...

    def run(self) -> None: ...


SCENES = {
    "spine": "from a reading on a serial line to money on a chain, supply disconnected, and a bill anybody can check",
    "wallet": "a device chooses between two providers, pays by itself, switches, refuses what was over-reported, stops at its owner's cap",
    "vehicle": "a vehicle pays a charger for 500 Wh, the charger pays its site's provider for the same energy",
}


def _scene(name: str) -> type[Scene]:
    from .scene_spine import SpineScene
    from .scene_vehicle import VehicleScene
    from .scene_wallet import WalletScene

    scenes: dict[str, type[Scene]] = {"spine": SpineScene, "vehicle": VehicleScene, "wallet": WalletScene}
    return scenes[name]


def _play(name: str, keep: bool) -> int:
    """One scene in a folder of its own, removed at the end unless its logs are needed. Returns the exit code."""
    from .processes import DemoFailed, Processes
    from .screen import Screen
    from .stack import Stack

    screen, state = Screen(), Path(tempfile.mkdtemp(prefix="wattproof-demo-"))
    failed = False
    try:
        scene_class = _scene(name)
        screen.console.print(f"[bold]{name}[/]: {SCENES[name]}")
        with Processes(state / "logs") as processes:
            stack = Stack(processes, state, scene_class.choices)
            scene = scene_class(stack, screen)
            scene.run()
            screen.console.print(f"\n[bold green]{screen.checked} claims checked, all so[/] in {screen.seconds:.0f} s")
            if keep:
                _stay(screen, stack, state, scene.trust)
    except DemoFailed as error:
        failed = True
        screen.console.print(f"\n[bold red]The demo failed[/] after {screen.seconds:.0f} s: {error}")
        screen.console.print(f"The logs of every program are in {state / 'logs'}")
        return 1
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be what went away
            screen.console.print("\nStopped; nothing is left running.")
        return 130
    finally:
        if not failed:
            shutil.rmtree(state, ignore_errors=True)
    return 0


def _stay(screen: Screen, stack: Stack, state: Path, trust: str) -> None:
    from .stack import CONSOLE_NAME

    bill = f"  the bill   .venv/bin/python -m auditor verify {state / 'session.wattproof'} {trust}\n" if trust else ""
    screen.console.print(
        # soft_wrap: a link or command broken over two lines cannot be copied
        f"\nEverything goes on running. Look around:\n"
        f"  console    {stack.url}/console/     log in as {CONSOLE_NAME} with the password {stack.password}\n"
        f"  API        {stack.url}/api/v1/openapi.json\n"
        f"  chain      {stack.rpc_url}\n"
        f"  the rig    PYTHONPATH=hardhat-free-devnet .venv/bin/python -m wattproof_rig.tell {state / 'rig'} state\n"
        f"{bill}  logs       {state / 'logs'}\n"
        "Ctrl-C ends it all and removes the folder.",
        soft_wrap=True,
    )
    while True:
        time.sleep(1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
def main(
    once: Annotated[bool, typer.Option("--once", help="Walk the scenes, check every claim, stop. Exit 0 only if all were so.")] = False,
    scene: Annotated[str, typer.Argument(help=f"One of: {', '.join(SCENES)}, or all.")] = "spine",
) -> None:
    """Chain, service, meter rig and agent as separate processes on this machine; nothing of it is simulated but the meter's wires.

    Without --once everything stays up until Ctrl-C, with links to look around.
    """
    if scene != "all" and scene not in SCENES:
        Console(stderr=True).print(f"there is no scene {scene!r}; there are: {', '.join(SCENES)}, all")
        raise typer.Exit(2)
    for gone in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed; the programs must not outlive it
        signal.signal(gone, _interrupt)
    for name in SCENES if scene == "all" else [scene]:
        code = _play(name, keep=not once)
        if code:
            raise typer.Exit(code)


if __name__ == "__main__":
    app()
