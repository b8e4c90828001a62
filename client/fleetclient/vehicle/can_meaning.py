"""What a decoded number on the bus means: a comparison for yes and no, a scale for the rest. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetclient.vehicle.bus_options import COMPARISON, CanSignal
from fleetclient.vehicle.checks import SourceInvalid, suggest
from fleetclient.vehicle.signals import SignalValue
from fleetclient.vehicle.values import as_number, as_signal

if TYPE_CHECKING:
    from cantools.database.can import Message

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """One of our signals in a frame: where it is, and how its number is read.

    `choices`: the numbers that a comparison means. `unknown`: numbers by which the car says that it does not know.
    """

    name: str
    signal: str
    compare: Callable[[float, float], bool] | None
    choices: tuple[float, ...]
    unknown: frozenset[float]
    scale: float
    offset: float

    def read(self, number: object) -> SignalValue | None:
        """Return the value that a decoded number stands for; None for no number (a multiplexed signal not in turn)."""
        if not isinstance(number, int | float) or not math.isfinite(number) or number in self.unknown:
            return None
        if self.compare is None:
            return as_signal(self.name, number * self.scale + self.offset)
        # A name may stand for several numbers (two of Volkswagen's are "D"): != means none of them.
        holds = [self.compare(number, choice) for choice in self.choices]
        return all(holds) if self.compare is operator.ne else any(holds)


def make_meaning(name: str, signal: CanSignal, message: Message) -> Meaning:
    """Return the meaning that the owner's mapping gives to a signal of a message; raises SourceInvalid."""
    key = f"vehicle.can.signals.{name}"
    known = [each.name for each in message.signals]
    if signal.signal not in known:
        raise SourceInvalid(f"{key}.signal: {message.name} has no {signal.signal}; {suggest(signal.signal, known)}")
    described = message.get_signal_by_name(signal.signal)
    choices: dict[str, list[float]] = {}
    for number, text in (described.choices or {}).items():
        choices.setdefault(str(text), []).append(number)
    compare, right = None, ""
    if (match := COMPARISON.fullmatch(signal.when)) is not None:
        compare, right = _OPERATORS[match[1]], match[2].strip()
    return Meaning(
        name=name,
        signal=signal.signal,
        compare=compare,
        choices=_numbers(f"{key}.when", right, choices) if compare else (),
        unknown=frozenset(each for text in signal.unknown for each in _numbers(f"{key}.unknown", text, choices)),
        scale=signal.scale,
        offset=signal.offset,
    )


def _numbers(key: str, text: str, choices: dict[str, list[float]]) -> tuple[float, ...]:
    if text in choices:
        return tuple(choices[text])
    number = as_number(text)
    if number is None:
        raise SourceInvalid(f"{key}: {text!r} is no number and no choice of the DBC; {suggest(text, choices)}")
    return (number,)
