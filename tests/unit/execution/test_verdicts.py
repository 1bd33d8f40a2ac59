"""Whatever a row and the files of a job say, it is never begun twice, nor ended while it lives."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.models import Job
from mcp_jobs.domain.states import Status
from mcp_jobs.execution.incarnation import Incarnation
from mcp_jobs.execution.verdicts import Case, Traces, Verdict, began, judge, outlived

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Incarnation(home_id="home", boot_id="boot 2")
OTHER_BOOT, OTHER_HOME, OTHER_BOTH = "home boot 1", "other boot 2", "other boot 1"
INCARNATIONS = (str(HERE), OTHER_BOOT, OTHER_HOME, OTHER_BOTH, None)
RECORD: Any = {"token": 5}
CLAIM = 5
"""The claim token; the attempt was first claimed with the one before, so this is an adoption."""

FIELDS: dict[str, tuple[Any, ...]] = {
    "attempt": (1, 2),
    "claimed_in": INCARNATIONS,
    "prepared_in": (str(HERE), OTHER_BOOT, None),
    "token": (None, CLAIM - 2, CLAIM - 1, CLAIM, CLAIM + 1),
    "record": (None, RECORD),
    "locked": (False, True),
    "directory": (True, False),
    "environment": (False, True),
    "printed": (False, True),
    "fence": (0, CLAIM, CLAIM + 1),
    "trouble": (None, "missing", "unusable"),
    "lives": (False, True),
}


def _job(**given: Any) -> Job:
    fields: dict[str, Any] = {
        **dict.fromkeys(("reason", "exit_code", "error", "result", "started_at_ms", "progress")),
        **dict.fromkeys(("attempt_started_at_ms", "finished_at_ms", "timeout_s", "idle_timeout_s")),
        **dict.fromkeys(("cancel_requested_at_ms",)),
        **dict.fromkeys(("id", "owner", "locality", "type", "title", "cwd", "fingerprint"), "x"),
        **{"params": {}, "status": Status.RUNNING, "attempt": 1, "max_attempts": 1},
        **{"interrupts": 0, "created_at_ms": 0, "run_at_ms": 0, "retry_on_interrupt": False},
        **{"claim_token": CLAIM, "launch_token": CLAIM - 1, "claimed_by": "me"},
        **{"claimed_in": str(HERE), "prepared_in": str(HERE)},
    }
    return Job(**{**fields, **given})


def _decided(given: dict[str, Any]) -> tuple[Job, Traces, bool, Case]:
    own = ("attempt", "claimed_in", "prepared_in")
    job = _job(**{name: given[name] for name in own})
    found = {n: v for n, v in given.items() if n not in (*own, "trouble", "lives")}
    trouble = given["trouble"]
    missing = None if trouble is None else "its file `alive` is odd"
    traces = Traces(**found, missing=missing, unusable=trouble == "unusable")
    return job, traces, given["lives"], judge(job, traces, here=HERE, lives=given["lives"])


def _all() -> Iterator[dict[str, Any]]:
    for values in product(*FIELDS.values()):
        yield dict(zip(FIELDS, values, strict=True))


def _check(given: dict[str, Any]) -> None:
    job, traces, lives, case = _decided(given)
    begun = began(job, traces)
    assert (case.why is not None) == (case.verdict is Verdict.LOST), given
    if traces.locked:
        assert case.verdict is Verdict.FOLLOW, given
    elif begun:
        wanted = Verdict.LOST if traces.record is None else Verdict.CONCLUDE
        assert case.verdict is wanted, given
    elif lives:
        assert case.verdict is Verdict.WAIT, given
    else:
        assert case.verdict in (Verdict.START, Verdict.LOST), given
    if case.verdict is Verdict.START:
        _check_start(job, traces, given)


def _check_start(job: Job, traces: Traces, given: dict[str, Any]) -> None:
    # A claim of another boot, home or version may have begun, and nothing here can deny it.
    assert job.claimed_in == str(HERE), given
    assert traces.fence <= job.claim_token, given
    if not traces.directory:
        # It is made anew only where this boot has not made it yet.
        assert job.prepared_in != str(HERE), given
        return
    assert not traces.unusable, given
    if job.attempt == 1:
        # A start takes the environment away before anything is printed.
        assert traces.environment, given
        assert not traces.printed, given
    else:
        assert traces.environment or traces.token is not None, given


def test_every_case_there_can_be_keeps_the_rules() -> None:
    count = 0
    for given_case in _all():
        _check(given_case)
        count += 1
    assert count > 50_000


@given(
    given_case=st.fixed_dictionaries(
        {
            **{name: st.sampled_from(values) for name, values in FIELDS.items()},
            "claimed_in": st.none() | st.text() | st.just(str(HERE)),
            "prepared_in": st.none() | st.text() | st.just(str(HERE)),
            "token": st.none() | st.integers(0, 2**62),
            "fence": st.integers(0, 2**62),
            "attempt": st.integers(1, 2**31),
        }
    )
)
def test_any_case_at_all_keeps_the_rules(given_case: dict[str, Any]) -> None:
    _check(given_case)


@given(
    given_case=st.fixed_dictionaries(
        {name: st.sampled_from(values) for name, values in FIELDS.items()}
    )
)
def test_what_is_lost_says_why_in_a_sentence(given_case: dict[str, Any]) -> None:
    *_, case = _decided(given_case)
    if case.why is not None:
        assert case.why.startswith("Interrupted: ")
        assert case.why.endswith(".")
        assert ".." not in case.why


NOTHING = Traces()
READY = Traces(environment=True)
GONE = Traces(directory=False)


@pytest.mark.parametrize(
    ("job", "traces", "verdict", "part"),
    [
        # A waiting job that was claimed after the power cut, whatever was left of its files.
        (_job(prepared_in=OTHER_BOOT), GONE, Verdict.START, None),
        (_job(prepared_in=OTHER_BOOT), READY, Verdict.START, None),
        (_job(prepared_in=OTHER_HOME), READY, Verdict.START, None),
        (_job(prepared_in=None), READY, Verdict.START, None),
        # The database is older than the directory.
        (_job(prepared_in=OTHER_BOOT), NOTHING, Verdict.LOST, "`env` is gone"),
        (_job(prepared_in=OTHER_BOOT), Traces(token=9, record=RECORD), Verdict.CONCLUDE, None),
        (_job(), Traces(environment=True, fence=9), Verdict.LOST, "restored"),
        # Its owner died before the launch.
        (_job(), READY, Verdict.START, None),
        (_job(attempt=2), Traces(token=2), Verdict.START, None),
        (_job(attempt=2), READY, Verdict.START, None),
        # Somebody took the traces away.
        (_job(), NOTHING, Verdict.LOST, "`env` is gone"),
        (_job(), GONE, Verdict.LOST, "directory is gone"),
        (_job(), Traces(environment=True, printed=True), Verdict.LOST, "`alive` is gone"),
        (_job(attempt=2), NOTHING, Verdict.LOST, "`env` is gone"),
        # The machine, or another home, may have run it.
        (_job(claimed_in=OTHER_BOOT), READY, Verdict.LOST, "the machine went down as it was"),
        (_job(claimed_in=OTHER_HOME), READY, Verdict.LOST, "is a copy"),
        (_job(claimed_in=OTHER_BOTH), READY, Verdict.LOST, "or this home was copied"),
        (_job(claimed_in=None), READY, Verdict.LOST, "older version"),
        (_job(), Traces(token=5), Verdict.LOST, "its runner was killed"),
        (_job(claimed_in=OTHER_BOOT), Traces(token=5), Verdict.LOST, "while it ran"),
        (_job(claimed_in=OTHER_HOME), Traces(token=5), Verdict.LOST, "is a copy"),
    ],
)
def test_a_job_that_nobody_follows_is_what_its_row_and_its_files_say(
    job: Job, traces: Traces, verdict: Verdict, part: str | None
) -> None:
    case = judge(job, traces, here=HERE, lives=False)

    assert case.verdict is verdict
    assert (part or "") in (case.why or "")


@given(
    given_case=st.fixed_dictionaries(
        {name: st.sampled_from(values) for name, values in FIELDS.items()}
    )
)
def test_a_job_that_was_seen_to_live_is_not_begun_again(given_case: dict[str, Any]) -> None:
    _, traces, _, case = _decided(given_case)
    corrected = outlived(case, traces)

    assert corrected.verdict is not Verdict.START
    if case.verdict not in (Verdict.START, Verdict.LOST):
        assert corrected == case
