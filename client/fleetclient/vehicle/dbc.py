"""Only those messages of a DBC that the owner's mapping names.

A car's DBC describes hundreds of messages; parsing them all takes seconds and tens of megabytes, and one odd
message among them (an extended id without its mark, as in several public files) would refuse the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from fleetclient.vehicle.checks import SourceInvalid, suggest

if TYPE_CHECKING:
    from cantools.database.can import Message

# Bit 31 marks an id of 29 bits in a DBC.
EXTENDED, STANDARD_ID_MAX = 1 << 31, 0x7FF
_MESSAGE = re.compile(r"BO_ (\d+) +(\w+) *:.*")
# Lines about one message's signals: names of values, kinds of floats, nested multiplexing.
_DETAIL = re.compile(r"(VAL_|SIG_VALTYPE_|SG_MUL_VAL_) +(\d+) (.*)", re.DOTALL)


def load_messages(path: Path, names: Collection[str]) -> dict[str, Message]:
    """Return the named messages of a DBC file; raises SourceInvalid naming the file, and a message it lacks."""
    import cantools.database  # an extra, and heavy: only a car on a bus pays for it
    from cantools.database.can import Database

    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise SourceInvalid(f"dbc_file {path} cannot be read: {error.strerror}") from None
    known = [match[2] for match in map(_MESSAGE.match, text.splitlines()) if match]
    for name in names:
        if name not in known:
            raise SourceInvalid(f"{path} has no message {name}; {suggest(name, known)}")
    try:
        database = cantools.database.load_string(excerpt(text, names), "dbc", strict=False)
    except cantools.Error as error:
        raise SourceInvalid(f"{path}: the description of {', '.join(sorted(names))} is faulty: {error}") from None
    assert isinstance(database, Database)
    return {message.name: message for message in database.messages}


def excerpt(text: str, names: Collection[str]) -> str:
    """Return a DBC with nothing but these messages in it, ids of 29 bits marked as such."""
    lines, ids, is_inside = ['VERSION ""', "BS_:", "BU_:"], set[str](), False
    for line in text.splitlines():
        if message := _MESSAGE.match(line):
            is_inside = message[2] in names
            if is_inside:
                ids.add(message[1])
                lines.append(line.replace(message[1], _marked(message[1]), 1))
        elif is_inside and line.lstrip().startswith("SG_ "):
            lines.append(line)
        elif not line.strip():
            is_inside = False
        elif (detail := _DETAIL.match(line)) and detail[2] in ids and line.rstrip().endswith(";"):
            lines.append(f"{detail[1]} {_marked(detail[2])} {detail[3]}")
    return "\n".join([*lines, ""])


def _marked(frame_id: str) -> str:
    number = int(frame_id)
    return str(number | EXTENDED if number > STANDARD_ID_MAX else number)
