"""Seeded random harm to a valid model: to its bytes, and to the fields of its protobuf."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import onnx.defs
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import ModelProto

_NUMBERS = (0, 1, -1, 2, 7, 16, 255, 2**31 - 1, -(2**31), 2**32, 2**62, -(2**63), 2**63 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", "x", "y", "w", "A" * 5000, "../../etc/passwd", "%s%n", "\u202e", "NaN", "com.microsoft", "0", "a\0b")
_FIELD_STEPS_MAX = 4
_DEPTH_MAX = 40


def harm_bytes(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some flipped, cut off, put in, or repeated."""
    harmed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(harmed)) if harmed else 0
        match chance.randrange(5):
            case 0 if harmed:
                harmed[at] ^= 1 << chance.randrange(8)
            case 1 if harmed:
                harmed[at] = chance.choice((0, 0x7F, 0x80, 0xFF))
            case 2:
                del harmed[at:]
            case 3:
                harmed[at:at] = chance.randbytes(chance.choice((1, 4, 64)))
            case 4:
                length = chance.randrange(1, 40)
                harmed[at:at] = harmed[at : at + length] * chance.choice((1, 2, 30))
    return bytes(harmed)


def harm_fields(content: bytes, chance: random.Random) -> bytes:
    """Return a model with some fields changed, repeated, exchanged or removed; its protobuf stays well formed."""
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return harm_bytes(content, chance)
    for _ in range(chance.randint(1, _FIELD_STEPS_MAX)):
        places: list[tuple[Message, Any]] = []
        _collect(model, places, 0)
        if not places:  # nothing is left of it
            return harm_bytes(content, chance)
        message, field = chance.choice(places)
        _change(message, field, chance)
    return bytes(model.SerializeToString())


def _collect(message: Message, places: list[tuple[Message, Any]], depth: int) -> None:
    if depth > _DEPTH_MAX:
        return
    for field, value in message.ListFields():
        places.append((message, field))
        if field.message_type is not None:
            for inner in value if _is_repeated(field) else (value,):
                _collect(inner, places, depth + 1)


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def _change(message: Message, field: Any, chance: random.Random) -> None:
    step = chance.random()
    if step < 0.15:
        message.ClearField(field.name)
    elif _is_repeated(field):
        _change_list(getattr(message, field.name), field, chance)
    elif field.message_type is None:
        _set(message, field, chance)


def _change_list(values: Any, field: Any, chance: random.Random) -> None:
    at = chance.randrange(len(values))
    if field.message_type is not None:
        match chance.randrange(3):
            case 0:
                del values[at]
            case 1:
                values.add().CopyFrom(values[at])
            case 2:  # two exchange their places
                other = chance.randrange(len(values))
                kept = type(values[at])()
                kept.CopyFrom(values[at])
                values[at].CopyFrom(values[other])
                values[other].CopyFrom(kept)
        return
    match chance.randrange(4):
        case 0:
            del values[at]
        case 1:
            values.append(values[at])
        case 2:
            values.extend(list(values) * chance.choice((1, 3, 50)))
        case 3:
            values[at] = _value_like(values[at], field, chance)


def _set(message: Message, field: Any, chance: random.Random) -> None:
    present = getattr(message, field.name)
    if field.name == "op_type" and chance.random() < 0.7:
        message.op_type = chance.choice(_operators())
        return
    try:
        setattr(message, field.name, _value_like(present, field, chance))
    except ValueError:  # a number that the field is too narrow for, or no member of its enumeration
        message.ClearField(field.name)


def _value_like(present: Any, field: Any, chance: random.Random) -> Any:
    if isinstance(present, bytes):
        return harm_bytes(present, chance)
    if isinstance(present, str):
        return chance.choice(_TEXTS)
    if isinstance(present, float):
        return chance.choice(_FLOATS)
    near: Callable[[], int] = lambda: int(present) + chance.choice((-1, 1))  # noqa: E731 - one of two choices
    value = near() if chance.random() < 0.5 else chance.choice(_NUMBERS)
    is_narrow = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_ENUM)
    return max(-(2**31), min(2**31 - 1, value)) if is_narrow else value


_known: list[str] = []


def _operators() -> list[str]:
    if not _known:
        _known.extend(sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}))
    return _known
