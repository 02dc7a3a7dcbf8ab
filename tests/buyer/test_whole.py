"""The buyer among real processes: chain, service, rig, the seller's agent. Both directions of cheating, and every end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.buyer.house import Buyer, Site
from tests.service.world import World

pytestmark = pytest.mark.timeout(300)  # starts a chain and the programs; a loaded machine takes its time


@pytest.fixture
def make_site(world: World, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**more: Any) -> Site:
        made.append(Site(world, tmp_path / f"site-{len(made)}", **more))
        return made[-1]

    yield make
    for site in made:
        site.stop()


def test_it_opens_pays_with_every_frame_tops_up_is_killed_goes_on_and_stops_cleanly(make_site: Callable[..., Site]) -> None:
    """The whole life with an account of its own, a lock smaller than what is used, and a `kill -9` in the middle."""
    site = make_site()
    buyer = Buyer(site, own_meter={}, money={"lock_micro": 12_000, "step_micro": 12_000, "low_micro": 7_500})
    buyer.fund()
    buyer.start()
    buyer.wait("topped up", 1)
    paid = buyer.show()["session"]["paidMicro"]
    assert paid > 0
    buyer.kill()
    buyer.start()
    buyer.wait("topped up", 2)
    assert buyer.show()["session"]["paidMicro"] > paid
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
