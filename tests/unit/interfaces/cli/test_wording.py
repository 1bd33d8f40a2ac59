"""What the command line says of a job, whatever a Python job has returned."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_jobs.domain.job_object import summary_in
from mcp_jobs.interfaces.cli import wording

RUN = {"passed": 3, "failed": 1, "errors": 0, "skipped": 2, "failed_names": ["t.py::a\x1b[2J"]}


def job(result: Any) -> dict[str, Any]:
    return {
        "job_id": "1m8482w7mp9hd5kzjcfftz9fg",
        "status": "completed",
        "reason": None,
        "cancel_requested": False,
        "queue_position": None,
        "waiting_for": None,
        "finished_at": "2026-11-24T21:00:00.000Z",
        "duration_seconds": 1.0,
        "title": "tests",
        "result": result,
    }


def waiting(kind: str, names: list[str] | None = None, ids: list[str] | None = None) -> Any:
    wait = {"kind": kind, "names": names or [], "job_ids": ids or [], "since": None}
    return {**job(None), "status": "pending", "queue_position": 3, "waiting_for": wait}


@pytest.mark.parametrize(
    ("shown", "status", "told"),
    [
        (waiting("capacity", ids=["a"]), "pending (no. 3)", "a free slot; of yours run: a"),
        (waiting("capacity"), "pending (no. 3)", "a free slot"),
        (waiting("lock", ["build\x1b[2J"], ["a"]), "pending (lock build [2J)",
         "the lock build [2J, held by a"),
        (waiting("lock", ["a", "b"]), "pending (lock a, b)", "the locks a, b, held by others"),
        (waiting("after", ids=["x"]), "pending (after x)", "the end of x"),
        (waiting("after", ids=["x", "y"]), "pending (after 2 jobs)", "the end of x, y"),
        (waiting("paused", ["all", "type:a"]), "pending (paused)", "mcp-jobs resume (all, type:a)"),
        (waiting("delay"), "pending (no. 3)", ""),
        (waiting("approval"), "pending (no. 3)", ""),
    ],
)  # fmt: skip
def test_what_a_job_waits_for_is_told_where_its_place_does_not_say_it(
    shown: Any, status: str, told: str
) -> None:
    assert wording.status_of(shown) == status
    assert wording.wait_of(shown) == told


def test_a_summary_of_tests_is_told_with_clean_names() -> None:
    assert wording.end_of(job({"tests": RUN})).endswith("(3 passed, 1 failed, 2 skipped)")
    assert wording.failing_tests(job({"tests": RUN})) == ["t.py::a [2J"]


@pytest.mark.parametrize(
    "tests",
    [
        5,
        ["passed", "failed"],
        {"passed": 1},
        {**RUN, "passed": "\x1b[2J"},
        {**RUN, "skipped": {"a": 1}},
        {**RUN, "failed": True},
        {**RUN, "failed_names": 7},
        {**RUN, "failed_names": "name"},
    ],
)
def test_a_result_that_only_looks_like_a_summary_is_none(tests: Any) -> None:
    assert summary_in(job({"tests": tests})["result"]) is None
    assert wording.failing_tests(job({"tests": tests})) == []
    assert wording.end_of(job({"tests": tests})).endswith(": tests")


@pytest.mark.parametrize(
    ("started", "run", "finished", "told"),
    [
        ("2026-11-24T20:59:59.000Z", "2026-11-24T20:00:00.000Z", None, " ago"),
        (None, "2026-11-24T20:00:00.000Z", None, "not yet"),
        (None, "2126-11-24T20:00:00.000Z", None, "in "),
        (None, "2026-11-24T20:00:00.000Z", "2026-11-24T21:00:00.000Z", ""),
    ],
)
def test_a_job_that_has_not_begun_is_not_said_to_have_started(
    started: str | None, run: str, finished: str | None, told: str
) -> None:
    times = {"started_at": started, "run_at": run, "finished_at": finished}
    shown = wording.start_of({**job(None), **times})
    assert told in shown if told else not shown
