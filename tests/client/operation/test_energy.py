"""Energy: counters that wrap, estimates by the owner's setting, and a net that is unknown rather than wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetclient.config import EnergyConfig
from fleetclient.energy import PowerMeter, Rapl, compute_net, compute_net_per_hour


def make_domain(folder: Path, name: str, microjoules: int, wrap: int = 1_000_000_000) -> Path:
    domain = folder / name
    domain.mkdir()
    (domain / "max_energy_range_uj").write_text(f"{wrap}\n")
    counter = domain / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def test_packages_are_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    first = make_domain(tmp_path, "intel-rapl:0", 100)
    core = make_domain(tmp_path, "intel-rapl:0:0", 100)
    second = make_domain(tmp_path, "intel-rapl:1", 500)
    rapl = Rapl(tmp_path)
    first.write_text("2000100")
    core.write_text("9000000")
    second.write_text("1000500")
    assert rapl.take_joules() == pytest.approx(3.0)
    assert rapl.take_joules() == 0.0


def test_a_counter_that_wraps_does_not_run_backwards(tmp_path: Path) -> None:
    counter = make_domain(tmp_path, "intel-rapl:0", 9_000_000, wrap=10_000_000)
    rapl = Rapl(tmp_path)
    counter.write_text("1000000")
    assert rapl.take_joules() == pytest.approx(2.0)


def test_without_readable_counters_the_owners_estimate_holds(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("secret")
    options = EnergyConfig(idle_watts=2.0, active_watts=18.0, charger_efficiency=0.8)
    meter = PowerMeter(options, rapl=Rapl(tmp_path))
    meter.note(0.0, is_working=False)
    meter.note(10.0, is_working=True)
    assert meter.is_measured is False
    assert meter.watts(is_working=True) == pytest.approx(25.0)
    assert meter.watts(is_working=False) == pytest.approx(2.5)


def test_what_the_processor_draws_without_us_is_taken_off(tmp_path: Path) -> None:
    counter = make_domain(tmp_path, "intel-rapl:0", 0)
    meter = PowerMeter(EnergyConfig(charger_efficiency=1.0), rapl=Rapl(tmp_path))
    meter.note(100.0, is_working=False)
    counter.write_text("50000000")  # 5 W for ten seconds at rest
    meter.note(110.0, is_working=True)
    counter.write_text("250000000")  # 20 W for ten seconds at work
    measured = [meter.is_measured]
    meter.note(120.0, is_working=False)
    measured.append(meter.is_measured)
    assert measured == [False, True]
    assert meter.watts(is_working=True) == pytest.approx(15.0)
    assert meter.watts(is_working=False) == 0.0


def test_work_that_was_never_seen_against_rest_stays_an_estimate(tmp_path: Path) -> None:
    counter = make_domain(tmp_path, "intel-rapl:0", 0)
    meter = PowerMeter(EnergyConfig(active_watts=9.0, charger_efficiency=1.0), rapl=Rapl(tmp_path))
    meter.note(0.0, is_working=True)
    counter.write_text("100000000")
    meter.note(5.0, is_working=True)
    assert (meter.is_measured, meter.watts(is_working=True)) == (False, 9.0)


def test_a_night_asleep_is_no_sample(tmp_path: Path) -> None:
    counter = make_domain(tmp_path, "intel-rapl:0", 0)
    meter = PowerMeter(EnergyConfig(active_watts=9.0), rapl=Rapl(tmp_path))
    meter.note(0.0, is_working=False)
    counter.write_text("1000")
    meter.note(30_000.0, is_working=True)
    counter.write_text("100000000")
    meter.note(30_010.0, is_working=False)
    assert meter.is_measured is False


def test_net_is_pay_less_electricity_and_says_how_it_is_known() -> None:
    net = compute_net(gross=0.50, energy_wh=400.0, price_per_kwh=0.30)
    assert net.amount == pytest.approx(0.38)
    assert net.electricity == pytest.approx(0.12)
    assert net.label == "estimated"
    assert compute_net(gross=0.5, energy_wh=400.0, price_per_kwh=0.3, is_measured=True).label == "measured"


def test_net_is_unknown_without_a_price_or_without_pay() -> None:
    assert compute_net(gross=0.5, energy_wh=400.0, price_per_kwh=None).amount is None
    unpaid = compute_net(gross=None, energy_wh=400.0, price_per_kwh=0.3)
    assert (unpaid.amount, unpaid.label) == (None, "unknown")
    assert unpaid.electricity == pytest.approx(0.12)


def test_an_hour_at_a_price_that_pay_does_not_cover_is_a_loss() -> None:
    assert compute_net_per_hour(gross_per_hour=0.01, watts=100.0, price_per_kwh=0.3) == pytest.approx(-0.02)
    assert compute_net_per_hour(gross_per_hour=None, watts=100.0, price_per_kwh=0.3) is None
