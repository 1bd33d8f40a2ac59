"""On which terms a job is accepted: what its caller asks for, within what its type allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_jobs.errors import InvalidInputError
from mcp_jobs.requests import check_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.registry import JobType
    from mcp_jobs.requests import StartJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Directory, limits and retries of one job. Times in seconds, None for no limit."""

    cwd: str
    timeout_s: float | None
    idle_timeout_s: float | None
    max_retries: int
    retry_on_interrupt: bool


def terms_of(job_type: JobType, request: StartJob, *, default_cwd: Callable[[], str]) -> Terms:
    """Return the terms. Raises `InvalidInputError` for what the type leaves to nobody."""
    if job_type.closed and request.env:
        raise InvalidInputError(
            f"The job type {job_type.name!r} takes no env: its environment is part of its "
            "declaration. Pass what varies in params."
        )
    given = request.model_fields_set
    return Terms(
        cwd=_cwd(job_type, request, default_cwd),
        timeout_s=_limit(
            job_type,
            "timeout_seconds",
            request.timeout_seconds,
            job_type.timeout_s,
            binding=job_type.timeout_is_limit,
        ),
        idle_timeout_s=_limit(
            job_type,
            "idle_timeout_seconds",
            request.idle_timeout_seconds,
            job_type.idle_timeout_s,
            binding=job_type.closed,
        ),
        max_retries=(request.max_retries if "max_retries" in given else job_type.max_retries),
        retry_on_interrupt=(
            request.retry_on_interrupt
            if "retry_on_interrupt" in given
            else job_type.retry_on_interrupt
        ),
    )


def _cwd(job_type: JobType, request: StartJob, default_cwd: Callable[[], str]) -> str:
    if job_type.cwd is None:
        if request.cwd is None:
            return default_cwd()
        try:
            check_directory(request.cwd)
        except ValueError as error:
            raise InvalidInputError(f"cwd: {error}.") from None
        return request.cwd
    if request.cwd not in (None, job_type.cwd):
        raise InvalidInputError(
            f"The job type {job_type.name!r} runs in {job_type.cwd} and nowhere else; "
            "leave cwd out."
        )
    return job_type.cwd


def _limit(
    job_type: JobType,
    name: str,
    asked_s: float | None,
    declared_s: float | None,
    *,
    binding: bool,
) -> float | None:
    if asked_s is None or declared_s is None:
        return declared_s if asked_s is None else asked_s
    if binding and asked_s > declared_s:
        raise InvalidInputError(
            f"{name} {asked_s:g} is more than the job type {job_type.name!r} allows, which is "
            f"{declared_s:g}. Ask for less, or leave it out."
        )
    return asked_s
