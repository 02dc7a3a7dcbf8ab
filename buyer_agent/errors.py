"""What the buyer's agent refuses; the rest of its error tree is `onsite.errors`."""

from __future__ import annotations

from onsite.errors import OnsiteError


class Refused(OnsiteError):
    """A quote, offer or wallet that the buyer does not deal with. `code` is one short word for logs."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)


class Disagreement(OnsiteError):
    """A frame that is not paid, and no later one of its session. `code` is one short word; energies are of the stretch compared."""

    def __init__(
        self, code: str, why: str, *, frame: bytes = bytes(32), own_milliwatt_hours: int | None = None, seller_milliwatt_hours: int = 0
    ) -> None:
        self.code, self.frame = code, frame
        self.own_milliwatt_hours, self.seller_milliwatt_hours = own_milliwatt_hours, seller_milliwatt_hours
        super().__init__(why)
