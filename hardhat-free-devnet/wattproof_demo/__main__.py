"""`./scripts/demo`: the main job on this machine; `--once [SCENE|all]` walks scenes and exits 0 only if every claim was so."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from .screen import Screen
    from .stack import Stack

SCENES = {"spine": "from a reading on a serial line to money on a chain, supply disconnected, and a bill anybody can check"}


def _scene(name: str) -> type:
    from .scene_spine import SpineScene

    return {"spine": SpineScene}[name]


def _play(name: str, keep: bool) -> int:
    """One scene in a folder of its own. Returns the exit code."""
    from .processes import DemoFailed, Processes
    from .screen import Screen
    from .stack import Stack

    screen, state = Screen(), Path(tempfile.mkdtemp(prefix="wattproof-demo-"))
    scene_class = _scene(name)
    screen.console.print(f"[bold]{name}[/]: {SCENES[name]}")
    try:
        with Processes(state / "logs") as processes:
            stack = Stack(processes, state, scene_class.choices)
            scene_class(stack, screen).run()
            screen.console.print(f"\n[bold green]{screen.checked} claims checked, all so[/] in {screen.seconds:.0f} s")
            if keep:
                _stay(screen, stack, state)
    except DemoFailed as error:
        screen.console.print(f"\n[bold red]The demo failed[/] after {screen.seconds:.0f} s: {error}")
        screen.console.print(f"The logs of every program are in {state / 'logs'}")
        return 1
    except KeyboardInterrupt:
        screen.console.print("\nStopped; nothing is left running.")
        shutil.rmtree(state, ignore_errors=True)
        return 130
    shutil.rmtree(state, ignore_errors=True)
    return 0


def _stay(screen: Screen, stack: Stack, state: Path) -> None:
    from .stack import CONSOLE_NAME

    screen.console.print(
        f"\nEverything goes on running. Look around:\n"
        f"  console    {stack.url}/console/     log in as {CONSOLE_NAME} with the password {stack.password}\n"
        f"  API        {stack.url}/docs\n"
        f"  chain      {stack.rpc_url}\n"
        f"  the rig    .venv/bin/python -m wattproof_rig.tell {state / 'rig'} state\n"
        f"  the bill   .venv/bin/python -m auditor verify {state / 'session.wattproof'}\n"
        f"  logs       {state / 'logs'}\n"
        "Ctrl-C ends it all and removes the folder."
    )
    while True:
        time.sleep(1)


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
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    for name in SCENES if scene == "all" else [scene]:
        code = _play(name, keep=not once)
        if code:
            raise typer.Exit(code)


if __name__ == "__main__":
    app()
