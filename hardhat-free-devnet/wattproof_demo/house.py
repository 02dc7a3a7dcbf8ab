"""What every scene begins with: chain, contracts, service, rig, a meter enrolled by its own signature, and its agent."""

from __future__ import annotations

import time

from .screen import Screen
from .stack import Stack


def start_house(stack: Stack, screen: Screen) -> None:
    """Start everything. The service's keys are made already (`Stack.init_service`)."""
    screen.step("A development chain, the service's keys, the contracts")
    stack.start_chain()
    stack.deploy()
    stack.client.check()
    screen.check("the code on the chain is that of the committed artifacts", True)
    screen.step("The service, and the bench rig: a meter and a relay on real serial lines")
    stack.start_service()
    stack.start_rig()
    screen.tell(f"service {stack.url}   chain {stack.rpc_url}   meter {stack.state / 'rig' / 'meter'}")
    screen.step("Enrolment: the meter's key is made beside the meter and registered with its own signature")
    stack.enrol()
    stack.start_agent()
    device = bytes.fromhex(stack.point["device"][2:])
    deadline = time.monotonic() + 20
    while stack.client.device(device).status != 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    screen.check("the device stands in the registry", stack.client.device(device).status == 1)
