"""The rigs of the executors, one after the other; and a service in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from tests.contracts.rigs import RIGS
from tests.contracts.serving import World, serving
from tests.stores import sqlite_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.contracts.rigs import Rig
    from tests.contracts.serving import Server
    from tests.support import Place


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.processes] if name == "local" else [])
        for name in RIGS
    ]
)
async def rig(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Rig]:
    """One executor under test; nothing may run any more when its test ends."""
    async with RIGS[request.param](place) as rig:
        yield rig


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """What servers share: a store, and whatever runs of its jobs, in memory."""
    async with sqlite_store(tmp_path / "jobs.db") as store, anyio.create_task_group() as tasks:
        yield World(store, tasks)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def server(world: World, tmp_path: Path) -> AsyncIterator[Server]:
    """One server of the world."""
    async with serving(world, tmp_path) as server:
        yield server
