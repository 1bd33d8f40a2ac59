"""The text of a reply says all that a model needs which sees nothing else, in a few lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from mcp_jobs.domain.job_object import job_object
from mcp_jobs.domain.models import Job, Progress
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.interfaces.mcp import rendering
from mcp_jobs.output import OutputSlice, output_object
from mcp_jobs.service.requests import StartJob
from tests.unit.domain.test_job_object import JOB, NOW_MS, STARTED

RUNNING = replace(STARTED, attempt_started_at_ms=NOW_MS + 1000)
FAILED = replace(
    STARTED, status=Status.FAILED, reason=Reason.EXIT_CODE, exit_code=2, max_attempts=1,
    error="The command ended with exit code 2.", finished_at_ms=NOW_MS + 6500,
)  # fmt: skip
HALF = Progress(current=3, total=6, percent=50.0, message="tests", updated_at_ms=NOW_MS)


def shown(job: Job, text: str | None = None, *, total: int = 0, **more: Any) -> dict[str, Any]:
    found = job_object(job, now_ms=NOW_MS + 13_345, printed_at_ms=NOW_MS + 11_000)
    if text is not None:
        lines = text.count("\n")
        found["output"] = output_object(
            OutputSlice(
                text=text, bytes_total=1000 * bool(total or text), lines_total=total or lines,
                lines_shown=lines, first_cursor=0, next_cursor=174, dropped_bytes=0,
                truncated=False,
            )
        )  # fmt: skip
    return {**found, **more}


def test_a_running_job_tells_its_time_its_silence_and_its_place() -> None:
    text = rendering.job_text(shown(replace(RUNNING, progress=HALF), ""))
    assert text.split("\n") == [
        f"{JOB.id} running for 12.3 s, quiet for 2.3 s in /srv: make",
        "Progress: 50% 3/6 tests",
        "Attempt 1 of 3.",
        "No output yet.",
    ]


@pytest.mark.parametrize(
    ("total", "label"),
    [
        (0, "Output (2 lines, next_cursor 174) <<"),
        (3000, "Output (2 of 3000 lines, next_cursor 174) <<"),
    ],
)
def test_output_tells_how_much_of_it_is_shown_and_where_it_goes_on(total: int, label: str) -> None:
    assert f"\n{label}" in rendering.job_text(shown(FAILED, "a\nb\n", total=total))


def test_a_part_without_lines_tells_that_there_are_others() -> None:
    text = rendering.job_text(shown(FAILED, "", total=3))
    assert "Nothing to show of the output (3 lines, next_cursor 174)." in text
    assert "It printed nothing." in rendering.job_text(shown(FAILED, ""))
    assert "rint" not in rendering.job_text(shown(JOB, "")), "it has not begun"


def test_what_failed_comes_before_the_output() -> None:
    text = rendering.job_text(shown(FAILED, "a\n", total=9, failing="E  assert 1 == 2"))
    assert text.startswith(f"{JOB.id} failed (exit code 2) after 5.5 s in /srv: make\nError: The")
    assert text.index("What seems to have failed <<") < text.index("E  assert") < text.index("Outp")


def test_a_wake_tells_the_failing_tests_first_and_what_failed_for_output() -> None:
    tests = {
        "runner": "pytest", "passed": 3, "failed": 1, "errors": 1, "skipped": 0,
        "failed_names": ["t.py::a", "t.py::b"], "failed_names_truncated": True,
    }  # fmt: skip
    job = replace(FAILED, result={"tests": tests})
    printed = "".join(f"line {number}\n" for number in range(20))
    text = rendering.wake_text(shown(job, printed, failing="E  assert", next_step="Mend."), "")
    assert text.split("\n")[1:3] == [
        "Tests: 3 passed, 1 failed, 1 errors: t.py::a, t.py::b, and more",
        "Error: The command ended with exit code 2.",
    ]
    assert "line 7\n" not in text
    assert text.index("What seems to have failed <<") < text.index("Last lines <<")
    assert text.index("Last lines <<") < text.index("line 8\n") < text.index("line 19\n")
    assert text.endswith("\nMend.")


def test_a_wake_tells_no_lines_twice() -> None:
    text = rendering.wake_text(shown(FAILED, "E  a\nE  b\n", failing="E  a\nE  b"), "")
    assert "Last lines" not in text


def test_a_wake_calls_a_mere_tail_the_last_lines() -> None:
    text = rendering.wake_text(shown(FAILED, "all\nof it\n"), "of it")
    assert "Last lines <<" in text
    assert "What seems to have failed" not in text
    assert "Output (" not in text


def test_a_wake_of_a_completed_job_shows_its_output() -> None:
    done = replace(FAILED, status=Status.COMPLETED, reason=None, exit_code=0, error=None)
    assert "Output (1 line, next_cursor 174) <<" in rendering.wake_text(shown(done, "ok\n"), "")


@pytest.mark.parametrize("tests", [{"passed": 1}, {"passed": "x", "failed": 2}, [1], "none"])
def test_a_result_that_only_looks_like_tests_is_told_as_it_is(tests: object) -> None:
    text = rendering.job_text(shown(replace(FAILED, result={"tests": tests})))
    assert 'Result: {"tests": ' in text


def test_a_job_that_existed_and_what_it_asks_are_told() -> None:
    asking = replace(RUNNING, status=Status.INPUT_REQUIRED)
    asked = [{"key": "region", "message": "Which region?"}]
    text = rendering.job_text(shown(asking, existing=True, questions=asked))
    assert "This is the job that the idempotency_key started before; none was added." in text
    assert "It asks (region): Which region?" in text


def test_ended_attempts_tell_why() -> None:
    attempts = [{"attempt": 1, "error": "It ran longer than 3 s."}]
    text = rendering.job_text(shown(replace(RUNNING, attempt=2), attempts=attempts))
    assert "Attempt 2 of 3.\nAttempt 1: It ran longer than 3 s." in text


def waits(kind: str, **given: Any) -> dict[str, Any]:
    """Return how a job is shown that is due and waits for something."""
    wait = {"kind": kind, "names": [], "job_ids": [], "since": None, **given}
    return {"queue_position": 3, "waiting_for": wait}


@pytest.mark.parametrize(
    ("job", "more", "told"),
    [
        (JOB, {"queue_position": 3}, "pending in /srv: make - number 3 in the queue"),
        (replace(JOB, run_at_ms=JOB.created_at_ms + 60_000), {},
         "pending in /srv: make - starts at 2027-01-15T08:01:00.000Z"),
        (replace(JOB, status=Status.RETRYING, run_at_ms=JOB.created_at_ms + 60_000), {},
         "retrying in /srv: make - next attempt at 2027-01-15T08:01:00.000Z"),
        (JOB, waits("lock", names=["a", "b"]), "pending in /srv: make - waits for the lock a, b"),
        (JOB, waits("after", job_ids=["x", "y"]), "pending in /srv: make - waits for x, y"),
        (JOB, waits("paused", names=["type:shell"]), "pending in /srv: make - paused (type:shell)"),
    ],
)  # fmt: skip
def test_a_list_tells_what_a_job_waits_for(job: Job, more: dict[str, Any], told: str) -> None:
    listed: dict[str, Any] = {
        "jobs": [shown(job, **more)],
        "counts": {},
        "next_cursor": None,
        "others": 0,
    }
    assert rendering.list_text(listed) == f"{JOB.id} {told}"


def test_a_list_tells_states_codes_times_places_progress_and_counts() -> None:
    due = replace(JOB, run_at_ms=JOB.created_at_ms)
    jobs = [shown(replace(RUNNING, progress=HALF)), shown(FAILED), shown(due)]
    counts = {"pending": 1, "running": 1, "retrying": 0, "failed": 7}
    listed = {"jobs": jobs, "counts": counts, "next_cursor": "1m88", "others": 0}
    text = rendering.list_text(listed)
    assert text.split("\n") == [
        f"{JOB.id} running for 12.3 s, quiet for 2.3 s in /srv: make - 50% 3/6 tests",
        f"{JOB.id} failed (exit code 2) after 5.5 s in /srv: make",
        f"{JOB.id} pending in /srv: make",
        "Of all your jobs: 1 pending, 1 running, 7 failed.",
        "More with cursor 1m88.",
    ]
    nothing: dict[str, Any] = {**listed, "jobs": [], "next_cursor": None}
    assert rendering.list_text(nothing).startswith("No jobs.\nOf all your jobs: 1 pending")


def test_a_list_of_a_scope_tells_how_many_there_are_outside_of_it() -> None:
    listed: dict[str, Any] = {
        "jobs": [], "counts": {"failed": 2}, "next_cursor": None, "others": 7
    }  # fmt: skip
    assert rendering.list_text(listed).split("\n") == [
        "No jobs.",
        "Of jobs of this scope: 2 failed.",
        'Outside of this scope: 7; scope "all" lists them too.',
    ]


def test_a_notice_tells_why_a_job_failed() -> None:
    notice = {**shown(replace(FAILED, reason=Reason.TIMEOUT, error="Too long."))}
    assert rendering.notices_text([notice]) == (
        f"Ended meanwhile:\n{JOB.id} failed (timeout): make\nError: Too long."
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"title": "t" * 300}, "title: must have at most 200 characters, not 300. (Its name"),
        ({"wait_seconds": None}, "wait_seconds: input should be a valid number, not null. (Wait"),
        ({"title": True}, "title: input should be a valid string, not true. (Its name"),
    ],
)
def test_wrong_arguments_are_told_in_the_words_of_json(
    arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError) as found:
        StartJob.model_validate(arguments)
    assert rendering.problem_text(StartJob, found.value).startswith(told)
