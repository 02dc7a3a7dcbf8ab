"""What passes between the measuring loop and the threads that talk to the network."""

from __future__ import annotations

import queue
import threading
from typing import Any, NamedTuple

MAX_INBOX = 256
"""Messages waiting for the loop: it takes a few hundred a second, so more is a flood."""


class Message(NamedTuple):
    """Into the inbox. `name`: an event's name, or `connected`, `posted` (document: {"key"}), `failed` (the
    exception), `stop`.
    """

    name: str
    document: Any = None


Inbox = queue.Queue[Message]


class Worker(threading.Thread):
    """A thread whose unexpected end is told to the loop: an agent never goes on with a part missing."""

    def __init__(self, name: str, inbox: Inbox) -> None:
        super().__init__(name=name, daemon=True)
        self.inbox = inbox

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.inbox.put(Message("failed", error))

    def work(self) -> None:
        """The thread's own work."""
        raise NotImplementedError
