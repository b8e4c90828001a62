"""How hot this computer is: the hottest sensor of its processor, from /sys/class/thermal and /sys/class/hwmon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

SYS: Final = Path("/sys/class")
# Names that kernels give to the processor's sensors: x86_pkg_temp, coretemp, k10temp, cpu-thermal, soc_thermal, ...
_PROCESSOR: Final = re.compile(r"cpu|soc|pkg|core|k\d+temp|zenpower|tegra|processor", re.IGNORECASE)
# A sensor that is switched off or broken shows what no running computer has.
_PLAUSIBLE_C: Final = (-50.0, 150.0)


class Thermometer:
    """Finds the sensors once, and again when none of them answers any more."""

    def __init__(self, folder: Path = SYS) -> None:
        self._folder = folder
        self._sensors: tuple[Path, ...] = ()

    def read(self) -> float | None:
        """Return degrees Celsius of the hottest sensor, None where this computer has none that can be read."""
        for _ in range(2):
            temps = [temp for sensor in self._sensors if (temp := _read_temp(sensor)) is not None]
            if temps:
                return max(temps)
            self._sensors = _find_sensors(self._folder)
        return None


def _find_sensors(folder: Path) -> tuple[Path, ...]:
    """Return the processor's sensors; all sensors where none is known to be the processor's."""
    named = [(zone / "type", [zone / "temp"]) for zone in sorted(folder.glob("thermal/thermal_zone*"))]
    named += [(chip / "name", sorted(chip.glob("temp*_input"))) for chip in sorted(folder.glob("hwmon/hwmon*"))]
    ours = [sensor for name, sensors in named if _PROCESSOR.search(_read_text(name)) for sensor in sensors]
    return tuple(ours or (sensor for _, sensors in named for sensor in sensors))


def _read_temp(sensor: Path) -> float | None:
    """Return a sensor's degrees; the kernel counts thousandths."""
    try:
        temp = int(_read_text(sensor)) / 1000
    except ValueError:
        return None
    return temp if _PLAUSIBLE_C[0] < temp < _PLAUSIBLE_C[1] else None


def _read_text(path: Path) -> str:
    """Return a small file's text, empty where it cannot be read: a sensor may be asleep or gone."""
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
