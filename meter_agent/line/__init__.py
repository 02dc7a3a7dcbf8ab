"""The line drivers: a meter by IEC 62056-21, a relay by Modbus RTU, and whether a point is disconnected (docs/walls.md)."""

from meter_agent.line.disconnection import STARTING_POWER_MILLIWATTS, DisconnectionCheck, Look, Next, supply_is_on
from meter_agent.line.errors import (
    BadBytes,
    LineError,
    MeterRefused,
    MeterSilent,
    MeterTooSlow,
    PortError,
    RelayRefused,
    RelaySilent,
)
from meter_agent.line.meter import Meter, open_meter
from meter_agent.line.reading import MeterMap, MeterReading, MeterSample
from meter_agent.line.relay import Relay, open_relay
from meter_agent.line.supply import Disconnection, SupplyState, connect, disconnect

__all__ = [
    "STARTING_POWER_MILLIWATTS",
    "BadBytes",
    "Disconnection",
    "DisconnectionCheck",
    "LineError",
    "Look",
    "Meter",
    "MeterMap",
    "MeterReading",
    "MeterRefused",
    "MeterSample",
    "MeterSilent",
    "MeterTooSlow",
    "Next",
    "PortError",
    "Relay",
    "RelayRefused",
    "RelaySilent",
    "SupplyState",
    "connect",
    "disconnect",
    "open_meter",
    "open_relay",
    "supply_is_on",
]
