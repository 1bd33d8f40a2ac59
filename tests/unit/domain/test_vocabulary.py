"""Each interface says in its own words what to do next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.models import CONFIRM_KEY, Question
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.domain.vocabulary import COMMANDS, REST, TOOLS
from mcp_jobs.service.cancelling import Cancelling
from mcp_jobs.service.next_step import next_step
from tests.unit.domain.test_job_object import JOB, NOW_MS, STARTED

if TYPE_CHECKING:
    from mcp_jobs.domain.vocabulary import Vocabulary

VOCABULARIES = {"tools": TOOLS, "rest": REST, "commands": COMMANDS}
CALLS = {
    "tools": ("check_job", "cancel_job", "list_jobs"),
    "rest": ("GET /jobs", "POST /jobs"),
    # All of them send a person to `mcp-jobs approve`.
    "commands": tuple(f"mcp-jobs {name} " for name in ("wait", "show", "logs", "cancel")),
}
CONFIRM = Question(job_id=JOB.id, key=CONFIRM_KEY, message="?", schema={}, asked_at_ms=NOW_MS)


def told_of(say: Vocabulary) -> list[str]:
    """Everything that an interface says of jobs in states in which there is something to do."""
    failed = replace(STARTED, status=Status.FAILED, reason=Reason.EXIT_CODE)
    asking = replace(JOB, status=Status.INPUT_REQUIRED)
    steps = [
        next_step(job, asked, now_ms=NOW_MS, partly=True, say=say)
        for job, asked in ((JOB, ()), (STARTED, ()), (failed, ()), (asking, [CONFIRM]))
    ]
    unstored = Cancelling(before=STARTED, job=STARTED, unstored="The disk is full.").remark(say)
    assert unstored is not None
    return [*steps, unstored]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_text_names_the_calls_of_its_own_interface_only(name: str) -> None:
    for text in told_of(VOCABULARIES[name]):
        named = {other for other, calls in CALLS.items() if any(call in text for call in calls)}
        assert named == {name}, text


def test_what_is_named_can_be_typed_as_it_is() -> None:
    assert TOOLS.wait("1m") == 'check_job {"job_id": "1m", "wait_seconds": 50}'
    assert REST.search("1m", "a|b c") == "GET /jobs/1m/output?grep=a%7Cb%20c"
    assert COMMANDS.search("1m", "(?i)a|b") == "`mcp-jobs logs --grep '(?i)a|b' 1m`"
