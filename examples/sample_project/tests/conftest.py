"""Every test of this project is slow, as if it asked a database."""

from __future__ import annotations

import time

import pytest


@pytest.fixture(autouse=True)
def slow_database() -> None:
    time.sleep(0.2)
