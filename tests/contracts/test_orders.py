"""What every executor promises about orders, questions and what it keeps."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.events import OutputGrew
from mcp_jobs.domain.states import Reason
from tests.contracts.steps import (
    attached,
    ended,
    has_printed,
    prepared,
    printed,
    run,
    started,
    update,
)
from tests.contracts.work import Work
from tests.support import BOUND_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.domain.events import Event
    from mcp_jobs.execution.base import Attempt
    from tests.contracts.rigs import Rig

ANSWER = {"action": "accept", "content": {"name": "Ada"}}
CANCEL = Reason.CANCELLED_BY_USER
LONG_S = 10 * BOUND_S
WAITING = Work(prints="begun\n", waits=True)


async def test_an_order_given_before_the_start_reaches_the_attempt_to_come(rig: Rig) -> None:
    claim = prepared(rig, Work(waits=True))
    await rig.executor.stop(claim.id, reason=CANCEL, grace_s=LONG_S)
    end = await run(rig, claim)
    assert end.record["reason"] == CANCEL


@pytest.mark.parametrize("reason", [CANCEL, Reason.TIMEOUT])
async def test_what_runs_ends_by_an_order_with_its_reason(rig: Rig, reason: Reason) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    await rig.executor.stop(claim.id, reason=reason, grace_s=LONG_S)
    end = await ended(attempt)
    assert (end.record["reason"], end.record["exit_code"]) == (reason, None)
    assert not await rig.executor.lives(claim)


async def test_what_does_not_obey_is_ended_by_force_after_the_grace(rig: Rig) -> None:
    claim = prepared(rig, replace(WAITING, stubborn=True))
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    await rig.executor.stop(claim.id, reason=CANCEL, grace_s=0.2)
    end = await ended(attempt)
    assert (end.record["reason"], end.record["signal"]) == (CANCEL, 9)


async def test_an_order_reaches_what_nobody_follows(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    (await started(rig, claim)).close()
    await has_printed(rig, claim.id, b"begun\n")
    await rig.executor.stop(claim.id, reason=CANCEL, grace_s=LONG_S)
    end = await ended(await attached(rig, claim))
    assert end.record["reason"] == CANCEL


async def test_a_reminder_gives_an_order_that_nobody_gave(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    await rig.executor.stop(claim.id, reason=CANCEL)
    assert (await ended(attempt)).record["reason"] == CANCEL


async def test_a_reminder_leaves_the_order_that_was_given_as_it_is(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    await rig.executor.stop(claim.id, reason=Reason.TIMEOUT, grace_s=LONG_S)
    await rig.executor.stop(claim.id, reason=CANCEL)
    assert (await run(rig, claim)).record["reason"] == Reason.TIMEOUT


async def test_whoever_stands_still_is_woken_once(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    assert not rig.executor.wake(claim.id)
    await rig.freeze(claim.id)
    assert rig.executor.is_watched(claim.id)
    assert rig.executor.wake(claim.id)
    assert not rig.executor.wake(claim.id)
    await rig.release(claim.id)
    await ended(attempt)


async def test_an_order_reaches_whoever_stands_still(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    await rig.freeze(claim.id)
    await rig.executor.stop(claim.id, reason=CANCEL, grace_s=LONG_S)
    assert (await ended(attempt)).record["reason"] == CANCEL


async def test_a_question_is_given_until_it_is_taken_and_its_answer_reaches_the_job(
    rig: Rig,
) -> None:
    claim = prepared(rig, Work(asks="who", percent=50))
    attempt = await started(rig, claim)
    first = await _question(attempt)
    assert first == await _question(attempt)
    (name, asked), *others = first.items()
    assert not others
    assert (asked["key"], asked["message"]) == ("who", "Which name?")
    assert asked["schema"]["properties"] == {"name": {"type": "string"}}
    assert rig.executor.waits_for_answer(claim.id)
    attempt.took(name)
    await rig.executor.answer(claim.id, "who", ANSWER)
    await rig.executor.answer(claim.id, "who", ANSWER)
    assert [each.questions async for each in attempt if each.questions] == []
    await ended(attempt)
    assert not rig.executor.waits_for_answer(claim.id)
    assert b'"Ada"' in printed(rig, claim.id)


async def test_a_job_that_asks_nothing_waits_for_no_answer(rig: Rig) -> None:
    claim = prepared(rig)
    assert not rig.executor.waits_for_answer(claim.id)
    assert not rig.executor.waits_for_answer("0" * 26)


async def test_whoever_watches_an_output_hears_that_it_grew(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    heard = anyio.Event()

    def hear(event: Event) -> None:
        if isinstance(event, OutputGrew) and event.job_id == claim.id:
            heard.set()

    rig.bus.subscribe(hear)
    with ExitStack() as stack:
        stack.enter_context(rig.executor.watch_output(claim.id))
        attempt = await started(rig, claim)
        with anyio.fail_after(BOUND_S):
            await heard.wait()
        assert printed(rig, claim.id) == b"begun\n"
    await rig.release(claim.id)
    await ended(attempt)


async def test_an_output_begins_with_what_is_printed(rig: Rig) -> None:
    claim = prepared(rig, Work(prints="a line\n"))
    before = rig.executor.output(claim.id)
    assert (before.begun(), before.printed_at_ms(), before.segments()) == (False, None, [])
    await run(rig, claim)
    after = rig.executor.output(claim.id)
    assert after.begun()
    assert (after.printed_at_ms() or 0) > 0


async def test_of_a_job_that_nobody_knows_there_is_nothing(rig: Rig) -> None:
    unknown = "0" * 26
    assert await rig.executor.recall(unknown) is None
    assert not rig.executor.is_watched(unknown)
    assert not rig.executor.wake(unknown)
    assert not rig.executor.output(unknown).begun()
    await rig.executor.forget_secrets(unknown)
    await rig.executor.finish(unknown)
    await rig.executor.finish(unknown, unknown[1:] + "1")
    await rig.executor.finish()
    await rig.executor.discard(unknown, unknown)
    await rig.executor.discard()


async def test_an_order_for_a_job_that_is_not_here_cannot_be_given(rig: Rig) -> None:
    with pytest.raises(FileNotFoundError):
        await rig.executor.stop("0" * 26, reason=CANCEL, grace_s=1)


@pytest.mark.parametrize("step", ["forget_secrets", "finish"])
async def test_without_its_environment_a_job_does_not_start(rig: Rig, step: str) -> None:
    claim = prepared(rig)
    await getattr(rig.executor, step)(claim.id)
    assert await rig.executor.recall(claim.id) is None
    assert await rig.executor.start(claim) is None


async def test_what_has_finished_keeps_its_output(rig: Rig) -> None:
    claim = prepared(rig, Work(prints="kept\n"))
    await run(rig, claim)
    await rig.executor.finish(claim.id)
    await rig.executor.finish(claim.id)
    assert printed(rig, claim.id) == b"kept\n"


async def test_kept_names_what_is_old_until_it_is_discarded(rig: Rig) -> None:
    now_ms = SystemClock().now_ms()
    first, second = prepared(rig), prepared(rig, Work(prints="gone\n"))
    await run(rig, second)
    assert await rig.executor.kept(before_ms=now_ms - 60_000) == []
    later_ms = now_ms + 60_000
    assert set(await rig.executor.kept(before_ms=later_ms)) == {first.id, second.id}
    await rig.executor.discard(first.id, second.id)
    assert await rig.executor.kept(before_ms=later_ms) == []
    assert not rig.executor.output(second.id).begun()


async def _question(attempt: Attempt) -> Mapping[str, Mapping[str, Any]]:
    while True:
        seen = await update(attempt)
        if seen.questions:
            return seen.questions
