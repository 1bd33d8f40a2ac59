"""An owner whose process was killed is gone, and leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.owner_locks import Owners
from tests.unit.execution.test_owner_locks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLDER = """
import sys
from pathlib import Path
from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.execution.owner_locks import Owners
Owners(Path(sys.argv[1]), "dead", SystemClock()).join()
print("registered", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def observer(tmp_path: Path, clock: FakeClock) -> Iterator[Owners]:
    owners = Owners(tmp_path, "observer", clock)
    owners.join()
    yield owners
    owners.leave()


def leave_without_release(tmp_path: Path) -> None:
    """Let a process die that was a registered owner."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"registered\n"
        process.kill()


def test_an_owner_whose_process_was_killed_is_gone_at_once(
    tmp_path: Path, observer: Owners
) -> None:
    leave_without_release(tmp_path)

    assert (tmp_path / "dead").exists()
    assert observer.is_gone("dead")


def test_a_new_owner_removes_the_files_of_the_dead_only(
    tmp_path: Path, clock: FakeClock, observer: Owners
) -> None:
    leave_without_release(tmp_path)
    new = Owners(tmp_path, "new", clock)
    new.join()
    left = sorted(path.name for path in tmp_path.iterdir())
    new.leave()

    assert left == ["new", "observer"]
