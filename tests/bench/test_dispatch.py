"""A short run of the dispatch benchmark from its command line: its figures are there and its books are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser

import pytest

from bench.dispatch import add_arguments
from bench.dispatch.options import DispatchOptions, decode_options, encode_options, read_options
from fleetcompute.embedded.home import PROJECT_ROOT

PROMISED = {
    "sync_per_second", "replicas_per_second", "p50_ms", "p95_ms", "p99_ms", "statements_per_sync", "per_call", "quorum",
    "seconds", "output_bytes", "server_cpu_ms_per_item", "wal_bytes_per_replica", "errors", "machine",
}  # fmt: skip


def parse(*arguments: str) -> DispatchOptions:
    parser = ArgumentParser()
    add_arguments(parser)
    return read_options(parser.parse_args(arguments))


@pytest.mark.slow
def test_a_short_run_credits_every_replica_once_and_its_ledger_sums_to_zero():
    # The suite's own database is none of its business: it starts an installation of its own.
    unset = {"DATABASE_URL", "FLEET_HOME", "BLOB_STORE_URL", "DJANGO_SETTINGS_MODULE"}
    options = ["--seconds", "2", "--owners", "20", "--batches", "3", "--connections", "4", "--per-call", "5", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "dispatch", *options],
        cwd=PROJECT_ROOT,
        env={name: value for name, value in os.environ.items() if name not in unset},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=240,
    )
    report = json.loads(done.stdout)  # one JSON object and nothing else
    assert set(report) >= PROMISED
    # Refused syncs, refused outputs, replicas credited twice or not at all, and a ledger that does not add up.
    assert report["errors"] == 0, report["problems"]
    assert done.returncode == 0
    assert report["credited"] > 0
    assert report["credited"] % report["quorum"] == 0
    assert report["signatures_checked"] > 0
    assert report["statements_per_sync"] <= 5


def test_options_are_handed_to_the_set_up_as_they_are():
    options = parse("--per-call", "3", "--seconds", "1.5")
    assert decode_options(encode_options(options)) == options


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--output-bytes", "100"], "--output-bytes"),
        (["--output-bytes", "9000"], "--output-bytes"),
        (["--output-bytes", "513"], "--output-bytes"),
        (["--owners", "2", "--quorum", "2"], "--owners"),
        (["--per-call", "0"], "above zero"),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_one_sentence(arguments, reason):
    with pytest.raises(SystemExit, match=reason):
        parse(*arguments)


def test_batches_have_units_for_the_whole_run():
    assert parse("--units-per-batch", "7").units == 7
    assert parse("--seconds", "60").units * 10 * 2 >= 60 * 10_000
