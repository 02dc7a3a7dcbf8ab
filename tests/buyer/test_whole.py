"""The buyer among real processes: chain, service, rig, the seller's agent. Both directions of cheating, and every end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from buyer_agent.compare import SLACK_MS
from tests.buyer.conftest import CREDIT_MILLIWATT_HOURS
from tests.buyer.house import LOAD_MILLIWATTS, STEP, Buyer, Site
from tests.service.world import World, eventually

pytestmark = [pytest.mark.timeout(400), pytest.mark.soak]  # starts a chain and the programs; a loaded machine takes its time


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(world: World, tmp_path: Path) -> Iterator[MakeSite]:
    made: list[Site] = []

    def make(name: str = "site", **more: int) -> Site:
        made.append(Site(world, tmp_path / name, **more))
        return made[-1]

    yield make
    for site in made:
        site.stop()


def test_it_opens_pays_with_every_frame_tops_up_is_killed_goes_on_and_stops_cleanly(make_site: MakeSite) -> None:
    """The whole life with an account of its own, a lock that must be raised at once, and a `kill -9` in the middle."""
    site = make_site()
    buyer = Buyer(site, own_meter={}, money={"lock_micro": 12_000, "step_micro": 12_000, "low_micro": 7_500})
    buyer.fund()
    buyer.start()
    buyer.wait("topped up", 1)
    paid = buyer.show()["session"]["paidMicro"]
    assert paid > 0
    buyer.kill()
    buyer.start()
    eventually("it pays on", lambda: (buyer.show()["session"] or {}).get("paidMicro", 0) > paid + 2_000)
    assert buyer.stop() == 0
    ended = buyer.events("ended")[-1]
    view = buyer.settled()
    assert not site.rig("state")["contact_closed"]
    assert len(buyer.events("opening")) == 1
    assert ended["paidMicro"] == ended["priceMicro"] == view["billMicro"] == view["claimedMicro"], view
    assert view["tailMicro"] == 0
    assert view["endCause"] == "PAYER_STOP"
    assert "told to stop" in ended["why"]
    assert "Traceback" not in buyer.log()


def over_reporting_seller(make_site: MakeSite) -> None:
    """From honest to twice the energy in the middle: nothing beyond tolerance and slack is paid, people are told, both sides end."""
    site = make_site()
    buyer = Buyer(site, own_meter={"class_ppm": 20_000})
    buyer.fund()
    buyer.start()
    buyer.paying()
    site.rig("mark")
    before = buyer.show()["session"]["paidMicro"]
    site.rig("scale", ppm=1_000_000)
    refusal = buyer.wait("refusal")["note"]
    true = site.energy
    assert refusal["kind"] == "refusal"
    assert refusal["sellerMilliwattHours"] > refusal["ownMilliwattHours"]
    assert "class, losses, steps and reading times" in refusal["why"]
    slack = LOAD_MILLIWATTS * SLACK_MS // 3_600_000 + 2 * STEP
    assert true * 98 // 100 <= 2 * slack + 5 * LOAD_MILLIWATTS // 3_600, "found within the bound, and the seconds until it is said"
    ended = buyer.wait("ended")
    view = buyer.settled()
    assert ended["paidMicro"] == view["claimedMicro"] < view["billMicro"]
    most = before + (true * 102 // 100 + slack) * 357 // 1_000
    assert view["claimedMicro"] <= most, "what was paid is what the own meter allows, and the slack"
    assert not site.rig("state")["contact_closed"]
    buyer.wait("stopping")
    assert buyer.show()["disputed"]
    assert len(buyer.events("opening")) == 1, "it does not buy again before its owner has looked"
    assert buyer.stop() == 0


def buyer_that_stops_signing(make_site: MakeSite) -> None:
    """It is disconnected within the grant's credit, and what was signed is the seller's."""
    site = make_site()
    buyer = Buyer(site)
    buyer.fund()
    buyer.start()
    buyer.paying()
    buyer.kill()
    site.rig("mark")
    eventually("disconnected", lambda: not site.rig("state")["contact_closed"], 60)
    assert site.energy <= CREDIT_MILLIWATT_HOURS + 4 * LOAD_MILLIWATTS // 3_600, "the credit, and what was on its way to be paid"
    eventually("its cause", lambda: buyer.view()["endCause"] == "CREDIT")
    buyer.start()
    ended = buyer.wait("ended")
    assert ended["why"] == "ended by the seller"
    assert ended["paidMicro"] <= buyer.settled(ended["session"])["billMicro"]
    buyer.stop()


def buyer_whose_own_meter_runs_slow(make_site: MakeSite) -> None:
    """It refuses honest frames and says why; both sides end cleanly with nothing lost."""
    site = make_site(own_meter_ppm=-600_000)
    buyer = Buyer(site, own_meter={"class_ppm": 20_000})
    buyer.fund()
    buyer.start()
    refusal = buyer.wait("refusal")["note"]
    assert refusal["ownMilliwattHours"] < refusal["sellerMilliwattHours"]
    ended, view = buyer.wait("ended"), buyer.settled()
    assert ended["paidMicro"] == view["claimedMicro"], "what was signed before is the seller's"
    assert view["returnedMicro"] == view["lockMicro"] - view["claimedMicro"], "and the rest is the buyer's again"
    assert not site.rig("state")["contact_closed"]
    assert buyer.stop() == 0


def creeping_over_report(make_site: MakeSite) -> None:
    """A quarter too much from the start on, where a record's own allowance is several times the record."""
    site = make_site()
    site.rig("scale", ppm=250_000)
    buyer = Buyer(site, own_meter={"class_ppm": 20_000, "drift_window_s": 90}, money={"day_micro": 10**6})
    buyer.fund()
    buyer.start()
    refusal = buyer.wait("refusal", timeout_s=150)["note"]
    assert refusal["why"].startswith(("window:", "session:"))
    assert refusal["sellerMilliwattHours"] * 100 > refusal["ownMilliwattHours"] * 102
    buyer.wait("ended")
    assert buyer.stop() == 0


CHEATS = (over_reporting_seller, buyer_that_stops_signing, buyer_whose_own_meter_runs_slow, creeping_over_report)
SCENES = {scene.__name__: scene for scene in CHEATS}


def test_both_directions_of_cheating_at_four_points_at_once(make_site: MakeSite) -> None:
    """Side by side, because each is mostly waiting for energy to flow. Every scene that fails is shown."""
    with ThreadPoolExecutor(len(SCENES)) as pool:
        running = {name: pool.submit(scene, partial(make_site, name)) for name, scene in SCENES.items()}
    failed = {name: future.exception() for name, future in running.items() if future.exception() is not None}
    assert not failed, "\n\n".join(f"{name}: {error}" for name, error in failed.items())
