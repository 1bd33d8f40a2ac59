"""The job object: what each field is for each state, with times that any reader understands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.job_object import attempt_objects, failed_tests, job_object, rfc3339
from mcp_jobs.domain.models import Attempt, Job, JobOrigin, Progress
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.output import OutputSlice, output_object
from tests.contract import JOB_FIELDS, OUTPUT_FIELDS, check_job_object

NOW_MS = 1_800_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JOB = Job(
    id="1m847zbzth5yhe649kfpvdpyf", owner="local", locality="here", type="shell", params={},
    title="make", cwd="/srv", status=Status.PENDING, reason=None, exit_code=None, error=None,
    result=None, attempt=0, max_attempts=3, interrupts=0, created_at_ms=NOW_MS,
    run_at_ms=NOW_MS + 500, started_at_ms=None, attempt_started_at_ms=None, finished_at_ms=None,
    timeout_s=None, idle_timeout_s=None, retry_on_interrupt=False, cancel_requested_at_ms=None,
    progress=None, claim_token=0, launch_token=0, claimed_by=None, fingerprint="f",
)  # fmt: skip
STARTED = replace(JOB, status=Status.RUNNING, attempt=1, started_at_ms=NOW_MS + 1000)


def shown(job: Job, **options: Any) -> dict[str, Any]:
    found = job_object(job, now_ms=NOW_MS + 5000, **options)
    assert set(found) == JOB_FIELDS
    check_job_object(found)
    return found


def test_a_running_job_is_quiet_since_its_last_output_or_since_its_attempt_began() -> None:
    running = replace(STARTED, attempt_started_at_ms=NOW_MS + 2000)
    assert shown(running)["quiet_seconds"] == 3
    assert shown(running, printed_at_ms=NOW_MS + 4250)["quiet_seconds"] == 0.75
    # What an earlier attempt printed last.
    assert shown(running, printed_at_ms=NOW_MS + 1000)["quiet_seconds"] == 3
    # A clock that was set back, or a file that the job has dated to the future.
    assert shown(running, printed_at_ms=NOW_MS + 99_000)["quiet_seconds"] == 0


def test_only_a_running_job_is_quiet() -> None:
    ended = replace(STARTED, status=Status.COMPLETED, finished_at_ms=NOW_MS, exit_code=0)
    asking = replace(STARTED, status=Status.INPUT_REQUIRED, attempt_started_at_ms=NOW_MS)
    for job in (JOB, ended, asking):
        assert shown(job, printed_at_ms=NOW_MS)["quiet_seconds"] is None


def test_a_waiting_job_has_a_place_and_no_duration() -> None:
    found = shown(JOB, queue_position=2)
    assert (found["status"], found["queue_position"]) == ("pending", 2)
    assert (found["started_at"], found["duration_seconds"]) == (None, None)
    assert (found["created_at"], found["run_at"]) == (
        "2027-01-15T08:00:00.000Z", "2027-01-15T08:00:00.500Z",
    )  # fmt: skip
    assert found["uri"] == f"jobs://job/{JOB.id}"


def test_a_running_job_s_duration_grows_until_its_end() -> None:
    assert shown(STARTED)["duration_seconds"] == 4
    done = replace(STARTED, status=Status.COMPLETED, finished_at_ms=NOW_MS + 3500, exit_code=0)
    assert shown(done)["duration_seconds"] == 2.5
    # A wall clock that was set back shows no negative time.
    back = replace(STARTED, started_at_ms=NOW_MS + 99_000)
    assert shown(back)["duration_seconds"] == 0


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        ({"tests": {"failed": 2, "errors": 1}}, 3),
        ({"tests": {"failed": 0, "errors": 0}}, 0),
        ({"tests": {"failed": "many", "errors": -4}}, 0),
        ({"tests": {"failed": True}}, 0),
        ({"tests": [1]}, 0),
        ("tests", 0),
        (None, 0),
    ],
)
def test_failed_tests_are_counted_whatever_a_job_returned(result: object, failed: int) -> None:
    assert failed_tests(replace(STARTED, result=result)) == failed


def test_only_a_retrying_job_has_a_next_attempt() -> None:
    retrying = replace(STARTED, status=Status.RETRYING, reason=Reason.TIMEOUT)
    assert shown(retrying)["next_attempt_at"] == "2027-01-15T08:00:00.500Z"
    assert shown(retrying)["reason"] == "timeout"
    assert shown(STARTED)["next_attempt_at"] is None
    assert shown(JOB)["next_attempt_at"] is None


def test_lost_attempts_do_not_count_against_the_allowed_ones() -> None:
    assert shown(replace(STARTED, attempt=2, interrupts=1))["max_attempts"] == 4


def test_a_cancel_that_was_asked_for_shows() -> None:
    assert shown(STARTED)["cancel_requested"] is False
    assert shown(replace(STARTED, cancel_requested_at_ms=0))["cancel_requested"] is True


def test_an_origin_is_shown_without_what_a_screen_would_obey() -> None:
    assert shown(JOB)["origin"] is None
    origin = JobOrigin(client_name="h\x1b[31m", project="/srv/\u202ea", session="s\n")
    assert shown(replace(JOB, origin=origin))["origin"] == {
        "client_name": "h\\u001b[31m", "client_version": None, "project": "/srv/\\u202ea",
        "session": "s\\u000a",
    }  # fmt: skip


def test_progress_is_shown_with_its_time() -> None:
    progress = Progress(current=1, total=4, percent=25.0, message="m", updated_at_ms=NOW_MS)
    assert shown(replace(STARTED, progress=progress))["progress"] == {
        "current": 1, "total": 4, "percent": 25.0, "message": "m",
        "updated_at": "2027-01-15T08:00:00.000Z",
    }  # fmt: skip
    assert shown(STARTED)["progress"] is None


def test_time_left_is_told_while_it_is_likely() -> None:
    progress = Progress(
        current=1, total=4, percent=25.0, message="m", updated_at_ms=NOW_MS,
        ends_at_ms=NOW_MS + 5000 + 40_000,
    )  # fmt: skip
    running = replace(STARTED, progress=progress)
    assert shown(running)["progress"]["message"] == "m, about 40 s left"
    ran_out = replace(progress, ends_at_ms=NOW_MS + 4000)
    assert shown(replace(running, progress=ran_out))["progress"]["message"] == "m"
    ended = replace(
        running,
        status=Status.FAILED,
        reason=Reason.EXIT_CODE,
        exit_code=1,
        finished_at_ms=NOW_MS + 2000,
    )
    assert shown(ended)["progress"]["message"] == "m"


def test_a_completed_job_is_done_whatever_was_seen_of_it() -> None:
    seen = Progress(current=6, total=6, percent=99.9, message="6 of 6", updated_at_ms=NOW_MS)
    done = replace(
        STARTED, status=Status.COMPLETED, exit_code=0, progress=seen, finished_at_ms=NOW_MS + 2000
    )
    whole = shown(done)["progress"]
    assert (whole["current"], whole["percent"], whole["message"]) == (6, 100, "6 of 6")
    partly = shown(replace(done, progress=replace(seen, current=4, percent=67.0)))["progress"]
    assert (partly["current"], partly["percent"], partly["message"]) == (None, 100, "6 of 6")
    counted = shown(replace(done, progress=replace(seen, total=None, percent=None)))["progress"]
    assert (counted["current"], counted["percent"]) == (6, None)


def test_output_has_its_eight_fields() -> None:
    piece = OutputSlice(
        text="t", bytes_total=9, lines_total=2, lines_shown=1, first_cursor=3, next_cursor=4,
        dropped_bytes=5, truncated=True,
    )  # fmt: skip
    found = output_object(piece)
    assert set(found) == OUTPUT_FIELDS
    assert found == {name: getattr(piece, name) for name in OUTPUT_FIELDS}


@pytest.mark.parametrize("reason", [None, Reason.EXIT_CODE])
def test_an_attempt_is_shown_with_its_end(reason: Reason | None) -> None:
    attempt = Attempt(
        number=1, started_at_ms=None, finished_at_ms=NOW_MS, reason=reason, exit_code=3,
        error="e", output_start=7, cpu_s=0.5, memory_peak_bytes=8,
    )  # fmt: skip
    assert attempt_objects([attempt]) == [
        {
            "attempt": 1, "started_at": None, "finished_at": "2027-01-15T08:00:00.000Z",
            "reason": reason and reason.value, "exit_code": 3, "error": "e", "output_cursor": 7,
            "cpu_seconds": 0.5, "memory_peak_bytes": 8,
        }
    ]  # fmt: skip


@given(st.integers(0, 250_000_000_000_000))
def test_a_time_is_utc_and_exact_to_the_millisecond(time_ms: int) -> None:
    text = rfc3339(time_ms)
    assert text is not None
    assert text.endswith("Z")
    assert (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1) == time_ms
    assert len(text) == len("2027-01-15T08:00:00.000Z")


def test_no_time_stays_none() -> None:
    assert rfc3339(None) is None
