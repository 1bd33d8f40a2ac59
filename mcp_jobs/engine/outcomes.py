"""From an exit record to how the attempt is stored. Pure functions."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.models import Outcome
from mcp_jobs.domain.policy import RETRIED
from mcp_jobs.domain.states import LONGEST_PAUSE_MS, Reason, Status

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.execution.base import ExitRecord, Report

LINEAR_DELAY_S: Final = 30.0
"""The step of a linear backoff where its type names none."""

_SPREAD: Final = random.Random()  # noqa: S311 - spread, not secrecy
"""Our own: an application that seeds the common generator would make all its pauses alike."""

Printed = Callable[[tuple[str, ...]], bool]
"""Says whether the attempt's output has a match of any of these patterns."""

INTERRUPTS_RETRIED: Final = 3
"""How many lost attempts `retry_on_interrupt` replaces, so that a job which brings the machine
down does not do so for ever."""

_OWN_ENDS: Final = (None, Reason.EXIT_CODE, Reason.SIGNAL)
"""Reasons of an end that nobody ordered."""

_SHELL_NOT_FOUND: Final = 127
_SHELL_NOT_EXECUTABLE: Final = 126
_SHELL_COMPLAINS: Final = re.compile(r"/(?:[^:/]+/)*(?:ba)?sh: ")
_CUT_OFF: Final = 128 + signal.SIGPIPE


def outcome_of(
    job: Job, record: ExitRecord, *, result: Any, last_line: str, printed: Printed | None = None
) -> Outcome:
    """Say how an attempt with this record ended, before retries are considered.

    `printed` is asked only where the job's policy looks for patterns.
    """
    reason = _reason(job, record, last_line)
    if reason is None:
        status = Status.COMPLETED
    elif reason in (Reason.CANCELLED_BY_USER, Reason.SUPERSEDED, Reason.DECLINED):
        status = Status.CANCELLED
    else:
        status = Status.FAILED
    return Outcome(
        status=status,
        reason=reason,
        exit_code=record["exit_code"],
        error=_error(job, reason, record, last_line),
        result=result,
        started_at_ms=record["started_at_ms"],
        finished_at_ms=record["finished_at_ms"],
        output_start=record["output_start"],
        cpu_s=record["cpu_s"],
        memory_peak_bytes=record["memory_peak_bytes"],
        retryable=_retryable(job, reason, record, printed),
    )


def _retryable(
    job: Job, reason: Reason | None, record: ExitRecord, printed: Printed | None
) -> bool:
    """Say whether the policy lets another attempt follow."""
    on = job.policy.retry_on
    if on is None or reason not in RETRIED:
        return True
    return (
        (reason in (Reason.TIMEOUT, Reason.IDLE_TIMEOUT) and on.timeout)
        or (reason is Reason.SIGNAL and on.signal)
        or (reason is Reason.EXIT_CODE and record["exit_code"] in on.exit_codes)
        or (bool(on.output) and printed is not None and printed(on.output))
    )


def with_report(outcome: Outcome, report: Report | None) -> Outcome:
    """Say how the attempt of a Python job ended, by what its function came to.

    What a function does after it was told to stop is not how the job ended.
    """
    own_end = report is not None and (not report.stopped or outcome.reason in _OWN_ENDS)
    if report is None or not own_end:
        if outcome.reason is None:
            text = "The function's process ended without a result (exit code 0)."
            outcome = replace(
                outcome, status=Status.FAILED, reason=Reason.EXCEPTION, error=text, result=None
            )
        return replace(outcome, result=None, retryable=False)
    outcome = replace(outcome, result=report.result, error=report.error)
    if report.came_to == "returned":
        return replace(outcome, status=Status.COMPLETED, reason=None)
    if report.came_to == "declined":
        return replace(outcome, status=Status.CANCELLED, reason=Reason.DECLINED)
    return replace(
        outcome,
        status=Status.FAILED,
        reason=Reason.EXCEPTION,
        retryable=report.came_to == "retry",
        pause_s=report.after_s,
    )


def interrupted(job: Job, *, now_ms: int, error: str, output_start: int = 0) -> Outcome:
    """Say that an attempt was lost: its runner is gone and left no record.

    A cancel that was asked for is what ended it, as far as anybody can know.
    """
    cancelled = job.cancel_requested_at_ms is not None
    return Outcome(
        status=Status.CANCELLED if cancelled else Status.FAILED,
        reason=Reason.CANCELLED_BY_USER if cancelled else Reason.INTERRUPTED,
        exit_code=None,
        error=f"{error} {_FOUND}" if cancelled else error,
        result=None,
        started_at_ms=None,
        # The wall clock may have been set back since the start.
        finished_at_ms=max(now_ms, job.started_at_ms or 0),
        output_start=output_start,
        cpu_s=None,
        memory_peak_bytes=None,
    )


def not_started(job: Job, *, now_ms: int, error: str) -> Outcome:
    """Say that no runner could be made for an attempt."""
    outcome = replace(interrupted(job, now_ms=now_ms, error=error), error=error)
    if outcome.status is Status.CANCELLED:
        return replace(outcome, error=f"{_CANCELLED} {error}")
    return replace(outcome, reason=Reason.SPAWN_ERROR)


def swept(job: Job, reason: Reason, *, now_ms: int) -> Outcome:
    """Say that a job was ended whose runner could not be told to."""
    outcome = interrupted(job, now_ms=now_ms, error="")
    if reason is Reason.CANCELLED_BY_USER:
        return replace(outcome, error=f"{_ON_REQUEST}. {_FOUND}")
    limit = "" if job.timeout_s is None else f" of {_seconds(job.timeout_s)} s"
    return replace(outcome, reason=reason, error=f"Stopped: it ran longer than its limit{limit}.")


def superseded(job: Job, outcome: Outcome) -> Outcome:
    """Say of a job that was cancelled who took its place: nobody else wished its end."""
    told = f"Superseded by job {job.superseded_by}"
    before, asked, after = (outcome.error or "").partition(_ON_REQUEST)
    error = f"{before}{told}{after}" if asked else f"{told}. {before}".rstrip()
    return replace(outcome, reason=Reason.SUPERSEDED, error=error)


def without_directory(outcome: Outcome) -> Outcome:
    """Say that the directory of an ended job is gone, and so is what it printed."""
    gone = "Its directory was removed while it ran, and its output with it."
    return replace(outcome, error=f"{outcome.error} {gone}" if outcome.error else gone)


def none_left(job: Job) -> bool:
    """Say whether it is known that no process of a cancelled job is left.

    It is where its runner saw them all end, and where none ever was. After a runner that was killed
    a process is not found which has cleared its environment and left its session.
    """
    return job.error is None or _FOUND not in job.error


def with_retry(job: Job, outcome: Outcome, *, now_ms: int, base_s: float) -> Outcome:
    """Turn a failure into another attempt where the job allows one."""
    if outcome.status is not Status.FAILED or job.cancel_requested_at_ms is not None:
        return outcome
    if outcome.reason is Reason.INTERRUPTED:
        again = job.retry_on_interrupt and job.interrupts < INTERRUPTS_RETRIED
    else:
        left = job.attempt < job.max_attempts + job.interrupts
        again = left and outcome.reason in RETRIED and outcome.retryable
    if not again:
        return outcome
    if outcome.pause_s is None:
        pause_ms = _pause_ms(job, base_s=base_s)
    else:
        pause_ms = round(1000 * outcome.pause_s)
    return replace(outcome, status=Status.RETRYING, run_at_ms=now_ms + pause_ms)


def _pause_ms(job: Job, *, base_s: float) -> int:
    if job.policy.backoff == "linear":
        step_s = LINEAR_DELAY_S if job.policy.delay_s is None else job.policy.delay_s
        return round(min(step_s * 1000 * job.attempt, LONGEST_PAUSE_MS))
    delay_s = base_s if job.policy.delay_s is None else job.policy.delay_s
    return backoff_ms(job.attempt, base_s=delay_s)


def backoff_ms(attempt: int, *, base_s: float) -> int:
    """Return the pause after this attempt: exponential, at most five minutes, half of it random.

    The randomness keeps jobs that failed together from coming back together.
    """
    full_ms = min(base_s * 1000 * 2.0 ** min(attempt - 1, 30), LONGEST_PAUSE_MS)
    return round(full_ms * (0.5 + _SPREAD.random() / 2))


_ON_REQUEST = "Cancelled on request"
_CANCELLED = f"{_ON_REQUEST}; every process of the job is gone."
_FOUND = "Every process of the job that could be found is gone."


def _reason(job: Job, record: ExitRecord, last_line: str) -> Reason | None:
    if record["reason"] is not None:
        return Reason(record["reason"]) if record["reason"] in _REASONS else Reason.INTERRUPTED
    if record["signal"] is not None:
        return Reason.SIGNAL
    if record["exit_code"] in job.policy.success_codes:
        return None
    if _shell_found_nothing(job, record, last_line):
        return Reason.SPAWN_ERROR
    return Reason.EXIT_CODE


def _shell_found_nothing(job: Job, record: ExitRecord, last_line: str) -> bool:
    """Whether the shell could not start the program (POSIX: XCU 2.8.2, exit status for commands).

    Programs may end with these codes too (docker, timeout, xargs); only the shell's own complaint
    as the last line of the output tells.
    """
    codes = (_SHELL_NOT_FOUND, _SHELL_NOT_EXECUTABLE)
    complained = _SHELL_COMPLAINS.match(last_line) is not None
    return job.type == "shell" and record["exit_code"] in codes and complained


def _error(job: Job, reason: Reason | None, record: ExitRecord, last_line: str) -> str | None:
    text = _error_text(job, reason, record, last_line)
    if record["output_error"] is not None:
        kept = f"Output could not be stored completely ({record['output_error']})."
        text = f"{text} {kept}" if text else kept
    return text


def _error_text(job: Job, reason: Reason | None, record: ExitRecord, last_line: str) -> str | None:
    if reason is None:
        return None
    texts = {
        Reason.EXIT_CODE: f"The command ended with exit code {record['exit_code']}."
        + (_PIPE if job.type == "shell" and record["exit_code"] == _CUT_OFF else ""),
        Reason.SIGNAL: f"The command was killed by {_signal_name(record['signal'])}.",
        Reason.TIMEOUT: f"Stopped: it ran longer than its limit of {_seconds(job.timeout_s)} s."
        if job.timeout_s
        else "Stopped: it ran longer than its limit.",
        Reason.IDLE_TIMEOUT: f"Stopped: it printed nothing for {_seconds(job.idle_timeout_s)} s."
        if job.idle_timeout_s
        else "Stopped: it printed nothing for too long.",
        Reason.OUTPUT_LIMIT: "Stopped: it printed more than its limit"
        + (f" of {limit} bytes." if (limit := job.policy.output_limit_bytes) else "."),
        Reason.CANCELLED_BY_USER: _CANCELLED,
        Reason.SUPERSEDED: _CANCELLED,
        Reason.INTERRUPTED: record["error"] or _interruption(record["reason"]),
        Reason.SPAWN_ERROR: record["error"]
        or f"The shell could not start a program (exit code {record['exit_code']}): {last_line}",
    }
    return texts.get(reason)


_PIPE: Final = (
    " That is SIGPIPE: in a pipe, a program was still printing when the next one, such as head, "
    "stopped reading. Where that is fine, begin the command with: set +o pipefail;"
)
_REASONS = frozenset(Reason)


def _interruption(reason: str | None) -> str:
    if reason in _REASONS:
        return "Interrupted: the system was going down."
    return (
        "Interrupted: an order that does not come from mcp-jobs was found in the job's directory."
    )


def _seconds(limit_s: float) -> str:
    return str(int(limit_s)) if float(limit_s).is_integer() else f"{limit_s:.10g}"


def _signal_name(number: int | None) -> str:
    try:
        return f"{signal.Signals(number or 0).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
