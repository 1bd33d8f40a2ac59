"""The rigs of the executors, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contracts.rigs import RIGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contracts.rigs import Rig
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
