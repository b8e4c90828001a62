"""A small car on a virtual CAN bus: its DBC, and frames as it would send them."""

from __future__ import annotations

import can
import cantools.database
from cantools.database.can import Database

CAR_DBC = """VERSION "A small car"

BS_:

BU_: GATEWAY CHARGER

BO_ 257 GEARBOX: 8 GATEWAY
 SG_ GEAR : 0|3@1+ (1,0) [0|7] "" GATEWAY
 SG_ SPEED : 8|16@1+ (0.01,0) [0|655.35] "km/h" GATEWAY
 SG_ LATITUDE : 24|32@1- (0.000001,0) [-90|90] "deg" GATEWAY

BO_ 2566844674 CHARGE_STATUS: 8 CHARGER
 SG_ CABLE : 0|2@1+ (1,0) [0|3] "" GATEWAY
 SG_ SOC : 8|10@1+ (0.1,0) [0|102.3] "%" GATEWAY
 SG_ PACK_TEMP : 24|8@1+ (0.5,-40) [-40|87.5] "degF" GATEWAY

BO_ 770 CABIN: 8 GATEWAY
 SG_ PAGE M : 0|2@1+ (1,0) [0|3] "" GATEWAY
 SG_ TEMP m0 : 8|8@1+ (0.5,-40) [-40|87.5] "C" GATEWAY
 SG_ SEAT m1 : 8|1@1+ (1,0) [0|1] "" GATEWAY

BO_ 771 NOT_MAPPED: 8 GATEWAY
 SG_ NOISE : 0|8@1+ (1,0) [0|255] "" GATEWAY

VAL_ 257 GEAR 0 "INIT" 1 "P" 2 "R" 3 "N" 4 "D" 5 "D" 7 "SNA" ;
VAL_ 2566844674 CABLE 0 "NONE" 1 "LOCKED" 2 "POWERED" 3 "SNA" ;
"""


def car_database() -> Database:
    database = cantools.database.load_string(CAR_DBC, "dbc")
    assert isinstance(database, Database)
    return database


def send(bus: can.BusABC, database: Database, name: str, values: dict[str, float | str]) -> None:
    """Send one frame, complete with what `values` leaves out."""
    message = database.get_message_by_name(name)
    data = message.encode(values, strict=False, padding=True)
    bus.send(can.Message(arbitration_id=message.frame_id, is_extended_id=message.is_extended_frame, data=data))


def send_gear(bus: can.BusABC, gear: str) -> None:
    number = {"INIT": 0, "P": 1, "R": 2, "N": 3, "D": 4, "D2": 5, "SNA": 7}[gear]
    send(bus, car_database(), "GEARBOX", {"GEAR": number, "SPEED": 0.0, "LATITUDE": 0.0})
