"""Several runs in the output of one job: what is added up, and what belongs to another run."""

from __future__ import annotations

import pytest

from mcp_jobs.output.summaries import RunSummary, summarise
from tests.unit.output.summaries.test_finders import RECORDED, SAMPLES, summary


def doubled(run: RunSummary) -> RunSummary:
    """Return what the same run comes to twice; its names stand once."""
    seconds = run["duration_seconds"]
    return RunSummary(
        runner=run["runner"],
        passed=2 * run["passed"],
        failed=2 * run["failed"],
        skipped=2 * run["skipped"],
        errors=2 * run["errors"],
        total=2 * run["total"],
        failed_names=run["failed_names"],
        failed_names_truncated=False,
        duration_seconds=None if seconds is None else round(2 * seconds, 6),
    )


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_two_runs_of_one_runner_are_added(name: str) -> None:
    run = (SAMPLES / f"{name}.txt").read_bytes()
    assert summarise(run + b"\n" + run) == doubled(RECORDED[name])


def test_runs_of_several_runners_are_added() -> None:
    names = ("jest", "pytest", "go")
    found = summarise(b"\n".join((SAMPLES / f"{name}.txt").read_bytes() for name in names))
    runs = [RECORDED[name] for name in names]
    assert found is not None
    assert found["runner"] == "jest, pytest, go (packages)"
    assert found["failed"] == sum(run["failed"] for run in runs)
    assert found["total"] == sum(run["total"] for run in runs)
    assert found["failed_names"] == [name for run in runs for name in run["failed_names"]]


def test_a_run_that_a_test_printed_belongs_to_the_test() -> None:
    inner = (SAMPLES / "pytest9.txt").read_text("utf-8")
    outer = (
        "============ test session starts ============\n"
        f"----- Captured stdout call -----\n{inner}"
        "====== short test summary info ======\nFAILED test_b.py::test_runner - assert 0\n"
        "============ 1 failed, 3 passed in 0.50s ============\n"
    )
    expected = summary("pytest", 3, 1, names=["test_b.py::test_runner"], seconds=0.5)
    assert summarise(outer.encode()) == expected


def test_ctest_that_shows_the_output_of_gtest_counts_its_own_tests() -> None:
    gtest = (SAMPLES / "gtest.txt").read_text("utf-8")
    text = f"Test project /build\n{gtest}\n100% tests passed, 0 tests failed out of 1\n"
    assert summarise(text.encode()) == summary("ctest", 1, 0)
