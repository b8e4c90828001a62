"""The agent's loop, driven step by step against a real HTTP server and a real runner."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetclient.agent import keeping
from fleetclient.agent.keeping import list_kept
from fleetclient.agent.loop import Revoked
from fleetclient.clock import boot_seconds
from fleetclient.units import UnitState
from fleetclient.wire import BLOBS_PATH
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.support import (
    Car,
    KeepAll,
    add_slow_units,
    add_units,
    assert_all_right,
    assert_output_is_right,
    endless_model,
    hungry_model,
    is_running,
    linear_model,
    process_state,
    wait_until,
)

MakeCar = Callable[..., Car]
SLOW = {"simulation": {"speed": 0.05}}


def runner_pid(car: Car) -> int:
    assert car.parts.workshop.runner is not None
    return car.parts.workshop.runner.pid


def test_it_runs_all_units_and_forgets_them_when_they_are_stored(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 6)
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 6)
    assert_all_right(fleet)
    worker.step_until(lambda: not worker.parts.journal.list_units())
    assert worker.agent.completed_count == 6
    assert not list((worker.parts.config.state_dir / "outputs").iterdir())
    assert not list((worker.parts.config.state_dir / "inputs").iterdir())
    assert len(worker.events("runner_started")) == 1


def test_every_unit_is_mentioned_exactly_once_in_each_sync(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 8)
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 8)
    for sync in fleet.syncs:
        tokens = sync["held"] + [item["token"] for item in sync["commitments"] + sync["returned"]]
        assert len(tokens) == len(set(tokens))
    assert fleet.syncs[0]["models"] == []
    assert fleet.syncs[-1]["models"] == [fleet.units[0].contract["model"]["sha256"]]


def test_a_small_output_travels_inline_and_a_large_one_by_tus(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1, rows=10)
    add_units(fleet, 1, rows=30_000, inline_bytes_max=100, batch_rows=10_000)
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 2)
    assert_output_is_right(fleet.units[0], 0)
    assert_output_is_right(fleet.units[1], 0)
    uploads = [path for method, path, _ in fleet.requests if method == "PATCH"]
    # 1.2 MB at 1 MiB a request.
    assert uploads == [f"/api/vehicle/v1/outputs/{fleet.units[1].token}"] * 2
    worker.step_until(lambda: not worker.parts.journal.list_units())


def test_it_keeps_the_pace_the_server_sets(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.next_sync_seconds = 100.0
    add_units(fleet, 3)
    worker = car()
    began = boot_seconds()
    worker.step(began)
    worker.step_until(lambda: worker.agent.completed_count == 3)
    worker.step(began + 99.0)
    assert len(fleet.syncs) == 1
    worker.step(began + 101.0)
    assert len(fleet.syncs) == 2
    assert fleet.count("stored") == 3


def test_it_holds_no_more_than_the_owner_allows(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 10)
    worker = car(limits={"replicas": 2})
    worker.step_until(lambda: fleet.count("stored") == 10)
    assert max(sync["capacity"]["replicas"] for sync in fleet.syncs) == 2
    assert max(len(sync["held"]) + sync["capacity"]["replicas"] for sync in fleet.syncs) == 2


def test_a_departure_kills_the_runner_and_hands_everything_back_before_the_pace_allows(
    fleet: FakeFleet, car: MakeCar
) -> None:
    fleet.next_sync_seconds = 1000.0
    add_slow_units(fleet, 3, rows=2000)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    pid, tokens = runner_pid(worker), [unit.token for unit in fleet.units]
    worker.vehicle.leave("driving")
    worker.step()
    assert not is_running(pid)
    worker.step_until(lambda: len(fleet.hand_backs) == 3)
    assert fleet.hand_backs == [
        {"token": token, "kind": "returned", "reason": "driving", "detail": ""} for token in tokens
    ]
    state = fleet.syncs[-1]["state"]
    assert (state["eligible"], state["reasons"]) == (False, ["driving"])
    assert fleet.syncs[-1]["capacity"]["replicas"] == 0
    assert fleet.count("waiting") == 3
    worker.step()
    assert worker.parts.journal.list_units() == []


def test_a_car_that_comes_back_works_again(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 3, rows=80)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    worker.vehicle.leave()
    worker.step_until(lambda: fleet.count("leased") == 0)
    worker.vehicle.come_back()
    worker.step_until(lambda: fleet.count("stored") == 3)
    assert_all_right(fleet)


def test_a_short_absence_freezes_the_runner_and_keeps_the_work(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=200)
    worker = car(vehicle={"hand_back": False}, **SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    pid, tokens = runner_pid(worker), [unit.token for unit in fleet.units]
    worker.vehicle.leave(absent_seconds=5.0)
    worker.step()
    wait_until(lambda: process_state(pid) == "T")
    before = len(fleet.syncs)
    worker.step_until(lambda: len(fleet.syncs) > before)
    assert fleet.syncs[-1]["state"]["eligible"] is False
    assert fleet.syncs[-1]["capacity"]["replicas"] == 0
    assert fleet.syncs[-1]["held"] == tokens
    worker.vehicle.come_back()
    worker.step_until(lambda: fleet.count("stored") == 1)
    assert [unit.token for unit in fleet.units] == tokens
    assert fleet.hand_backs == []
    assert len(worker.events("runner_started")) == 1
    assert_all_right(fleet)


def test_an_absence_longer_than_the_lease_is_not_kept(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.deadline_seconds = 60.0
    add_slow_units(fleet, 2, rows=2000)
    worker = car(vehicle={"hand_back": False}, **SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    worker.vehicle.leave("unplugged", absent_seconds=61.0)
    worker.step_until(lambda: len(fleet.hand_backs) == 2)
    assert {item["reason"] for item in fleet.hand_backs} == {"unplugged"}
    assert worker.parts.workshop.runner is None


def test_a_lease_that_arrives_while_the_car_leaves_goes_back_at_once(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    worker = car()
    worker.step()  # the sync was sent while the car was there; its answer is settled in the next step
    worker.vehicle.leave()
    worker.step_until(lambda: len(fleet.hand_backs) == 2)
    assert worker.parts.workshop.runner is None
    assert not [path for _, path, _ in fleet.requests if path.startswith(BLOBS_PATH)]


def test_a_finished_result_is_offered_even_when_the_car_has_left(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.next_sync_seconds = 1000.0
    add_units(fleet, 1)
    worker = car()
    began = boot_seconds()
    worker.step(began)
    worker.step_until(lambda: worker.agent.completed_count == 1)
    worker.vehicle.leave()
    worker.step(began + 1001.0)
    assert fleet.count("stored") == 1
    assert fleet.hand_backs == []


def test_a_crash_of_the_runner_blames_the_unit_that_ran_and_no_other(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=2000)
    add_units(fleet, 2)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    guilty = fleet.units[0].token
    os.kill(runner_pid(worker), signal.SIGSEGV)
    worker.step_until(lambda: len(fleet.hand_backs) == 1)
    assert fleet.hand_backs[0]["token"] == guilty
    assert (fleet.hand_backs[0]["kind"], fleet.hand_backs[0]["reason"]) == ("error", "run_failed")
    worker.step_until(lambda: fleet.count("stored") == 2)
    assert len(worker.events("runner_started")) == 2


@pytest.mark.parametrize(
    ("model", "limits", "reason"),
    [
        (hungry_model(3_000_000_000), {}, "out_of_memory"),
        (endless_model(), {"seconds": 1}, "timed_out"),
        (b"no model at all", {}, "model_load_failed"),
        (linear_model(), {"output_bytes_max": 300}, "output_too_large"),
    ],
    ids=["too much memory", "endless", "not a model", "output too large"],
)
def test_a_unit_that_cannot_be_run_is_handed_back_with_its_reason(
    fleet: FakeFleet, car: MakeCar, model: bytes, limits: dict[str, int], reason: str
) -> None:
    add_units(fleet, 1, model=model, **limits)
    add_units(fleet, 1, rows=2)
    worker = car()
    worker.step_until(lambda: fleet.count("failed") == 1 and fleet.count("stored") == 1)
    assert [(item["kind"], item["reason"]) for item in fleet.hand_backs] == [("error", reason)]
    assert fleet.hand_backs[0]["detail"]
    assert_output_is_right(fleet.units[1], 0)


def test_the_time_limit_stands_still_while_the_runner_is_frozen(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=2000, seconds=30)
    worker = car(vehicle={"hand_back": False}, **SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    now = boot_seconds()
    worker.vehicle.leave(absent_seconds=50.0)
    worker.step(now)
    worker.vehicle.come_back()
    worker.step(now + 50.0)
    assert worker.events("handed_back") == []
    assert worker.parts.workshop.runner is not None


def test_an_answer_not_signed_by_the_director_changes_nothing(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    fleet.sign_answers_with = Ed25519PrivateKey.generate()
    worker = car()
    worker.step()
    worker.step()
    assert len(fleet.syncs) == 1
    assert worker.parts.journal.list_units() == []
    assert worker.events("sync_failed")[0]["code"] == "director_signature_invalid"
    fleet.sign_answers_with = None
    worker.step_until(lambda: fleet.count("stored") == 2)


def test_an_answer_changed_on_the_way_changes_nothing(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    fleet.answer_tamper = b" "
    worker = car()
    worker.step()
    worker.step()
    assert worker.parts.journal.list_units() == []
    assert worker.events("sync_failed")[0]["code"] == "director_signature_invalid"


def test_a_lease_whose_answer_was_lost_is_taken_up_when_it_is_sent_again(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    fleet.drop_answers = 1
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 1)
    assert len(fleet.replicas) == 1
    assert worker.events("sync_failed")[0]["code"] == "unreachable"


def test_a_lost_answer_to_a_commitment_is_no_harm(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    fleet.drop_next_answer_to_a_commitment = True
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 1)
    worker.step_until(lambda: not worker.parts.journal.list_units())
    offers = [sync for sync in fleet.syncs if sync["commitments"]]
    assert len(offers) == 2
    assert offers[0]["commitments"] == offers[1]["commitments"]
    assert_all_right(fleet)


def test_a_result_is_kept_until_the_server_says_stored(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    worker = car()
    worker.step()
    token = fleet.units[0].token
    fleet.outcome_overrides[token] = "try_again_tomorrow"
    worker.step_until(lambda: sum(bool(sync["commitments"]) for sync in fleet.syncs) >= 3)
    (unit,) = worker.parts.journal.list_units()
    assert unit.state is UnitState.FINISHED
    assert worker.parts.spool.output_path(token).exists()
    del fleet.outcome_overrides[token]
    worker.step_until(lambda: not worker.parts.journal.list_units())
    assert_all_right(fleet)


def test_a_result_that_the_server_has_the_car_keep_is_offered_again_and_outlives_a_restart(
    fleet: FakeFleet, car: MakeCar
) -> None:
    add_units(fleet, 1, rows=300, inline_bytes_max=100)
    first = car()
    first.step()
    token = fleet.units[0].token
    fleet.outcome_overrides[token] = "keep"
    first.step_until(lambda: sum(bool(sync["commitments"]) for sync in fleet.syncs) >= 3)
    offers = [sync["commitments"][0] for sync in fleet.syncs if sync["commitments"]]
    assert {(offer["digest"], tuple(offer["sketch"])) for offer in offers} == {(offers[0]["digest"], (0, 256))}
    assert all(offer["inline"] is None for offer in offers)
    assert first.events("refused") == []
    first.close()
    second = car()
    del fleet.outcome_overrides[token]
    second.step_until(lambda: fleet.count("stored") == 1)
    assert_all_right(fleet)
    assert len(second.events("runner_started")) == 0


def test_many_kept_results_leave_room_for_new_ones_and_take_turns(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 40, rows=10, inline_bytes_max=100)
    fleet.outcome_overrides = KeepAll()
    worker = car()
    worker.step_until(lambda: len(list_kept(worker.parts.journal)) == 40)
    syncs = len(fleet.syncs)
    worker.step_until(lambda: len(fleet.syncs) >= syncs + 10)
    later = fleet.syncs[syncs + 2 :]
    offered = [[item["token"] for item in sync["commitments"]] for sync in later]
    assert all(len(each) <= 16 for each in offered)
    tokens = [token for each in offered for token in each]
    assert set(tokens) == {unit.token for unit in fleet.units}
    assert max(Counter(tokens).values()) <= 2, "each is offered in every fourth sync at most"
    assert all(len(sync["held"]) + len(sync["commitments"]) == 40 for sync in later), "each is mentioned in every sync"
    assert all(sync["capacity"]["replicas"] > 0 for sync in later), "what is kept counts as no work"


def test_what_is_kept_survives_the_lease_s_own_deadline_and_a_stop(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1, rows=300, inline_bytes_max=100)
    fleet.outcome_overrides = KeepAll()
    worker = car()
    worker.step_until(lambda: bool(list_kept(worker.parts.journal)))
    long_after = boot_seconds() + 40 * 3600
    worker.agent.step(long_after)
    worker.agent.shut_down(long_after)
    (unit,) = list_kept(worker.parts.journal)
    assert unit.deadline_at is not None
    assert unit.deadline_at < long_after
    assert worker.parts.spool.output_path(unit.token).exists()
    assert fleet.syncs[-1]["returned"] == []


@pytest.mark.parametrize(
    ("limit", "left"),
    [("SECONDS_MAX", 0), ("BYTES_MAX", 2), pytest.param("UNITS_MAX", 2, marks=pytest.mark.slow)],
)
def test_what_is_kept_too_long_or_is_too_much_goes_back_the_oldest_first(
    fleet: FakeFleet, car: MakeCar, monkeypatch: pytest.MonkeyPatch, limit: str, left: int
) -> None:
    add_units(fleet, 3, rows=10, inline_bytes_max=100)
    fleet.outcome_overrides = KeepAll()
    worker = car()
    worker.step_until(lambda: len(list_kept(worker.parts.journal)) == 3)
    kept = sorted(list_kept(worker.parts.journal), key=lambda unit: (unit.kept_at or 0, unit.sequence))
    size = kept[0].result.output_bytes if kept[0].result else 0
    monkeypatch.setattr(keeping, limit, {"SECONDS_MAX": -1.0, "UNITS_MAX": 2, "BYTES_MAX": 2 * size}[limit])
    fleet.outcome_overrides = {unit.token: "keep" for unit in kept[3 - left :]}
    worker.step_until(lambda: len(fleet.hand_backs) >= 3 - left)
    returned = fleet.hand_backs[: 3 - left]
    assert {(item["kind"], item["reason"]) for item in returned} == {("returned", "not_wanted")}
    assert {item["token"] for item in returned} == {unit.token for unit in kept[: 3 - left]}
    assert [unit.token for unit in list_kept(worker.parts.journal)] == [unit.token for unit in kept[3 - left :]]
    assert not any(worker.parts.spool.output_path(unit.token).exists() for unit in kept[: 3 - left])


@pytest.mark.parametrize(
    "code", ["lease_expired", "replica_ended", "replica_unknown", "replica_not_yours", "output_malformed"]
)
def test_a_result_the_server_will_never_take_is_dropped(fleet: FakeFleet, car: MakeCar, code: str) -> None:
    add_units(fleet, 1)
    worker = car()
    worker.step()
    fleet.outcome_overrides[fleet.units[0].token] = code
    worker.step_until(lambda: bool(worker.events("refused")))
    assert worker.parts.journal.list_units() == []
    assert worker.events("refused")[0]["code"] == code
    assert not list((worker.parts.config.state_dir / "outputs").iterdir())


def test_a_cancelled_unit_is_dropped_and_the_runner_stopped(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 2, rows=2000)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    pid, token = runner_pid(worker), worker.parts.workshop.given_tokens[0]
    fleet.replicas[token].state = "cancelled"
    fleet.cancel_tokens = [token]
    worker.step_until(lambda: worker.parts.journal.get(token) is None)
    assert not is_running(pid)
    assert fleet.hand_backs == []
    assert len(worker.parts.journal.list_units()) == 1


def test_a_cancelled_unit_that_only_waits_leaves_the_runner_alone(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=200)
    add_slow_units(fleet, 1, rows=4)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    first, second = worker.parts.workshop.given_tokens
    fleet.replicas[second].state = "cancelled"
    fleet.cancel_tokens = [second]
    worker.step_until(lambda: fleet.replicas[first].state == "stored")
    worker.step_until(lambda: not worker.parts.workshop.given_tokens)
    worker.step_until(lambda: not worker.parts.journal.list_units())
    assert len(worker.events("runner_started")) == 1
    assert fleet.hand_backs == []


def test_a_unit_past_its_deadline_is_given_up_without_being_run(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.deadline_seconds = 30.0
    add_slow_units(fleet, 1, rows=2000)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    later = fleet.deadline_seconds + 1.0
    worker.step(boot_seconds() + later)
    assert worker.parts.workshop.runner is None
    wait_until(lambda: bool(fleet.hand_backs), also=lambda: worker.step(boot_seconds() + later))
    assert fleet.hand_backs[0]["reason"] == "not_wanted"


def test_a_unit_that_needs_more_memory_than_granted_is_not_run(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1, memory_bytes=300_000_000)
    worker = car(limits={"memory_bytes": 200_000_000})
    worker.step_until(lambda: bool(fleet.hand_backs))
    assert (fleet.hand_backs[0]["kind"], fleet.hand_backs[0]["reason"]) == ("returned", "not_wanted")
    assert worker.events("runner_started") == []
    assert fleet.syncs[0]["capacity"]["memory_bytes"] == 200_000_000


def test_the_memory_of_a_simulated_car_is_what_its_configuration_says(fleet: FakeFleet, car: MakeCar) -> None:
    worker = car(simulation={"memory_bytes": 123_456_789})
    worker.step()
    assert fleet.syncs[0]["capacity"]["memory_bytes"] == 123_456_789


def test_damaged_downloads_are_fetched_again_and_never_used(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    fleet.corrupt_next_downloads = 2
    worker = car()
    worker.step_until(lambda: fleet.count("stored") == 1)
    assert_all_right(fleet)
    assert [event["lane"] for event in worker.events("transfer_failed")] == ["fetch", "fetch"]


def test_an_input_that_never_matches_its_digest_is_handed_back(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    unit = fleet.units[0]
    worker = car()
    worker.step()
    fleet.blobs[unit.input_sha256] = fleet.blobs[unit.input_sha256].replace(b"logits", b"LOGITS")[::-1]
    worker.step_until(lambda: bool(fleet.hand_backs))
    assert (fleet.hand_backs[0]["kind"], fleet.hand_backs[0]["reason"]) == ("error", "input_digest_mismatch")
    assert worker.events("runner_started") == []


def test_a_model_that_never_matches_its_name_is_handed_back(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    fleet.blobs[fleet.units[0].contract["model"]["sha256"]] = linear_model()[::-1]
    worker = car()
    worker.step_until(lambda: bool(fleet.hand_backs))
    assert (fleet.hand_backs[0]["kind"], fleet.hand_backs[0]["reason"]) == ("error", "model_load_failed")
    assert worker.parts.cache.list_models() == []


def test_a_model_larger_than_the_cache_is_handed_back(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1, model=linear_model() + b"\0" * 2_000_000)
    worker = car(cache={"models_bytes_max": 1_100_000})
    worker.step_until(lambda: bool(fleet.hand_backs))
    assert (fleet.hand_backs[0]["kind"], fleet.hand_backs[0]["reason"]) == ("error", "disk_full")


def test_the_runner_is_changed_for_another_model_and_ended_when_idle(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    add_units(fleet, 2, batch_rows=5)
    worker = car(limits={"runner_idle_seconds": 0.0})
    worker.step_until(lambda: fleet.count("stored") == 4)
    worker.step_until(lambda: worker.parts.workshop.runner is None)
    assert len(worker.events("runner_started")) >= 2
    for index, unit in enumerate(fleet.units):
        assert_output_is_right(unit, index % 2)


def test_a_revoked_car_stops_for_good(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=2000)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    pid = runner_pid(worker)
    fleet.refuse_next.append(("sync", Refused(403, "vehicle_revoked")))
    with pytest.raises(Revoked):
        worker.step_until(lambda: False)
    assert not is_running(pid)


def test_retry_after_is_a_floor_for_the_next_sync(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.refuse_next.append(("sync", Refused(429, "too_many_requests", headers={"Retry-After": "30"})))
    worker = car()
    began = boot_seconds()
    worker.step(began)
    worker.step(began + 0.1)
    worker.step(began + 29.9)
    assert fleet.syncs == []
    worker.step(began + 32.2)  # the refusal was settled at 0.1, and the jitter on top is at most two seconds
    assert len(fleet.syncs) == 1


def test_a_body_that_was_too_large_is_followed_by_smaller_ones(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.next_sync_seconds = 1000.0
    add_units(fleet, 4)
    worker = car()
    began = boot_seconds()
    worker.step(began)
    worker.step_until(lambda: worker.agent.completed_count == 4)
    worker.agent.syncing._commitments_max = 4
    fleet.refuse_next.append(("sync", Refused(413, "body_too_large")))
    worker.step(began + 1001.0)
    worker.step(began + 1001.0)
    worker.step(began + 1003.0)
    assert len(fleet.syncs[-1]["commitments"]) == 2
    assert len(fleet.syncs[-1]["held"]) == 2


def test_shutting_down_hands_back_what_is_held_and_says_so(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.next_sync_seconds = 1000.0
    add_slow_units(fleet, 3, rows=2000)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    pid = runner_pid(worker)
    worker.agent.shut_down(boot_seconds())
    assert not is_running(pid)
    assert [item["reason"] for item in fleet.hand_backs] == ["shutting_down"] * 3
    assert worker.parts.journal.list_units() == []


def test_shutting_down_can_keep_the_work_for_the_next_start(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 3, rows=80)
    first = car(on_stop="keep", **SLOW)
    first.step_until(lambda: first.parts.workshop.rows_done > 0)
    tokens = [unit.token for unit in fleet.units]
    first.agent.shut_down(boot_seconds())
    assert fleet.hand_backs == []
    first.close()
    second = car(on_stop="keep", **SLOW)
    second.step_until(lambda: fleet.count("stored") == 3)
    assert [unit.token for unit in fleet.units] == tokens
    assert_all_right(fleet)


def test_hand_backs_the_server_has_not_heard_are_repeated_after_a_restart(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.next_sync_seconds = 1000.0
    add_slow_units(fleet, 1, rows=2000)
    first = car(**SLOW)
    first.step_until(lambda: first.parts.workshop.rows_done > 0)
    first.agent.syncing.is_offline = True
    first.agent.shut_down(boot_seconds())
    assert fleet.hand_backs == []
    first.close()
    second = car(**SLOW)
    second.step()
    assert [item["reason"] for item in fleet.hand_backs] == ["shutting_down"]
