"""Servers over HTTP as processes, for clients that are not Python."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import BOUND_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Place

PROJECT = Path(__file__).resolve().parent.parent.parent
FIXTURES = "tests.conformance.fixture_jobs:jobs"


def environment(place: Place) -> dict[str, str]:
    """Return the environment of a server of this place."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **place.environment()}


@contextmanager
def http_server(place: Place, *arguments: str) -> Iterator[str]:
    """Serve over HTTP; returns the URL. The server ends with the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.serving", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=place.project,
        env=environment(place),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), url
        yield url
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(BOUND_S)
