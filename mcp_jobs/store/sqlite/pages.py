"""The statement that reads a page of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.states import Status

if TYPE_CHECKING:
    from mcp_jobs.domain.models import JobFilter

_WITH_COUNTS: Final = """\
SELECT told.counts AS told_counts, told.total AS told_total, page.*
FROM (
    SELECT
        (SELECT json_group_object(status, total) FROM ({counts})) AS counts,
        (SELECT coalesce(sum(total), 0) FROM job_counts WHERE owner = :owner) AS total
) AS told
LEFT JOIN ({page}) AS page ON true
ORDER BY page.id DESC"""
"""Made of fixed texts, never of a value."""


def is_quick(where: JobFilter) -> bool:
    """Say whether an index leads to every row of the list, and to no other.

    With two things given, a directory and a type, one is looked for among the rows of the other.
    """
    return len(_given(where)) <= 1


def _given(where: JobFilter) -> dict[str, str]:
    named = {name: getattr(where, name) for name in ("type", "cwd", "project", "session")}
    return {name: value for name, value in named.items() if value is not None}


def statement(owner: str, where: JobFilter, cursor: str | None) -> tuple[str, dict[str, Any]]:
    """Return a statement that reads a page, and the counts of the same moment, and nothing more.

    Each of its rows has the counts; a page without jobs has one row all the same.

    One branch for each status: every branch comes sorted out of an index, and SQLite merges them
    and stops at the limit. Only fixed texts are put together; every value is bound.
    """
    values: dict[str, Any] = {"owner": owner}
    branches = ["true"]
    filters = _given(where)
    values |= filters
    conditions = ["owner = :owner", *(f"{name} = :{name}" for name in filters)]
    if cursor is not None:
        values["cursor"] = cursor
        # Unary plus: with ids given, they are what is searched for.
        conditions.append("id < :cursor" if where.job_ids is None else "+id < :cursor")
    if where.job_ids is not None:
        values["job_ids"] = json.dumps(where.job_ids)
        conditions.append("id IN (SELECT value FROM json_each(:job_ids))")
        conditions[1 : 1 + len(filters)] = [f"+{name} = :{name}" for name in filters]
        if where.statuses is not None:
            values["statuses"] = json.dumps(where.statuses)
            conditions.append("+status IN (SELECT value FROM json_each(:statuses))")
    elif where.statuses is not None or filters:
        statuses = tuple(Status) if where.statuses is None else where.statuses
        # No state at all: a branch that finds nothing.
        branches = [f"status = '{status}'" for status in dict.fromkeys(statuses)] or ["status = ''"]
    fixed = " AND ".join(conditions)
    selects = (f"SELECT * FROM jobs WHERE {fixed} AND {branch}" for branch in branches)  # noqa: S608
    page = f"{' UNION ALL '.join(selects)} ORDER BY id DESC LIMIT :limit"
    return _WITH_COUNTS.format(page=page, counts=_counts_of(where)), values


def _counts_of(where: JobFilter) -> str:
    """Return what counts the jobs of an owner, a project and a session."""
    if where.session is not None:
        # So few that they are counted; the index leads to them.
        also = "" if where.project is None else " AND +project = :project"
        return (
            "SELECT status, count(*) AS total FROM jobs "  # noqa: S608 - texts of our own only
            f"WHERE owner = :owner AND session = :session{also} GROUP BY status"
        )
    if where.project is not None:
        return (
            "SELECT status, total FROM project_counts WHERE owner = :owner AND project = :project"
        )
    return "SELECT status, total FROM job_counts WHERE owner = :owner"
