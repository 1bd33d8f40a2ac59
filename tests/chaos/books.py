"""Hold the store against the ledger, the clients and the kills. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_jobs.domain.states import Reason
from mcp_jobs.engine.outcomes import INTERRUPTS_RETRIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mcp_jobs.domain.models import Attempt, Job
    from tests.chaos.ledger import Account, Run
    from tests.chaos.orders import Order

_RETRIED = ("exit_code", "signal", "timeout")


@dataclass(frozen=True)
class Entry:
    """One job as everybody saw it."""

    order: Order
    job: Job
    attempts: Sequence[Attempt]
    account: Account
    runner_kills: int
    output: str


def faults(entry: Entry) -> Iterator[str]:
    """Say everything that is untrue about an ended job."""
    yield from _end(entry)
    yield from _attempts(entry)
    yield from _output(entry)
    if not _explains(entry, list(entry.attempts), entry.account.runs):
        yield "the attempts in the store are not the runs in the ledger"
    for pid in entry.account.overlaps:
        yield f"process {pid} of an earlier attempt lived when the next one started"


def _end(entry: Entry) -> Iterator[str]:
    order, job, runs = entry.order, entry.job, entry.account.runs
    if not job.ended:
        yield f"it has not ended but is {job.status}"
        return
    last = runs[-1].end if runs else None
    if job.status == "failed" and job.exit_code == 0:
        yield "failed with exit code 0"
    if job.status == "cancelled" and job.attempt and job.exit_code is not None:
        # None of them handles a signal, so the signal came too late.
        yield f"cancelled, but it had ended by itself with {job.exit_code}"
    if job.status == "completed" and last != 0:
        yield f"completed, but its last run ended with {last}"
    if last == 0 and job.status != "completed" and not (entry.runner_kills or order.cancel_sent):
        yield f"{job.status}, but its last run ended with 0"
    if job.status == "cancelled" and not order.cancel_sent:
        yield "cancelled, but nobody asked for it"
    if order.seen_cancelled and job.status != "cancelled":
        yield f"{job.status}, but a client was told that it is cancelled"
    if job.attempt != len(entry.attempts):
        yield f"attempt {job.attempt}, but {len(entry.attempts)} ended attempts"


def _attempts(entry: Entry) -> Iterator[str]:
    order = entry.order
    reasons = [attempt.reason for attempt in entry.attempts]
    interrupted = reasons.count(Reason.INTERRUPTED)
    if interrupted > entry.runner_kills:
        yield f"{interrupted} times interrupted with {entry.runner_kills} killed runners"
    own = [reason for reason in reasons if reason in _RETRIED]
    if len(own) > 1 + order.retries:
        yield f"{len(own)} failed attempts with {order.retries} retries"
    for reason in reasons[:-1]:
        if reason == "interrupted" and not order.repeatable:
            yield "repeated after an interruption without having been asked to"
        if reason not in (*_RETRIED, "interrupted"):
            yield f"repeated after {reason}"
    if order.cancel_sent or not reasons:
        return
    if reasons[-1] == "interrupted" and order.repeatable and interrupted <= INTERRUPTS_RETRIED:
        yield "not repeated after an interruption"
    if reasons[-1] in _RETRIED and len(own) <= order.retries:
        yield "given up with retries left"


def _output(entry: Entry) -> Iterator[str]:
    if entry.runner_kills:
        return
    for run in entry.account.runs:
        if run.end is not None and f"fin {run.pid}\n" not in entry.output:
            yield f"the output lacks the end of the run with pid {run.pid}"


def _explains(entry: Entry, attempts: list[Attempt], runs: list[Run]) -> bool:
    """Whether the runs can be those of the attempts, in this order.

    An attempt that was killed or cancelled may have had no run at all.
    """
    if not attempts:
        return not runs
    first, rest = attempts[0], attempts[1:]
    if first.reason in ("interrupted", "cancelled_by_user"):
        if _explains(entry, rest, runs):
            return True
        return bool(runs) and _explains(entry, rest, runs[1:])
    if not runs or not _explains(entry, rest, runs[1:]):
        # A limit may be over before the shell has written its first line.
        return first.reason == "timeout" and _explains(entry, rest, runs)
    end = runs[0].end
    if first.reason is None:
        return end == 0 == first.exit_code
    if first.reason == "exit_code":
        return end is not None and end > 0 and end == first.exit_code
    if first.reason == "signal":
        return end is not None and end < 0 and f"(signal {-end})" in str(first.error)
    return first.reason == "timeout" and end is None and entry.job.timeout_s is not None
