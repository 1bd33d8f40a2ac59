"""What every executor and its attempts promise about a start, a run and an end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.base import Ended, Lost, Orphaned, Unstarted
from tests.contracts.steps import (
    attached,
    end_of,
    ended,
    has_printed,
    prepared,
    printed,
    run,
    started,
    update,
)
from tests.contracts.work import Work, claim_of

if TYPE_CHECKING:
    from tests.contracts.rigs import Rig

WAITING = Work(prints="begun\n", waits=True)


@pytest.mark.parametrize("code", [0, 3])
async def test_an_attempt_ends_with_its_record(rig: Rig, code: int) -> None:
    claim = prepared(rig, Work(prints="all\n", code=code))
    end = await run(rig, claim)
    assert end == Ended(record=end.record)
    assert (end.record["token"], end.record["exit_code"]) == (1, code)
    assert (end.record["reason"], end.record["signal"], end.record["error"]) == (None, None, None)
    assert (end.record["output_start"], end.record["bytes_total"]) == (0, 4)
    assert (end.record["started_at_ms"] or 0) <= end.record["finished_at_ms"]


async def test_nothing_runs_after_an_end(rig: Rig) -> None:
    claim = prepared(rig)
    await run(rig, claim)
    assert not rig.executor.is_watched(claim.id)
    assert not await rig.executor.lives(claim)


async def test_a_second_start_under_a_claim_is_refused_and_attach_gives_the_attempt(
    rig: Rig,
) -> None:
    claim = prepared(rig, WAITING)
    first = await started(rig, claim)
    assert await rig.executor.start(claim) is None
    second = await attached(rig, claim)
    await rig.release(claim.id)
    assert (await ended(second)).record == (await ended(first)).record
    assert printed(rig, claim.id) == b"begun\n"


async def test_a_start_after_the_end_is_refused_and_attach_gives_the_end(rig: Rig) -> None:
    claim = prepared(rig, Work(code=3))
    end = await run(rig, claim)
    assert await rig.executor.start(claim) is None
    assert await ended(await attached(rig, claim)) == end


async def test_a_lower_claim_cannot_start_once_a_higher_one_has_attached(rig: Rig) -> None:
    low = prepared(rig, Work(prints="once\n"))
    high = replace(low, claim_token=2)
    assert isinstance(await rig.executor.attach(high), Unstarted)
    assert await rig.executor.start(low) is None
    assert (await run(rig, high)).record["token"] == 2
    assert printed(rig, low.id) == b"once\n"


async def test_the_end_of_a_later_claim_than_the_store_knows_is_superseded(rig: Rig) -> None:
    low = prepared(rig)
    await run(rig, replace(low, claim_token=2))
    assert (await ended(await attached(rig, low))).superseded


async def test_a_closed_attempt_runs_on_and_is_followed_by_whoever_attaches(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    attempt.close()
    attempt.close()
    assert rig.executor.is_watched(claim.id)
    assert await rig.executor.lives(claim)
    again = await attached(rig, replace(claim, claim_token=2))
    await rig.release(claim.id)
    end = await ended(again)
    assert (end.record["token"], end.record["exit_code"], end.superseded) == (1, 0, False)


async def test_what_was_prepared_and_not_begun_is_unstarted(rig: Rig) -> None:
    claim = prepared(rig)
    assert isinstance(await rig.executor.attach(claim), Unstarted)
    assert not rig.executor.is_watched(claim.id)


async def test_what_was_prepared_elsewhere_is_unstarted_until_it_is_prepared_here(
    rig: Rig,
) -> None:
    claim = claim_of(rig.executor, "A" * 26, prepared_in="another place")
    assert await rig.executor.start(claim) is None
    assert isinstance(await rig.executor.attach(claim), Unstarted)
    await rig.executor.prepare_again(claim, rig.launch(claim.id, Work(code=3)))
    assert (await run(rig, claim)).record["exit_code"] == 3


async def test_what_was_prepared_here_and_is_gone_may_have_run_and_is_lost(rig: Rig) -> None:
    claim = prepared(rig)
    await rig.executor.discard(claim.id)
    found = await rig.executor.attach(claim)
    assert isinstance(found, Lost)
    assert found.why.endswith(".")


async def test_what_another_life_of_the_place_claimed_is_lost_unless_its_end_is_known(
    rig: Rig,
) -> None:
    lost = prepared(rig, claimed_in="another life")
    assert isinstance(await rig.executor.attach(lost), Lost)
    known = prepared(rig, claimed_in="another life")
    await run(rig, known)
    await ended(await attached(rig, known))


async def test_an_attempt_without_a_watcher_is_lost_and_reaped(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    await rig.lose(claim.id)
    end = await end_of(attempt)
    assert isinstance(end, Lost)
    assert end.why.startswith("Interrupted: ")
    assert isinstance(await rig.executor.attach(claim), Lost)
    assert await rig.executor.reap(claim)
    assert not await rig.executor.lives(claim)
    assert printed(rig, claim.id) == b"begun\n"


async def test_a_claim_that_is_overtaken_reaps_nothing(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await attached(rig, replace(claim, claim_token=2))
    assert not await rig.executor.reap(claim)
    assert rig.executor.is_watched(claim.id)
    await rig.release(claim.id)
    await ended(attempt)


async def test_processes_without_a_watcher_and_a_trace_are_orphaned_until_they_are_killed(
    rig: Rig,
) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    await has_printed(rig, claim.id, b"begun\n")
    await rig.lose_traces(claim.id)
    attempt.close()
    assert isinstance(await rig.executor.attach(claim), Orphaned)
    assert await rig.executor.lives(claim)
    assert await rig.executor.kill(claim)
    assert not await rig.executor.lives(claim)
    assert isinstance(await rig.executor.attach(claim, has_lived=True), Lost)


async def test_another_attempt_prints_behind_the_output_of_the_one_before(rig: Rig) -> None:
    claim = prepared(rig, Work(prints="one\n", code=1))
    assert (await run(rig, claim)).record["output_start"] == 0
    second = replace(claim, attempt=2, claim_token=2, launch_token=2)
    found = await rig.executor.attach(second)
    assert isinstance(found, Unstarted)
    await rig.executor.prepare_again(second, rig.launch(claim.id, Work(prints="two\n")))
    end = await run(rig, second)
    assert (end.record["output_start"], end.record["bytes_total"]) == (4, 8)
    assert printed(rig, claim.id) == b"one\ntwo\n"


async def test_a_new_attempt_does_not_start_while_the_one_before_runs(rig: Rig) -> None:
    claim = prepared(rig, WAITING)
    attempt = await started(rig, claim)
    second = replace(claim, attempt=2, claim_token=2, launch_token=2)
    assert await rig.executor.start(second) is None
    await attached(rig, second)
    await rig.release(claim.id)
    assert isinstance(await end_of(attempt), Ended)


async def test_progress_comes_as_an_update(rig: Rig) -> None:
    claim = prepared(rig, Work(percent=40, waits=True))
    attempt = await started(rig, claim)
    progress = (await update(attempt)).progress
    assert progress is not None
    assert progress.percent == 40
    await rig.release(claim.id)
    await ended(attempt)


async def test_whoever_attaches_hears_of_the_progress_again(rig: Rig) -> None:
    claim = prepared(rig, Work(percent=40, waits=True))
    (await started(rig, claim)).close()
    attempt = await attached(rig, claim)
    progress = (await update(attempt)).progress
    assert progress is not None
    assert progress.percent == 40
    await rig.release(claim.id)
    await ended(attempt)


async def test_the_last_progress_of_a_short_attempt_is_not_lost(rig: Rig) -> None:
    attempt = await started(rig, prepared(rig, Work(percent=90)))
    seen = [each.progress async for each in attempt]
    assert [progress.percent for progress in seen if progress is not None] == [90]
    await ended(attempt)
