"""A ruling through the door: who may post one, and what it takes."""

from __future__ import annotations

import time

from protocol.eip712 import EVIDENCE, digest, to_json
from protocol.evidence import Reason, Ruling
from protocol.keys import Signer
from tests.console.house import Holding, House, furnish, open_session
from tests.service.world import eventually


def test_an_operators_account_posts_what_the_payer_signed(house: House, first: Holding) -> None:
    made = house.call("POST", "/api/v1/operators", {"name": "Disputed & Co", "payee": "0x" + "33" * 20})
    mine = furnish(house, made["operatorId"])
    try:
        _dispute(house, mine, first)
    finally:
        mine.agent.close()


def _dispute(house: House, mine: Holding, other: Holding) -> None:
    agent, payer, admin = mine.agent, Signer.create(), mine.tokens["admin"]
    house.call("POST", f"/api/v1/sessions/{mine.session}/end", token=mine.tokens["operator"])
    eventually("the end", lambda: house.call("GET", f"/api/v1/sessions/{mine.session}", token=admin)["state"] == "ending")
    agent.send(agent.frame(agent.record(Reason.STOP)))
    eventually("the end", lambda: house.call("GET", f"/api/v1/sessions/{mine.session}", token=admin)["state"] == "ended")
    agent.vouch()
    session = open_session(house, mine.point_id, payer=payer)
    eventually("supply", lambda: house.call("GET", f"/api/v1/sessions/{session}", token=admin)["state"] == "running")
    agent.send(agent.frame(agent.record(Reason.START)))
    state = (agent.previous, agent.sequence, agent.register, agent.clock)
    held = agent.frame(agent.record(rise=1_000))
    agent.send(held)
    agent.previous, agent.sequence, agent.register, agent.clock = state
    agent._post_frames([agent.frame(agent.record(rise=500))], [])
    view = house.call("GET", f"/api/v1/sessions/{session}", token=admin)
    place = view["dispute"]["places"][0]
    assert place["heldFrame"] == "0x" + held.digest.hex()
    assert view["billMicro"] == 0
    ruling = Ruling(
        bytes.fromhex(session[2:]), agent.device, held.frame.incarnation, held.frame.first_sequence, held.frame.first_sequence, held.digest,
        int(time.time()),
    )  # fmt: skip
    body = {"ruling": to_json(ruling), "signatures": ["0x" + payer.sign(digest(EVIDENCE, ruling)).hex()]}
    path = f"/api/v1/sessions/{session}/rulings"
    assert house.request("POST", path, json=body).status_code == 400
    assert house.request("POST", path, json=body, token=mine.tokens["auditor"]).status_code == 403
    assert house.request("POST", path, json=body, token=other.tokens["operator"]).status_code == 404
    after = house.call("POST", path, body, token=mine.tokens["operator"])
    assert after["dispute"] is None
    assert after["billMicro"] > 0
    assert house.call("POST", path, body, token=mine.tokens["operator"])["billMicro"] == after["billMicro"]
    acts = house.call("GET", "/api/v1/acts", token=admin)["items"]
    assert acts[0]["what"] == "ruling"
    assert acts[0]["who"].startswith("operator.")
