"""What the executor of this machine says when it cannot do something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.models import Launch
from mcp_jobs.execution import job_directory
from mcp_jobs.execution.base import NotStartedError
from mcp_jobs.settings import Settings
from tests.contracts.work import claim_of
from tests.executors import local_executor_of
from tests.stores import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.execution.local_executor import LocalExecutor

LAUNCH = Launch(
    argv=("true",), cwd="/", umask=0o022, environ={}, secrets=(), rlimit_nofile=None, call=None
)


async def _no_launch(_: str) -> None:
    """Nothing is stored."""


@pytest.fixture
def executor(tmp_path: Path) -> LocalExecutor:
    return local_executor_of(Settings(home=tmp_path / "home"), _no_launch, InProcessBus())


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_a_directory_that_cannot_be_made_means_that_nothing_is_started(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_directory, "make_ready", _full)
    with pytest.raises(NotStartedError) as raised:
        await executor.prepare_again(claim_of(executor, new_id(NOW)), LAUNCH)
    assert str(raised.value) == (
        "It was not started: its directory cannot be made ready: "
        "[Errno 28] No space left on device."
    )


async def test_a_fence_that_cannot_be_raised_now_may_be_later(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claim_of(executor, new_id(NOW))
    with monkeypatch.context() as broken:
        broken.setattr(job_directory, "raise_fence", _full)
        with pytest.raises(OSError, match="No space left"):
            await executor.prepare_again(claim, LAUNCH)
    await executor.prepare_again(claim, LAUNCH)
