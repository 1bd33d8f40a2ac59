"""What a claimed job is that nobody follows: by its row, its files and its processes.

Pure, and the only place where it is decided whether a job may be started. Two rules stand above the
others: what may have begun is not begun again under the same claim, and what lives has not ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.execution.incarnation import Incarnation
    from mcp_jobs.execution.launcher.exit_record import ExitRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What the directory of a job says about its newest runner."""

    token: int | None = None
    """The claim token that the newest runner was started with; None before the first."""
    output_start: int = 0
    """Where that runner's output begins, in bytes."""
    record: ExitRecord | None = None
    """How that runner's attempt ended, if it wrote it down."""
    locked: bool = False
    """A runner lives."""
    directory: bool = True
    environment: bool = False
    """The file that a runner takes away when the job's process has been started."""
    printed: bool = False
    """There is output, perhaps of an earlier attempt."""
    fence: int = 0
    """The lowest claim token that may start."""
    missing: str | None = None
    """What is not as a runner leaves it, as the end of the sentence "..., because"; None if all is
    as it should be, or nothing is there yet."""
    unusable: bool = False
    """What is missing is such that no runner could start here."""


class Verdict(Enum):
    """What is to be done with a job."""

    FOLLOW = "a runner lives"
    CONCLUDE = "a runner has written down how it ended"
    WAIT = "something of it lives that has no runner that is known"
    START = "it has not begun"
    LOST = "it may have begun, and nothing of it lives"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A verdict; of a lost job also why it is lost, in a sentence for its owner."""

    verdict: Verdict
    why: str | None = None


def judge(job: Job, traces: Traces, *, here: Incarnation, lives: bool) -> Case:
    """Decide what a claimed job is.

    `lives` says whether any process carries its mark. A runner that lives, or a record that is
    there, leaves nothing to decide, so that it need not be known then.
    """
    if traces.locked:
        return Case(verdict=Verdict.FOLLOW)
    if began(job, traces):
        if traces.record is not None:
            return Case(verdict=Verdict.CONCLUDE)
        return _lost(_end_of_runner(job, here))
    if lives:
        return Case(verdict=Verdict.WAIT)
    if not here.same_home(job.claimed_in) or not here.same_boot(job.claimed_in):
        return _lost(_end_of_claim(job, here))
    if traces.fence > job.claim_token:
        return _lost(
            "its directory has seen a later claim than the job database, which must have been "
            "restored. Whether that one ran it is not known"
        )
    return _of_this_incarnation(job, traces, here)


def outlived(case: Case, traces: Traces) -> Case:
    """Correct a verdict on a job of which processes were seen: it has begun, whatever is left."""
    if case.verdict not in (Verdict.START, Verdict.LOST):
        return case
    missing = traces.missing or f"its {'file `alive`' if traces.directory else 'directory'} is gone"
    return _lost(f"its processes have ended, and how is not known, as {missing}")


def began(job: Job, traces: Traces) -> bool:
    """Say whether a runner of the current attempt has written down that it starts the job."""
    return traces.token is not None and traces.token >= job.launch_token


def _of_this_incarnation(job: Job, traces: Traces, here: Incarnation) -> Case:
    """Decide about a claim of this boot, whose files would be here had a runner made them."""
    if not traces.directory:
        if traces.missing is None and job.prepared_in != str(here):
            # Its directory has not reached the disk before the power went, or was not copied.
            return Case(verdict=Verdict.START)
        return _lost(f"{traces.missing or 'its directory is gone'}. {_PERHAPS}")
    if traces.unusable:
        return _lost(f"{traces.missing}. {_PERHAPS}")
    earlier = job.attempt > 1 and traces.token is not None
    if traces.environment:
        if traces.printed and job.attempt == 1:
            return _lost(f"{traces.missing or 'its file `alive` is gone'}. {_PERHAPS}")
        return Case(verdict=Verdict.START)
    if earlier:
        # The runners of earlier attempts are all written down, and none of this one is.
        return Case(verdict=Verdict.START)
    return _lost(
        f"its file `env` is gone, which its start takes away, "
        f"and {traces.missing or 'its file `alive` too'}. {_PERHAPS}"
    )


_PERHAPS = "It may have run already, so it is not started again"


def _lost(why: str) -> Case:
    return Case(verdict=Verdict.LOST, why=f"Interrupted: {why}.")


def _end_of_runner(job: Job, here: Incarnation) -> str:
    if job.claimed_in is None or str(here) == job.claimed_in:
        return "its runner was killed or the machine went down. The output up to then is kept"
    return f"{_between(job, here)} while it ran. The output up to then is kept"


def _end_of_claim(job: Job, here: Incarnation) -> str:
    if job.claimed_in is None:
        return (
            "it was about to be started by an older version, which left nothing that tells whether "
            "it was"
        )
    return (
        f"{_between(job, here)} as it was started. Whether it began is not known, so it is not "
        "started again"
    )


def _between(job: Job, here: Incarnation) -> str:
    """Say what came between a claim and now."""
    if here.same_home(job.claimed_in):
        return "the machine went down"
    if here.same_boot(job.claimed_in):
        return "this home is a copy of the one in which the job ran, and was made"
    return "the machine went down, or this home was copied from another one,"
