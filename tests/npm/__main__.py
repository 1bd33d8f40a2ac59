"""Install what the tests need from npm: `python -m tests.npm`."""

from __future__ import annotations

import sys

import pytest

from tests.npm import installed

try:
    sys.stdout.write(f"{installed().root}\n")
except pytest.skip.Exception as skipped:
    sys.stdout.write(f"{skipped}\n")
