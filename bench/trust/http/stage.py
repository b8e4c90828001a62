"""The process of a run: an installation of its own, then one scenario after the other in it.

Run as `python -m bench.trust.http.stage OPTIONS`; it prints one JSON object a scenario. A process of its own, for the
settings of Django are read once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from bench.dispatch.http import KeptConnection
from bench.measure.installation import fresh_home
from bench.trust.http import truth
from bench.trust.http.chance import seeded
from bench.trust.http.clock import VirtualClock
from bench.trust.http.options import HttpOptions, decode_options
from bench.trust.http.scenarios import Scenario, get_scenarios
from fleetcompute.embedded import Services


def main(argument: str) -> None:
    """Run every scenario that the options name."""
    options = decode_options(argument)
    unset = ("DATABASE_URL", "CELERY_BROKER_URL", "CACHE_URL", "BLOB_STORE_URL", "FLEET_HOME")
    environ = {name: value for name, value in os.environ.items() if name not in unset}
    with fresh_home() as home, Services(home, with_valkey=False, is_durable=False, environ=environ) as services:
        weights = home / "weights.json"
        weights.write_text(truth.describe(), encoding="utf-8")
        os.environ.update(
            services.env,
            DJANGO_SETTINGS_MODULE="bench.trust.http.settings",
            FLEET_LOG_LEVEL="ERROR",
            BENCH_WEIGHTS=str(weights),
        )
        import django
        from django.core.management import call_command
        from django.db import connection

        django.setup()
        call_command("migrate", verbosity=0)

        from bench.trust.http.connection import serving

        with serving() as (kept, authority):
            for scenario in get_scenarios(options.scenarios):
                report = run_scenario(scenario, options, kept, authority)
                print(json.dumps(report), flush=True)
                _empty_tables()
        connection.close()


def run_scenario(scenario: Scenario, options: HttpOptions, kept: KeptConnection, authority: str) -> dict[str, Any]:
    """Run one scenario on empty tables and return its figures."""
    from django.conf import settings

    from bench.trust.http.books import Books
    from bench.trust.http.car import Depot
    from bench.trust.http.fleet import DAY_SECONDS, Fleet
    from bench.trust.http.world import make_batch
    from fleetclient.signing import AnswerVerifier
    from fleetcompute.api.vehicle.signing import get_director
    from workunits.models import Batch

    clock, started = VirtualClock(), time.monotonic()
    director_key = get_director(settings.FLEET_DIRECTOR_KEY).public_key
    with clock.installed(), seeded(options.seed):
        batch = make_batch(scenario, options, clock.now())
        depot = Depot(connection=kept, authority=authority, clock=clock, verifier=AnswerVerifier(director_key))
        books = Books(options)
        fleet = Fleet(scenario, options, depot, books)
        running = Batch.objects.filter(id=batch.id, ended_at__isnull=True)
        fleet.run(lambda: not running.exists())
        figures = books.close(batch.id)
    return {
        "part": "http",
        "name": scenario.name,
        "fleet": scenario.fleet,
        "level": scenario.level if scenario.level != "quorum" else f"quorum: {scenario.quorum}",
        "cars": options.cars,
        **figures,
        "virtual_days": round(clock.seconds / DAY_SECONDS, 2),
        "seconds": round(time.monotonic() - started, 1),
        "requests": depot.tally["requests"],
        "outcomes": {name: count for name, count in sorted(depot.tally.items()) if name != "requests"},
        "complaints": depot.problems,
        "alarms": fleet.alarms,
        "bound": scenario.bound(options.cars),
        "met": _is_met(scenario.bound(options.cars), figures, depot.problems),
        "errors": depot.tally["problems"] + len(figures["problems"]),
    }


def _is_met(bound: float, figures: dict[str, Any], complaints: list[str]) -> bool:
    """Whether no book is wrong, no honest car lost its trust, every row is in the file once, and wrong results do not
    exceed what was promised.
    """
    if complaints or figures["problems"] or figures["honest_vehicles_reset"]:
        return False
    if not figures["rows_once"] or figures["accepted_wrong_ci95"] is None:
        return False
    return bool(figures["accepted_wrong_ci95"][0] <= bound)


def _empty_tables() -> None:
    """Empty every table but Django's own; the ledger's triggers would refuse."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "SELECT string_agg(format('%I', relname), ', ') FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND NOT relispartition AND relnamespace = 'public'::regnamespace"
            " AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')"
        )
        cursor.execute(f"TRUNCATE {cursor.fetchone()[0]} CASCADE")
        cursor.execute("SET session_replication_role = DEFAULT")


if __name__ == "__main__":
    main(sys.argv[1])
