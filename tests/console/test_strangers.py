"""What a stranger posts is refused without a writing transaction: on SQLite nobody waits for it."""

from __future__ import annotations

from protocol.keys import Signer
from protocol.wire import frame_document
from tests.console.house import Holding, House
from tests.service.bench_agent import Meter


def test_frames_and_charges_of_strangers_begin_no_transaction(house: House, first: Holding) -> None:
    stranger = Meter()
    stranger.device = first.agent.device  # a known device, another key
    forged, unknown = stranger.frame(stranger.record()), Meter()
    frames = [frame_document(forged), frame_document(unknown.frame(unknown.record()))]
    charge = {
        "session": first.session, "amountMicro": 1, "energyMilliwattHours": 1, "elapsedS": 1, "frame": "0x" + "11" * 32,
        "signature": "0x" + Signer.create().sign(bytes(32)).hex(),
    }  # fmt: skip
    body = {"frames": frames, "charges": [charge, {}], "ocmf": []}
    with house.service.db.writing() as db:
        db.connection()  # somebody writes: whoever wanted to as well would wait
        answer = house.request("POST", "/api/v1/frames", json=body)
    assert answer.status_code == 200
    assert [item["code"] for item in answer.json()["refused"]] == ["bad_signature", "unknown_device", "charge", "charge"]
    assert (answer.json()["accepted"], answer.json()["receipts"]) == (0, [])
