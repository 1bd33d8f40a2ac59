"""Which jobs a caller means by its session, its project, or all: only ever those of its owner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mcp_jobs.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from mcp_jobs.domain.models import JobFilter, JobOrigin
    from mcp_jobs.service.requests import Scope


def scoped(where: JobFilter, scope: Scope, origin: JobOrigin) -> JobFilter:
    """Return a filter that keeps to a scope; all is the project of whoever has none.

    Raises `InvalidInputError` for the session of a caller that has none.
    """
    if scope == "session":
        return replace(where, session=known_session(origin))
    return replace(where, project=origin.project) if scope == "project" else where


def known_session(origin: JobOrigin) -> str:
    """Return the session of a caller. Raises `InvalidInputError` where none is known."""
    if origin.session is None:
        raise InvalidInputError(
            "scope: it is not known which session this is, as nothing here names one. Use "
            '"project" or "all".'
        )
    return origin.session
