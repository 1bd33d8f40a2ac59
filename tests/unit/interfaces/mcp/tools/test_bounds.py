"""What tools cut down to its bound, and what they leave to be refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.interfaces.mcp.tools import bounds
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob

if TYPE_CHECKING:
    from pydantic import BaseModel


@pytest.mark.parametrize(
    ("model", "name", "most"),
    [
        (StartJob, "wait_seconds", 50),
        (StartJob, "timeout_seconds", 366 * 86_400),
        (StartJob, "idle_timeout_seconds", 366 * 86_400),
        (StartJob, "max_retries", 100),
        (CheckJob, "wait_seconds", 50),
        (CheckJob, "tail_lines", 1000),
        (CancelJob, "grace_seconds", 300),
        (ListJobs, "limit", 100),
        (ListJobs, "wait_seconds", 50),
    ],
)
def test_what_is_beyond_the_bound_becomes_the_bound(
    model: type[BaseModel], name: str, most: int
) -> None:
    for value in (most + 1, most + 0.5, 10**500):
        kept, warning = bounds.cut(model, {"other": 1, name: value})
        assert kept == {"other": 1, name: most}
        assert warning.startswith(f"{name} is at most {most}, so that was used instead of ")
        assert len(warning) < 120
    assert bounds.cut(model, {name: most}) == ({name: most}, "")


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, True, "120", None, [51]])
def test_what_is_no_number_beyond_the_bound_is_left_to_be_refused(value: Any) -> None:
    assert bounds.cut(CheckJob, {"wait_seconds": value}) == ({"wait_seconds": value}, "")


def test_what_would_mean_something_else_is_not_cut_down() -> None:
    for model, name in ((StartJob, "delay_seconds"), (CheckJob, "after")):
        given = {name: 2**70}
        assert bounds.cut(model, given) == (given, "")


def test_several_remarks_are_told_in_the_order_of_the_arguments() -> None:
    _, warning = bounds.cut(StartJob, {"wait_seconds": 60.5, "max_retries": 200})
    assert warning == (
        "max_retries is at most 100, so that was used instead of 200. "
        "wait_seconds is at most 50, so that was used instead of 60.5."
    )
