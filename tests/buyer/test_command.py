"""The buyer's command line and settings: errors are sentences, secrets are nowhere, what it says can be read by people and machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buyer_agent.journal import Live, Paid, State
from buyer_agent.orders import Orders, Standing, purse
from buyer_agent.quote import read_quote
from buyer_agent.settings import Settings
from onsite.errors import OnsiteError
from protocol.errors import Malformed
from protocol.keys import Signer
from protocol.money import session_id
from protocol.wallet import Policy, policy_document
from tests.buyer.paper import CHAIN_ID, ESCROW, POINT, Paper, now_s
from tests.service.world import ENVIRONMENT, ROOT

GOOD: dict[str, Any] = {
    "service": "http://127.0.0.1:9", "service_key": "0x" + "11" * 20, "payer": "0x" + "22" * 20, "chain_id": 31_337,
    "escrow": "0x" + "33" * 20, "point": "p",
}  # fmt: skip
PREFERENCE, MONEY = {"load_watts": 1_000}, {"lock_micro": 100, "step_micro": 100, "low_micro": 10, "day_micro": 1_000}


def toml(folder: Path, preference: dict[str, Any] = PREFERENCE, money: dict[str, Any] = MONEY, **changes: Any) -> Path:
    lines = [f"{name} = {json.dumps(value)}" for name, value in (GOOD | changes).items() if value is not None]
    for section, values in (("preference", preference), ("money", money)):
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    path = folder / "buyer.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "buyer_agent", *arguments]
    return subprocess.run(program, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    return tmp_path


def test_init_makes_a_key_once_and_keeps_it_to_itself(folder: Path) -> None:
    arguments = ("init", "--state", str(folder / "buyer"), "--passphrase-file", str(folder / "passphrase"))
    first, second = command(*arguments), command(*arguments)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith("pay key 0x")
    assert (folder / "buyer" / "keys" / "pay.json").stat().st_mode & 0o777 == 0o600
    done = command("run", "--state", str(folder / "buyer"), "--config", str(toml(folder)), "--passphrase-file", str(folder / "passphrase"))
    assert done.returncode == 2
    assert "names another pay key than this state folder holds" in done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "green"}, "colour: is not a setting"),
        ({"service": "http://power.example"}, "must be https, except on this machine itself"),
        ({"escrow": "0x12"}, "escrow: Value error, must be 20 bytes"),
        ({"wallet": "0x" + "44" * 20}, "name either wallet (a DeviceWallet) or payer"),
        ({"payer": None, "wallet": "0x" + "44" * 20}, "a wallet needs policy_file"),
        ({"point": "../x"}, "point: String should match"),
        ({"preference": {"load_watts": 0}}, "preference.load_watts"),
        ({"preference": {"load_watts": 1, "kind": "dearest"}}, "preference.kind: Input should be 'cheapest' or 'greenest'"),
        ({"money": {**MONEY, "low_micro": 100}}, "low_micro must be below lock_micro and step_micro"),
    ],
)
def test_a_bad_setting_is_a_sentence_that_names_it(folder: Path, changes: dict[str, Any], says: str) -> None:
    from buyer_agent.settings import load_buyer

    with pytest.raises(OnsiteError) as error:
        load_buyer(toml(folder, **changes))
    assert says in str(error.value)
    assert "buyer.toml" in str(error.value)


def test_the_command_says_what_is_wrong_without_a_stack_trace(folder: Path) -> None:
    for arguments in (
        ("run", "--state", str(folder / "none"), "--config", str(folder / "none.toml"), "--passphrase-file", str(folder / "passphrase")),
        ("run", "--state", str(folder / "none"), "--config", str(toml(folder)), "--passphrase-file", str(folder / "passphrase")),
        ("show", "--state", str(folder / "none")),
        ("explain", "--state", str(folder / "none")),
        ("init", "--state", str(folder / "passphrase"), "--passphrase-file", str(folder / "passphrase")),
    ):
        done = command(*arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("buyer: ")
        assert "Traceback" not in done.stderr


def test_show_and_explain_say_how_it_stands_and_why(folder: Path) -> None:
    paper = Paper(folder / "buyer")
    journal = paper.journal()
    payer = paper.payer(journal)
    payer.first()
    for raw in (paper.start(), paper.use(), paper.use()):
        payer.take(raw, now_s())
    payer.answer()
    journal.save(journal.state.model_copy(update={"disputed": "window: too much"}), "refusal", note={"why": "window: too much"})
    shown, explained = command("show", "--state", str(folder / "buyer")), command("explain", "--state", str(folder / "buyer"))
    assert "paid 0.000714 of 1000.000000 locked, through record 3" in shown.stdout
    assert "nothing is bought until you have looked into it: run --again" in shown.stdout
    assert "paid  payments 3, amountMicro 714, throughRecord 3" in explained.stdout
    assert "window: too much" in explained.stdout
    as_json = json.loads(command("show", "--state", str(folder / "buyer"), "--json").stdout)
    assert as_json["session"]["paidMicro"] == 714
    assert as_json["paymentsKept"] == 3
    journal.close()


# --- money and orders ---

POLICY = Policy(b"\x05" * 20, (), 1, 1, 1, 500, 800, 2**40)


def test_the_tightest_limit_bounds_what_may_be_locked_and_is_named() -> None:
    settings = Settings.model_validate(GOOD | {"preference": PREFERENCE, "money": MONEY})
    day = now_s() // 86_400
    standing = Standing(300, 0, day, False, "")

    def left(policy: Policy | None = None, state: State | None = None, standing: Standing | None = None, lock: int = 0) -> tuple[int, str]:
        return tuple(purse(settings, policy, state or State(), standing, now_s(), lock))

    assert left() == (1_000, "the day's limit in buyer.toml")
    assert left(state=State(day=day, day_micro=400)) == (600, "the day's limit in buyer.toml")
    assert left(state=State(day=day - 1, day_micro=400))[0] == 1_000, "yesterday's"
    assert left(POLICY) == (500, "the wallet's limit for one session")
    assert left(POLICY, lock=450) == (50, "the wallet's limit for one session")
    assert left(POLICY, State(day=day, day_micro=700)) == (100, "the wallet's limit for one day")
    assert left(POLICY, standing=standing._replace(day_micro=750)) == (50, "the wallet's limit for one day")
    assert left(POLICY, standing=standing) == (300, "the wallet's free balance")
    assert left(POLICY._replace(expires_at_s=5)) == (0, "the wallet's policy, which has expired")
    assert left(POLICY, standing=standing._replace(frozen=True)) == (0, "the owner, who has frozen the wallet")
    assert Standing.of({"deployed": False}).free_micro == 0
    with pytest.raises(ValueError, match="no integers"):
        Standing.of({"deployed": True, "freeMicro": "1"})


def test_orders_of_a_wallet_carry_its_policy_and_are_signed_in_its_domain() -> None:
    signer = Signer.create()
    own = Settings.model_validate(GOOD | {"preference": PREFERENCE, "money": MONEY})
    wallet = own.model_copy(update={"payer": None, "wallet": b"\x44" * 20})
    session = os.urandom(32)
    by_account, by_wallet = Orders(own, None, signer), Orders(wallet, POLICY, signer)
    for make in ("open", "top_up", "stop"):
        arguments = {"open": (session, "q", 5, 1_000), "top_up": (session, 5, 1_000), "stop": (session, 1_000)}[make]
        first, second = (getattr(orders, make)(*arguments) for orders in (by_account, by_wallet))
        assert second.pop("wallet") == policy_document(POLICY)
        assert first.pop("signature") != second.pop("signature"), "another domain"
        assert first == second


# --- quotes ---


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"session": "0x" + "00" * 32}, "session"),
        ({"policy": {"mode": "remote"}}, "agreement"),
        ({"accessToken": None}, ""),
        ({"point": {}}, ""),
        ({"terms": {}}, ""),
    ],
)
def test_a_quote_that_does_not_agree_with_itself_is_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    paper = Paper(tmp_path)
    read_quote(paper.quote(), paper.wish(), None, now_s())
    with pytest.raises((OnsiteError, Malformed)) as error:
        read_quote(paper.quote(**change), paper.wish(), None, now_s())
    assert getattr(error.value, "code", "") == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"metered": True}, "metered"), ({"refund_to": b"\x09" * 20}, "payer"), ({"payer": b"\x09" * 20}, "payer"),
        ({"signer": b"\x09" * 20}, "signer"), ({"max_micro_per_kwh": 1}, "ceilings"), ({"latest_end_s": 5}, "times"),
        ({"close_delay_s": 10**6}, "times"), ({"point_commitment": bytes(32)}, "point"), ({"tariff_hash": bytes(32)}, "tariff"),
        ({"agreement_hash": bytes(32)}, "agreement"),
    ],
)  # fmt: skip
def test_terms_that_are_not_what_was_asked_for_are_refused(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    from buyer_agent.errors import Refused

    paper = Paper(tmp_path)
    wish = paper.wish()
    paper.terms = paper.terms._replace(**changes)
    paper.session = session_id(paper.terms, CHAIN_ID, ESCROW)
    with pytest.raises(Refused) as error:
        read_quote(paper.quote(), wish, None, now_s())
    assert error.value.code == code


def test_terms_rated_above_the_offer_are_refused(tmp_path: Path) -> None:
    """The rating bounds what is paid without an own meter: a seller may not raise it after its offer was chosen."""
    from buyer_agent.errors import Refused
    from protocol.offer import parse_offer
    from tests.vectors import offers

    paper, by = Paper(tmp_path), Signer.create()
    paper.terms = paper.terms._replace(payee=by.address)
    paper.session = session_id(paper.terms, CHAIN_ID, ESCROW)
    stated = offers.document(by, paper.tariff.document, points=[POINT], maxWatts=paper.terms.rated_watts)
    read_quote(paper.quote(), paper.wish(), parse_offer(offers.item(by, stated)), now_s())
    lower = parse_offer(offers.item(by, {**stated, "maxWatts": paper.terms.rated_watts - 1}))
    with pytest.raises(Refused, match="delivers at most") as error:
        read_quote(paper.quote(), paper.wish(), lower, now_s())
    assert error.value.code == "rating"


def test_the_journal_keeps_what_was_signed(tmp_path: Path) -> None:
    paper = Paper(tmp_path)
    journal = paper.journal()
    journal.paid([Paid(amount_micro=5, sequence=2, frame=b"\x01" * 32, document={"a": 1})])
    journal.close()
    again = paper.journal()
    assert isinstance(again.state.live, Live)
    assert again.state.live.paid == Paid(amount_micro=5, sequence=2, frame=b"\x01" * 32, document={"a": 1})
    again.close()
