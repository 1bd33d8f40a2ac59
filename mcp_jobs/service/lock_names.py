"""Which locks a job holds: those of its type and its caller's, in the project that it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.gates import MOST_LOCKS, PROJECT, lock_of
from mcp_jobs.settings import project_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_jobs.job_types.registry import JobType


def locks_of(job_type: JobType, asked: Sequence[str], cwd: str) -> tuple[str, ...]:
    """Return the locks of a job: the type's always, and those that its caller adds.

    Raises `InvalidInputError` for too many.
    """
    names = {*job_type.locks, *asked}
    if len(names) > MOST_LOCKS:
        own = f", {len(job_type.locks)} of them its own" if job_type.locks else ""
        raise InvalidInputError(
            f"locks: a job holds at most {MOST_LOCKS}, and this one of the type {job_type.name!r} "
            f"would hold {len(names)}{own}. Leave some out."
        )
    return tuple(sorted({_meant(name, cwd) for name in names}))


def capacities_of(declared: Mapping[str, int], locks: Sequence[str], cwd: str) -> Mapping[str, int]:
    """Return the declared capacities of a job's locks, by what their names mean for it."""
    if not locks or not declared:
        return {}
    meant = {_meant(name, cwd): count for name, count in declared.items()}
    return {name: meant[name] for name in locks if name in meant}


def _meant(name: str, cwd: str) -> str:
    # A directory without a project, such as /, is one of its own here.
    return lock_of(name, project_of(cwd) or cwd) if PROJECT in name else name
