"""The control socket of a point: JSON lines in, JSON lines out (docs/walls.md, "The rig's wires").

A command is a function of the point and its arguments; a bad command is answered with a sentence and changes nothing.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wattproof_rig.meter_unit import MeterUnit
from wattproof_rig.point import Point
from wattproof_rig.profiles import MAX_MILLIWATTS, Profile, ProfileError, load_profile
from wattproof_rig.station import METER_MODES

# The longest sensible command is a few hundred bytes; a longer line is not a command.
MAX_LINE = 16_384
# Linux allows 107 bytes for the path of a unix socket; a deeper state directory gets its socket elsewhere.
MAX_SOCKET_PATH = 100
MAX_REGISTER_MILLIWATT_HOURS = 10**15
MAX_ERROR_PPM = 1_000_000  # counts double, or nothing at all


class CommandError(ValueError):
    """What was wrong with a command."""


def _flag(arguments: dict[str, Any], name: str = "on") -> bool:
    value = arguments.get(name, True)
    if not isinstance(value, bool):
        raise CommandError(f"{name!r} must be true or false, not {value!r}")
    return value


def _number(arguments: dict[str, Any], name: str, default: int, most: int, least: int = 0) -> int:
    value = arguments.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CommandError(f"{name!r} must be a whole number from {least} to {most}, not {value!r}")
    return value


def _weld(point: Point, arguments: dict[str, Any]) -> None:
    point.circuit.welded = _flag(arguments)
    point.circuit.reconsider()


def _jam(point: Point, arguments: dict[str, Any]) -> None:
    point.circuit.jammed = _flag(arguments)
    point.circuit.reconsider()


def _lie(point: Point, arguments: dict[str, Any]) -> None:
    point.circuit.lying = _flag(arguments)


def _leak(point: Point, arguments: dict[str, Any]) -> None:
    point.circuit.leak_milliwatts = _number(arguments, "milliwatts", 20_000, MAX_MILLIWATTS)


def _lose_power(point: Point, arguments: dict[str, Any]) -> None:
    point.set_power(not _flag(arguments))


def _open_cover(point: Point, arguments: dict[str, Any]) -> None:
    point.unit.cover_open = _flag(arguments)


def _swap_meter(point: Point, arguments: dict[str, Any]) -> None:
    old, circuit = point.unit, point.circuit
    serial = arguments.get("serial", str(int(old.serial) + 1) if old.serial.isdigit() else "10000002")
    if not isinstance(serial, str) or not serial.isalnum() or not serial.isascii() or len(serial) > 16:
        raise CommandError(f"'serial' must be 1 to 16 letters and digits, not {serial!r}")
    shown_import = _number(arguments, "import_milliwatt_hours", 0, MAX_REGISTER_MILLIWATT_HOURS)
    shown_export = _number(arguments, "export_milliwatt_hours", 0, MAX_REGISTER_MILLIWATT_HOURS)
    point.meter.replace(
        MeterUnit(
            serial,
            old.step_milliwatt_hours,
            old.digits,
            shown_import - circuit.import_milliwatt_hours,
            shown_export - circuit.export_milliwatt_hours,
        )
    )


def _roll_over(point: Point, arguments: dict[str, Any]) -> None:
    unit = point.unit
    remaining = _number(arguments, "remaining_milliwatt_hours", unit.step_milliwatt_hours, unit.modulus_milliwatt_hours)
    unit.import_offset = unit.modulus_milliwatt_hours - remaining - unit.counted(point.circuit.import_milliwatt_hours)


def _meter(point: Point, arguments: dict[str, Any]) -> None:
    mode = arguments.get("mode")
    if mode not in METER_MODES:
        raise CommandError(f"'mode' must be one of {', '.join(METER_MODES)}, not {mode!r}")
    point.meter.behave(mode)


def _glitch_zero(point: Point, arguments: dict[str, Any]) -> None:
    point.unit.zero_readings = _number(arguments, "readings", 1, 1000)


def _jump(point: Point, arguments: dict[str, Any]) -> None:
    point.unit.import_offset += _number(
        arguments, "milliwatt_hours", 1_000_000, MAX_REGISTER_MILLIWATT_HOURS, -MAX_REGISTER_MILLIWATT_HOURS
    )


def _scale(point: Point, arguments: dict[str, Any]) -> None:
    point.unit.set_error(_number(arguments, "ppm", 50_000, MAX_ERROR_PPM, -MAX_ERROR_PPM), point.circuit)


def _own_meter(point: Point, arguments: dict[str, Any]) -> None:
    if point.own is None:
        raise CommandError("this point has no meter of the buyer's: start the rig with --own-meter 0")
    point.own.unit.set_error(_number(arguments, "ppm", 0, MAX_ERROR_PPM, -MAX_ERROR_PPM), point.circuit)


def _load(point: Point, arguments: dict[str, Any]) -> None:
    if "milliwatts" in arguments:
        watts = _number(arguments, "milliwatts", 0, MAX_MILLIWATTS, -MAX_MILLIWATTS)
        point.circuit.set_profile(Profile(f"{watts} mW", (watts,)))
        return
    name = arguments.get("profile")
    if not isinstance(name, str):
        raise CommandError("'load' needs a profile's name or a number of milliwatts")
    try:
        point.circuit.set_profile(load_profile(name))
    except ProfileError as error:
        raise CommandError(str(error)) from error


def _clear(point: Point, _: dict[str, Any]) -> None:
    circuit = point.circuit
    circuit.welded = circuit.jammed = circuit.lying = point.unit.cover_open = False
    circuit.leak_milliwatts = point.unit.zero_readings = 0
    _meter(point, {"mode": "normal"})
    _scale(point, {"ppm": 0})
    point.set_power(True)
    circuit.reconsider()


Command = Callable[[Point, dict[str, Any]], None]
# Each command and the arguments it knows, so that a misspelt one is refused before anything has changed.
COMMANDS: dict[str, tuple[Command, frozenset[str]]] = {
    "weld": (_weld, frozenset({"on"})),
    "lie": (_lie, frozenset({"on"})),
    "jam": (_jam, frozenset({"on"})),
    "leak": (_leak, frozenset({"milliwatts"})),
    "lose_power": (_lose_power, frozenset({"on"})),
    "swap_meter": (_swap_meter, frozenset({"serial", "import_milliwatt_hours", "export_milliwatt_hours"})),
    "roll_over": (_roll_over, frozenset({"remaining_milliwatt_hours"})),
    "open_cover": (_open_cover, frozenset({"on"})),
    "meter": (_meter, frozenset({"mode"})),
    "glitch_zero": (_glitch_zero, frozenset({"readings"})),
    "jump": (_jump, frozenset({"milliwatt_hours"})),
    "scale": (_scale, frozenset({"ppm"})),
    "own_meter": (_own_meter, frozenset({"ppm"})),
    "load": (_load, frozenset({"profile", "milliwatts"})),
    "clear": (_clear, frozenset()),
    "mark": (lambda point, _: point.mark(), frozenset()),
    "state": (lambda point, _: None, frozenset()),
}


def obey(point: Point, command: object) -> dict[str, Any]:
    """Carry out one command and answer it. Every answer but an error carries the truth as `state` gives it."""
    if not isinstance(command, dict) or not isinstance(command.get("do"), str):
        return {"ok": False, "error": 'a command is a JSON object such as {"do": "weld"}'}
    do = command["do"]
    if do not in COMMANDS:
        return {"ok": False, "error": f"no command {do!r}: choose one of {', '.join(COMMANDS)}"}
    arguments = {key: value for key, value in command.items() if key != "do"}
    act, known = COMMANDS[do]
    if unknown := sorted(set(arguments) - known):
        return {"ok": False, "error": f"{do} does not know {unknown[0]!r}; it knows {', '.join(sorted(known)) or 'no argument'}"}
    point.advance()
    try:
        act(point, arguments)
    except CommandError as error:
        return {"ok": False, "error": f"{do}: {error}"}
    answer = {"ok": True, **point.state()}
    point.save()  # after the answer was made and before it is given: a killed rig never goes back behind what it said
    return answer


class ControlSocket:
    """A unix socket that only its owner can open."""

    def __init__(self, point: Point):
        self._point = point
        self._own_directory: Path | None = None
        self.path = point.directory / "control"
        if len(os.fsencode(self.path)) > MAX_SOCKET_PATH:
            self._own_directory = Path(tempfile.mkdtemp(prefix="wattproof-rig-"))
            self.path = self._own_directory / "control"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=MAX_LINE)
        self.path.chmod(0o600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                try:
                    command = json.loads(line)
                except (ValueError, RecursionError):
                    command = None
                writer.write(json.dumps(obey(self._point, command)).encode() + b"\n")
                await writer.drain()
        writer.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        if self._own_directory is not None:
            self._own_directory.rmdir()
