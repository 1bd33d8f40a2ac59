"""A wall clock that is set by hours while a job runs makes no untrue times."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.station import station

if TYPE_CHECKING:
    from tests.support import Place

HOURS_MS: Final = 3 * 3_600_000

_SET_CLOCK: Final = """
import itertools, sys; sys.path.insert(0, sys.argv[1])
from mcp_jobs.execution.launcher import fork_server, runner
true_ms = runner._now_ms
looks = itertools.count()
# Each runner has a copy of the count: it looks once at the start.
runner._now_ms = lambda: true_ms() + ({step_ms} if next(looks) else 0)
fork_server.warm_up = lambda path: None
fork_server.main(sys.argv[2], float(sys.argv[3]))
"""


@pytest.mark.parametrize("step_ms", [HOURS_MS, -HOURS_MS], ids=["forward", "back"])
@pytest.mark.parametrize("command", ["true", "exit 3"])
async def test_a_clock_that_is_set_while_a_job_runs_does_not_change_how_long_it_took(
    place: Place, monkeypatch: pytest.MonkeyPatch, step_ms: int, command: str
) -> None:
    code = _SET_CLOCK.format(step_ms=step_ms)
    monkeypatch.setattr("mcp_jobs.execution.launcher_client._LAUNCH", code)
    async with station(place) as jobs:
        job = await jobs.run(command, max_retries=0)

    created, started, finished = (
        datetime.fromisoformat(job[name]) for name in ("created_at", "started_at", "finished_at")
    )
    assert created <= started <= finished
    assert 0 <= job["duration_seconds"] < 60
    assert job["duration_seconds"] == round((finished - started).total_seconds(), 3)
