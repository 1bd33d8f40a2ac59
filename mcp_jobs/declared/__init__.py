"""Job types declared in YAML: jobs.yaml, and the tools of a gantz.yaml.

Nothing in here is imported before a file of job types is found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp_jobs.declared.jobs_file import read_jobs
from mcp_jobs.declared.place import Place
from mcp_jobs.declared.problems import DeclarationError
from mcp_jobs.declared.tree import LIMIT_BYTES, MapNode, parse
from mcp_jobs.registry import JobType

__all__ = ["DeclarationError", "Found", "load"]


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


@_without_collections()
def load(path: Path, *, base: str | None, reserved: frozenset[str]) -> Found:
    """Read a file.

    `base` is the project that relative directories belong to, None where there is none; `reserved`
    are names that are taken.
    """
    file = str(path)
    try:
        with path.open("rb") as opened:
            data = opened.read(LIMIT_BYTES + 1)
        root = Place(file, parse(file, data))
    except OSError as error:
        problem = DeclarationError(file, 1, "", f"it cannot be read: {error.strerror}")
        return Found(types=(), problems=[problem], whole=False)
    except DeclarationError as error:
        return Found(types=(), problems=[error], whole=False)
    keys = root.node.entries if isinstance(root.node, MapNode) else {}
    if "tools" in keys and "jobs" not in keys:
        from mcp_jobs.declared.gantz_file import read_tools  # noqa: PLC0415 - few files need it

        # The file may be written for another program, so a tool that is refused costs no other.
        types, problems = read_tools(root, base=base, reserved=reserved)
        return Found(types=types, problems=problems, whole=bool(types) or not problems)
    types, problems = read_jobs(root, base=base, reserved=reserved)
    return Found(types=types, problems=problems, whole=not problems)
