"""The server's rules for one car: set by an operator, brought by the next sync, never more than rules."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from workunits.models import Vehicle


def test_an_operators_rules_come_with_the_next_sync_and_go_again(car, tmp_path):
    assert car.verified(car.sync())["rules"] is None
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"stop_soc_pct": 60}))
    call_command("set_vehicle_rules", car.vehicle.public_id, str(file))
    answer = car.verified(car.sync())
    assert answer["rules"] == {"stop_soc_pct": 60}
    assert answer["vehicle"] == car.vehicle.public_id
    call_command("set_vehicle_rules", car.vehicle.public_id, "--clear")
    assert car.verified(car.sync())["rules"] is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        ('{"stop_soc_pc": 60}', "stop_soc_pc"),
        ('{"stop_soc_pct": "high"}', "stop_soc_pct"),
        ('{"stop_soc_pct": 160}', "stop_soc_pct"),
        (json.dumps({"time_zone": "x" * 20_000}), "16384 bytes"),
    ],
)
def test_what_is_no_rule_is_refused_by_name_and_changes_nothing(car, tmp_path, content, named):
    file = tmp_path / "rules.json"
    file.write_text(content)
    with pytest.raises(CommandError, match=named):
        call_command("set_vehicle_rules", car.vehicle.public_id, str(file))
    assert Vehicle.objects.get().rules is None


def test_a_vehicle_or_file_that_is_not_there_is_named(car, tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("set_vehicle_rules", car.vehicle.public_id, str(tmp_path / "none.json"))
    with pytest.raises(CommandError, match="veh_nobody"):
        call_command("set_vehicle_rules", "veh_nobody", "--clear")
    with pytest.raises(CommandError, match="--clear"):
        call_command("set_vehicle_rules", car.vehicle.public_id)
