"""What every `Store` does when a job asks: before it begins, and in the middle."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from mcp_jobs.domain.models import CONFIRM_KEY, Answer, Question
from mcp_jobs.domain.states import TERMINAL, Reason, Status
from tests.stores import (
    HERE,
    NOW,
    OWNER,
    all_changes,
    claim,
    claimed,
    created,
    ending,
    in_state,
    new_job,
    question,
)

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.store import Store

Action = Literal["accept", "decline", "cancel"]

YES = Answer(action="accept", content={})
EU = Answer(action="accept", content={"region": "eu"})


async def answer(store: Store, job: Job, key: str = "region", **given: Any) -> Job | None:
    asked: dict[str, Any] = {"owner": OWNER, "answer": EU, "now_ms": NOW + 9}
    asked |= given
    return await store.answer(asked["owner"], job.id, key, asked["answer"], now_ms=asked["now_ms"])


# -- before it begins ----------------------------------------------------------------------------


async def test_a_job_to_be_confirmed_asks_and_nobody_can_claim_it(store: Store) -> None:
    job = await created(store, confirm="Deploy to prod?")

    assert (job.status, job.claimed_by, job.attempt) == (Status.INPUT_REQUIRED, None, 0)
    (asked,) = await store.questions(job.id)
    assert asked == Question(
        job_id=job.id,
        key=CONFIRM_KEY,
        message="Deploy to prod?",
        schema={"type": "object", "properties": {}},
        asked_at_ms=job.created_at_ms,
    )
    assert await claim(store, now_ms=NOW + 10**9) is None
    assert await store.running() == []
    assert await store.unfinished(HERE) == 0
    assert await store.take_over(job, claimer="server-2") is None


async def test_an_accepted_job_waits_for_its_turn_and_runs(store: Store) -> None:
    job = await created(store, confirm="Deploy?")

    accepted = await answer(store, job, CONFIRM_KEY, answer=YES)

    assert accepted is not None
    assert (accepted.status, accepted.reason, accepted.claimed_by) == (Status.PENDING, None, None)
    assert (await claimed(store)).attempt == 1
    (asked,) = await store.questions(job.id)
    assert (asked.answer, asked.answered_at_ms) == (YES, NOW + 9)


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_declined_job_is_cancelled_without_an_attempt(store: Store, action: Action) -> None:
    job = await created(store, confirm="Deploy?")

    ended = await answer(store, job, CONFIRM_KEY, answer=Answer(action=action, content={}))

    assert ended is not None
    assert (ended.status, ended.reason) == (Status.CANCELLED, Reason.DECLINED)
    assert (ended.finished_at_ms, ended.error) == (NOW + 9, "Declined before it began.")
    assert await store.attempts(job.id) == []
    assert await claim(store, now_ms=NOW + 10**9) is None
    assert await store.counts(OWNER) == {Status.CANCELLED: 1}


async def test_a_job_to_be_confirmed_is_cancelled_at_once(store: Store) -> None:
    job = await created(store, confirm="Deploy?")

    ended = await store.request_cancel(OWNER, job.id, now_ms=NOW + 7)

    assert ended is not None
    assert (ended.status, ended.reason) == (Status.CANCELLED, Reason.CANCELLED_BY_USER)
    assert ended.error == "Cancelled on request before it began."
    assert await answer(store, job, CONFIRM_KEY, answer=YES) is None
    assert await store.attempts(job.id) == []


async def test_a_confirmed_job_with_a_known_key_asks_only_once(store: Store) -> None:
    job = await created(store, confirm="Deploy?", idempotency_key="k")
    await answer(store, job, CONFIRM_KEY, answer=YES)

    again = await store.create(new_job(confirm="Deploy?", idempotency_key="k"))

    assert (again.existing, again.job.status) == (True, Status.PENDING)
    assert len(await store.questions(job.id)) == 1


# -- in the middle -------------------------------------------------------------------------------


async def test_a_job_that_asks_waits_for_input_and_stays_with_its_owner(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)

    asked = await store.ask(job, question(job.id))

    assert asked == question(job.id)
    assert await store.find(job.id) == replace(job, status=Status.INPUT_REQUIRED)
    assert [j.id for j in await store.running()] == [job.id]
    assert await store.unfinished(HERE) == 1
    assert await store.attempts(job.id) == []


async def test_a_job_that_asks_holds_no_slot(store: Store) -> None:
    await in_state(store, Status.INPUT_REQUIRED)
    await created(store)

    assert await claim(store, capacity=1) is not None
    await created(store)
    assert await claim(store, capacity=1) is None


async def test_a_job_goes_on_when_its_last_question_is_answered(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    await store.ask(job, question(job.id, "region"))
    await store.ask(job, question(job.id, "size", asked_at_ms=NOW + 1))

    between = await answer(store, job, "region")
    after = await answer(store, job, "size", answer=Answer(action="decline", content={}))

    assert between is not None
    assert after is not None
    assert (between.status, after.status) == (Status.INPUT_REQUIRED, Status.RUNNING)
    assert (after.claimed_by, after.claim_token) == (job.claimed_by, job.claim_token)
    assert [(q.key, q.answer and q.answer.action) for q in await store.questions(job.id)] == [
        ("region", "accept"),
        ("size", "decline"),
    ]


async def test_the_same_key_is_never_asked_twice(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    await store.ask(job, question(job.id))
    await answer(store, job)
    changes = await all_changes(store)

    again = await store.ask(job, question(job.id, message="Changed?", asked_at_ms=NOW + 99))

    assert again is not None
    assert (again.message, again.asked_at_ms, again.answer) == ("Which region?", NOW, EU)
    assert await all_changes(store) == changes


async def test_the_first_answer_counts(store: Store) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)

    first = await answer(store, job)
    second = await answer(store, job, answer=Answer(action="decline", content={}))

    assert first is not None
    assert second is None
    (asked,) = await store.questions(job.id)
    assert asked.answer == EU


@pytest.mark.parametrize("given", [{"owner": "ann"}, {"key": "other"}])
async def test_what_nobody_asked_or_another_owner_answers_is_ignored(
    store: Store, given: dict[str, Any]
) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)

    assert await answer(store, job, **given) is None
    assert await store.find(job.id) == job


async def test_only_the_holder_of_the_claim_can_ask(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    taken = await store.take_over(job, claimer="server-2")
    assert taken is not None

    assert await store.ask(job, question(job.id)) is None
    assert await store.questions(job.id) == []
    assert await store.ask(taken, question(job.id)) is not None


async def test_a_job_that_asks_can_be_taken_over_and_answered(store: Store) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)

    taken = await store.take_over(job, claimer="server-2")

    assert taken is not None
    assert (taken.status, taken.claimed_by) == (Status.INPUT_REQUIRED, "server-2")
    after = await answer(store, job)
    assert after is not None
    assert (after.status, after.claimed_by) == (Status.RUNNING, "server-2")


async def test_a_job_that_is_being_stopped_asks_nothing_and_takes_no_answer(store: Store) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)
    await store.request_cancel(OWNER, job.id, now_ms=NOW + 1)

    assert await store.ask(job, question(job.id, "size")) is None
    assert await answer(store, job) is None
    current = await store.find(job.id)
    assert current is not None
    assert current.status is Status.INPUT_REQUIRED
    ended = await store.settle(job, ending(Status.CANCELLED))
    assert ended is not None
    assert ended.status is Status.CANCELLED


@pytest.mark.parametrize("status", [*sorted(TERMINAL), Status.RETRYING])
async def test_a_job_can_end_while_it_asks_and_then_asks_no_more(
    store: Store, status: Status
) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)

    settled = await store.settle(job, ending(status))

    assert settled is not None
    assert settled.status is status
    assert await store.questions(job.id) == []
    assert len(await store.attempts(job.id)) == 1
    assert await answer(store, job) is None


async def test_an_answer_outlives_the_attempt_that_asked(store: Store) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)
    await answer(store, job)
    await store.settle(job, ending(Status.RETRYING))

    second = await claimed(store)
    again = await store.ask(second, question(job.id, asked_at_ms=NOW + 500))

    assert again is not None
    assert again.answer == EU
    current = await store.find(job.id)
    assert current is not None
    assert current.status is Status.RUNNING


async def test_every_question_and_every_answer_is_a_change(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    before = len(await all_changes(store))
    await store.ask(job, question(job.id, "region"))
    await store.ask(job, question(job.id, "size"))
    await answer(store, job, "region")
    await answer(store, job, "size")

    changes = (await all_changes(store))[before:]

    assert [change.status for change in changes] == [*[Status.INPUT_REQUIRED] * 3, Status.RUNNING]


async def test_questions_are_forgotten_with_their_job(store: Store) -> None:
    job = await in_state(store, Status.INPUT_REQUIRED)
    await answer(store, job)
    await store.settle(job, ending(Status.COMPLETED, finished_at_ms=NOW))

    await store.remove_old(before_ms=NOW + 1, keep=0, limit=10)

    assert await store.questions(job.id) == []
