"""How an attempt that ended is stored: as what it was, or as another attempt."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.policy import RETRIED, Policy
from mcp_jobs.domain.states import LONGEST_PAUSE_MS, TERMINAL, Reason, Status
from mcp_jobs.engine.outcomes import (
    INTERRUPTS_RETRIED,
    backoff_ms,
    interrupted,
    none_left,
    not_started,
    outcome_of,
    with_retry,
)
from tests.stores import NOW, ending, running

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.execution.launcher.exit_record import ExitRecord

GONE = "every process of the job is gone"


def record(**given: Any) -> ExitRecord:
    fields: Any = {
        "token": 1,
        "reason": None,
        "exit_code": None,
        "signal": None,
        "error": None,
        "started_at_ms": NOW + 1,
        "finished_at_ms": NOW + 2,
        "cpu_s": 0.25,
        "memory_peak_bytes": 1024,
        "bytes_total": 90,
        "dropped_bytes": 0,
        "output_start": 30,
        "output_error": None,
        **given,
    }
    made: ExitRecord = fields
    return made


CASES: list[tuple[dict[str, Any], dict[str, Any], Status, Reason | None, str | None]] = [
    ({}, {"exit_code": 0}, Status.COMPLETED, None, None),
    ({}, {"exit_code": 3}, Status.FAILED, Reason.EXIT_CODE, "ended with exit code 3."),
    (
        {},
        {"exit_code": 126},
        Status.FAILED,
        Reason.SPAWN_ERROR,
        "(exit code 126): /bin/sh: no such",
    ),
    (
        {},
        {"exit_code": 127},
        Status.FAILED,
        Reason.SPAWN_ERROR,
        "(exit code 127): /bin/sh: no such",
    ),
    (
        {"type": "report"},
        {"exit_code": 127},
        Status.FAILED,
        Reason.EXIT_CODE,
        "ended with exit code 127.",
    ),
    (
        {},
        {"signal": int(signal.SIGKILL)},
        Status.FAILED,
        Reason.SIGNAL,
        "killed by SIGKILL (signal 9).",
    ),
    ({}, {"signal": 63}, Status.FAILED, Reason.SIGNAL, "killed by signal 63."),
    (
        {"timeout_s": 1.5},
        {"reason": "timeout", "signal": 15},
        Status.FAILED,
        Reason.TIMEOUT,
        "longer than its limit of 1.5 s.",
    ),
    (
        {"idle_timeout_s": 60.0},
        {"reason": "idle_timeout", "signal": 9},
        Status.FAILED,
        Reason.IDLE_TIMEOUT,
        "printed nothing for 60 s.",
    ),
    (
        {},
        {"reason": "cancelled_by_user", "signal": 15},
        Status.CANCELLED,
        Reason.CANCELLED_BY_USER,
        GONE,
    ),
    (
        {},
        {"reason": "cancelled_by_user", "exit_code": 0},
        Status.CANCELLED,
        Reason.CANCELLED_BY_USER,
        GONE,
    ),
    ({}, {"reason": "declined"}, Status.CANCELLED, Reason.DECLINED, None),
    (
        {},
        {"reason": "interrupted", "signal": 15},
        Status.FAILED,
        Reason.INTERRUPTED,
        "the system was going down",
    ),
    (
        {},
        {"reason": "spawn_error", "error": "/nowhere is gone."},
        Status.FAILED,
        Reason.SPAWN_ERROR,
        "/nowhere is gone.",
    ),
    ({}, {"reason": "output_limit"}, Status.FAILED, Reason.OUTPUT_LIMIT, "more than its limit."),
]


@pytest.mark.parametrize(("job", "ended", "status", "reason", "error"), CASES)
def test_a_record_says_how_the_attempt_ended(
    job: dict[str, Any],
    ended: dict[str, Any],
    status: Status,
    reason: Reason | None,
    error: str | None,
) -> None:
    outcome = outcome_of(
        running(**job), record(**ended), result={"x": 1}, last_line="/bin/sh: no such"
    )

    assert (outcome.status, outcome.reason) == (status, reason)
    if error is None:
        assert outcome.error is None
    else:
        assert outcome.error is not None
        assert error in outcome.error
    assert outcome.exit_code == ended.get("exit_code")
    assert (outcome.started_at_ms, outcome.finished_at_ms) == (NOW + 1, NOW + 2)
    assert (outcome.output_start, outcome.cpu_s, outcome.memory_peak_bytes) == (30, 0.25, 1024)
    assert (outcome.result, outcome.run_at_ms) == ({"x": 1}, None)


@pytest.mark.parametrize(
    "last_line",
    [
        "/bin/sh: 1: nope: not found",
        "/usr/bin/bash: line 1: nope: command not found",
        "/bin/bash: nope: command not found",
        "/opt/my shells/bin/bash: Zeile 3: ./nope: Keine Berechtigung",
    ],
)
def test_a_program_that_the_jobs_shell_could_not_start_is_a_spawn_error(last_line: str) -> None:
    outcome = outcome_of(running(), record(exit_code=127), result=None, last_line=last_line)

    assert outcome.reason is Reason.SPAWN_ERROR
    assert outcome.error is not None
    assert last_line in outcome.error


@pytest.mark.parametrize(
    "last_line", ["bash: line 1: x: command not found", "see /bin/bash: x", "/bin/zsh: x", "/sh"]
)
def test_what_another_shell_could_not_start_is_an_exit_code(last_line: str) -> None:
    outcome = outcome_of(running(), record(exit_code=127), result=None, last_line=last_line)

    assert outcome.reason is Reason.EXIT_CODE


def test_a_pipe_that_was_cut_off_says_so() -> None:
    cut = outcome_of(running(), record(exit_code=141), result=None, last_line="")
    other = outcome_of(running(type="x"), record(exit_code=141), result=None, last_line="")

    assert (cut.status, cut.reason) == (Status.FAILED, Reason.EXIT_CODE)
    assert "SIGPIPE: in a pipe, a program was still printing" in (cut.error or "")
    assert "set +o pipefail;" in (cut.error or "")
    assert other.error == "The command ended with exit code 141."


@pytest.mark.parametrize("code", [126, 127])
def test_a_program_that_ends_with_the_shells_codes_has_failed_by_itself(code: int) -> None:
    outcome = outcome_of(running(), record(exit_code=code), result=None, last_line="timeout: x")

    assert (outcome.reason, outcome.exit_code) == (Reason.EXIT_CODE, code)


@pytest.mark.parametrize("ended", [{"exit_code": 0}, {"exit_code": 2}])
def test_output_that_could_not_be_stored_is_told_whatever_the_end(ended: dict[str, Any]) -> None:
    plain = outcome_of(running(), record(**ended), result=None, last_line="")
    cut = outcome_of(running(), record(output_error="ENOSPC", **ended), result=None, last_line="")

    assert (cut.status, cut.reason) == (plain.status, plain.reason)
    assert cut.error is not None
    assert cut.error.startswith(plain.error or "Output could not")
    assert "Output could not be stored completely (ENOSPC)." in cut.error


@pytest.mark.parametrize("limit_s", [1.0, 0.5, 86_400.0, 2_592_000.0, 1_234_567.0])
@pytest.mark.parametrize("reason", ["timeout", "idle_timeout"])
def test_a_limit_is_written_as_people_write_it(reason: str, limit_s: float) -> None:
    job = running(timeout_s=limit_s, idle_timeout_s=limit_s)

    outcome = outcome_of(job, record(reason=reason), result=None, last_line="")

    text = str(int(limit_s)) if limit_s.is_integer() else str(limit_s)
    assert outcome.error is not None
    assert f" {text} s" in outcome.error


@given(
    ended=st.fixed_dictionaries(
        {
            "reason": st.sampled_from([None, *Reason]),
            "exit_code": st.none() | st.integers(0, 255),
            "signal": st.none() | st.integers(1, 64),
            "error": st.sampled_from([None, "Because."]),
            "output_error": st.sampled_from([None, "EIO"]),
        }
    )
)
def test_every_record_gives_an_end_that_the_store_accepts(ended: dict[str, Any]) -> None:
    outcome = outcome_of(running(), record(**ended), result=None, last_line="")

    assert outcome.status in TERMINAL
    assert (outcome.reason is None) == (outcome.status is Status.COMPLETED)


# -- retries -------------------------------------------------------------------------------------


def retried(job: Job, reason: Reason) -> bool:
    failed = ending(Status.FAILED, reason)
    outcome = with_retry(job, failed, now_ms=NOW, base_s=1.0)
    if outcome.status is Status.RETRYING:
        assert outcome.run_at_ms is not None
        assert outcome == replace(failed, status=Status.RETRYING, run_at_ms=outcome.run_at_ms)
        assert NOW < outcome.run_at_ms <= NOW + LONGEST_PAUSE_MS
        return True
    assert outcome == failed
    return False


@pytest.mark.parametrize("reason", Reason)
def test_only_ends_that_another_attempt_may_mend_are_tried_again(reason: Reason) -> None:
    assert retried(running(attempt=1, max_attempts=2), reason) == (reason in RETRIED)


def test_a_job_is_tried_as_often_as_it_may_be_and_no_more() -> None:
    tries = [retried(running(attempt=n, max_attempts=3), Reason.EXIT_CODE) for n in (1, 2, 3, 4)]

    assert tries == [True, True, False, False]


def test_an_interruption_costs_none_of_the_retries() -> None:
    assert retried(running(attempt=3, max_attempts=2, interrupts=2), Reason.EXIT_CODE)
    assert not retried(running(attempt=4, max_attempts=2, interrupts=2), Reason.EXIT_CODE)


def test_a_lost_attempt_is_replaced_only_on_request_and_not_for_ever() -> None:
    assert not retried(running(max_attempts=5), Reason.INTERRUPTED)
    again = [
        retried(running(retry_on_interrupt=True, attempt=n + 1, interrupts=n), Reason.INTERRUPTED)
        for n in range(INTERRUPTS_RETRIED + 2)
    ]
    assert again == [True] * INTERRUPTS_RETRIED + [False, False]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
def test_what_did_not_fail_is_not_tried_again(status: Status) -> None:
    end = ending(status)

    assert with_retry(running(max_attempts=9), end, now_ms=NOW, base_s=1) == end


@pytest.mark.parametrize("reason", [*sorted(RETRIED), Reason.INTERRUPTED])
def test_a_cancel_beats_a_retry_and_the_end_is_what_it_was(reason: Reason) -> None:
    job = running(max_attempts=9, retry_on_interrupt=True, cancel_requested_at_ms=NOW)
    end = ending(Status.FAILED, reason)

    assert with_retry(job, end, now_ms=NOW, base_s=1) == end


# -- attempts without a record -------------------------------------------------------------------


def test_a_lost_attempt_is_interrupted_or_the_cancel_that_was_asked_for() -> None:
    lost = interrupted(running(), now_ms=NOW, error="Lost.")
    cancelled = interrupted(running(cancel_requested_at_ms=NOW), now_ms=NOW, error="Lost.")

    assert (lost.status, lost.reason) == (Status.FAILED, Reason.INTERRUPTED)
    assert (cancelled.status, cancelled.reason) == (Status.CANCELLED, Reason.CANCELLED_BY_USER)
    assert lost.error == "Lost."
    assert (lost.finished_at_ms, lost.output_start) == (NOW, 0)
    assert interrupted(running(), now_ms=NOW, error="", output_start=7).output_start == 7


def test_a_lost_attempt_does_not_end_before_its_start_when_the_clock_was_set_back() -> None:
    lost = interrupted(running(started_at_ms=NOW), now_ms=NOW - 3_600_000, error="Lost.")
    assert lost.finished_at_ms == NOW


def test_only_what_could_be_found_is_called_gone_after_a_lost_runner() -> None:
    asked = running(cancel_requested_at_ms=NOW)
    lost = interrupted(asked, now_ms=NOW, error="Lost.")
    never = not_started(asked, now_ms=NOW, error="No runner.")
    assert "could be found is gone" in str(lost.error)
    assert not none_left(replace(asked, error=lost.error))
    assert "every process of the job is gone" in str(never.error)
    assert none_left(replace(asked, error=never.error))
    assert none_left(asked)
    assert lost.started_at_ms is lost.exit_code is lost.cpu_s is None


def test_an_attempt_without_a_runner_could_not_be_started_or_is_cancelled() -> None:
    failed = not_started(running(), now_ms=NOW, error="No launcher.")
    cancelled = not_started(running(cancel_requested_at_ms=NOW), now_ms=NOW, error="No launcher.")

    assert (failed.status, failed.reason) == (Status.FAILED, Reason.SPAWN_ERROR)
    assert (cancelled.status, cancelled.reason) == (Status.CANCELLED, Reason.CANCELLED_BY_USER)
    assert failed.error == "No launcher."


# -- pauses --------------------------------------------------------------------------------------


@given(attempt=st.integers(1, 10_000), base_s=st.floats(0.001, 3600))
def test_a_pause_doubles_with_each_attempt_up_to_its_limit_and_half_of_it_is_chance(
    attempt: int, base_s: float
) -> None:
    full_ms = min(base_s * 1000 * 2 ** min(attempt - 1, 40), LONGEST_PAUSE_MS)

    pause_ms = backoff_ms(attempt, base_s=base_s)

    assert full_ms / 2 - 1 <= pause_ms <= full_ms + 1
    assert pause_ms <= LONGEST_PAUSE_MS


def test_pauses_of_jobs_that_failed_together_differ() -> None:
    assert len({backoff_ms(5, base_s=10) for _ in range(100)}) > 50


def test_no_base_means_no_pause() -> None:
    assert backoff_ms(7, base_s=0) == 0


# -- policies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attempt", "pause_s"), [(1, 30), (2, 60), (3, 90), (11, 300)])
def test_a_linear_backoff_is_thirty_seconds_times_the_attempt(attempt: int, pause_s: int) -> None:
    job = running(attempt=attempt, max_attempts=99, policy=Policy(backoff="linear"))
    outcome = with_retry(job, ending(Status.FAILED, Reason.EXIT_CODE), now_ms=NOW, base_s=1.0)

    assert outcome.run_at_ms == NOW + 1000 * pause_s


def test_a_delay_of_the_type_replaces_that_of_the_server() -> None:
    policies = [Policy(delay_s=8.0), Policy(delay_s=8.0, backoff="linear")]
    pauses = []
    for policy in policies:
        job = running(attempt=2, max_attempts=3, policy=policy)
        outcome = with_retry(job, ending(Status.FAILED, Reason.TIMEOUT), now_ms=NOW, base_s=1.0)
        assert outcome.run_at_ms is not None
        pauses.append(outcome.run_at_ms - NOW)

    assert 8_000 <= pauses[0] <= 16_000
    assert pauses[1] == 16_000
