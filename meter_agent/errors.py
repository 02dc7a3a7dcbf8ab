"""What the agent refuses; the rest of its error tree is `onsite.errors`."""

from __future__ import annotations

from onsite.errors import OnsiteError


class Refused(OnsiteError):
    """A grant, command, payment or key change that the agent does not obey. `code` is one short word for logs and
    counters.
    """

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)
