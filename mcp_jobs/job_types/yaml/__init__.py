"""Job types declared in YAML: jobs.yaml, and the tools of a gantz.yaml.

Nothing in here is imported before a file of job types is found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp_jobs.domain.limits import DECLARATIONS_BYTES
from mcp_jobs.execution.launcher import files
from mcp_jobs.job_types.registry import JobType
from mcp_jobs.job_types.yaml.jobs_file import read_jobs
from mcp_jobs.job_types.yaml.node import Place
from mcp_jobs.job_types.yaml.parser import MapNode, parse
from mcp_jobs.job_types.yaml.problems import DeclarationError

__all__ = ["DeclarationError", "Found", "declared_in", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a file declares, and what is wrong in it."""

    types: Sequence[JobType]
    problems: Sequence[DeclarationError]
    whole: bool
    """The types are all that the file declares; else what it declared before should stay."""


@contextmanager
def _without_collections() -> Iterator[None]:
    """Put the garbage collector off: what is read has no cycles, and the server holds a lot."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load(path: Path, *, base: str | None, reserved: frozenset[str]) -> Found:
    """Read a file and what it declares, as `declared_in` does."""
    file = str(path)
    try:
        data = files.read_file(path, limit_bytes=DECLARATIONS_BYTES, owned=False)
    except OSError as error:
        what = error.what if isinstance(error, files.OddFileError) else str(error.strerror)
        problem = DeclarationError(file, 1, "", f"it cannot be read: {what}")
        return Found(types=(), problems=[problem], whole=False)
    return declared_in(data, file=file, base=base, reserved=reserved)


@_without_collections()
def declared_in(data: bytes, *, file: str, base: str | None, reserved: frozenset[str]) -> Found:
    """Return what the content of a file declares.

    `base` is the project that relative directories belong to, None where there is none; `reserved`
    are names that are taken.
    """
    try:
        root = Place(file, parse(file, data))
    except DeclarationError as error:
        return Found(types=(), problems=[error], whole=False)
    keys = root.node.entries if isinstance(root.node, MapNode) else {}
    if "tools" in keys and "jobs" not in keys:
        from mcp_jobs.job_types.yaml.gantz_file import read_tools  # noqa: PLC0415 - few files need it

        # The file may be written for another program, so a tool that is refused costs no other.
        types, problems = read_tools(root, base=base, reserved=reserved)
        return Found(types=types, problems=problems, whole=bool(types) or not problems)
    types, problems = read_jobs(root, base=base, reserved=reserved)
    return Found(types=types, problems=problems, whole=not problems)
