"""Every test that takes `place` leaves no process behind, and quick tests start none, or fail."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.spawning import processes_started
from tests.stores import STORES
from tests.support import Place, dispose, make_place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mcp_jobs.store import Store


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    # The database driver is asyncio only.
    return "asyncio"


QUICK = {"contracts", "store", "unit"}
"""The folders of `make quick`. In the contracts, what needs processes is marked so."""


@pytest.fixture(autouse=True)
def quick_tests_start_no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if folder not in QUICK or request.node.get_closest_marker("processes"):
        yield
        return
    with processes_started() as started:
        yield
    assert not started, f"a quick test starts no process; this belongs elsewhere: {started}"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A home of its own, also for code that runs in the test's process."""
    place = make_place()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place.root / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.root / "run"))
    yield place
    left = dispose(place)
    assert not left, f"still running after the test: {left}"


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store: the test runs once with each kind that there is."""
    opened = await STORES[request.param](tmp_path)
    yield opened
    await opened.close()


# A shell that runs the tests in the background has Ctrl-C ignored, which every command that is
# started here would inherit, and which no test of Ctrl-C survives.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _usual = signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL
        signal.signal(_number, _usual)
