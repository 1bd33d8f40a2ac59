"""What whoever was shown a job should do now, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain import display, job_object
from mcp_jobs.domain.gates import Obstacles, WaitKind
from mcp_jobs.domain.models import CONFIRM_KEY
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.domain.vocabulary import TOOLS
from mcp_jobs.engine import outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.gates import Pause, WaitingFor
    from mcp_jobs.domain.models import Job, Question
    from mcp_jobs.domain.vocabulary import Vocabulary

_TITLE_CHARS: Final = 40
_NAME_CHARS: Final = 100
_WHY_CHARS: Final = 200
_SHOWN_IDS: Final = 3
TOLD: Final = "You will be told when it ends; do not poll."
_GO_ON: Final = "Go on with other work; later wait for its end with"
_GREP: Final = "(?i)error|fail"
_NOTHING: Final = Obstacles()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Why a job that is due has not begun."""

    position: int | None
    """Its place among the waiting jobs of its owner, from 1; None where that is not known."""
    capacity: int
    """How many jobs may run at once."""
    holders: Sequence[Job]
    """Jobs of the same owner that run now, some of them."""
    others: int
    """How many more run now, whoever owns them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a job waits for, and what is known of that."""

    waiting_for: WaitingFor | None = None
    obstacles: Obstacles = _NOTHING
    queue: Queue | None = None
    """There where it waits for the capacity."""


_NO_TURN: Final = Turn()


def next_step(
    job: Job,
    asked: Sequence[Question],
    *,
    now_ms: int,
    turn: Turn = _NO_TURN,
    partly: bool = False,
    say: Vocabulary = TOOLS,
) -> str:
    """Return what to do about a job that asks these questions, in the words of an interface.

    `turn` says what a waiting job waits for; `partly` that there is more output than was shown.
    """
    look = say.wait(job.id)
    if job.status is Status.COMPLETED:
        return _after_completion(job) + _more(
            job, say, partly=partly and job_object.failed_tests(job) > 0
        )
    if job.status is Status.CANCELLED:
        return _after_cancel(job, say)
    if job.status is Status.FAILED:
        return "The job failed; see error and output, fix the cause and start it again." + _more(
            job, say, partly=partly
        )
    if job.cancel_requested_at_ms is not None:
        return f"The job is being stopped; see whether it is gone with {look}."
    if job.status is Status.INPUT_REQUIRED:
        return f"{_whom_to_ask(job, asked, say)} Then see how it goes on with {look}."
    standing = _standing(job, now_ms, turn, say)
    return f"{standing} {_GO_ON} {look}."


def for_whom_is_told(step: str) -> str:
    """Return a step as it is for a caller who is told of the end of the job."""
    standing, go_on, _ = step.partition(_GO_ON)
    return f"{standing}{TOLD}" if go_on else step


def _standing(job: Job, now_ms: int, turn: Turn, say: Vocabulary) -> str:
    """Say where a job stands that has not ended and asks nothing."""
    if job.status is Status.RUNNING:
        return "The job runs."
    if turn.queue is not None:
        return _place(turn.queue)
    kind = None if turn.waiting_for is None else turn.waiting_for.kind
    if kind is WaitKind.AFTER:
        return _parents(job, turn.obstacles)
    if kind is WaitKind.PAUSED:
        return _pause(turn.obstacles.pauses[0], say)
    if kind is WaitKind.LOCK:
        return _locks(turn.obstacles)
    begun = "Accepted; starts" if job.status is Status.PENDING else "The next attempt starts"
    if job.run_at_ms > now_ms:
        return f"{begun} at {job_object.rfc3339(job.run_at_ms)}."
    return f"{begun} now."


def _parents(job: Job, obstacles: Obstacles) -> str:
    ids = obstacles.open_parents
    # One that it takes the place of need only be gone.
    all_must_complete = not job.after_any_end and set(ids) <= set(job.after)
    what = "job" if len(ids) == 1 else f"{len(ids)} jobs"
    end = "complete" if all_must_complete else "end"
    return f"The job waits for {what} {_few(ids)} to {end}."


def _pause(pause: Pause, say: Vocabulary) -> str:
    held = {"all": "Everything", "type": "Its type", "lock": f"The lock {_quoted(pause.name)}"}
    why = "" if pause.why is None else f", who says {_quoted(pause.why, _WHY_CHARS)}"
    return (
        f"{held[pause.kind]} is paused since {job_object.rfc3339(pause.at_ms)} by "
        f"{display.line(pause.paused_by)}{why}. A person lets it go on with "
        f"{say.resume(pause.kind, pause.name)}."
    )


def _locks(obstacles: Obstacles) -> str:
    names = obstacles.taken_locks
    which = ", ".join(map(_quoted, names))
    holders = f"job {_few(obstacles.holders)}" if obstacles.holders else "a job of somebody else"
    what, hold = ("lock", "is held by") if len(names) == 1 else ("locks", "are held by")
    return f"The job waits for the {what} {which}, which {hold} {holders}."


def _few(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
    return f"{', '.join(ids[:_SHOWN_IDS])}{more}"


def _place(queue: Queue) -> str:
    place = "" if queue.position is None else f" as number {queue.position}"
    names = [f"{job.id} ({_short_title(job)})" for job in queue.holders]
    if queue.others:
        names.append(f"{queue.others} {'more' if names else 'of others'}")
    now = f" Running now: {', '.join(names)}." if names else ""
    return f"The job waits for its turn{place}; {queue.capacity} may run at once.{now}"


def _short_title(job: Job) -> str:
    return _quoted(job.title, _TITLE_CHARS)


def _quoted(text: str, most: int = _NAME_CHARS) -> str:
    shown = display.line(text)
    cut = shown if len(shown) <= most else f"{shown[:most]}…"
    # Its control characters are written out already; their backslashes are not to be doubled.
    return '"{}"'.format(cut.replace('"', '\\"'))


def _more(job: Job, say: Vocabulary, *, partly: bool) -> str:
    return f" For more of the output: {say.search(job.id, _GREP)}." if partly else ""


def _after_cancel(job: Job, say: Vocabulary) -> str:
    if job.reason is Reason.DECLINED:
        return "Its approval was declined; do not start it again unless asked."
    if job.reason is Reason.SUPERSEDED and job.superseded_by is not None:
        return (
            f"A later start took its place; see how that goes with {say.wait(job.superseded_by)}."
        )
    if job.reason is Reason.DEPENDENCY_FAILED:
        return (
            "It never began, since a job that it waited for did not complete; see error. Mend that "
            "one, and start both again."
        )
    if outcomes.none_left(job):
        return "The job is cancelled and none of its processes is left."
    return "The job is cancelled, and what could be found of its processes is gone; see error."


def _after_completion(job: Job) -> str:
    bad = job_object.failed_tests(job)
    if not bad:
        return "The job completed; nothing more to do."
    counted = "1 test" if bad == 1 else f"{bad} tests"
    if job.exit_code:
        return (
            f"The command ended with exit code {job.exit_code}, which its type takes for success, "
            f"but {counted} failed; see result."
        )
    # As in `pytest | tail`: the exit code is that of the pipe's last program.
    return (
        f"The command ended with exit code 0, but {counted} failed; see result. Something in it "
        "hides their exit code, as a pipe does."
    )


def _whom_to_ask(job: Job, asked: Sequence[Question], say: Vocabulary) -> str:
    by_hand = (
        f"That is for a person: tell the user to run `mcp-jobs approve {job.id}` in a terminal of "
        "their own, and do not run it yourself"
    )
    if [question.key for question in asked] == [CONFIRM_KEY]:
        return (
            f"The job waits for a person's approval and has not begun. {by_hand}; "
            f"{say.cancel(job.id)} declines."
        )
    return f"The job waits for a person's answer; see questions. {by_hand}."
