"""What is stored of an attempt that ended: another attempt, an end, and when secrets go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.engine.outcomes import INTERRUPTS_RETRIED
from mcp_jobs.engine.settlement import Settlement, Terms, plan_settlement
from tests.stores import NOW, ending, running

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Outcome

DONE = ending(Status.COMPLETED)
WENT_WRONG = ending(Status.FAILED, Reason.EXIT_CODE)
KILLED = ending(Status.FAILED, Reason.SIGNAL)
LOST = ending(Status.FAILED, Reason.INTERRUPTED)
NOT_STARTED = ending(Status.FAILED, Reason.SPAWN_ERROR)
CANCELLED = ending(Status.CANCELLED)

ANY: dict[str, Any] = {}
MORE = {"max_attempts": 2}
ASKED = {"cancel_requested_at_ms": NOW}
TERMS = Terms()
LAST = Terms(may_retry=False)
UNREACHABLE = Terms(unreachable=True)


def plan(
    final: Outcome, job: dict[str, Any], terms: Terms = TERMS, base_s: float = 1
) -> Settlement:
    return plan_settlement(running(**job), final, terms, now_ms=NOW, base_s=base_s)


@pytest.mark.parametrize(
    ("final", "job", "terms"),
    [
        pytest.param(WENT_WRONG, MORE, TERMS, id="went wrong, and attempts are left"),
        pytest.param(KILLED, MORE, UNREACHABLE, id="killed by somebody whom nobody asked to"),
        pytest.param(LOST, {"retry_on_interrupt": True}, TERMS, id="lost, which is tried again"),
        pytest.param(
            ending(Status.FAILED, Reason.EXIT_CODE, pause_s=2.0), MORE, TERMS, id="asked for it"
        ),
    ],
)
def test_another_attempt_follows_unless_the_row_refuses_it(
    final: Outcome, job: dict[str, Any], terms: Terms
) -> None:
    planned = plan(final, job, terms)
    assert planned.again is not None
    assert planned.again.status is Status.RETRYING
    assert planned.again == replace(
        final, status=Status.RETRYING, run_at_ms=planned.again.run_at_ms
    )
    assert planned.final == final


@pytest.mark.parametrize(
    ("final", "job", "terms"),
    [
        pytest.param(WENT_WRONG, ANY, TERMS, id="went wrong for the last time"),
        pytest.param(WENT_WRONG, MORE, LAST, id="no other attempt can be started"),
        pytest.param(WENT_WRONG, {**MORE, **ASKED}, TERMS, id="a cancel was asked for"),
        pytest.param(WENT_WRONG, {**MORE, **ASKED}, UNREACHABLE, id="it ended by itself"),
        pytest.param(KILLED, ANY, TERMS, id="killed"),
        pytest.param(KILLED, ASKED, TERMS, id="killed, though it would have heard the cancel"),
        pytest.param(KILLED, ANY, UNREACHABLE, id="killed, and nobody had asked for a cancel"),
        pytest.param(LOST, MORE, TERMS, id="lost, which is not tried again"),
        pytest.param(
            LOST,
            {"retry_on_interrupt": True, "interrupts": INTERRUPTS_RETRIED},
            TERMS,
            id="lost too often",
        ),
        pytest.param(LOST, ASKED, TERMS, id="lost, though it would have heard the cancel"),
        pytest.param(CANCELLED, {**MORE, **ASKED}, TERMS, id="cancelled"),
        pytest.param(CANCELLED, MORE, TERMS, id="cancelled without a wish in the row"),
        pytest.param(
            ending(Status.FAILED, Reason.EXIT_CODE, retryable=False), MORE, TERMS, id="hopeless"
        ),
    ],
)
def test_an_end_is_stored_as_it_is_and_its_secrets_are_gone_before(
    final: Outcome, job: dict[str, Any], terms: Terms
) -> None:
    assert plan(final, job, terms) == Settlement(again=None, final=final, forgets=True)


@pytest.mark.parametrize("final", [KILLED, LOST])
def test_what_was_ended_for_a_cancel_that_no_order_could_bring_is_cancelled(
    final: Outcome,
) -> None:
    cancelled = replace(final, status=Status.CANCELLED, reason=Reason.CANCELLED_BY_USER)
    job = {**MORE, **ASKED, "retry_on_interrupt": True}
    assert plan(final, job, UNREACHABLE) == Settlement(again=None, final=cancelled, forgets=True)


@pytest.mark.parametrize("job", [ANY, MORE, ASKED])
@pytest.mark.parametrize("terms", [TERMS, LAST, UNREACHABLE])
@pytest.mark.parametrize("final", [DONE, NOT_STARTED])
def test_what_completed_or_never_began_keeps_its_environment_until_that_is_stored(
    final: Outcome, job: dict[str, Any], terms: Terms
) -> None:
    assert plan(final, job, terms) == Settlement(again=None, final=final, forgets=False)


def test_secrets_stay_as_long_as_another_attempt_may_need_them() -> None:
    assert not plan(WENT_WRONG, MORE).forgets


def test_another_attempt_is_due_after_the_pause_that_its_job_asked_for() -> None:
    again = plan(replace(WENT_WRONG, pause_s=2.5), MORE).again
    assert again is not None
    assert again.run_at_ms == NOW + 2500


def test_another_attempt_is_due_after_the_pause_of_the_server_where_nobody_names_one() -> None:
    again = plan(WENT_WRONG, MORE, base_s=100).again
    assert again is not None
    assert again.run_at_ms is not None
    assert 50_000 <= again.run_at_ms - NOW <= 100_000


SUPERSEDED = {**ASKED, "cancel_reason": Reason.SUPERSEDED, "superseded_by": "b"}


@pytest.mark.parametrize(
    ("final", "error"),
    [
        (
            ending(Status.CANCELLED, error="Cancelled on request; every process is gone."),
            "Superseded by job b; every process is gone.",
        ),
        (
            ending(Status.CANCELLED, Reason.SUPERSEDED, error="Interrupted. All is gone."),
            "Superseded by job b. Interrupted. All is gone.",
        ),
    ],
)
def test_a_cancel_by_a_later_start_names_it(final: Outcome, error: str) -> None:
    planned = plan(final, SUPERSEDED)
    assert planned.final == replace(final, reason=Reason.SUPERSEDED, error=error)


@pytest.mark.parametrize("final", [DONE, WENT_WRONG, ending(Status.CANCELLED, Reason.DECLINED)])
def test_what_ended_by_itself_before_a_later_start_ended_it_is_told_as_that(
    final: Outcome,
) -> None:
    assert plan(final, SUPERSEDED).final == final
