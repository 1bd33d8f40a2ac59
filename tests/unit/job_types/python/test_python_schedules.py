"""`schedule=` of the decorator: read as in a file, and checked when the jobs are served."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import SecretStr

from mcp_jobs import Jobs
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.schedules import Recurrence
from mcp_jobs.job_types.python.loading import types_of


def report(region: str = "eu", key: SecretStr | None = None) -> None:
    """Report."""


def scheduled(schedule: Any) -> Jobs:
    jobs = Jobs("tests")
    jobs.job(schedule=schedule)(report)
    return jobs


def test_a_function_has_a_schedule_and_the_file_that_declares_it() -> None:
    (job_type,) = types_of(scheduled("0 3 * * *"))

    assert job_type.schedule == Recurrence(cron="0 3 * * *")
    assert job_type.source == f"python:{os.path.realpath(__file__)}"


def test_all_that_a_file_can_say_can_be_said() -> None:
    given = {
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "params": {"region": "us"},
        "overlap": "allow",
        "catchup_seconds": 5,
    }
    (job_type,) = types_of(scheduled(given))

    assert job_type.schedule == Recurrence(
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        params={"region": "us"},
        overlap="allow",
        catchup_s=5.0,
    )


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("* * *", "five fields"),
        ({"timezone": "UTC"}, "five fields"),
        ({"cron": "0 3 * * *", "zone": "UTC"}, "has no zone"),
        ({"cron": "0 3 * * *", "overlap": "never"}, "none of skip"),
        ({"cron": "0 3 * * *", "params": {"x": 1}}, "region"),
        ({"cron": "0 3 * * *", "params": {"key": "hush"}}, "a secret would be kept"),
        ({"cron": "0 3 * * *", "catchup_seconds": -1}, "catchup_seconds is 0 to"),
        ({"cron": "0 3 * * *", "catchup_seconds": float("nan")}, "catchup_seconds is 0 to"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_in_words(schedule: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        types_of(scheduled(schedule))
    assert "hush" not in str(caught.value)
