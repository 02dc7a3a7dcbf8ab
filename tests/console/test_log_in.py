"""Logging in: what a thief, a foreign site, a guesser and a forger can and cannot do."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from sqlalchemy import func, select

from backend.accounts import attempts, log_ins, users, wallets
from backend.models import Act, ApiToken, Login, LogInAttempt, SignInText, User
from protocol.keys import Signer
from tests.console.house import PASSWORD, Browser, Holding, House

NAMES = (f"person{i}" for i in itertools.count())


@pytest.fixture
def name(house: House) -> str:
    """A fresh read-only account of the first operator."""
    made = next(NAMES)
    house.user(made, "read-only", 1)
    return made


@pytest.fixture(autouse=True)
def _forgotten_attempts(house: House) -> None:
    with house.service.db.writing() as db:
        db.query(LogInAttempt).delete()


def log_in(house: House, name: str, password: str = PASSWORD, **more: Any) -> Any:
    return house.request("POST", "/console/log-in", data={"name": name, "password": password}, **more)


def test_a_cookie_is_what_browsers_need_to_keep_it_safe(house: House, name: str) -> None:
    answer = log_in(house, name)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={log_ins.LIFETIME_S}"):
        assert part in cookie
    assert "Secure" not in cookie  # plain HTTP on loopback; behind TLS the next test holds
    secure = log_in(house, name, headers={"X-Forwarded-Proto": "https"})  # uvicorn believes a proxy on loopback
    assert "Secure" in secure.headers["set-cookie"]


def test_what_is_stored_opens_nothing(house: House, name: str) -> None:
    """Somebody who reads the database has no cookie, no token, no password."""
    browser = house.browser(name)
    token = browser.token()
    with house.service.db.reading() as db:
        rows = [str(vars(row)) for table in (Login, ApiToken, User, Act) for row in db.query(table)]
    for secret in (browser.cookie, token, PASSWORD, browser.csrf):
        assert not any(secret in row for row in rows)
    with house.service.db.reading() as db:
        assert all(u.password_hash.startswith("$argon2id$") for u in db.query(User) if u.password_hash)


def test_a_cookie_planted_before_log_in_is_worth_nothing_after(house: House, name: str) -> None:
    """Session fixation: the log-in takes a new number, and the old one is not made valid."""
    planted = "a" * 43
    answer = log_in(house, name, headers={"Cookie": f"wattproof_login={planted}"})
    assert answer.cookies["wattproof_login"] != planted
    assert house.request("GET", "/api/v1/me", headers={"Cookie": f"wattproof_login={planted}"}).status_code == 401
    again = log_in(house, name, headers={"Cookie": f"wattproof_login={answer.cookies['wattproof_login']}"})
    first = {"Cookie": f"wattproof_login={answer.cookies['wattproof_login']}"}
    assert again.cookies["wattproof_login"] != answer.cookies["wattproof_login"]
    assert house.request("GET", "/api/v1/me", headers=first).status_code == 401


@pytest.mark.parametrize("csrf", ["", "wrong", None, "of another"])
def test_a_form_without_its_token_changes_nothing(house: House, name: str, csrf: str | None) -> None:
    browser = house.browser(name)
    sent = {"label": "x", "days": "5"} | ({} if csrf is None else {"csrf": csrf})
    if csrf == "of another":
        other = next(NAMES)
        house.user(other, "read-only", 1)
        sent["csrf"] = house.browser(other).csrf
    assert browser.send("POST", "/console/account/tokens", data=sent).status_code == 403
    headers = {} if csrf is None else {"X-CSRF-Token": sent["csrf"]}
    assert browser.send("POST", "/api/v1/tokens", json={"label": "x"}, headers=headers).status_code == 403
    assert house.call("GET", "/api/v1/tokens", token=browser.token())["items"][1:] == []


def test_a_form_from_another_site_does_not_log_anybody_in(house: House, name: str) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert log_in(house, name, headers=headers).status_code == 403
    assert log_in(house, name, headers={"Origin": house.url, "Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_the_console_answers_under_its_own_names_only(house: House) -> None:
    """A page elsewhere that resolves its name to this machine gets nothing, and no sign-in text names that page."""
    for path in ("/console/log-in", "/console/"):
        assert house.request("GET", path, headers={"Host": "evil.example"}).status_code == 421
    body = {"wallet": "0x" + "ab" * 20}
    assert house.request("POST", "/console/log-in/wallet/text", json=body, headers={"Host": "evil.example"}).status_code == 421


def test_every_page_carries_the_browsers_protections(house: House, name: str) -> None:
    browser = house.browser(name)
    for path in ("/console/log-in", "/console/", "/console/no-such-page"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert (headers["cache-control"], headers["x-content-type-options"], headers["x-frame-options"]) == ("no-store", "nosniff", "DENY")


def test_guessing_is_slowed_down_and_the_right_password_then_waits_too(house: House, name: str) -> None:
    for _ in range(attempts.MAX_PAIR):
        assert log_in(house, name, "wrong password here").status_code == 401
    refused = log_in(house, name, "wrong password here")
    assert refused.status_code == 429
    assert "wait" in refused.text
    assert log_in(house, name).status_code == 429
    with house.service.db.writing() as db:
        for row in db.query(LogInAttempt):
            row.at_s -= attempts.WINDOW_S
    assert log_in(house, name).status_code == 303
    assert log_in(house, name).status_code == 303  # a right one leaves nothing behind


def test_many_guesses_at_once_do_not_slip_past_the_count(house: House, name: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda _: log_in(house, name, "wrong password here").status_code, range(12)))
    assert statuses.count(401) == attempts.MAX_PAIR
    assert statuses.count(429) == 12 - attempts.MAX_PAIR


def test_one_address_cannot_try_all_names(house: House) -> None:
    statuses = [log_in(house, f"nobody{i}", "wrong password here").status_code for i in range(attempts.MAX_ADDRESS + 1)]
    assert statuses == [401] * attempts.MAX_ADDRESS + [429]


def test_a_name_that_does_not_exist_looks_like_a_wrong_password(house: House, name: str) -> None:
    unknown, wrong = log_in(house, "nobody at all", "wrong password here"), log_in(house, name, "wrong password here")
    assert unknown.status_code == wrong.status_code == 401
    assert unknown.text.replace("nobody at all", "") == wrong.text.replace(name, "")


def test_attempts_are_counted_by_the_network_a_subscriber_has() -> None:
    assert attempts.network("2001:db8:1:2:3::4") == attempts.network("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert attempts.network("192.0.2.7") == "192.0.2.7"
    assert attempts.network("testclient") == "testclient"


def test_logging_out_ends_it_on_the_server(house: House, name: str) -> None:
    browser = house.browser(name)
    assert browser.post("/console/log-out").status_code == 303
    assert browser.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("age", ["idle", "old"])
def test_a_log_in_ends_by_itself(house: House, name: str, age: str) -> None:
    browser = house.browser(name)
    with house.service.db.writing() as db:
        row = db.get_one(Login, log_ins.digest(browser.cookie))
        if age == "idle":
            row.seen_at_s -= log_ins.IDLE_S
        else:
            row.expires_at_s = int(time.time())
    assert browser.get("/api/v1/me").status_code == 401
    assert browser.get("/console/").headers["location"] == "/console/log-in"


def test_pages_that_draw_themselves_do_not_keep_a_log_in_alive(house: House, name: str) -> None:
    browser = house.browser(name)

    def seen_after(**headers: str) -> int:
        with house.service.db.writing() as db:
            db.get_one(Login, log_ins.digest(browser.cookie)).seen_at_s -= 600
        browser.get("/console/points", headers=headers)
        with house.service.db.reading() as db:
            return int(time.time()) - db.get_one(Login, log_ins.digest(browser.cookie)).seen_at_s

    assert seen_after(**{"HX-Request": "true"}) >= 600
    assert seen_after() < 10


def test_changing_an_account_ends_its_log_ins_and_disabling_its_tokens(house: House) -> None:
    made = next(NAMES)
    user = house.user(made, "operator", 1)
    browser = house.browser(made)
    token = browser.token()
    house.call("PATCH", f"/api/v1/users/{user['userId']}", {"role": "auditor"})
    assert browser.get("/api/v1/me").status_code == 401
    assert house.call("GET", "/api/v1/me", token=token)["role"] == "auditor"
    house.call("PATCH", f"/api/v1/users/{user['userId']}", {"enabled": False})
    assert house.request("GET", "/api/v1/me", token=token).status_code == 401
    assert log_in(house, made).status_code == 401


def test_the_own_password_takes_the_old_one(house: House, name: str) -> None:
    browser, other = house.browser(name), house.browser(name)
    refused = browser.post("/console/account/password", {"old": "not this one at all", "new": "a new password for me"})
    assert "not right" in refused.text
    assert browser.post("/console/account/password", {"old": PASSWORD, "new": "short"}).status_code == 400
    assert browser.post("/console/account/password", {"old": PASSWORD, "new": "a new password for me"}).status_code == 303
    assert browser.get("/api/v1/me").status_code == other.get("/api/v1/me").status_code == 401
    assert log_in(house, name).status_code == 401
    Browser(house, name, "a new password for me")


def test_the_last_administrator_cannot_be_lost(house: House, second: Holding) -> None:
    answer = house.request("PATCH", f"/api/v1/users/{second.users['admin']}", token=second.tokens["admin"], json={"role": "operator"})
    assert answer.status_code == 409
    assert "last administrator" in answer.json()["detail"]


def test_tokens_end_when_they_are_revoked_or_run_out(house: House, name: str) -> None:
    browser = house.browser(name)
    token, other = browser.token("first"), browser.token("second")
    rows = {row["label"]: row["tokenId"] for row in house.call("GET", "/api/v1/tokens", token=token)["items"]}
    for _ in range(2):  # the same again is a success
        assert house.request("DELETE", f"/api/v1/tokens/{rows['first']}", token=other).status_code == 204
    assert house.request("GET", "/api/v1/me", token=token).status_code == 401
    with house.service.db.writing() as db:
        db.get_one(ApiToken, rows["second"]).expires_at_s = int(time.time())
    assert house.request("GET", "/api/v1/me", token=other).status_code == 401


def test_acts_are_on_record_without_secrets(house: House, name: str) -> None:
    house.browser(name).token("for the nightly export")
    acts = house.call("GET", "/api/v1/acts?limit=20")["items"]
    assert ("token made", "for the nightly export") in {(act["what"], act["place"]) for act in acts if act["who"] == name}
    assert ("logged in", "password") in {(act["what"], act["place"]) for act in acts if act["who"] == name}


class Wallet:
    """A wallet as a page uses it: signs whatever text it is shown."""

    def __init__(self, house: House) -> None:
        self.house, self.signer = house, Signer.create()
        self.address = "0x" + self.signer.address.hex()

    def text(self) -> dict[str, str]:
        answer = self.house.request("POST", "/console/log-in/wallet/text", json={"wallet": self.address})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def sign(self, text: str) -> str:
        return "0x" + self.signer.sign(wallets.personal_digest(text.encode())).hex()

    def answer(self, body: dict[str, str], **headers: str) -> Any:
        return self.house.request("POST", "/console/log-in/wallet", json=body, headers=headers)


def test_a_wallet_logs_in_with_the_text_the_service_wrote(house: House) -> None:
    wallet = Wallet(house)
    made = next(NAMES)
    house.call("POST", "/api/v1/users", {"name": made, "role": "auditor", "operatorId": 1, "wallet": wallet.address})
    body = wallet.text()
    lines = body["text"].splitlines()
    assert lines[0] == f"127.0.0.1:{house.port} wants you to sign in with your Ethereum account:"
    assert lines[1].lower() == wallet.address
    assert f"Nonce: {body['nonce']}" in lines
    answer = wallet.answer(body | {"signature": wallet.sign(body["text"])})
    assert answer.status_code == 200
    cookie = {"Cookie": f"wattproof_login={answer.cookies['wattproof_login']}"}
    assert house.request("GET", "/api/v1/me", headers=cookie).json()["name"] == made
    assert wallet.answer(body | {"signature": wallet.sign(body["text"])}).status_code == 401  # once


def test_a_text_is_in_eip_4361_form_and_addresses_in_eip_55() -> None:
    """The examples of EIP-55 itself."""
    for address in ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"):
        assert wallets.checksummed(bytes.fromhex(address[2:])) == address


@pytest.mark.parametrize("fault", ["other text", "other wallet", "unknown nonce", "expired", "no account", "disabled"])
def test_a_wallet_log_in_that_is_not_right_is_refused(house: House, fault: str) -> None:
    wallet = Wallet(house)
    if fault != "no account":
        user = house.call("POST", "/api/v1/users", {"name": next(NAMES), "role": "auditor", "operatorId": 1, "wallet": wallet.address})
        if fault == "disabled":
            house.call("PATCH", f"/api/v1/users/{user['userId']}", {"enabled": False})
    body = wallet.text()
    signed = body["text"]
    if fault == "other text":
        body["text"] = signed = signed.replace("moves no money", "moves all money")
    if fault == "unknown nonce":
        body["nonce"] = "0" * 32
    if fault == "expired":
        with house.service.db.writing() as db:
            db.get_one(SignInText, body["nonce"]).expires_at_s = int(time.time())
    signature = Wallet(house).sign(signed) if fault == "other wallet" else wallet.sign(signed)
    answer = wallet.answer(body | {"signature": signature})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    if fault in ("other text", "other wallet"):  # the text is used up by the attempt
        assert wallet.answer(body | {"signature": wallet.sign(signed)}).status_code == 401


def test_texts_cannot_be_asked_for_without_end(house: House) -> None:
    wallet = Wallet(house)
    for _ in range(attempts.MAX_PAIR):
        wallet.text()
    assert house.request("POST", "/console/log-in/wallet/text", json={"wallet": wallet.address}).status_code == 429
    with house.service.db.reading() as db:
        assert (db.scalar(select(func.count()).where(SignInText.wallet == wallet.signer.address)) or 0) <= attempts.MAX_PAIR


@pytest.mark.parametrize("password", ["short", "x" * (users.MAX_PASSWORD + 1)])
def test_passwords_have_a_length(house: House, password: str) -> None:
    body = {"name": next(NAMES), "role": "read-only", "operatorId": 1, "password": password}
    assert house.request("POST", "/api/v1/users", token=house.token, json=body).status_code == 422
