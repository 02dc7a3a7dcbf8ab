"""Tell a running rig something: `tell(directory, "weld")`, or `python -m wattproof_rig.tell DIR weld on=true`."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 5.0


class TellError(RuntimeError):
    """The rig is not there, or refused; the message says which."""


def tell(directory: Path | str, do: str, **arguments: Any) -> dict[str, Any]:
    """Send one command to the point of that state directory and return its answer (docs/walls.md lists both)."""
    place = Path(directory) / "rig.json"
    try:
        control = json.loads(place.read_text())["control"]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(control)
            connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            with connection.makefile() as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
    except (OSError, ValueError, KeyError) as error:
        raise TellError(f"no rig answers for {directory}: is it running? ({error})") from error
    if not answer.get("ok"):
        raise TellError(answer.get("error", "the rig refused without a reason"))
    return answer


def _argument(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main(words: list[str]) -> int:
    """Print the rig's answer as JSON; 1 with a sentence where there is none."""
    if len(words) < 2 or words[0].startswith("-"):
        print("usage: python -m wattproof_rig.tell DIR COMMAND [name=value ...]   for example: tell DIR leak milliwatts=5000")
        return 2
    try:
        print(json.dumps(tell(words[0], words[1], **dict(map(_argument, words[2:]))), indent=1))
    except TellError as error:
        print(f"rig: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
