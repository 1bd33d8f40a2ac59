"""`schedule:` in a file of job types, and what cannot stand there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.schedules import Recurrence
from tests.declarations import load, problem

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
jobs:
  a:
    description: A.
    shell: echo "$n" "$key"
    params:
      n: {type: integer, default: 1}
      key: {type: string, secret: true}
"""


def test_a_cron_expression_alone_will_do(tmp_path: Path) -> None:
    (job_type,) = load(tmp_path, f'{HEAD}    schedule: "0  3 * * *"\n').types

    assert job_type.schedule == Recurrence(cron="0 3 * * *")


def test_all_keys_are_read(tmp_path: Path) -> None:
    text = (
        "    schedule: {cron: '0 3 * * *', timezone: Europe/Berlin, params: {n: 2}, "
        "overlap: queue_one, catchup_seconds: 0}\n"
    )
    (job_type,) = load(tmp_path, HEAD + text).types

    assert job_type.schedule == Recurrence(
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        params={"n": 2},
        overlap="queue_one",
        catchup_s=0.0,
    )


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("{timezone: UTC}", "cron is missing"),
        ("''", "this must not be empty"),
        ("'* * *'", "five fields"),
        ("{cron: '0 0 30 2 *'}", "day of month"),
        ("{cron: '0 3 * * *', timezone: Berlin}", "did you mean Europe/Berlin?"),
        ("{cron: '0 3 * * *', overlap: never}", "allowed are skip"),
        ("{cron: '0 3 * * *', catchup_seconds: -1}", "allowed is 0"),
        ("{cron: '0 3 * * *', params: {n: two}}", "n: must be a whole number"),
        ("{cron: '0 3 * * *', params: {m: 1}}", "there is no param 'm'"),
        ("{cron: '0 3 * * *', params: {key: hush}}", "a secret would be kept"),
        ("{cron: '0 3 * * *', params: [1]}", "a mapping is needed"),
        ("{corn: '0 3 * * *'}", "did you mean cron?"),
        ("[1]", "a mapping is needed"),
    ],
)
def test_what_cannot_be_a_schedule_is_told_with_its_line(
    tmp_path: Path, schedule: str, told: str
) -> None:
    found = problem(tmp_path, f"{HEAD}    schedule: {schedule}\n")

    assert told in found
    assert found.startswith("8:")
    assert "hush" not in found
