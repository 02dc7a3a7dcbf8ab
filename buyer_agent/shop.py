"""When to choose again, what to choose, and the opening of a session under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from .choice import Candidate, Choice, Course, Running, choose, next_change_s
from .errors import Refused
from .journal import Live
from .orders import DAY_S, purse
from .payer import mark
from .purchase import Purchase
from .quote import Wish, read_quote
from .service import hexed

if TYPE_CHECKING:
    from .agent import Buyer

AHEAD_S = 26 * 3_600
"""How far ahead band changes are looked for: the next one is found again at every look."""

logger = structlog.get_logger("wattproof.buyer.shop")


class Shop:
    """Chooses for one buyer. The last choice stands in the journal."""

    def __init__(self, buyer: Buyer) -> None:
        self._buyer = buyer
        self._due_s: int | None = None
        self._before: frozenset[bytes] = frozenset()
        self.changed = True
        """Whether offers changed, or a band began, since a running session was last compared with them."""
        self._said = ""

    def due(self, now_s: int) -> bool:
        """Whether a band has begun, or an offer ended or begun, since the last look."""
        return self._due_s is not None and now_s >= self._due_s

    def looked(self, now_s: int) -> None:
        """The market was read: when to look again at the latest."""
        market = self._buyer.market
        standing = frozenset(each.hash for each in market.candidates)
        self.changed = self.changed or standing != self._before or self.due(now_s)
        self._before = standing
        instants = [next_change_s(market.candidates, now_s, now_s + AHEAD_S), *(each.signed.offer.valid_from_s for each in market.later)]
        self._due_s = min((at for at in instants if at is not None), default=None)

    def course(self, now_s: int) -> Course:
        """The load that is expected from now on."""
        preference = self._buyer.settings.preference
        return Course(now_s, preference.expected_s, preference.load_watts)

    def choice(self, now_s: int, running: Running | None = None) -> Choice:
        """What to buy under now; journalled and said when it differs from the last one."""
        buyer = self._buyer
        preference, course = buyer.settings.preference, self.course(now_s)
        found = choose(buyer.market.candidates, course, preference, buyer.policy, running)
        best = "" if found.best is None else hexed(found.best.hash)
        before = buyer.journal.state.choice
        if before is None or before.get("best") != best or (found.best is None and self._said != found.why):
            document = found.document()
            buyer.journal.save(buyer.journal.state.model_copy(update={"choice": document | {"best": best}}), "choice", why=found.why)
            buyer.notes.say(document)
        self._said = found.why
        return found

    def buy(self) -> Purchase | None:
        """Quote, check, sign, journal, open: the session, or None where nothing may be bought now. Raises what `attempt` waits out."""
        from .agent import now_s

        buyer, at_s = self._buyer, now_s()
        candidate: Candidate | None = None
        if buyer.settings.provider_book is not None:
            candidate = self.choice(at_s).best
            if candidate is None:
                return None
        money = buyer.settings.money
        left = purse(buyer.settings, buyer.policy, buyer.journal.state, buyer.standing, at_s, 0)
        if left.micro < min(money.lock_micro, money.low_micro + 1):
            self._cannot(f"nothing is bought: {left.micro} micro-units may be locked now, bounded by {left.why}")
            return None
        return self._open(candidate, min(money.lock_micro, left.micro), at_s)

    def _cannot(self, why: str) -> None:
        if self._said != why:
            self._buyer.notes.say({"kind": "stopped", "why": why})
        self._said = why

    def _open(self, candidate: Candidate | None, lock_micro: int, at_s: int) -> Purchase:
        buyer, settings = self._buyer, self._buyer.settings
        payer = hexed(buyer.orders.payer)
        body: dict[str, Any] = {
            "pointId": settings.point, "payer": payer, "refundTo": payer, "metered": False, "signer": hexed(buyer.signer.address),
            "lockMicro": lock_micro,
        }  # fmt: skip
        if candidate is not None:
            body["offerHash"] = hexed(candidate.hash)
        answer = buyer.service.quote(body)
        wish = Wish(settings.point, buyer.orders.payer, buyer.signer.address, settings.chain_id, settings.escrow, buyer.policy)
        agreed = read_quote(answer, wish, None if candidate is None else candidate.signed, at_s)
        if buyer.standing is not None and buyer.standing.policy_hash not in ("", buyer.orders.policy_hash):
            raise Refused("policy", f"the wallet's policy is another than {settings.policy_file}: have its owner's command write it again")
        last = buyer.series.last
        live = Live(
            session=agreed.session, quote=answer, offer=None if candidate is None else candidate.hash,
            opening=buyer.orders.open(agreed.session, agreed.quote_id, lock_micro, at_s), made_at_s=at_s, lock_micro=lock_micro,
            own=None if last is None else mark(last),
        )  # fmt: skip
        day, state = at_s // DAY_S, buyer.journal.state
        counted = state.model_copy(update={"live": live, "day": day, "day_micro": state.locked_on(day) + lock_micro})
        buyer.journal.save(counted, "opening", session=hexed(agreed.session), lockMicro=lock_micro)
        logger.info("opening", session=hexed(agreed.session), lock_micro=lock_micro)
        return Purchase(buyer, agreed)
