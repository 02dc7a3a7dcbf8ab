"""Random calls for the contract and its model: every door, with values near the bounds."""

from __future__ import annotations

from typing import Any

from protocol.money import MeteredCharge, Open, Payment, RequestClose, Terms, TopUp, Withdraw, ceiling_micro
from tests.contracts.escrow_model import Charge
from tests.contracts.model_pair import GUARDIAN, LIVE, TERMS_TYPE, THIEF, ZERO, ModelPair
from tests.contracts.support import split

PAID_ROW = "((bytes32,uint64,bytes32),address,uint8,bytes32,bytes32)"
METERED_ROW = (
    "((bytes32,uint64,uint64,uint64,bytes32),address,(uint64,uint64,uint64,uint32,uint64,uint32),uint8,bytes32,bytes32)"
)


class RandomCalls(ModelPair):
    """Calls of one kind each, drawn from the pair's own randomness."""

    def wait(self) -> None:
        self.time_s += self.random.choice((0, 1, 1, 7, 60, 300, 1_200))
        self.block += self.random.choice((0, 1, 1, 2, 5))
        self.engine.at(self.time_s, self.block)
        self.model.now, self.model.block = self.time_s, self.block

    def do_deposit(self) -> None:
        sender, account = self.someone(), ZERO if self.chance(0.01) else self.someone()
        amount = self.near(self.model.outside[sender] // 4, 2**128 - 1)
        self.both(
            "deposit", sender, "depositFor(address,uint128)", [account, amount],
            lambda: self.model.deposit_for(sender, account, amount),
        )  # fmt: skip

    def do_withdraw(self) -> None:
        account = self.someone()
        to = self.random.choice((ZERO, self.escrow)) if self.chance(0.05) else self.someone()
        amount = self.near(self.model.free[account] // (1 if self.chance(0.1) else 8), 2**128 - 1)
        if self.chance(0.5):
            self.both(
                "withdraw", account, "withdraw(address,uint128)", [to, amount],
                lambda: self.model.withdraw(account, to, amount),
            )  # fmt: skip
            return
        nonce = self.near(self.model.nonces[account]) if self.chance(0.1) else self.model.nonces[account]
        deadline = self.deadline()
        signature, signer = self.signed(Withdraw(account, to, amount, nonce, deadline), account)
        self.both(
            "withdraw by signature", self.someone(),
            "withdrawBySignature(address,address,uint128,uint256,uint64,bytes)",
            [account, to, amount, nonce, deadline, signature],
            lambda: self.model.withdraw_by_signature(account, to, amount, nonce, deadline, signer),
        )  # fmt: skip

    def do_open(self) -> None:
        session, terms = self.pick() if self.chance(0.05) else (b"", self.new_terms())
        session = session or self.name(terms)
        lock = self.near(self.model.free[terms.payer]) if self.chance(0.1) else self.random.randint(1, 10**6)
        if self.chance(0.5):
            sender = self.someone() if self.chance(0.05) else terms.payer
            self.both(
                "open", sender, f"openAsPayer({TERMS_TYPE},uint64)", [terms, lock],
                lambda: self.model.open(sender, session, terms, lock),
            )  # fmt: skip
        else:
            deadline = self.deadline()
            signature, signer = self.signed(Open(session, lock, deadline), terms.payer)
            self.both(
                "open by signature", self.someone(), f"openBySignature({TERMS_TYPE},uint64,uint64,bytes)",
                [terms, lock, deadline, signature],
                lambda: self.model.open_by_signature(session, terms, lock, deadline, signer),
            )  # fmt: skip
        if session in self.model.sessions and session not in self.known[-LIVE:]:
            self.known.append(session)
        self.compare(session)

    def do_top_up(self) -> None:
        session, terms = self.pick()
        kept = self.model.sessions.get(session)
        total = self.near(kept.lock if kept else 1) if self.chance(0.3) else (kept.lock if kept else 0) + self.random.randint(1, 10**5)
        if self.chance(0.5):
            sender = self.someone() if self.chance(0.05) else terms.payer
            self.both(
                "top up", sender, f"topUpAsPayer({TERMS_TYPE},uint64)", [terms, total],
                lambda: self.model.top_up(sender, session, terms, total),
            )  # fmt: skip
        else:
            deadline = self.deadline()
            signature, signer = self.signed(TopUp(session, total, deadline), terms.payer)
            self.both(
                "top up by signature", self.someone(), f"topUpBySignature({TERMS_TYPE},uint64,uint64,bytes)",
                [terms, total, deadline, signature],
                lambda: self.model.top_up_by_signature(session, terms, total, deadline, signer),
            )  # fmt: skip
        self.compare(session)

    def do_request(self) -> None:
        session, terms = self.pick()
        if self.chance(0.5):
            sender = self.random.choice((terms.payer, terms.signer, self.someone()))
            self.both(
                "request close", sender, f"requestClose({TERMS_TYPE})", [terms],
                lambda: self.model.request_close(sender, session, terms),
            )  # fmt: skip
        else:
            sender, deadline = self.someone(), self.deadline()
            signature, signer = self.signed(RequestClose(session, deadline), self.random.choice((terms.payer, terms.signer)))
            self.both(
                "request close by signature", sender, f"requestCloseBySignature({TERMS_TYPE},uint64,bytes)",
                [terms, deadline, signature],
                lambda: self.model.request_close_by_signature(sender, session, terms, deadline, signer),
            )  # fmt: skip
        self.compare(session)

    def do_close(self) -> None:
        session, terms = self.pick()
        sender = terms.payee if self.chance(0.1) else self.someone()
        self.both(
            "close", sender, f"close({TERMS_TYPE})", [terms], lambda: self.model.close(sender, session, terms)
        )
        self.compare(session)

    def do_credit_note(self) -> None:
        session, terms = self.pick()
        sender = self.someone() if self.chance(0.1) else terms.payee
        amount = self.near(self.model.free[terms.payee] // 20)
        self.both(
            "credit note", sender, f"creditNote({TERMS_TYPE},uint64)", [terms, amount],
            lambda: self.model.credit_note(sender, session, terms, amount),
        )  # fmt: skip

    def do_guard(self) -> None:
        sender = GUARDIAN if self.chance(0.8) else self.someone()
        stop = self.chance(0.2)
        function = "stopNewBusiness()" if stop else "resumeNewBusiness()"
        self.both("guard", sender, function, [], lambda: self.model.stop(sender, stop))

    def do_claim(self) -> None:
        """A batch of one to four rows for one payee and mode, most of them of sessions that fit."""
        metered, (_, first) = self.chance(0.5), self.pick()
        payee = first.payee
        fitting = [s for s in self.known[-LIVE:] if self.terms[s].payee == payee and self.terms[s].metered == metered]
        charges, rows = [], []
        for _ in range(self.random.randint(1, 4)):
            session = self.random.choice(fitting) if fitting and not self.chance(0.1) else self.pick()[0]
            charge, row = self.metered_row(session) if metered else self.paid_row(session)
            charges.append(charge)
            rows.append(row)
        function = f"claimMetered(address,{METERED_ROW}[])" if metered else f"claimPaid(address,{PAID_ROW}[])"
        self.both(
            "claim metered" if metered else "claim paid", self.someone(), function, [payee, rows],
            lambda: self.model.claim(payee, charges, metered),
        )  # fmt: skip
        for charge in charges:
            if charge.session in self.model.sessions:
                self.compare(charge.session)

    def amount(self, session: bytes) -> int:
        kept = self.model.sessions.get(session)
        if kept is None:
            return self.random.randint(0, 100)
        if self.chance(0.2):
            return self.near(self.random.choice((kept.claimed, kept.lock)))
        return kept.claimed + self.random.randint(0, max(1, (kept.lock - kept.claimed) // 10))

    def paid_row(self, session: bytes) -> tuple[Charge, tuple[Any, ...]]:
        terms = self.told(self.terms[session])
        message = Payment(session, self.amount(session), self.random.randbytes(32))
        signature, signer = self.signed(message, self.terms[session].signer)
        v, r, s = split(signature.ljust(65, b"\0"))
        charge = Charge(session, terms, message.amount_micro, message.frame, signer)
        return charge, (tuple(message), terms.signer, v, r, s)

    def metered_row(self, session: bytes) -> tuple[Charge, tuple[Any, ...]]:
        real, kept = self.terms[session], self.model.sessions.get(session)
        terms = self.told(real)
        ends = [self.time_s, real.latest_end_s]
        if kept and kept.requested_at:
            ends.append(kept.requested_at + real.stop_grace_s)
        seconds = max(0, min(ends) - kept.opened_at) if kept else 100
        elapsed = self.near(seconds) if self.chance(0.3) else seconds
        deliverable = real.rated_watts * 1_000 * seconds // 3_600
        energy = min(self.near(deliverable) if self.chance(0.3) else deliverable, 2**64 - 1)
        most = ceiling_micro(real, energy, elapsed)
        amount = min(self.near(most), 2**64 - 1) if self.chance(0.3) else min(self.amount(session), most, 2**64 - 1)
        message = MeteredCharge(session, amount, energy, elapsed, self.random.randbytes(32))
        signature, signer = self.signed(message, real.signer)
        v, r, s = split(signature.ljust(65, b"\0"))
        charge = Charge(session, terms, amount, message.frame, signer, energy, elapsed)
        return charge, (tuple(message), terms.signer, terms[8:14], v, r, s)

    def told(self, terms: Terms) -> Terms:
        """The terms a row brings along: now and then not the session's."""
        if not self.chance(0.05):
            return terms
        index = self.random.choice((5, *range(8, 14)))
        changed: list[Any] = list(terms)
        changed[index] = THIEF.address if index == 5 else changed[index] ^ 1
        return Terms(*changed)

    def run(self, calls: int) -> None:
        doors = (self.do_deposit, self.do_withdraw, self.do_top_up, self.do_request, self.do_close, self.do_credit_note)
        steps = [*doors, self.do_open, self.do_open, *[self.do_claim] * 6]
        for number in range(calls):
            if self.chance(0.4):
                self.wait()
            self.do_guard() if self.chance(0.01) else self.random.choice(steps)()
            if number % 8 == 0:
                self.compare_balances()
            if number % 5_000 == 0:
                self.compare_tokens()
        self.compare()
        self.compare_balances()
        self.compare_tokens()
