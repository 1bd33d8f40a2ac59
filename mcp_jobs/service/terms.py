"""On which terms a job is accepted: what its caller asks for, within what its type allows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.service.lock_names import locks_of
from mcp_jobs.service.requests import check_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.service.requests import StartJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Directory, limits, retries and order of one job. Times in seconds, None for no limit."""

    cwd: str
    timeout_s: float | None
    idle_timeout_s: float | None
    max_retries: int
    retry_on_interrupt: bool
    priority: int
    locks: tuple[str, ...]
    """Those of its type always, and those that its caller adds."""


def terms_of(
    job_type: JobType,
    request: StartJob,
    *,
    default_cwd: Callable[[], str],
    only_declared: bool,
    known_cwd: str | None = None,
) -> Terms:
    """Return the terms. Raises `InvalidInputError` for what the type leaves to nobody.

    `known_cwd` is the directory of an earlier job of the type that is started again.
    """
    _check_env(job_type, request)
    given = request.model_fields_set
    directory = _Directory(job_type, default_cwd, only_declared=only_declared)
    again = request.cwd is not None and request.cwd == known_cwd and job_type.cwd is None
    cwd = known_cwd if again and known_cwd is not None else directory.asked(request.cwd)
    return Terms(
        cwd=cwd,
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
            binding=job_type.idle_timeout_is_limit,
        ),
        max_retries=(request.max_retries if "max_retries" in given else job_type.max_retries),
        retry_on_interrupt=(
            request.retry_on_interrupt
            if "retry_on_interrupt" in given
            else job_type.retry_on_interrupt
        ),
        priority=request.priority if "priority" in given else job_type.priority,
        locks=locks_of(job_type, request.locks, cwd),
    )


def _check_env(job_type: JobType, request: StartJob) -> None:
    allowed = job_type.callers.env
    if allowed is None or not request.env:
        return
    # A type that was not declared in a file or by the decorator has been checked by nobody.
    open_to_all = [name for name in allowed if not changes_what_runs(name)]
    if not open_to_all:
        raise InvalidInputError(
            f"The job type {job_type.name!r} takes no env: its environment is part of its "
            "declaration. Pass what varies in params."
        )
    if refused := [name for name in request.env if name not in open_to_all]:
        raise InvalidInputError(
            f"The job type {job_type.name!r} takes the env variables {', '.join(open_to_all)} and "
            f"no others; leave {', '.join(refused)} out."
        )


class _Directory:
    """Where a job of a type runs, with or without the caller's word."""

    def __init__(
        self, job_type: JobType, default: Callable[[], str], *, only_declared: bool
    ) -> None:
        self._type = job_type
        self._default = default
        chosen = job_type.callers.cwd
        self._allowed = not only_declared if chosen is None else chosen

    def asked(self, path: str | None) -> str:
        """Return the directory for what a caller asked. Raises `InvalidInputError`."""
        if path is None:
            return self._unasked()
        if path == self._type.cwd:
            return path
        if self._allowed is False:
            return self._only(path)
        # Links are followed before the look, and the job runs where they led.
        real = path if self._allowed is True else self._below_root(os.path.realpath(path))
        try:
            check_directory(real)
        except ValueError as error:
            raise InvalidInputError(f"cwd: {error}.") from None
        return real

    def _unasked(self) -> str:
        if self._type.cwd is not None:
            return self._type.cwd
        try:
            here = self._default()
        except InvalidInputError:
            if self._allowed is not False and not isinstance(self._allowed, tuple):
                raise
            # Nobody can name another one, and a type may do without.
            return self._allowed[0] if self._allowed else os.sep
        if isinstance(self._allowed, tuple) and not self._is_below(os.path.realpath(here)):
            return self._allowed[0]
        return here

    def _only(self, path: str) -> str:
        """Return the one directory of a type whose callers choose none, if it is what they ask."""
        only = self._unasked()
        if path != only:
            raise InvalidInputError(
                f"The job type {self._type.name!r} runs in {only} and nowhere else; leave cwd out."
            )
        return only

    def _below_root(self, real: str) -> str:
        if not self._is_below(real):
            raise InvalidInputError(
                f"The job type {self._type.name!r} runs in {', '.join(self._roots())} or below, "
                "and nowhere else; name a cwd there, or leave it out."
            )
        return real

    def _is_below(self, real: str) -> bool:
        roots = [os.path.realpath(root) for root in self._roots()]
        return any(os.path.commonpath([real, root]) == root for root in roots)

    def _roots(self) -> tuple[str, ...]:
        return self._allowed if isinstance(self._allowed, tuple) else ()


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
