"""The environment: values that are wrong or missing are refused in one sentence, and kept keys stay private."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from fleetcompute.settings import env
from fleetcompute.settings.engine import EnginePolicy, read_policy
from fleetcompute.settings.keyfiles import read_or_make_key
from workunits.domain.grouping import GROUPS_MAX


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATABASE_URL", "CELERY_BROKER_URL", "CACHE_URL", "BLOB_STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    return tmp_path


def publish_endpoints(home: Path, **values: object) -> None:
    (home / "run").mkdir(exist_ok=True)
    (home / "run" / "endpoints.json").write_text(json.dumps(values))


def test_policy_numbers_have_defaults_and_are_overridden_by_name() -> None:
    assert read_policy({}) == EnginePolicy()
    policy = read_policy({"FLEET_LEASE_SECONDS": "20", "FLEET_UNIT_INPUT_BYTES_MAX": "1_024"})
    assert (policy.lease_seconds, policy.unit_input_bytes_max) == (20.0, 1024)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("FLEET_LEASE_SECONDS", "soon", "FLEET_LEASE_SECONDS must be a number, not 'soon'."),
        ("FLEET_UNIT_ERRORS_MAX", "2.5", "FLEET_UNIT_ERRORS_MAX must be a whole number, not '2.5'."),
        ("FLEET_SWEEP_SECONDS", "0", "FLEET_SWEEP_SECONDS must be above zero, not 0.0."),
        ("FLEET_SWEEP_SECONDS", "nan", "FLEET_SWEEP_SECONDS must be above zero, not nan."),
        ("FLEET_SYNC_JITTER_RATIO", "1.5", "FLEET_SYNC_JITTER_RATIO must be at most 1, not 1.5."),
        (
            "FLEET_UNIT_REPLICAS_MAX",
            str(GROUPS_MAX + 1),
            f"FLEET_UNIT_REPLICAS_MAX must be at most {GROUPS_MAX}, not {GROUPS_MAX + 1}.",
        ),
    ],
)
def test_a_wrong_policy_number_is_refused_in_one_sentence(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read_policy({name: value})
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    ("name", "value", "read", "words"),
    [
        ("DATABASE_URL", "sqlite:///x", env.database_url, "only PostgreSQL"),
        ("BLOB_STORE_URL", "ftp://x", env.blob_store_url, "must be file:///folder or s3://bucket/prefix"),
        ("BLOB_STORE_URL", "file://x/y", env.blob_store_url, "three slashes"),
        ("BLOB_STORE_URL", "s3:///x", env.blob_store_url, "no bucket"),
        ("FLEET_TOKEN_KEY", "xyz", env.token_key, "hexadecimal"),
        ("FLEET_TOKEN_KEY", "00" * 15, env.token_key, "must be 16 bytes"),
        ("FLEET_DIRECTOR_KEY", "/nonexistent/key", env.director_key, "cannot be read"),
    ],
)
def test_a_wrong_variable_is_named(
    name: str, value: str, read: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert callable(read)
    with pytest.raises(ImproperlyConfigured, match=words) as refusal:
        read()
    assert str(refusal.value).startswith(name)


def test_keys_are_made_once_and_kept_private(home: Path) -> None:
    assert env.token_key() == env.token_key()
    assert len(env.director_key()) == 32
    files = list((home / "keys").iterdir())
    assert sorted(path.name for path in files) == ["director_key", "token_key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    read_or_make_key(home / "keys" / "token_key", key_bytes=16)
    (home / "keys" / "token_key").chmod(0o644)
    with pytest.raises(ImproperlyConfigured, match=r"can be read by other users"):
        env.token_key()


def test_the_director_key_may_be_a_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "seed").write_text("11" * 32 + "\n")
    monkeypatch.setenv("FLEET_DIRECTOR_KEY", str(home / "seed"))
    assert env.director_key() == bytes([0x11] * 32)


def test_addresses_of_a_running_supervisor_are_used_and_those_of_a_dead_one_are_not(home: Path) -> None:
    assert env.database_url() is None
    publish_endpoints(home, database_url="postgresql://here/db", supervisor_pid=os.getpid())
    assert env.database_url() == "postgresql://here/db"
    with subprocess.Popen(["true"]) as ended:
        pass
    publish_endpoints(home, database_url="postgresql://here/db", supervisor_pid=ended.pid)
    assert env.database_url() is None


def run_manage(*arguments: str, **extra: str) -> tuple[int, str]:
    argv = [sys.executable, str(env.PROJECT_ROOT / "manage.py"), *arguments]
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "fleetcompute.settings.development", **extra}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_command_that_needs_the_database_says_what_to_do_without_one() -> None:
    code, complained = run_manage("showmigrations")
    assert code == 1
    assert complained == (
        "No database is configured: start the embedded services with `make up`, or set DATABASE_URL.\n"
    )


def test_production_names_the_first_variable_that_is_missing() -> None:
    code, complained = run_manage("migrate", DJANGO_SETTINGS_MODULE="fleetcompute.settings.production")
    assert code == 1
    assert complained.startswith("DATABASE_URL must be set:")
    assert complained.count("\n") == 1
