"""What TeslaMate's texts mean, key by key, with its traps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, SIGNALS
from fleetclient.vehicle.teslamate_signals import KEYS, derive_signals

PARKED_AT_HOME = {
    "state": "online", "shift_state": "", "plugged_in": "true", "charging_state": "Complete", "power": "0",
    "usable_battery_level": "79", "battery_level": "81", "charge_limit_soc": "80", "geofence": "🏡 Home",
    "inside_temp": "19.5", "is_climate_on": "false", "is_preconditioning": "false", "climate_keeper_mode": "off",
    "is_user_present": "false", "doors_open": "false", "service_mode": "false", "center_display_state": "0",
    "sentry_mode": "false", "install_perc": "0",
}  # fmt: skip


def derive(**changes: str | None) -> dict[str, object]:
    said = {key: text for key, text in {**PARKED_AT_HOME, **changes}.items() if text is not None}
    return dict(derive_signals(said, home_names=("Home",)))


def test_a_car_that_rests_at_home_is_told_in_full() -> None:
    assert derive() == {
        "parked": True, "plugged_in": True, "charging": False, "soc_pct": 79.0, "charge_limit_pct": 80.0,
        "at_home": True, "user_present": False, "cabin_temp_c": 19.5, "sentry_on": False, "updating": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "parked"),
    [
        ({"shift_state": ""}, True),
        ({"shift_state": "P"}, True),
        ({"shift_state": "N"}, False),
        ({"shift_state": "D"}, False),
        ({"shift_state": "R"}, False),
        ({"shift_state": "", "state": "driving"}, False),
        ({"shift_state": "P", "state": "driving"}, False),
        ({"shift_state": None}, True),  # an empty retained text is deleted at the broker
        ({"shift_state": None, "state": "charging"}, True),
        ({"shift_state": None, "state": "driving"}, False),
        ({"shift_state": None, "state": "asleep"}, True),
        ({"shift_state": "", "state": "suspended"}, True),
        ({"shift_state": "", "state": "updating"}, True),
    ],
)
def test_parked_is_an_empty_gear_or_p_in_a_car_that_does_not_drive(changes: dict[str, str], parked: object) -> None:
    assert derive(**changes)["parked"] is parked


@pytest.mark.parametrize("state", ["start", "offline", "unavailable", ""])
def test_a_car_that_cannot_be_reached_is_unknown_whatever_was_said_before(state: str) -> None:
    assert set(derive(state=state).values()) == {None}
    assert set(derive(state=None).values()) == {None}


@pytest.mark.parametrize(
    ("changes", "plugged_in"),
    [
        ({"charging_state": "Charging"}, True),
        ({"charging_state": "Stopped"}, True),
        ({"charging_state": "Starting"}, True),
        ({"charging_state": "NoPower"}, False),
        ({"charging_state": "Disconnected"}, False),
        ({"plugged_in": "false"}, False),
        ({"plugged_in": "false", "charging_state": None}, False),
        ({"charging_state": None}, None),
        ({"charging_state": "SomethingNew"}, None),
        ({"plugged_in": None}, None),
        ({"plugged_in": ""}, None),
    ],
)
def test_a_cable_without_power_is_not_plugged_in(changes: dict[str, str], plugged_in: object) -> None:
    assert derive(**changes)["plugged_in"] is plugged_in


@pytest.mark.parametrize(
    ("changes", "charging"),
    [
        ({"charging_state": "Charging"}, True),
        ({"charging_state": "Starting"}, True),
        ({"state": "charging", "charging_state": None}, True),
        ({"power": "-7"}, True),  # kW: seven kilowatts into the battery
        ({"power": "-0.2"}, False),
        ({"power": "2"}, False),  # discharge, such as Sentry and heating
        ({"power": "-30", "state": "driving"}, False),  # braking
        ({"charging_state": None}, None),
    ],
)
def test_charging_is_what_tesla_calls_so_or_kilowatts_into_a_standing_battery(
    changes: dict[str, str], charging: object
) -> None:
    assert derive(**changes)["charging"] is charging


@pytest.mark.parametrize(
    ("changes", "soc_pct"),
    [
        ({}, 79.0),
        ({"usable_battery_level": None}, 81.0),
        ({"usable_battery_level": ""}, 81.0),
        ({"usable_battery_level": "79.5"}, 79.5),
        ({"usable_battery_level": "nan"}, 81.0),
        ({"usable_battery_level": "250"}, None),
        ({"usable_battery_level": None, "battery_level": None}, None),
    ],
)
def test_the_usable_charge_counts_and_nonsense_does_not(changes: dict[str, str], soc_pct: object) -> None:
    assert derive(**changes)["soc_pct"] == soc_pct


@pytest.mark.parametrize(
    ("geofence", "at_home"),
    [
        ("Home", True),
        ("🏡 Home", True),
        ("  home ", True),
        ("🏡🔌 HOME!", True),
        ("Homework club", False),
        ("Work", False),
        ("", False),
        (None, False),
    ],
)
def test_home_is_a_name_and_never_a_place(geofence: str | None, at_home: object) -> None:
    assert derive(geofence=geofence)["at_home"] is at_home


def test_home_may_have_other_names() -> None:
    said = {**PARKED_AT_HOME, "geofence": "Nhà 🌴"}
    assert derive_signals(said, home_names=("Home", "nhà"))["at_home"] is True


@pytest.mark.parametrize(
    ("changes", "user_present"),
    [
        ({"is_user_present": "true"}, True),
        ({"is_climate_on": "true"}, True),
        ({"is_preconditioning": "true"}, True),
        ({"doors_open": "true"}, True),
        ({"service_mode": "true"}, True),
        ({"climate_keeper_mode": "dog"}, True),
        ({"climate_keeper_mode": "camp"}, True),
        ({"climate_keeper_mode": ""}, False),
        ({"center_display_state": "4"}, True),
        ({"center_display_state": "8"}, True),
        ({"center_display_state": "7"}, False),
        ({"is_user_present": None}, None),
        ({"is_user_present": None, "state": "asleep"}, False),
        ({"is_user_present": None, "climate_keeper_mode": "dog"}, True),
    ],
)
def test_whoever_or_whatever_needs_the_car_is_a_user(changes: dict[str, str], user_present: object) -> None:
    assert derive(**changes)["user_present"] is user_present


@pytest.mark.parametrize(
    ("changes", "updating"),
    [({"state": "updating"}, True), ({"install_perc": "12"}, True), ({"install_perc": "100"}, False), ({}, False)],
)
def test_an_update_that_installs_is_one_and_an_available_one_is_not(changes: dict[str, str], updating: bool) -> None:
    assert derive(**changes)["updating"] is updating


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=12)))
def test_whatever_text_comes_the_signals_are_of_their_types_or_unknown(said: dict[str, str]) -> None:
    for name, value in derive_signals(said, home_names=("Home",)).items():
        assert name in SIGNALS
        assert value is None or isinstance(value, bool if name in BOOLEAN_SIGNALS else float)


def test_no_topic_that_says_where_the_car_is_is_listened_to() -> None:
    assert not {key for key in KEYS if any(word in key for word in ("location", "tude", "route", "heading", "speed"))}
