"""One session's payments: each frame checked, priced, compared, and only then signed for; journalled before a signature leaves.

Guarantees: amounts rise; no frame is signed for with two amounts, also across a `kill -9` (frames signed for before are checked and priced
again, and must come to what was signed); after the first disagreement nothing is signed for this session any more.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from protocol.eip712 import digest, to_json
from protocol.eip712 import money_domain as money
from protocol.hashing import ZERO32
from protocol.keys import Signer
from protocol.money import Payment

from .compare import Comparison
from .errors import Disagreement
from .follow import Follower, Seen
from .journal import Journal, Live, Mark, Paid
from .own_meter import Own, Series
from .quote import Agreed

MAX_ANSWER = 256
"""Payments of one journal entry and one request, as the service takes at most."""


class Payer:
    """Pays for the journal's live session. One thread."""

    def __init__(
        self, agreed: Agreed, opened_at_s: int, journal: Journal, signer: Signer, chain_id: int, escrow: bytes, *,
        series: Series | None = None, comparison: Comparison | None = None, patience_s: int = 30,
        connection_watts: int | None = None,
    ) -> None:  # fmt: skip
        self.follower = Follower(agreed, opened_at_s, connection_watts)
        self._session, self._journal, self._signer = agreed.session, journal, signer
        self._domain = money(chain_id, escrow)
        self._patience_s = patience_s
        self._series, self._comparison = series, comparison
        self._waiting: deque[tuple[Seen, float]] = deque()  # verified and priced, not yet compared; since when
        self._trouble: Disagreement | None = None
        self.judged: Seen | None = None  # the last that was agreed with

    @property
    def _live(self) -> Live:
        live = self._journal.state.live
        assert live is not None
        return live

    @property
    def settled_up(self) -> bool:
        """Whether the STOP record was seen and everything up to it answered."""
        return self.follower.stopped and not self._waiting

    @property
    def refused(self) -> bool:
        return bool(self._live.refused)

    def take(self, raw: bytes, now_s: int) -> None:
        """A frame from the stream, in order. Raises `Disagreement`."""
        seen = self.follower.take(raw, now_s)
        if seen is not None:
            self._check_signed_before(seen)
            self._waiting.append((seen, time.monotonic()))

    def first(self) -> dict[str, Any] | None:
        """The payment before power, which names no frame: the smallest there is, once a session."""
        if self._live.paid.document is not None or self.refused:
            return None
        paid = Paid(amount_micro=1, document=self._signed(1, ZERO32), own=self._mark())
        self._journal.paid([paid])
        return paid.document

    def answer(self) -> list[dict[str, Any]]:
        """Payments for the frames that are agreed with by now, journalled; at most `MAX_ANSWER`. Raises `Disagreement`."""
        if self._trouble is not None:
            raise self._trouble
        payments: list[Paid] = []
        while self._waiting and len(payments) < MAX_ANSWER and not self.refused:
            seen, since = self._waiting[0]
            try:
                if not self._agrees(seen, since):
                    break
            except Disagreement as error:
                self._trouble = error  # what was agreed with before it leaves first
                break
            self._waiting.popleft()
            self.judged = seen
            paid = self._payment(seen, payments[-1] if payments else self._live.paid)
            if paid is not None:
                payments.append(paid)
        if payments:
            payments[-1] = payments[-1].model_copy(update={"own": self._mark()})
            self._journal.paid(payments)
        elif self._trouble is not None:
            raise self._trouble
        return [each.document for each in payments if each.document is not None]

    def _agrees(self, seen: Seen, since: float) -> bool:
        """Whether the own meter agrees; false while it cannot say. Raises `Disagreement`."""
        comparison, series = self._comparison, self._series
        if comparison is None or series is None:
            return True
        if seen.sequence <= self._live.paid.sequence:
            comparison.note(seen.end_s, seen.milliwatt_hours)
            return True
        if series.fell:
            raise Disagreement("own-meter", series.fell, frame=seen.frame, seller_milliwatt_hours=seen.milliwatt_hours)
        if not comparison.ready(seen.end_s):
            if time.monotonic() - since > self._patience_s:
                silent = f"the own meter has said nothing for {self._patience_s} s, so the frame cannot be compared"
                raise Disagreement("own-meter-silent", silent, frame=seen.frame, seller_milliwatt_hours=seen.milliwatt_hours)
            return False
        verdict = comparison.judge(seen.end_s, seen.milliwatt_hours, seen.step_milliwatt_hours)
        if verdict is not None and verdict.over > 0:
            why = (
                f"over the {verdict.stretch} since {verdict.since_s} the seller's meter counts {verdict.seller_milliwatt_hours} mWh, "
                f"the own {verdict.own_milliwatt_hours}; class, losses, steps and reading times explain {verdict.most_milliwatt_hours}"
            )
            raise Disagreement(
                verdict.stretch, why, frame=seen.frame, own_milliwatt_hours=verdict.own_milliwatt_hours,
                seller_milliwatt_hours=verdict.seller_milliwatt_hours,
            )  # fmt: skip
        return True

    def _payment(self, seen: Seen, before: Paid) -> Paid | None:
        """The next payment; None where nothing more is owed or the lock holds no more."""
        amount = min(seen.total_micro, self._live.lock_micro)
        if seen.sequence <= before.sequence or amount <= before.amount_micro:
            return None
        return Paid(amount_micro=amount, sequence=seen.sequence, frame=seen.frame, document=self._signed(amount, seen.frame))

    def _check_signed_before(self, seen: Seen) -> None:
        """After a restart: the frame that was signed for must be the one that was seen then, at the price it had then."""
        paid = self._live.paid
        if seen.sequence != paid.sequence:
            if seen.sequence > paid.sequence and self.follower.started is not None and not self._passed(seen):
                raise Disagreement("equivocation", "the frame signed for before is not in the seller's log any more", frame=seen.frame)
            return
        if seen.frame != paid.frame:
            other = f"another frame ends with record {seen.sequence} than the one signed for: 0x{paid.frame.hex()}"
            raise Disagreement("equivocation", other, frame=seen.frame)

    def _passed(self, seen: Seen) -> bool:
        """Whether the frame signed for came by, or this one is the next of it."""
        paid = self._live.paid
        return (
            not paid.sequence
            or (self.judged is not None and self.judged.sequence >= paid.sequence)
            or any(waiting.sequence == paid.sequence for waiting, _ in self._waiting)
        )

    def _signed(self, amount_micro: int, frame: bytes) -> dict[str, Any]:
        payment = Payment(self._session, amount_micro, frame)
        return {**to_json(payment), "signature": "0x" + self._signer.sign(digest(self._domain, payment)).hex()}

    def _mark(self) -> Mark | None:
        last = self._series.last if self._series is not None else None
        return None if last is None else mark(last)


def mark(own: Own) -> Mark:
    """A reading as it is kept."""
    return Mark(**own._asdict())


def reading(kept: Mark) -> Own:
    """The way back."""
    return Own(kept.began_ms, kept.ended_ms, kept.milliwatt_hours, kept.step_milliwatt_hours)
