"""The thermometer against folders laid out as kernels lay them out."""

from __future__ import annotations

from pathlib import Path

from fleetclient.local.thermal import Thermometer


def add_zone(folder: Path, number: int, kind: str, temp: str) -> Path:
    zone = folder / "thermal" / f"thermal_zone{number}"
    zone.mkdir(parents=True)
    (zone / "type").write_text(kind + "\n")
    (zone / "temp").write_text(temp + "\n")
    return zone / "temp"


def add_chip(folder: Path, number: int, name: str, *temps: str) -> None:
    chip = folder / "hwmon" / f"hwmon{number}"
    chip.mkdir(parents=True)
    (chip / "name").write_text(name + "\n")
    for index, temp in enumerate(temps, start=1):
        (chip / f"temp{index}_input").write_text(temp + "\n")


def test_a_computer_without_sensors_has_no_temperature(tmp_path):
    assert Thermometer(tmp_path).read() is None


def test_the_hottest_sensor_of_the_processor_counts_and_the_others_do_not(tmp_path):
    add_zone(tmp_path, 0, "acpitz", "95000")
    add_zone(tmp_path, 1, "x86_pkg_temp", "61000")
    add_chip(tmp_path, 0, "nvme", "91850")
    add_chip(tmp_path, 1, "coretemp", "60000", "63500", "58000")
    assert Thermometer(tmp_path).read() == 63.5


def test_where_no_sensor_is_known_to_be_the_processors_all_count(tmp_path):
    add_zone(tmp_path, 0, "acpitz", "41000")
    add_chip(tmp_path, 0, "nvme", "52850")
    assert Thermometer(tmp_path).read() == 52.85


def test_a_sensor_that_is_switched_off_or_broken_is_left_out(tmp_path):
    add_zone(tmp_path, 0, "cpu-thermal", "-274000")
    add_zone(tmp_path, 1, "cpu-thermal", "no")
    add_zone(tmp_path, 2, "soc_thermal", "48000")
    assert Thermometer(tmp_path).read() == 48.0


def test_sensors_are_looked_for_again_once_none_answers(tmp_path):
    sensor = add_zone(tmp_path, 0, "cpu0-thermal", "40000")
    thermometer = Thermometer(tmp_path)
    assert thermometer.read() == 40.0
    sensor.unlink()
    assert thermometer.read() is None
    add_chip(tmp_path, 3, "k10temp", "55125")
    assert thermometer.read() == 55.125


def test_this_computers_own_sensors_give_a_plausible_number_or_none():
    temp = Thermometer().read()
    assert temp is None or -50 < temp < 150
