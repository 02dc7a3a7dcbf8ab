"""The registers on disk, so that a restarted rig goes on where it stood.

Written before a register is shown (so a rig killed at any moment never shows less than it did) and once a second. A rename
replaces the file whole. It survives the rig being killed; it is not synced, so a power cut of the machine may cost a second.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any


class StoreError(RuntimeError):
    """The state directory cannot be used; the message says why and what to do."""


class Store:
    """One point's state directory, locked for as long as this object is open."""

    def __init__(self, directory: Path):
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: IO[str] = (directory / "lock").open("w")
        except OSError as error:
            raise StoreError(f"cannot use {directory} as a state directory: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise StoreError(f"another rig is running on {directory}: stop it, or choose another --state") from error
        self._path = directory / "registers.json"
        self._written = ""

    def load(self) -> dict[str, Any]:
        """What was saved, or nothing."""
        if not self._path.exists():
            return {}
        try:
            saved = json.loads(self._path.read_text())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._path} cannot be read ({error}): delete it to begin with registers of zero") from error
        if not isinstance(saved, dict):
            raise StoreError(f"{self._path} is not what a rig writes: delete it to begin with registers of zero")
        return saved

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved, where it differs."""
        text = json.dumps(state)
        if text != self._written:
            write_whole(self._path, text)
            self._written = text

    def close(self) -> None:
        self._lock.close()


def write_whole(path: Path, text: str) -> None:
    """Write a file that others see either whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)
