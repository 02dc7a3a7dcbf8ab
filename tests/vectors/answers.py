"""Have the JavaScript reference write its answers again: `python -m tests.vectors.answers` (needs Node and `npm install`)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from .generate import FOLDER
from .random_sessions import evidence_of

REFERENCE = FOLDER.parent / "reference" / "answer.mjs"
COMMITTED_SEEDS = range(120)


def ask(*arguments: str) -> bytes:
    """What `node answer.mjs …` prints. Raises `CalledProcessError` with its standard error."""
    return subprocess.run(["node", str(REFERENCE), *arguments], check=True, stdout=subprocess.PIPE, timeout=110).stdout


def sessions(seeds: list[int]) -> bytes:
    """The reference's answers to random sessions."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.json"
        path.write_text(json.dumps([evidence_of(seed) for seed in seeds]))
        return ask("sessions", str(path))


def files() -> dict[str, bytes]:
    """Name → content of every file the reference makes."""
    with TemporaryDirectory() as folder:
        ask("vectors", str(FOLDER), folder)
        made = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return made | {"reference_sessions.json": sessions(list(COMMITTED_SEEDS))}


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")
