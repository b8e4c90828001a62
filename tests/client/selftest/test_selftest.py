"""The self-test as a car makes it: real graphs, the real runner, and what it says when something is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from fleetclient import machine
from fleetclient.runner.options import SandboxOptions
from fleetclient.selftest import course, needs_run, read_report, run_in_child, why_ineligible
from fleetclient.selftest.course import run_graph, run_selftest
from fleetclient.selftest.graphs import GRAPHS, Graph
from fleetclient.selftest.report import write_report
from fleetclient.selftest.runtime import (
    RuntimeFacts,
    RuntimeUnusable,
    choose_provider,
    find_opset_max,
    identity_model,
    read_facts,
)
from fleetclient.selftest.tensors import read_floats, repeat_rows

QUANTISED = next(graph for graph in GRAPHS if graph.name == "quantised")
CONVOLUTION = next(graph for graph in GRAPHS if graph.name == "convolution")


def test_this_machine_passes_and_the_report_holds_until_something_changes(tmp_path: Path) -> None:
    assert needs_run(tmp_path) == "no self-test was made yet"
    assert why_ineligible(tmp_path) == "a self-test is due: no self-test was made yet"
    report = run_selftest(tmp_path, read_temperature=iter((41.0, 47.5)).__next__)
    assert report.passed
    assert [graph.name for graph in report.graphs] == ["convolution", "transformer", "quantised"]
    assert all(graph.rows_per_second > 0 and graph.memory_bytes > 2**20 for graph in report.graphs)
    assert (report.temperature_before_c, report.temperature_after_c) == (41.0, 47.5)
    assert report.walls["no_new_privileges"]
    assert read_report(tmp_path) == report
    assert (needs_run(tmp_path), why_ineligible(tmp_path)) == ("", "")
    assert not (tmp_path / "selftest").exists()
    parts = report.comparison_class.split("-")
    assert parts[:2] == ["cpu", "fp32"]
    assert parts[2] == "ort" + ".".join(report.runtime_version.split(".")[:2])
    assert parts[3:] == ["all", machine.isa_tier(), f"i8{report.int8}"]
    info = machine.describe_agent(tmp_path)
    assert info.comparison_class == report.comparison_class
    assert machine.opset_max(tmp_path) == report.opset_max > 20


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_version": "0.0.1"}, "the client is now"),
        ({"runtime_version": "1.0.0"}, "onnxruntime is now"),
        ({"machine": "another"}, "the processor or the kernel has changed"),
        ({"made_at_unix": 0.0}, "the last self-test is a week old"),
        ({"made_at_unix": 1e12}, "the clock was set back"),
    ],
)
def test_it_is_due_again_after_a_change_or_a_week(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    report = run_selftest(tmp_path)
    write_report(tmp_path, dataclasses.replace(report, **changes))  # type: ignore[arg-type]
    assert needs_run(tmp_path).startswith(reason)
    assert why_ineligible(tmp_path).startswith("a self-test is due: ")
    assert machine.describe_agent(tmp_path).comparison_class == report.comparison_class.rpartition("-")[0]


def test_a_wrong_number_fails_its_graph_and_makes_the_car_ineligible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Graph.file

    def tampered(graph: Graph, kind: str) -> bytes:
        content = honest(graph, kind)
        if graph.name != "convolution" or kind != "outputs.safetensors":
            return content
        outputs = load(content)
        return save({name: value * np.float32(1.001) for name, value in outputs.items()})

    monkeypatch.setattr(Graph, "file", tampered)
    report = run_selftest(tmp_path)
    assert [graph.passed for graph in report.graphs] == [False, True, True]
    assert report.graphs[0].error == pytest.approx(1e-3, rel=0.01)
    assert why_ineligible(tmp_path).startswith("the self-test failed: convolution: relative L2 1.0e-03")


def test_a_graph_that_does_not_load_is_a_failed_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Graph.file
    monkeypatch.setattr(Graph, "file", lambda graph, kind: b"no model" if kind == "onnx" else honest(graph, kind))
    result = run_graph(CONVOLUTION, folder=tmp_path, sandbox=SandboxOptions(), provider=CPU)
    assert not result.report.passed
    assert "model_load_failed" in result.report.detail


def test_a_broken_runtime_is_a_failed_self_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> RuntimeFacts:
        raise RuntimeUnusable("onnxruntime cannot be used: ImportError")

    monkeypatch.setattr(course, "read_facts", broken)
    report = run_selftest(tmp_path)
    assert not report.passed
    assert why_ineligible(tmp_path) == "the self-test failed: runtime: onnxruntime cannot be used: ImportError"


def test_a_child_process_makes_the_same_report(tmp_path: Path) -> None:
    report = run_in_child(tmp_path)
    assert report is not None
    assert report.passed
    assert report.walls["no_new_privileges"]
    assert read_report(tmp_path) == report


def test_a_damaged_report_reads_as_none(tmp_path: Path) -> None:
    for content in (b"", b"[]", b'{"graphs": 1}', b'{"graphs": []}', b"\xff"):
        (tmp_path / "selftest.json").write_bytes(content)
        assert read_report(tmp_path) is None
        assert needs_run(tmp_path) == "no self-test was made yet"


def test_the_files_are_small_and_what_the_seeded_script_makes(tmp_path: Path) -> None:
    from bench.models.selftest import FOLDER, write_graphs

    write_graphs(tmp_path)
    for made in tmp_path.iterdir():
        shipped = FOLDER / made.name
        assert shipped.stat().st_size < 150_000
        if made.suffix == ".onnx" or ".inputs." in made.name:
            assert hashlib.sha256(made.read_bytes()).digest() == hashlib.sha256(shipped.read_bytes()).digest()
        else:
            for name, rows in load(made.read_bytes()).items():
                np.testing.assert_allclose(load(shipped.read_bytes())[name], rows, rtol=1e-4, atol=1e-5)


# -- judging ---------------------------------------------------------------------------------------------------


def quantised_rows(change: Callable[[str, np.ndarray], np.ndarray]) -> dict[str, list[list[float]]]:
    outputs = load(QUANTISED.file("outputs.safetensors"))
    return {name: change(name, value.copy()).tolist() for name, value in outputs.items()}


def test_products_cut_off_at_16_bits_are_another_class_and_no_failure() -> None:
    wanted = quantised_rows(lambda _, value: value)
    exact = QUANTISED.judge(wanted, wanted)
    cut = QUANTISED.judge({**wanted, "saturation": wanted["saturation_16_bit"]}, wanted)
    assert (exact.passed, exact.int8) == (True, "exact")
    assert (cut.passed, cut.int8) == (True, "saturating")


def test_what_is_neither_exact_nor_cut_off_fails() -> None:
    wanted = quantised_rows(lambda _, value: value)
    odd = quantised_rows(lambda name, value: value * np.float32(0.75) if name == "saturation" else value)
    assert not QUANTISED.judge(odd, wanted).passed


def test_scores_may_be_one_step_off_and_no_more() -> None:
    wanted = quantised_rows(lambda _, value: value)
    for steps, passes in ((1, True), (2, False)):
        shift = {"scores": np.float32(steps / 16)}
        off = {
            name: (np.array(value, np.float32) + shift.get(name, np.float32(0))).tolist()
            for name, value in wanted.items()
        }
        assert QUANTISED.judge(off, wanted).passed is passes


@pytest.mark.parametrize("name", ["scores", "saturation"])
def test_not_a_number_fails(name: str) -> None:
    wanted = quantised_rows(lambda _, value: value)
    assert not QUANTISED.judge({**wanted, name: [[float("nan")] * len(row) for row in wanted[name]]}, wanted).passed
    logits = {"logits": [[float("nan")] * 10] * 16}
    assert not CONVOLUTION.judge(logits, {"logits": [[1.0] * 10] * 16}).passed


# -- parts -----------------------------------------------------------------------------------------------------


def test_repeated_rows_read_as_numpy_reads_them(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([[1.5], [2.5]], np.float32)}
    document = repeat_rows(save(tensors), 3)
    again = load(document)
    for name, value in tensors.items():
        np.testing.assert_array_equal(again[name], np.concatenate([value] * 3))
    (tmp_path / "file").write_bytes(save(tensors))
    assert read_floats(tmp_path / "file") == {name: value.tolist() for name, value in tensors.items()}


def test_the_runtime_in_the_child_is_the_one_that_metadata_names() -> None:
    import onnxruntime

    facts = read_facts()
    assert facts.version == machine.runtime_version() == onnxruntime.__version__
    assert "CPUExecutionProvider" in facts.providers
    onnxruntime.InferenceSession(identity_model(facts.opset_max), providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=f"till opset {facts.opset_max}"):
        onnxruntime.InferenceSession(identity_model(facts.opset_max + 1), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("highest", [17, 18, 23, 28, 63])
def test_the_highest_opset_is_found_by_trying(highest: int) -> None:
    assert find_opset_max(lambda model: model[-1] <= highest) == highest


def test_a_runtime_that_loads_nothing_is_unusable() -> None:
    with pytest.raises(RuntimeUnusable):
        find_opset_max(lambda _: False)


CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("available", "allow_gpu", "confined", "chosen"),
    [
        ([CPU], True, [CUDA, TENSORRT], (CPU, "cpu")),
        ([CPU, CUDA], True, [CUDA], (CUDA, "cuda")),
        ([CPU, CUDA, TENSORRT], True, [CUDA, TENSORRT], (TENSORRT, "tensorrt")),
        ([CPU, CUDA, TENSORRT], True, [CUDA], (CUDA, "cuda")),
        ([CPU, CUDA, TENSORRT], True, [], (CPU, "cpu")),
        ([CPU, CUDA, TENSORRT], False, [CUDA, TENSORRT], (CPU, "cpu")),
    ],
)
def test_a_gpu_is_used_where_installed_permitted_and_confined(
    available: list[str], allow_gpu: bool, confined: list[str], chosen: tuple[str, str]
) -> None:
    assert choose_provider(available, allow_gpu=allow_gpu, probes_pass=lambda name: name in confined) == chosen


@pytest.mark.parametrize(
    ("kind", "flags", "tier"),
    [
        ("x86_64", "sse2", "sse2"),
        ("x86_64", "sse2 avx avx2 fma", "avx2"),
        ("x86_64", "sse2 avx avx2 fma avx_vnni", "avx2vnni"),
        ("x86_64", "sse2 avx avx2 fma avx512f", "avx2"),
        ("x86_64", "sse2 avx avx2 fma avx512f avx512bw avx512dq avx512vl", "avx512"),
        ("x86_64", "sse2 avx avx2 fma avx512f avx512bw avx512dq avx512vl avx512_vnni", "avx512vnni"),
        ("aarch64", "fp asimd", "neon"),
        ("aarch64", "fp asimd asimddp", "dotprod"),
        ("aarch64", "fp asimd asimddp i8mm", "i8mm"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_the_tier_is_the_highest_whose_flags_are_all_there(kind: str, flags: str, tier: str) -> None:
    assert machine.tier_of(kind, frozenset(flags.split())) == tier


def test_the_runtime_tells_its_maker_nothing_and_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """The child that asks it what it can do has no walls. The runtime writes its number there before it sends any."""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fleetclient.selftest.runtime"],
        env={**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(done.stdout)["opset_max"] > 0
    assert list(tmp_path.iterdir()) == []


def test_looking_whether_a_test_is_due_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; from pathlib import Path; from fleetclient import machine, selftest;"
        "selftest.needs_run(Path('/nowhere')); machine.describe_agent(Path('/nowhere'));"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = set(json.loads(done.stdout))
    assert loaded.isdisjoint({"numpy", "onnxruntime", "email", "importlib.metadata", "fleetclient.selftest.course"})
