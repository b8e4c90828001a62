"""A CAN bus, read with python-can and described by a DBC: the car's own words. Nothing is ever written to the bus.

Only frames that the mapping names are let through by the interface's filters. A frame is observed when it comes;
a bus that is silent or broken leaves the last values, which grow old.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.board import Board
from fleetclient.vehicle.bus_options import CanOptions
from fleetclient.vehicle.can_meaning import Meaning, make_meaning
from fleetclient.vehicle.checks import SourceInvalid
from fleetclient.vehicle.dbc import load_messages
from fleetclient.vehicle.signals import Signals, SignalValue

if TYPE_CHECKING:
    from can import BusABC
    from cantools.database.can import Message

# Cars repeat a frame up to a hundred times a second: this often we look at the latest of each, and for this long a
# change waits for us.
LOOK_SECONDS = 0.05
REOPEN_SECONDS_MIN, REOPEN_SECONDS_MAX = 1.0, 30.0
FrameKey = tuple[int, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One message of the DBC and what its signals mean to us."""

    message: Message
    meanings: tuple[Meaning, ...]

    @property
    def key(self) -> FrameKey:
        """What tells this frame from all others on the bus: its id, and whether that has 29 bits."""
        return self.message.frame_id, self.message.is_extended_frame


class CanSource:
    """Reads the bus on a thread of its own, and opens it again when it fails."""

    def __init__(self, options: CanOptions, *, folder: Path = Path()) -> None:
        self._options = options
        self._folder = folder
        self._board = Board("can")
        self._stopping = Event()
        self._thread = Thread(target=self._listen, name="signals-can", daemon=True)
        self._frames: dict[FrameKey, Frame] = {}
        # As decoded last, so that an unchanged frame costs no decoding.
        self._latest: dict[FrameKey, tuple[bytes, dict[str, SignalValue | None]]] = {}
        self.problem = "no frame yet"
        """Why signals are missing or old, in a sentence for the owner; empty when all is well."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to listen; raises SourceInvalid for a DBC that cannot be used, and where the extra is missing."""
        try:
            import can  # noqa: F401 - fail here, with a hint, not on the thread
            import cantools  # noqa: F401
        except ImportError:
            raise SourceInvalid('the CAN source needs the extra: pip install "fleetcompute-client[can]"') from None
        self._frames = {frame.key: frame for frame in read_frames(self._options, folder=self._folder)}
        self._board.ring_with(wake)
        self._thread.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot."""
        return self._board.read()

    def stop(self) -> None:
        """End the thread and close the bus."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _listen(self) -> None:
        import can

        pause = REOPEN_SECONDS_MIN
        while not self._stopping.is_set():
            try:
                with self._open() as bus:
                    pause = REOPEN_SECONDS_MIN
                    self._read_bus(bus)
            except (can.CanError, OSError, ValueError, NotImplementedError) as error:  # drivers raise all of these
                self.problem = f"CAN {self._options.interface} {self._options.channel}: {error}"
                self._stopping.wait(pause)
                pause = min(2 * pause, REOPEN_SECONDS_MAX)

    def _open(self) -> BusABC:
        import can

        filters = [
            can.typechecking.CanFilter(
                can_id=frame_id, can_mask=0x1FFFFFFF if is_extended else 0x7FF, extended=is_extended
            )
            for frame_id, is_extended in self._frames
        ]
        more: dict[str, Any] = {"bitrate": self._options.bitrate} if self._options.bitrate else {}
        return can.Bus(interface=self._options.interface, channel=self._options.channel, can_filters=filters, **more)

    def _read_bus(self, bus: BusABC) -> None:
        while not self._stopping.is_set():
            newest: dict[tuple[FrameKey, bytes], bytes] = {}
            ends_at = time.monotonic() + LOOK_SECONDS
            while (left := ends_at - time.monotonic()) > 0:
                if (message := bus.recv(left)) is not None and not message.is_error_frame:
                    key, data = (message.arbitration_id, message.is_extended_id), bytes(message.data)
                    if (frame := self._frames.get(key)) is not None:
                        # A multiplexed frame says one thing now and another the next time: none may hide the other.
                        newest[key, data if frame.message.is_multiplexed() else b""] = data
            for (key, _), data in newest.items():
                self._take(self._frames[key], data)

    def _take(self, frame: Frame, data: bytes) -> None:
        now = boot_seconds()
        latest, values = self._latest.get(frame.key, (b"", {}))
        if latest != data or not values:
            values = decode_frame(frame, data)
            self._latest[frame.key] = data, values
        self.problem = ""
        self._board.post(values, observed_at=now)


def read_frames(options: CanOptions, *, folder: Path) -> list[Frame]:
    """Return the frames that the mapping names, as their DBCs describe them; raises SourceInvalid."""
    wanted: dict[tuple[Path, str], list[str]] = {}
    for name, signal in options.signals.items():
        wanted.setdefault((folder / (signal.dbc_file or options.dbc_file), signal.message), []).append(name)
    messages = {path: load_messages(path, {each for other, each in wanted if other == path}) for path, _ in wanted}
    return [
        Frame(
            message=messages[path][message],
            meanings=tuple(make_meaning(name, options.signals[name], messages[path][message]) for name in names),
        )
        for (path, message), names in wanted.items()
    ]


def decode_frame(frame: Frame, data: bytes) -> dict[str, SignalValue | None]:
    """Return what a frame's data says: all unknown when they are too short, and nothing of a multiplexed part that is
    not in turn.
    """
    from cantools.database import DecodeError

    try:
        decoded = frame.message.decode(data, decode_choices=False, allow_truncated=False)
    except (DecodeError, ValueError, KeyError):  # KeyError: a multiplexer value that the DBC does not list
        return {each.name: None for each in frame.meanings}
    assert isinstance(decoded, dict)
    return {each.name: each.read(decoded[each.signal]) for each in frame.meanings if each.signal in decoded}
