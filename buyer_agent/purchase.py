"""One session from its opening to its last payment: what is done with it at each turn, from the journal's `live`."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

import structlog

from onsite.errors import ServiceRefused

from .choice import Running, added_micro, cost_micro
from .compare import Comparison
from .errors import Disagreement
from .journal import Ending, Live
from .listen import MAX_INBOX, Heard, Inbox, Listener
from .orders import DAY_S, purse
from .own_meter import Series
from .payer import MAX_ANSWER, Payer, reading
from .quote import Agreed, parse_quote
from .service import hexed

if TYPE_CHECKING:
    from .agent import Buyer

OPENED_SKEW_S = 120
"""How far the block time of the opening may lie from our clock when it was signed, besides the order's own deadline."""
ORDER = ("quoted", "opening", "open", "running", "ending", "ended", "settling", "settled")
LOST_S = 60.0
"""After its end is known a session's last frame is waited for so long: the meter's agent may be cut off."""

logger = structlog.get_logger("wattproof.buyer.session")


class Purchase:
    """The journal's live session. One thread; frames and states come in through an inbox."""

    def __init__(self, buyer: Buyer, agreed: Agreed) -> None:
        self._buyer, self._agreed = buyer, agreed
        self._inbox: Inbox = queue.Queue(MAX_INBOX)
        self._listener: Listener | None = None
        self._payer: Payer | None = None
        self._state = ""
        self._sent_opening = self._sent_top_up = self._sent_stop = False
        self._refused_at: float | None = None
        self._unsent: list[dict[str, Any]] = []
        self._frames: list[bytes] = []  # heard, not taken yet
        self._ended_at: float | None = None
        self._begun = False  # the register where it began was compared with where the last one ended
        self.finished = False

    @classmethod
    def resumed(cls, buyer: Buyer) -> Purchase:
        """The session the journal holds, after a restart: its last payment and orders are sent again, its frames checked again."""
        live = buyer.journal.state.live
        assert live is not None
        purchase = cls(buyer, parse_quote(live.quote, buyer.settings.chain_id, buyer.settings.escrow))
        if live.paid.document is not None:
            purchase._unsent.append(live.paid.document)
        logger.info("going on with session", session=hexed(live.session), paid_micro=live.paid.amount_micro)
        if live.opened_at_s:
            purchase._opened(live.opened_at_s)
        return purchase

    @property
    def live(self) -> Live:
        live = self._buyer.journal.state.live
        assert live is not None
        return live

    def close(self) -> None:
        if self._listener is not None:
            self._listener.stop()

    # --- what arrives ---

    def hear(self, wait_s: float) -> None:
        """Take what has arrived, waiting a little for the first."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                heard = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            self._take(heard)

    def _take(self, heard: Heard) -> None:
        from .agent import now_s

        if heard.name == "failed":
            raise heard.data
        if heard.name == "state":
            self._view(heard.data)
            return
        self._frames.append(heard.data)
        if self._payer is None:
            return  # until it is known when the session opened, which prices count from
        frames, self._frames = self._frames, []
        try:
            for raw in frames:
                if not self._payer.refused:
                    self._payer.take(raw, now_s())
                    self._compare_start()
        except Disagreement as error:
            self._refuse(error)

    def _view(self, view: dict[str, Any]) -> None:
        """The session's view, as far as it tells something that is not checked otherwise."""
        state, opened_at_s = view.get("state"), view.get("openedAtS")
        if state not in ORDER:
            return
        if state != self._state:
            said = {"waiting_for": str(view.get("waitingFor") or "")[:200], "ended": str(view.get("endDetail") or "")[:200]}
            logger.info("session", state=state, **{name: value for name, value in said.items() if value})
        self._state = state
        if type(view.get("lockMicro")) is int:
            self._locked(view["lockMicro"])
        if type(opened_at_s) is int and self._payer is None:
            self._opened(opened_at_s)
        if ORDER.index(state) >= ORDER.index("ended") and self._ended_at is None:
            self._ended_at = time.monotonic()

    def _opened(self, opened_at_s: int) -> None:
        buyer, live = self._buyer, self.live
        if not live.opened_at_s:
            latest = live.opening["deadlineS"] + OPENED_SKEW_S
            if not live.made_at_s - OPENED_SKEW_S <= opened_at_s <= latest:
                self._end(f"the service says the session opened at {opened_at_s}, which cannot be: it was signed at {live.made_at_s}")
                return
            live = live.model_copy(update={"opened_at_s": opened_at_s})
            self._save(live, "opened", openedAtS=opened_at_s)
        series, comparison = self._own(live)
        self._payer = Payer(
            self._agreed, live.opened_at_s, buyer.journal, buyer.signer, buyer.settings.chain_id, buyer.settings.escrow,
            series=series, comparison=comparison, patience_s=buyer.settings.patience_s,
            connection_watts=buyer.settings.connection_watts,
        )  # fmt: skip

    def _own(self, live: Live) -> tuple[Series | None, Comparison | None]:
        """The own meter's readings, those kept from before a restart first, and the comparison with them."""
        settings = self._buyer.settings.own_meter
        if settings is None:
            return None, None
        series = Series()
        now = self._buyer.series
        for kept in (live.own, live.paid.own):
            if kept is not None:
                series.add(reading(kept))
        for own in now.readings():
            series.add(own)
        self._buyer.series = series
        return series, Comparison(series, settings.class_ppm + settings.line_loss_ppm, settings.drift_window_s)

    def _compare_start(self) -> None:
        """No watt-hour between two sessions at the same meter, and none twice."""
        payer, ending = self._payer, self._buyer.journal.state.ending
        if self._begun or payer is None or payer.follower.started is None:
            return
        self._begun = True
        started = payer.follower.started
        if ending is None or ending.meter_hash != started.meter_hash or ending.milliwatt_hours == started.milliwatt_hours:
            return
        between = started.milliwatt_hours - ending.milliwatt_hours
        why = f"the session begins at {started.milliwatt_hours} mWh, the one before it ended at {ending.milliwatt_hours}: {between:+} mWh"
        if between < 0:
            raise Disagreement("register", why, seller_milliwatt_hours=started.milliwatt_hours)
        logger.warning("energy between two sessions", reason=why)
        self._buyer.journal.save(self._buyer.journal.state, "between", why=why)

    # --- what is due ---

    def pay(self) -> None:
        """Answer what was agreed with, and send what is signed. Raises `ServiceFault`: it is sent again, byte for byte."""
        payer = self._payer
        if payer is not None and self._state in ORDER[2:6]:
            if self._state in ("open", "running") and (first := payer.first()) is not None:
                self._unsent.append(first)
            try:
                self._unsent += payer.answer()
            except Disagreement as error:
                self._refuse(error)
        if not self._unsent:
            return
        for refused in self._buyer.service.pay(self._unsent[:MAX_ANSWER])[:MAX_ANSWER]:
            logger.error("payment refused by the service", said=str(refused)[:300])
        del self._unsent[:MAX_ANSWER]

    def act(self) -> None:
        """Open, look after the lock, switch, stop, or see that it is over."""
        if not self._sent_opening:
            self._send_opening()
        if self._listener is None:
            self._listener = Listener(self._buyer.service, self._agreed.session, self._agreed.access_token, self._inbox)
            self._listener.start()
        if self._is_over():
            self._finish()
        elif self.live.why:
            self._send_stop()
        elif self._buyer.stopping:
            self._end("the buyer was told to stop")
        elif self._state == "running" and self._payer is not None:
            self._look_after()

    def _send_opening(self) -> None:
        try:
            self._buyer.service.open(self.live.opening)
        except ServiceRefused as error:
            if not self.live.opened_at_s and not self.live.paid.sequence:
                logger.warning("not opened", reason=str(error))
                self._save(None, "not opened", why=str(error))
                self.finished = True
                raise
            logger.info("opening is known", reason=str(error))
        self._sent_opening = True

    def _look_after(self) -> None:
        from .agent import now_s

        at_s, state, buyer = now_s(), self._buyer.journal.state, self._buyer
        left = purse(buyer.settings, buyer.policy, state, buyer.standing, at_s, self.live.lock_micro)
        if buyer.standing is not None and buyer.standing.frozen:
            self._end("the owner has frozen the wallet")
            return
        if self._free_micro < buyer.settings.money.low_micro and not self._top_up(left.micro, at_s):
            self._end(f"{self._free_micro} micro-units of the lock are left, and no more may be locked, bounded by {left.why}")
            return
        if buyer.settings.provider_book is not None and buyer.market.candidates and buyer.shop.changed:
            self._consider(at_s)

    @property
    def _free_micro(self) -> int:
        return self.live.lock_micro - self.live.paid.amount_micro

    def _top_up(self, left_micro: int, at_s: int) -> bool:
        """Lock a step more; whether that (or one under way) covers what is to come. Raises `ServiceFault`."""
        live, money = self.live, self._buyer.settings.money
        waiting = live.top_up
        if waiting is not None and waiting["deadlineS"] < at_s:  # void by now, and counted already: the same total again
            waiting = self._buyer.orders.top_up(live.session, waiting["totalLockMicro"], at_s)
            self._save(live.model_copy(update={"top_up": waiting}), "top-up again", totalLockMicro=waiting["totalLockMicro"])
            self._sent_top_up = False
        if waiting is None:
            step = min(money.step_micro, left_micro)
            if step < min(money.step_micro, money.low_micro):
                return False
            waiting = self._buyer.orders.top_up(live.session, live.lock_micro + step, at_s)
            state, day = self._buyer.journal.state, at_s // DAY_S
            counted = {"live": live.model_copy(update={"top_up": waiting}), "day": day, "day_micro": state.locked_on(day) + step}
            self._buyer.journal.save(state.model_copy(update=counted), "top-up", totalLockMicro=waiting["totalLockMicro"])
            self._sent_top_up = False
            logger.info("topping up", total_lock_micro=waiting["totalLockMicro"])
        if not self._sent_top_up:
            try:
                self._buyer.service.top_up(live.session, waiting)
            except ServiceRefused as error:
                self._end(f"the top-up was refused: {error}")
            self._sent_top_up = True
        return True

    def _locked(self, lock_micro: int) -> None:
        """The lock the service says is final: payments may go up to it."""
        live = self.live
        ordered = live.top_up["totalLockMicro"] if live.top_up is not None else live.lock_micro
        if live.top_up is not None and lock_micro >= ordered:
            self._save(live.model_copy(update={"lock_micro": ordered, "top_up": None}), "topped up", lockMicro=ordered)

    def _consider(self, at_s: int) -> None:
        """Switch at the next record if another offer has become strictly better."""
        payer, offer = self._payer, self.live.offer
        if payer is None or offer is None or payer.follower.started is None:
            return
        shop, market = self._buyer.shop, self._buyer.market
        shop.changed = False
        running, course = Running(offer, payer.follower.pricer, payer.follower.last_record), shop.course(at_s)
        if all(each.hash != offer for each in market.candidates):  # it has run out or was withdrawn: what was agreed on goes on
            staying = added_micro(running.pricer, running.last, course)
            if all(cost_micro(each.signed.document.tariff, course) >= staying for each in market.candidates):
                return
        best = shop.choice(at_s, running).best
        if best is not None and best.hash != offer:
            self._end(f"switching: {best.signed.document.name} is better from now on")

    # --- how it ends ---

    def _refuse(self, error: Disagreement) -> None:
        """Nothing is signed for this session any more; after `patience_s` it is asked to close."""
        document = {
            "kind": "refusal", "session": hexed(self.live.session), "frame": hexed(error.frame), "why": f"{error.code}: {error}",
            "ownMilliwattHours": error.own_milliwatt_hours or 0, "sellerMilliwattHours": error.seller_milliwatt_hours,
        }  # fmt: skip
        why = f"{error.code}: {error}"
        state = self._buyer.journal.state
        update = {"live": self.live.model_copy(update={"refused": why}), "disputed": why}
        self._buyer.journal.save(state.model_copy(update=update), "refusal", note=document)
        self._buyer.notes.say(document)
        self._refused_at = time.monotonic()

    def _end(self, why: str) -> None:
        """Ask the session to close: journalled, said, sent until taken."""
        from .agent import now_s

        stop = self._buyer.orders.stop(self.live.session, now_s())
        self._save(self.live.model_copy(update={"why": why, "stop": stop}), "stopping", why=why)
        self._buyer.notes.say({"kind": "stopped", "why": why[:1000]})
        self._send_stop()

    def _send_stop(self) -> None:
        if self._sent_stop or self.live.stop is None or self._state in ("", "quoted", "opening"):
            return
        try:
            self._buyer.service.stop(self.live.session, self.live.stop)
        except ServiceRefused as error:
            logger.info("stop not taken", reason=str(error))
        self._sent_stop = True

    def _is_over(self) -> bool:
        """Ended, and everything up to the STOP record answered (or not to be answered any more)."""
        payer = self._payer
        if payer is not None and payer.refused and not self.live.why:
            self._refused_at = self._refused_at or time.monotonic()
            if time.monotonic() - self._refused_at >= self._buyer.settings.patience_s:
                self._end(f"a frame was not paid: {self.live.refused}"[:1000])
            return False
        if self._ended_at is None:
            return False
        too_late = ORDER.index(self._state) >= ORDER.index("settling")  # nothing is taken any more: the last frame is only seen
        if payer is None or payer.refused or payer.settled_up or (too_late and payer.follower.stopped):
            return not self._unsent
        return time.monotonic() - self._ended_at > LOST_S

    def _finish(self) -> None:
        payer, live, state = self._payer, self.live, self._buyer.journal.state
        last = payer.follower.last if payer is not None else None
        ending = state.ending if last is None else Ending(meter_hash=last.meter_hash, milliwatt_hours=last.milliwatt_hours)
        seen = payer.follower.seen if payer is not None else None
        why = live.why or "ended by the seller"
        self._buyer.journal.save(
            state.model_copy(update={"live": None, "ending": ending}), "ended", session=hexed(live.session), why=why,
            paidMicro=live.paid.amount_micro, milliwattHours=0 if seen is None else seen.milliwatt_hours,
            priceMicro=0 if seen is None else seen.total_micro,
        )  # fmt: skip
        logger.info("session over", session=hexed(live.session), paid_micro=live.paid.amount_micro, why=why)
        self.finished = True

    def _save(self, live: Live | None, kind: str, **event: Any) -> None:
        self._buyer.journal.save(self._buyer.journal.state.model_copy(update={"live": live}), kind, **event)
