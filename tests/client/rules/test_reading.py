"""Reading the owner's document: what it may say, and what the errors say."""

from __future__ import annotations

import datetime as dt
import tomllib

import pytest

from fleetclient.rules.rules import Rules, RulesInvalid, dump_rules, read_rules
from fleetclient.rules.week import ALWAYS, NEVER, NIGHT, WEEKEND

DOCUMENT = """
start_soc_pct = 75
stop_soc_pct = 70
charge_limit_pct = 90
battery_kwh = 57.5
charger_kw = "unknown"
time_zone = "Asia/Ho_Chi_Minh"
quiet_hours = "none"
currency = "VND"
price_per_kwh = 3000
price_max_per_kwh = 2500
price_table = [
    { price = 1300, from = "22:00", to = "04:00" },
    { price = 2000, days = ["sat", "sun"], from = "09:30", to = "11:30" },
]
min_net_per_hour = "none"
data_month_gb_max = "none"
away_mode = "vacation"
away_until = 2026-08-15
only_parked = true

[ready_by]
weekdays = ["06:30", "17:00"]
weekend = "none"

[windows]
fri = "23:00-01:00"
weekend = ["00:00-08:00", "07:00-10:00"]
"""


def test_a_file_says_what_its_owner_means():
    rules = read_rules(tomllib.loads(DOCUMENT))
    assert (rules.start_soc_pct, rules.stop_soc_pct, rules.charge_limit_pct) == (75.0, 70.0, 90.0)
    assert (rules.battery_kwh, rules.charger_kw) == (57.5, None)
    assert rules.ready_by == ((390, 1020),) * 5 + ((), ())
    assert rules.windows[4] == ((1380, 1440, 1.0),)
    assert rules.windows[5] == rules.windows[6] == ((0, 600, 1.0),)
    assert rules.windows[:4] == ((),) * 4
    assert rules.price_table[0] == ((0, 240, 1300.0), (1320, 1440, 1300.0))
    assert rules.price_table[6] == ((0, 240, 1300.0), (570, 690, 2000.0), (1320, 1440, 1300.0))
    assert (rules.min_net_per_hour, rules.data_month_gb_max, rules.data_day_gb_max) == (None, None, 4.0)
    assert (rules.away_mode, rules.away_until) == ("vacation", "2026-08-15")
    assert read_rules(dump_rules(rules)) == rules


def test_the_presets_are_what_they_are_called():
    zone = {"time_zone": "UTC"}
    assert read_rules({**zone, "windows": "night"}).windows == NIGHT
    assert read_rules({**zone, "windows": {"daily": ["22:00-06:00"]}}).windows == NIGHT
    assert read_rules({**zone, "windows": {"weekend": "00:00-24:00"}}).windows == WEEKEND
    assert read_rules({**zone, "windows": {"daily": "12:00-12:00"}}).windows == ALWAYS
    assert read_rules({"windows": "never"}).windows == read_rules({"windows": {}}).windows == NEVER


def test_the_defaults_are_those_that_owners_expect():
    rules = Rules()
    assert (rules.start_soc_pct, rules.stop_soc_pct) == (70.0, 65.0)
    assert rules.ready_by == ((7 * 60,),) * 7
    assert rules.windows == ALWAYS
    assert rules.min_net_per_hour == 0.0
    assert (rules.cabin_max_c, rules.device_max_c, rules.temp_min_c, rules.temp_hysteresis_c) == (45.0, 80.0, 0.0, 3.0)
    assert rules.only_home_network is True
    assert (rules.data_month_gb_max, rules.hours_day_max) == (20.0, 10.0)
    assert rules.start_after_seconds == 60.0
    assert (rules.presence_stale_seconds, rules.other_stale_seconds) == (300.0, 900.0)


BERLIN = {"time_zone": "Europe/Berlin"}
TWO_PRICES = [
    {"price": 2, "from": "22:00", "to": "06:00"},
    {"price": 3, "days": "mon", "from": "05:00", "to": "07:00"},
]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"start_soc": 70}, "unknown key start_soc; did you mean start_soc_pct?"),
        ({"zzz": 1}, "unknown key zzz; known: start_soc_pct, stop_soc_pct"),
        ({"start_soc_pct": "70"}, "start_soc_pct must be a number, not '70'"),
        ({"start_soc_pct": True}, "start_soc_pct must be a number, not True"),
        ({"start_soc_pct": float("nan")}, "start_soc_pct must be a number, not nan"),
        ({"start_soc_pct": 10**400}, "start_soc_pct must be a number, not 1000"),
        ({"start_soc_pct": 101}, "start_soc_pct must be from 0 to 100, not 101"),
        ({"start_soc_pct": 60}, "stop_soc_pct (65) must not be above start_soc_pct (60)"),
        ({"hours_day_max": "no limit"}, "hours_day_max must be a number or \"none\", not 'no limit'"),
        ({"hours_day_max": None}, 'hours_day_max must be a number or "none", not None'),
        ({"battery_kwh": "none"}, "battery_kwh must be a number or \"unknown\", not 'none'"),
        ({"only_home_network": 1}, "only_home_network must be true or false, not 1"),
        ({"only_parked": False}, "only_parked cannot be turned off: the car works only while it is parked"),
        ({"only_plugged_in": "yes"}, "only_plugged_in cannot be turned off: the car works only while it is plugged in"),
        ({"time_zone": "Europe/Berln"}, "time_zone: there is no time zone 'Europe/Berln'; write an IANA name"),
        ({"time_zone": "../../etc/passwd"}, "time_zone: there is no time zone '../../etc/passwd'"),
        ({"time_zone": "Europe"}, "time_zone: there is no time zone 'Europe'"),
        ({"windows": "night"}, "time_zone is missing: windows, quiet_hours, price_table and away_until are hours"),
        ({**BERLIN, "windows": "nihgt"}, "windows: unknown preset 'nihgt'; did you mean night?"),
        ({**BERLIN, "windows": 7}, 'windows must be "always", "night", "weekend", "never" or a table of days, not 7'),
        ({**BERLIN, "windows": {"monday": "1:00-2:00"}}, "windows: unknown day 'monday'; did you mean mon?"),
        ({**BERLIN, "windows": {"mon": "22-06"}}, "windows.mon must be a time of day such as \"07:00\", not '22'"),
        ({**BERLIN, "windows": {"mon": "22:00"}}, "windows.mon must hold spans such as \"22:00-06:00\", not '22:00'"),
        ({**BERLIN, "windows": {"mon": ["24:01-06:00"]}}, "windows.mon must be a time of day such as \"07:00\", not"),
        ({**BERLIN, "windows": {"mon": 22}}, "windows.mon must be a list of spans such as"),
        ({"ready_by": "7"}, "ready_by must be a time of day such as \"07:00\", not '7'"),
        ({"ready_by": "24:00"}, "ready_by must have seven days of times from 00:00 to 23:59"),
        ({"ready_by": 7}, 'ready_by must be a time such as "07:00", "none" or a table of days, not 7'),
        ({"ready_by": {"weekdays": "07:00"}}, 'ready_by says nothing of sat, sun; write "none" for days without one'),
        ({"ready_by": {"daily": "07:00", "sat": "none"}}, "ready_by speaks of sat twice"),
        ({"price_max_per_kwh": 0.2}, "price_per_kwh is missing: price_max_per_kwh and price_table need the price"),
        ({**BERLIN, "price_per_kwh": 1, "price_table": "x"}, "price_table must be \"none\" or a list of entries"),
        (
            {**BERLIN, "price_per_kwh": 1, "price_table": TWO_PRICES},
            "price_table[1]: there are two prices for mon 05:00; make their hours meet",
        ),
        ({"price_table": [{"prize": 2}]}, "unknown key price_table[0].prize; did you mean price?"),
        ({"price_table": [{"price": 2, "from": "22:00"}]}, "price_table[0].to is missing"),
        ({"price_table": [7]}, "price_table[0] must be a table such as"),
        ({"away_mode": "holiday"}, "away_mode: unknown mode 'holiday'; known: off, vacation, valet, service"),
        ({**BERLIN, "away_mode": "valet", "away_until": "15.8.2026"}, "away_until must be the first day of work"),
        ({"currency": 7}, "currency must be a text, not 7"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_and_says_how_to_mend_it(document, text):
    with pytest.raises(RulesInvalid) as refused:
        read_rules(document)
    assert text in str(refused.value)
    assert (refused.value.code, refused.value.retryable) == ("rules_invalid", False)


def test_a_day_of_the_calendar_is_read_as_toml_has_it_and_an_instant_is_not():
    assert read_rules({**BERLIN, "away_until": dt.date(2026, 8, 15)}).away_until == "2026-08-15"
    with pytest.raises(RulesInvalid, match="away_until must be a text"):
        read_rules({**BERLIN, "away_until": dt.datetime(2026, 8, 15)})  # noqa: DTZ001 - as TOML has it


@pytest.mark.parametrize(
    "values",
    [
        {"ready_by": ((420,),) * 6},
        {"time_zone": "UTC", "windows": ((),) * 6},
        {"time_zone": "UTC", "windows": (((60, 30, 1.0),), *((),) * 6)},
        {"time_zone": "UTC", "windows": (((0, 30, 1.0), (30, 60, 1.0)), *((),) * 6)},
    ],
)
def test_rules_that_are_not_in_their_one_form_cannot_be_made(values):
    with pytest.raises(RulesInvalid):
        Rules(**values)
