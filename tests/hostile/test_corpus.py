"""Hundreds of hostile models against both sandboxes, and proof that the harness would notice one that got through."""

from __future__ import annotations

from typing import Any

import pytest

from bench.hostile.campaign import Campaign, Findings, Judge
from bench.hostile.corpus import Hostile, make_corpus
from bench.hostile.handmade import handmade
from bench.hostile.valid import valid

MODELS = 520
SOUND = {"answer": {"locks": [], "problems": [{"code": "invalid_model", "detail": "bad"}]}, "signal": 0,
         "overdue": False, "cpu_seconds": 0.1, "memory_bytes": 10**8}  # fmt: skip
FAILED = {**SOUND, "answer": {"raised": "Fail: no"}}


def judge(must: str, examined: dict[str, Any], used: dict[str, Any]) -> list[str]:
    findings = Findings()
    Judge(findings, Hostile(name="it", content=b"", must=must)).judge(examined, used)
    return findings.errors


@pytest.mark.slow
def test_no_hostile_model_gets_through_either_sandbox() -> None:
    findings = Campaign(models=MODELS, seed=0, workers=2).run()
    assert findings.errors == []
    figures = findings.figures()
    assert figures["models"] == MODELS
    # The corpus reaches every stage: refused early, refused by a run, admitted, and past what a car lets happen.
    assert {
        "external_data",
        "invalid_model",
        "unbounded_operator",
        "ep_context",
        "load_failed",
    } <= findings.codes.keys()
    assert findings.counts["server_admitted"] >= len(valid())
    assert findings.counts["car_ran"] >= findings.counts["server_admitted"]
    assert findings.counts["car_out_of_time"] > 0


def test_a_few_models_of_each_kind_get_through_neither() -> None:
    findings = Campaign(models=len(valid()) + 20, seed=0, workers=2).run()
    assert findings.errors == []
    assert findings.counts["server_admitted"] == findings.counts["car_ran"] == len(valid())
    assert findings.codes["external_data"] >= 15


def test_the_corpus_is_the_same_for_the_same_seed_and_holds_every_attack() -> None:
    def names(seed: int) -> list[tuple[str, bytes]]:
        made = make_corpus(400, seed=seed, secret_address=1, secret_path="/secret")
        return [(hostile.name, hostile.content) for hostile in made]

    assert names(1) == names(1)
    assert names(1) != names(2)
    attacks = handmade(1, "/secret")
    assert attacks.items() <= dict(names(1)).items()
    assert len(attacks) >= 100
    assert min(map(len, (content for content in attacks.values() if content))) < 40


@pytest.mark.parametrize(
    ("must", "examined", "used", "wrong"),
    [
        ("refuse", {**SOUND, "answer": {"facts": {}}}, {**SOUND, "answer": {"ran": True}}, "the server admitted it"),
        ("admit", SOUND, FAILED, "the server refused a valid model"),
        ("", {**SOUND, "answer": {"raised": "KeyError: 1"}}, FAILED, "the examination raised KeyError"),
        ("", {**SOUND, "answer": {"facts": {}}}, FAILED, "the car cannot run it"),
        ("", SOUND, {**SOUND, "answer": {"ran": True, "leaked": True}}, "read a secret"),
        ("", SOUND, {**SOUND, "answer": None, "signal": 31}, "only an attack makes"),
        ("", {**SOUND, "cpu_seconds": 99.0}, FAILED, "99.0 s of processor time"),
        ("", SOUND, {**FAILED, "memory_bytes": 10**11}, "100000000000 bytes"),
    ],
)
def test_what_should_not_have_happened_is_an_error(
    must: str, examined: dict[str, Any], used: dict[str, Any], wrong: str
) -> None:
    errors = judge(must, examined, used)
    assert len(errors) == 1
    assert wrong in errors[0]
    assert judge("", SOUND, FAILED) == []


def test_a_touched_file_is_an_error(tmp_path) -> None:
    from bench.hostile.campaign import Bait

    bait = Bait(tmp_path, 2)
    assert bait.list_touched() == []
    (tmp_path / "work0" / "new").touch()
    (tmp_path / "work1" / "hard.bin").write_bytes(b"changed")
    touched = {path.removeprefix(str(tmp_path)) for path in bait.list_touched()}
    assert {"/work0/new", "/work1/hard.bin", "/secret.bin"} <= touched
