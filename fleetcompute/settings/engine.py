"""The engine's policy: every number that an operator may tune, with its unit in its name.

Code reads them from `django.conf.settings.FLEET`. The environment overrides each as `FLEET_` and the name in capitals
(`FLEET_LEASE_SECONDS=120`); a value of the wrong type or outside its range is refused at start, in one sentence.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

KIB = 1024
MIB = 1024 * KIB
# Of more different outputs of one unit the largest group that agrees is not looked for (`domain.grouping.GROUPS_MAX`).
COMPARED_OUTPUTS_MAX = 7


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EnginePolicy:
    """Policy numbers of the engine; all are positive, and ratios are at most 1."""

    # Splitting: a work unit should keep the reference car busy for about this long. The reference rate is what one
    # core of a mid-range car computer sustains in onnxruntime, far below its peak.
    unit_target_seconds: float = 60.0
    reference_car_flops_per_second: float = 50e9
    unit_rows_max: int = 65_536
    unit_input_bytes_max: int = 8 * MIB
    unit_output_bytes_max: int = 8 * MIB
    # One stored blob of dataset rows; many work units are ranges of one shard.
    shard_bytes_target: int = 4 * MIB

    # Outputs up to this size travel inside the sync call; larger ones are committed first and uploaded when asked for.
    inline_output_bytes_max: int = 8 * KIB

    # Leasing. A lease outlives several syncs of a busy car, so that one lost call costs nothing.
    lease_seconds: float = 900.0
    leases_per_vehicle_max: int = 200
    leases_per_sync_max: int = 100

    # When to stop trying: errors blamed on the unit, copies of one unit, and tries of one replica by one vehicle.
    unit_errors_max: int = 3
    unit_replicas_max: int = 7
    replica_attempts_max: int = 3
    unit_expiries_max: int = 10

    # The pace that the server asks of a car that has work, and of one that found none.
    sync_seconds_working: float = 15.0
    sync_seconds_idle: float = 60.0
    # Each car's pace is stretched or shortened at random by up to this share, so that a fleet never calls in step.
    sync_jitter_ratio: float = 0.2

    # How often a car that is being paired may ask whether its owner has approved.
    pairing_interval_seconds: int = 5

    # How long a process may reuse its picture of which batches have work to lease.
    dispatch_board_seconds: float = 1.0
    # Nudges of one stage within this window become one Celery message.
    nudge_coalesce_seconds: float = 0.25
    # The sweep finds what a lost nudge left behind; the settler turns earning items into ledger transfers.
    sweep_seconds: float = 2.0
    settle_seconds: float = 5.0
    validate_units_per_drain: int = 500

    # Audits: how likely at least, the chance that an auditor is a friend, the factor for one model in one class, how
    # many must be run in another comparison class or by an anchor, and how many results an anchor runs whatever else.
    audit_floor_ratio: float = 0.01
    audit_friend_ratio: float = 0.05
    audit_model_factor: float = 10.0
    audit_other_class_ratio: float = 0.25
    anchor_floor_ratio: float = 0.001
    # An audit may be leased a random while after its draw, up to this, so that no friend can wait for it; one that no
    # car has settled after the second time goes to an anchor.
    audit_delay_seconds: float = 900.0
    audit_patience_seconds: float = 4 * 3600.0
    # A car that gave up an audit or let it lapse gets none for this long: nobody may look through them for a friend's.
    audit_rest_seconds: float = 3600.0
    # For the same reason it holds no more audits at once than this much of the reference car's time, but at least one.
    audit_held_work_seconds: float = 600.0
    # Cars keep an output whose bytes may still be asked for.
    output_kept_seconds: float = 48 * 3600.0
    # A provisional result that no audit has made final by then is audited by force. Final pay is released in sets.
    hold_seconds: float = 72 * 3600.0
    release_seconds: float = 86_400.0
    # A vehicle whose unsettled audits weigh more than its trust, and than this much of the reference car's time, waits.
    unresolved_work_seconds: float = 4 * 3600.0
    # The share of a batch that one cluster of vehicles may do, where there are enough clusters.
    cluster_share_ratio: float = 0.05
    # How often it is computed who may be one party, and who holds his share of a batch.
    cluster_seconds: float = 600.0
    cluster_cap_seconds: float = 10.0
    # A model is paused, and its penalties taken back, when this share of its last audits failed in many vehicles.
    mismatch_alarm_ratio: float = 0.1
    mismatch_alarm_audits: int = 20
    # How often that, and what re-runs have cost, is looked at.
    watch_seconds: float = 300.0

    # Price: one GFLOP of validated work earns this many microcredits.
    microcredits_per_gflop: int = 1_000
    # Re-runs are paid by the platform. Operators are alarmed when they have cost this much more than was set aside.
    verification_debt_microcredits_max: int = 1_000_000_000_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ImproperlyConfigured(f"{variable_of(field.name)} must be above zero, not {value}.")
            if field.name.endswith("_ratio") and value > 1:
                raise ImproperlyConfigured(f"{variable_of(field.name)} must be at most 1, not {value}.")
        number = self.unit_replicas_max
        if number > COMPARED_OUTPUTS_MAX:
            limit = f"{variable_of('unit_replicas_max')} must be at most {COMPARED_OUTPUTS_MAX}"
            raise ImproperlyConfigured(f"{limit}, not {number}.")


def variable_of(name: str) -> str:
    """Return the environment variable that overrides the policy number called `name`."""
    return f"FLEET_{name.upper()}"


def read_policy(environ: Mapping[str, str]) -> EnginePolicy:
    """Build the policy from its defaults and the overrides in `environ`.

    Integers may be written with underscores (`65_536`). Raises ImproperlyConfigured with one sentence.
    """
    changes: dict[str, float] = {}
    for field in dataclasses.fields(EnginePolicy):
        text = environ.get(variable_of(field.name))
        if text is None:
            continue
        parse = int if isinstance(field.default, int) else float
        try:
            changes[field.name] = parse(text)
        except ValueError:
            kind = "a whole number" if parse is int else "a number"
            raise ImproperlyConfigured(f"{variable_of(field.name)} must be {kind}, not {text!r}.") from None
    return EnginePolicy(**changes)  # type: ignore[arg-type]  # the loop has parsed each by its field's type
