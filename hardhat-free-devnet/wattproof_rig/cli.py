"""The command line of the rig."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from wattproof_rig.control import COMMANDS, MAX_ERROR_PPM, ControlSocket, obey
from wattproof_rig.point import Point
from wattproof_rig.profiles import SHIPPED, Profile, ProfileError, load_profile
from wattproof_rig.store import StoreError, write_whole

MAX_POINTS = 100  # pseudo-terminals and timers of one process; the benchmarks use 20
STEPS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200)

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

HELP = (
    """Run a bench rig: one real electrical circuit in software, on two real serial lines.

A [b]meter[/b] (IEC 62056-21 mode C) answers on DIR/meter, a [b]relay[/b] (Modbus RTU, unit 1, coil 0 drives, discrete input 0
is the auxiliary contact) on DIR/relay, and a [b]load[/b] draws what the profile says for as long as the contact is closed. Energy
counts exactly; the register is kept in DIR and goes on after a restart.

[b]Try it[/b]

  python -m wattproof_rig --state bench --profile kettle

  python -m wattproof_rig.tell bench state             (the truth)

  python -m wattproof_rig.tell bench weld              (break something; "clear" mends all)

[b]Profiles[/b]

"""
    + "\n\n".join(f"  {name}: {what}" for name, (_, _, what) in SHIPPED.items())
    + """

  FILE.csv:COLUMN: each row (watt-hours per quarter hour) played for one second at that row's real power

[b]Faults[/b] (--fault at the start, tell at any time)

  """
    + ", ".join(name for name in COMMANDS if name not in ("state", "mark", "load", "own_meter", "clear"))
    + """
"""
)


def _fault_command(text: str) -> dict[str, Any]:
    """`weld`, `leak=5000`, `meter=silent`: a fault on the command line as a control command."""
    name, separator, value = text.partition("=")
    key = {
        "leak": "milliwatts",
        "meter": "mode",
        "roll_over": "remaining_milliwatt_hours",
        "glitch_zero": "readings",
        "jump": "milliwatt_hours",
        "scale": "ppm",
    }.get(name, "on")
    if not separator:
        return {"do": name}
    try:
        return {"do": name, key: json.loads(value)}
    except ValueError:
        return {"do": name, key: value}


@app.command(help=HELP)
def run(
    state: Annotated[Path, typer.Option(metavar="DIR", help="State directory: links, control socket, registers.")],
    profile: Annotated[str, typer.Option(metavar="NAME|FILE.csv:COLUMN", help="What the load does.")] = "household",
    start: Annotated[str, typer.Option("--from", metavar="UTC", help="First row of a CSV, e.g. 2016-06-21T10:00:00Z.")] = "",
    points: Annotated[int, typer.Option(min=1, max=MAX_POINTS, help="So many circuits, in DIR/point-1, DIR/point-2 …")] = 1,
    step: Annotated[int, typer.Option(help="Register step in mWh: 1, 10, 100, 1000 (1 Wh) … 1000000.")] = 1000,
    digits: Annotated[int, typer.Option(min=7, max=15, help="Digits of the register; it rolls over at 10^digits steps.")] = 9,
    initial_baud: Annotated[int, typer.Option(help="Opening speed: 300 by the standard, 9600 on many RS-485 meters.")] = 300,
    programming: Annotated[bool, typer.Option(help="Whether the meter has a programming mode.")] = True,
    closed: Annotated[bool, typer.Option("--closed", help="Start with the contact closed.")] = False,
    own_meter: Annotated[
        int | None,
        typer.Option(metavar="PPM", min=-MAX_ERROR_PPM, max=MAX_ERROR_PPM, help="A buyer's meter on DIR/own-meter, with this error."),
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(metavar="NAME[=VALUE]", help="A fault to start with; repeatable.")] = None,
) -> None:
    """See HELP."""
    if step not in STEPS or initial_baud not in BAUDS:
        _fail(f"--step is one of {STEPS}, --initial-baud one of {BAUDS}")
    try:
        load = load_profile(profile, start)
    except ProfileError as error:
        _fail(str(error))
    options = {
        "step_milliwatt_hours": step,
        "digits": digits,
        "closed": closed,
        "initial_baud": initial_baud,
        "programming": programming,
        "own_meter_ppm": own_meter,
    }
    try:
        asyncio.run(serve(state.absolute(), load, points, options, [_fault_command(text) for text in fault or []]))
    except (StoreError, OSError) as error:
        _fail(str(error))


def _fail(sentence: str) -> None:
    typer.echo(f"rig: {sentence}", err=True)
    raise typer.Exit(2)


async def serve(state: Path, load: Profile, count: int, options: dict[str, Any], faults: list[dict[str, Any]]) -> None:
    """Run `count` points until a signal; then leave only the registers behind."""
    stop = asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(wanted, stop.set)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    points: list[Point] = []
    sockets: list[ControlSocket] = []
    summary = state / "rig.json"
    try:
        for number in range(1, count + 1):
            directory = state if count == 1 else state / f"point-{number}"
            point = Point(directory, load, number=number, **options)
            points.append(point)
            if number == 1 and count > 1:
                summary.unlink(missing_ok=True)  # of a rig that was killed: now that we hold the first point's lock
            sockets.append(ControlSocket(point))
            await sockets[-1].start()
            for command in faults:
                answer = obey(point, command)
                if not answer["ok"]:
                    raise StoreError(f"--fault: {answer['error']}")
            point.announce(str(sockets[-1].path))
        if count > 1:
            write_whole(summary, json.dumps({"points": [str(point.directory) for point in points], "pid": os.getpid()}, indent=1) + "\n")
        _greet(state, load, points)
        await stop.wait()
    finally:
        if count > 1:
            summary.unlink(missing_ok=True)
        for socket in sockets:
            socket.close()
        for point in points:
            point.close()
    typer.echo("rig: stopped; registers kept")


def _greet(state: Path, load: Profile, points: list[Point]) -> None:
    typer.echo(f"rig: {len(points)} point(s) under {state}, load {load.name}")
    if load.note:
        typer.echo(f"rig: {load.note}")
    if len(points) == 1:
        typer.echo(f"rig: meter {points[0].unit.serial} on {state}/meter, relay on {state}/relay")
        typer.echo(f"rig: try: python -m wattproof_rig.tell {state} state      Ctrl-C stops")
