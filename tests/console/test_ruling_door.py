"""A ruling through the door: who may post one, and what it takes."""

from __future__ import annotations

import time

from protocol.eip712 import EVIDENCE, digest, to_json
from protocol.evidence import Reason, Ruling
from protocol.keys import Signer
from tests.console.house import Holding, House, furnish, open_session
from tests.service.world import eventually


def test_an_operators_account_posts_what_the_payer_signed(house: House, first: Holding) -> None:
    payee = Signer.create()
    made = house.call("POST", "/api/v1/operators", {"name": "Disputed & Co", "payee": "0x" + payee.address.hex()})
    house.payees[made["operatorId"]] = payee
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
    place = f"/api/v1/points/{mine.point_id}/enabled"
    for state in ("false", "false", "true"):
        house.call("POST", f"{place}/{state}", token=mine.tokens["operator"])
    done = [act["what"] for act in house.call("GET", "/api/v1/acts", token=admin)["items"]]
    assert done[:3] == ["point put into service", "point taken out of service", "ruling"]  # the second time changed nothing
    assert {"point enrolled", "session ended"} <= set(done)
    acts = house.call("GET", "/api/v1/acts", token=admin)["items"]
    assert acts[2]["who"].startswith("operator.")
