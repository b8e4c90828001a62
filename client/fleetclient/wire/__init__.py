"""Version 1 of the vehicle wire: frames and the documents inside them. No I/O, no clock, no keys.

`docs/reference/vehicle-wire.md` is the text this follows; `tests/contract/wire/` pins it for the client and the
server. A load generator may use this package on its own: it imports the standard library only.
"""

from __future__ import annotations

from fleetclient.wire.account import Account, decode_account
from fleetclient.wire.answer import Lease, Message, Outcome, SyncAnswer, decode_sync_answer
from fleetclient.wire.contract import Contract, Limits, ModelRef, SessionOptions, TensorSpec
from fleetclient.wire.digest import output_digest
from fleetclient.wire.fields import MalformedMessage
from fleetclient.wire.frame import FRAME_CONTENT_TYPE, decode_frame, encode_frame, encode_frame_json
from fleetclient.wire.request import (
    ERROR_REASONS,
    RETURN_REASONS,
    AgentInfo,
    Capacity,
    Commitment,
    HandBack,
    SyncRequest,
    encode_sync_request,
)

PROTOCOL = 1
API_PATH = "/api/vehicle/v1/"
SYNC_PATH = API_PATH + "sync"
PAIR_DEVICE_PATH = API_PATH + "pair/device"
PAIR_TOKEN_PATH = API_PATH + "pair/token"
PAIR_ROTATE_PATH = API_PATH + "pair/rotate"
ACCOUNT_PATH = API_PATH + "account"
OUTPUTS_PATH = API_PATH + "outputs/"
BLOBS_PATH = API_PATH + "blobs/"

__all__ = [
    "ACCOUNT_PATH",
    "API_PATH",
    "BLOBS_PATH",
    "ERROR_REASONS",
    "FRAME_CONTENT_TYPE",
    "OUTPUTS_PATH",
    "PAIR_DEVICE_PATH",
    "PAIR_ROTATE_PATH",
    "PAIR_TOKEN_PATH",
    "PROTOCOL",
    "RETURN_REASONS",
    "SYNC_PATH",
    "Account",
    "AgentInfo",
    "Capacity",
    "Commitment",
    "Contract",
    "HandBack",
    "Lease",
    "Limits",
    "MalformedMessage",
    "Message",
    "ModelRef",
    "Outcome",
    "SessionOptions",
    "SyncAnswer",
    "SyncRequest",
    "TensorSpec",
    "decode_account",
    "decode_frame",
    "decode_sync_answer",
    "encode_frame",
    "encode_frame_json",
    "encode_sync_request",
    "output_digest",
]
