"""The console in a real browser, at desktop and phone width: nothing sticks out, nothing complains, nothing leaves for another host."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from playwright.sync_api import BrowserContext, Page, sync_playwright

from protocol.evidence import Reason
from protocol.keys import Signer
from tests.console.house import PASSWORD, Holding, House, _As, open_session
from tests.service.bench_agent import BenchAgent
from tests.service.world import eventually

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
WIDTHS = {"desktop": 1280, "phone": 360}
pytestmark = [
    pytest.mark.needs_chromium,
    pytest.mark.skipif(not CHROMIUM.exists() and "CI" not in os.environ, reason="/usr/bin/chromium is absent: apt-get install chromium"),
]


class Visitor:
    """A logged-in browser that remembers every complaint."""

    def __init__(self, context: BrowserContext, house: House, name: str) -> None:
        self.page: Page = context.pages[0]
        self.url, self.complaints = house.url, list[str]()
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._foreign(request.url))
        self.page.goto(f"{self.url}/console/")
        assert self.page.url.endswith("/console/log-in")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in", exact=True).click()
        self.page.wait_for_url(f"{self.url}/console/")

    def _foreign(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.complaints.append(f"a request to {url}")

    def visit(self, path: str) -> None:
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, answer.text()

    def fits(self) -> None:
        """Nothing sticks out sideways, and nothing complained."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{self.page.url} is {wide} px too wide"
        assert self.complaints == []


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=str(CHROMIUM), args=ARGUMENTS
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def visitor(context: BrowserContext, house: House, first: Holding) -> Visitor:
    assert first
    return Visitor(context, house, "admin.1")


def pages_of(holding: Holding) -> list[str]:
    return [
        "/console/", "/console/points", f"/console/points/{holding.point_id}", "/console/sessions", "/console/sessions?state=live",
        f"/console/sessions/{holding.session}", "/console/offers", "/console/wallets",
        f"/console/wallets/{holding.wallet}", "/console/money", "/console/anchors", f"/console/anchors/{holding.epoch_id}",
        "/console/alarms", "/console/alarms?which=all", "/console/accounts", "/console/account",
    ]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_is_silent(visitor: Visitor, first: Holding, width: str, scheme: str) -> None:
    visitor.page.set_viewport_size({"width": WIDTHS[width], "height": 800})
    visitor.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in pages_of(first):
        visitor.visit(path)
        visitor.page.wait_for_selector("#pulse[data-state=live]")
        visitor.fits()
        assert visitor.page.locator("h1").count() == 1
        inputs, labelled = visitor.page.locator("input:not([type=hidden])"), visitor.page.locator("label input:not([type=hidden])")
        assert inputs.count() == labelled.count(), f"{path} has an input without a label"
    visitor.page.emulate_media(color_scheme="light")


def box(visitor: Visitor) -> dict[str, float]:
    """Where the point's part of the page is. While news are being put in there is none for a moment."""
    found = eventually("the point's part of the page", lambda: visitor.page.locator("#point").bounding_box(), 10)
    return dict(found)


def test_power_is_live(visitor: Visitor, first: Holding) -> None:
    """The meter sends a reading; number and chart move without a reload, and nothing else moves."""
    visitor.page.set_viewport_size({"width": 1280, "height": 900})
    visitor.visit(f"/console/points/{first.point_id}")
    visitor.page.wait_for_selector(".chart .uplot canvas")
    visitor.page.wait_for_selector("#pulse[data-state=live]")
    top = box(visitor)
    first.agent.send(first.agent.frame(first.agent.record(rise=1_000, power=1_234_500)))
    visitor.page.get_by_text(re.compile(r"1.234\.5 W")).wait_for(timeout=8_000)
    after = box(visitor)
    assert (top["x"], top["y"]) == (after["x"], after["y"])
    visitor.fits()


def test_disconnecting_takes_a_reason_and_says_what_follows(visitor: Visitor, house: House, first: Holding) -> None:
    """On a point without a session, so that the other tests keep theirs."""
    agent = BenchAgent(_As(house, first.tokens["admin"]))  # type: ignore[arg-type]
    point_id = agent.enrol(on_chain=False)
    visitor.visit(f"/console/points/{point_id}")
    button = visitor.page.get_by_role("button", name="Disconnect Bench")
    button.click()  # the browser itself asks for the reason
    assert visitor.page.url.endswith(point_id)
    visitor.page.get_by_label("Reason, for the record").fill("the hall is closed")
    button.click()
    visitor.page.wait_for_url("**?done=disconnect")
    assert visitor.page.get_by_text("on its way").is_visible()
    assert visitor.page.get_by_text("disconnect commanded").is_visible()
    visitor.visit("/console/accounts")
    assert visitor.page.get_by_text("the hall is closed").is_visible()
    visitor.fits()


def test_an_alarm_is_acknowledged_by_keyboard_alone(visitor: Visitor, first: Holding) -> None:
    visitor.visit("/console/alarms")
    button = visitor.page.locator(f"#ack-{first.alarm_id}")
    if button.count():
        for _ in range(60):
            visitor.page.keyboard.press("Tab")
            if visitor.page.evaluate("document.activeElement.id") == f"ack-{first.alarm_id}":
                break
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_url("**?done=acknowledged")
    assert visitor.page.get_by_text("seen by").first.is_visible()
    visitor.fits()


def test_a_payer_follows_the_cost_and_stops(context: BrowserContext, house: House, first: Holding, visitor: Visitor) -> None:
    """The payer's page, with a wallet in the browser that really signs: the service takes the stop."""
    agent = BenchAgent(_As(house, first.tokens["admin"]))  # type: ignore[arg-type]
    point_id, payer = agent.enrol(on_chain=False), Signer.create()
    agent.vouch()
    agent.connect()
    session = open_session(house, point_id, payer=payer)
    eventually("running", lambda: house.call("GET", f"/api/v1/sessions/{session}")["state"] == "running")
    agent.send(agent.frame(agent.record(Reason.START)))
    page = context.new_page()
    page.set_viewport_size({"width": 360, "height": 740})
    page.expose_function("signTyped", lambda text: sign_typed(payer, text))
    page.add_init_script(
        "window.ethereum = { request: async ({ method, params }) =>"
        f" method === 'eth_requestAccounts' ? ['0x{payer.address.hex()}'] : await window.signTyped(params[1]) }};"
    )
    token = house.service.access_token(bytes.fromhex(session[2:]))
    page.goto(f"{house.url}/console/pay/{session}#token={token}")
    page.get_by_text("running").wait_for()
    agent.send(agent.frame(agent.record(rise=1_000, power=3_600_000)))
    page.get_by_text("0.001 kWh").wait_for(timeout=8_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("payer stop").wait_for(timeout=8_000)
    assert house.call("GET", f"/api/v1/sessions/{session}")["endCause"] == "PAYER_STOP"
    page.goto(f"{house.url}/console/pay/{session}#token=wrong")
    page.reload()
    page.get_by_text("cannot be shown").wait_for()
    page.close()
    agent.close()


def sign_typed(signer: Signer, text: str) -> str:
    """What `eth_signTypedData_v4` answers, by eth-account: not our own encoder."""
    signable = encode_typed_data(full_message=json.loads(text))
    return "0x" + Account.sign_message(signable, signer.secret).signature.hex()


def test_a_read_only_account_sees_no_money_and_no_buttons(context: BrowserContext, house: House, first: Holding, visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Log out").click()
    visitor.page.wait_for_url("**/console/log-in**")
    reader = Visitor(context, house, "read-only.1")
    reader.visit(f"/console/points/{first.point_id}")
    assert reader.page.get_by_role("button", name=re.compile("Disconnect")).count() == 0
    assert reader.page.get_by_role("link", name="Money").count() == 0
    refused = reader.page.goto(f"{house.url}/console/money")
    assert refused is not None
    assert refused.status == 403
    assert reader.page.get_by_text("takes one of: admin, operator, auditor").is_visible()
