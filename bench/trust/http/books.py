"""What came of a run: what cars really reported, by our own reckoning, against what the database made of it."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.trust.http import truth
from bench.trust.http.car import Reported
from bench.trust.http.options import HttpOptions
from bench.trust.statistics.interval import gamma_interval

Key = tuple[int, int, int, int]  # batch, unit, owner, attempt

# Each must be zero.
_WRONG: Final[Mapping[str, str]] = {
    "valid_but_not_credited": """
        SELECT count(*) FROM replica r WHERE state = 'VALID' AND owner_id > 0 AND NOT EXISTS (SELECT FROM earning_item e
            WHERE (e.batch_id, e.unit_number, e.owner_id) = (r.batch_id, r.unit_number, r.owner_id))""",
    "credited_but_neither_valid_nor_taken_back": """
        SELECT count(*) FROM earning_item e WHERE NOT EXISTS (SELECT FROM replica r
            WHERE r.state IN ('VALID', 'REVOKED')
              AND (e.batch_id, e.unit_number, e.owner_id) = (r.batch_id, r.unit_number, r.owner_id))""",
    "taken_back_and_paid_for_good": """
        SELECT count(*) FROM replica r JOIN earning_outcome o USING (batch_id, unit_number, owner_id)
        WHERE r.state = 'REVOKED' AND o.outcome = 'final'""",
    "final_result_of_a_replica_that_is_not_valid": """
        SELECT count(*) FROM unit u JOIN replica r ON (r.batch_id, r.unit_number, r.owner_id)
            = (u.batch_id, u.number, u.canonical_owner_id) WHERE r.state <> 'VALID'""",
    "two_of_one_cluster_on_a_unit": """
        SELECT count(*) FROM replica a JOIN owner_cluster ca ON ca.owner_id = a.owner_id
        JOIN owner_cluster cb ON cb.cluster_id = ca.cluster_id AND cb.owner_id > ca.owner_id
        JOIN replica b ON (b.batch_id, b.unit_number, b.owner_id) = (a.batch_id, a.unit_number, cb.owner_id)
        WHERE least(a.leased_at, b.leased_at) > greatest(ca.computed_at, cb.computed_at)""",
    "rows_counted_otherwise_than_they_are": """
        SELECT count(*) FROM batch_progress p WHERE p.rows_validated <> (SELECT coalesce(sum(rows), 0) FROM unit u
            WHERE u.batch_id = p.batch_id AND u.state IN ('VALIDATED', 'ASSEMBLED'))
          OR p.rows_final <> (SELECT coalesce(sum(rows), 0) FROM unit u
            WHERE u.batch_id = p.batch_id AND u.state IN ('VALIDATED', 'ASSEMBLED') AND u.final_at IS NOT NULL)""",
    "ledger_sum": "SELECT coalesce(sum(balance_microcredits), 0) FROM account_balance_view",
    "owners_in_debt": """
        SELECT count(*) FROM account a JOIN account_balance_view b ON b.account_id = a.id
        WHERE a.kind IN ('owner_earned', 'owner_provisional') AND b.balance_microcredits < 0""",
}


class Books:
    """Notes every report with the truth about it, and at the end reads what the product believed."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._is_wrong: dict[Key, bool] = {}
        self._adversaries: set[int] = set()

    def note(self, reported: Reported, *, is_adversary: bool) -> None:
        """Note a result as a car reports it. The benchmark may open tokens: it holds the server's key."""
        from django.conf import settings

        from workunits.domain.tokens import open_token

        ref = open_token(settings.FLEET_TOKEN_KEY, reported.token)
        is_wrong = reported.outputs is None or truth.is_wrong(reported.outputs, truth.compute(reported.inputs))
        self._is_wrong[ref.batch_id, ref.unit_number, ref.owner_id, ref.attempt] = is_wrong
        if is_adversary:
            self._adversaries.add(ref.owner_id)

    def count_resets(self, vehicle_id: int) -> int:
        """Return how often a vehicle's trust was taken."""
        from workunits.models import VehicleStanding

        resets = VehicleStanding.objects.filter(vehicle_id=vehicle_id).values_list("resets", flat=True).first()
        return len(resets or ())

    def close(self, batch_id: int) -> dict[str, Any]:
        """Return the figures of a run over one batch."""
        units = _rows(
            "SELECT u.number, u.canonical_owner_id, r.attempt, u.final_at IS NOT NULL, u.reward_microcredits"
            " FROM unit u JOIN replica r ON (r.batch_id, r.unit_number, r.owner_id)"
            " = (u.batch_id, u.number, u.canonical_owner_id)"
            " WHERE u.batch_id = %s AND u.state IN ('VALIDATED', 'ASSEMBLED')",
            batch_id,
        )
        final = sum(weight for *_, is_final, weight in units if is_final)
        accepted = sum(weight for *_, weight in units)
        wrong = [
            (is_final, owner_id, weight)
            for number, owner_id, attempt, is_final, weight in units
            if self._is_wrong.get((batch_id, number, owner_id, attempt), False)
        ]
        wrong_final: Counter[int] = Counter()
        for is_final, owner_id, weight in wrong:
            wrong_final[owner_id] += weight if is_final else 0
        return {
            "accepted_wrong": _share(sum(wrong_final.values()), final),
            "accepted_wrong_ci95": _interval(wrong_final, final, [weight for *_, weight in units]),
            "accepted_wrong_with_provisional": _share(sum(weight for *_, weight in wrong), accepted),
            **self._ever_believed(batch_id),
            **_count_work(batch_id),
            "detection_delay_units": self._detection_delay(),
            **self._liars(batch_id),
            **self._friend_share(batch_id),
            "honest_vehicles_reset": self._honest_resets(),
            **self._read_file(batch_id),
            "problems": {name: count for name, query in _WRONG.items() if (count := _rows(query)[0][0])},
        }

    def _ever_believed(self, batch_id: int) -> dict[str, Any]:
        """Return the share of wrong results among all that were ever believed, which no bound holds for."""
        believed = _rows(
            "SELECT e.unit_number, e.owner_id, r.attempt FROM earning_item e JOIN replica r"
            " USING (batch_id, unit_number, owner_id) WHERE e.batch_id = %s AND NOT e.verification",
            batch_id,
        )
        wrong = sum(self._is_wrong.get((batch_id, *row), False) for row in believed)
        return {"provisional_wrong": _share(wrong, len(believed))}

    def _detection_delay(self) -> float | None:
        """Return how many results a liar reported from his first wrong one until his trust was taken; the median."""
        delays = []
        for vehicle_id, owner_id, first_reset in _rows(
            "SELECT v.id, v.owner_id, s.resets[1] FROM vehicle_standing s JOIN vehicle v ON v.id = s.vehicle_id"
            " WHERE cardinality(s.resets) > 0"
        ):
            commits = _rows(
                "SELECT batch_id, unit_number, attempt FROM replica WHERE vehicle_id = %s AND committed_at <= %s"
                " ORDER BY committed_at, sequence",
                vehicle_id,
                first_reset,
            )
            wrong = [self._is_wrong.get((batch, unit, owner_id, attempt), False) for batch, unit, attempt in commits]
            if True in wrong:
                delays.append(len(wrong) - wrong.index(True))
        return statistics.median(delays) if delays else None

    def _liars(self, batch_id: int) -> dict[str, int]:
        """Return how many owners reported something wrong, and how many of these lost an audit."""
        liars = {owner for (batch, _, owner, _), is_wrong in self._is_wrong.items() if batch == batch_id and is_wrong}
        losers = {owner for (owner,) in _rows("SELECT owner_id FROM audit WHERE state = 'failed'")}
        return {"liars": len(liars), "liars_caught": len(liars & losers)}

    def _friend_share(self, batch_id: int) -> dict[str, Any]:
        """Return how many wrong results a car ran again, and how many of these cars were liars': δ, as it was."""
        # Of a dispute the audit names the anchor in the end; who had run the unit again has a row of his own.
        audits = _rows(
            "SELECT a.unit_number, a.owner_id, r.attempt, (SELECT m.owner_id FROM audit m"
            "   WHERE (m.batch_id, m.unit_number) = (a.batch_id, a.unit_number) AND m.reason = 'auditing'"
            "   AND m.owner_id <> a.owner_id ORDER BY m.id LIMIT 1)"
            " FROM audit a JOIN replica r USING (batch_id, unit_number, owner_id)"
            " WHERE a.batch_id = %s AND a.reason IN ('drawn', 'young', 'forced')",
            batch_id,
        )
        auditors = [auditor for *key, auditor in audits if auditor and self._is_wrong.get((batch_id, *key), False)]
        friends = sum(auditor in self._adversaries for auditor in auditors)
        return {"lies_audited": len(auditors), "friend_share": _share(friends, len(auditors)) if auditors else None}

    def _honest_resets(self) -> int:
        reset = _rows(
            "SELECT v.owner_id FROM vehicle_standing s JOIN vehicle v ON v.id = s.vehicle_id"
            " WHERE cardinality(s.resets) > 0"
        )
        return sum(owner_id not in self._adversaries for (owner_id,) in reset)

    def _read_file(self, batch_id: int) -> dict[str, Any]:
        """Compare the finished file with the truth, row by row."""
        from workunits.models import Batch
        from workunits.store.blobs import get_blob_store

        batch = Batch.objects.get(id=batch_id)
        if not batch.result_npz:
            return {"status": batch.status, "rows_once": False, "file_rows_wrong": None}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.npz"
            path.write_bytes(get_blob_store().read(batch.result_npz))
            with np.load(path, allow_pickle=False) as result:
                rows, outputs = result["row"], result[truth.OUTPUT["name"]]
        right = truth.compute(truth.make_inputs(batch.rows_total, self._options.seed))
        is_once = len(rows) == batch.rows_total and bool((rows == np.arange(batch.rows_total)).all())
        wrong = int((truth.row_distances(outputs, right) > truth.TOLERANCE).sum()) if is_once else None
        return {"status": batch.status, "rows_once": is_once, "file_rows_wrong": wrong}


def _count_work(batch_id: int) -> dict[str, Any]:
    reported, units, anchor_runs = _rows(
        "SELECT (SELECT count(*) FROM replica WHERE batch_id = %s AND owner_id > 0 AND committed_at IS NOT NULL),"
        " (SELECT count(*) FROM unit WHERE batch_id = %s AND state IN ('VALIDATED', 'ASSEMBLED')),"
        " (SELECT count(*) FROM anchor_run WHERE batch_id = %s AND state = 'done')",
        batch_id,
        batch_id,
        batch_id,
    )[0]
    audits = dict(_rows("SELECT reason || '_' || state, count(*) FROM audit WHERE batch_id = %s GROUP BY 1", batch_id))
    runs = dict(
        _rows("SELECT reason || '_' || state, count(*) FROM anchor_run WHERE batch_id = %s GROUP BY 1", batch_id)
    )
    resets, quarantined = _rows(
        "SELECT coalesce(sum(cardinality(resets)), 0), count(*) FILTER (WHERE state = 'quarantined')"
        " FROM vehicle_standing"
    )[0]
    revoked, roles = _rows("SELECT rows_revoked, rows_final FROM batch_progress WHERE batch_id = %s", batch_id)[0]
    return {
        "replication": round((reported + anchor_runs) / units, 4) if units else None,
        "units": units,
        "reported": reported,
        "anchor_runs": anchor_runs,
        "anchor_runs_by_reason": runs,
        "audits": audits,
        "resets": resets,
        "quarantines": quarantined,
        "rows_revoked": revoked,
        "rows_final": roles,
    }


def _interval(wrong: Counter[int], final: int, weights: list[int]) -> list[float] | None:
    """Return the interval of a share by weight; where nothing was wrong, a heaviest unit is what could have been."""
    return list(gamma_interval(wrong.values(), final, event_max=max(weights))) if final else None


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())
