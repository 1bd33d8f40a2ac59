"""The one line that a task says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcp_jobs.domain.models import Job, Progress
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.interfaces.mcp.tasks import status_message
from tests.unit.domain.test_job_object import JOB, NOW_MS, STARTED

FAILED = replace(
    STARTED,
    status=Status.FAILED, reason=Reason.EXIT_CODE, exit_code=1, error="Exit code 1.",
    finished_at_ms=NOW_MS + 3000,
)  # fmt: skip


def summary(**told: Any) -> dict[str, Any]:
    return {"tests": {"passed": 1, "failed": 0, "errors": 0, **told}}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (None, "Exit code 1."),
        (summary(failed=1, failed_names=["a.py::one"]), "Exit code 1. 1 test failed: a.py::one."),
        (
            summary(failed=4, errors=1, failed_names=["a", "b", "c", "d"]),
            "Exit code 1. 5 tests failed: a, b, c, and 2 more.",
        ),
        (summary(failed=2, failed_names=[]), "Exit code 1. 2 tests failed."),
        (summary(failed=2, failed_names={"a": 1}), "Exit code 1. 2 tests failed."),
        (
            summary(failed=2, failed_names=[7, "a\x1b[2Jb"]),
            "Exit code 1. 2 tests failed: a\\u001b[2Jb, and 1 more.",
        ),
        ({"tests": "none"}, "Exit code 1."),
        (["a list"], "Exit code 1."),
    ],
)
def test_a_failed_task_names_the_first_tests_that_failed(result: Any, told: str) -> None:
    assert status_message(replace(FAILED, result=result), now_ms=NOW_MS) == told


def test_a_completed_task_whose_tests_failed_says_so() -> None:
    result = summary(failed=1, failed_names=["a"])
    job = replace(FAILED, status=Status.COMPLETED, reason=None, error=None, result=result)
    assert status_message(job, now_ms=NOW_MS) == "1 test failed: a."


def test_a_task_that_waits_for_a_person_says_what_the_person_runs() -> None:
    waits = replace(JOB, status=Status.INPUT_REQUIRED)
    assert f"mcp-jobs approve {JOB.id}" in status_message(waits, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (JOB, "make: pending"),
        (replace(JOB, title="a\nb"), "a\\u000ab: pending"),
        (replace(STARTED, progress=Progress(
            current=1, total=2, percent=50, message="half", updated_at_ms=NOW_MS
        )), "half"),
    ],
)  # fmt: skip
def test_a_task_that_works_says_how_far_it_is_or_its_title(job: Job, told: str) -> None:
    assert status_message(job, now_ms=NOW_MS) == told
