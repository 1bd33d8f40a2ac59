"""Load a file of job types for a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_jobs.job_types import yaml

if TYPE_CHECKING:
    from pathlib import Path

RESERVED = frozenset({"shell"})


def load(tmp_path: Path, text: str | bytes, name: str = "jobs.yaml") -> yaml.Found:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return yaml.load(path, base=str(tmp_path), reserved=RESERVED)


def problem(tmp_path: Path, text: str | bytes, name: str = "jobs.yaml") -> str:
    found = load(tmp_path, text, name)
    (found_problem,) = found.problems
    told = str(found_problem)
    assert told.startswith(f"{tmp_path / name}:")
    return told.removeprefix(f"{tmp_path / name}:")
