"""Which client a request is from, as far as the protocol or the host tells it."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.origin import told_origin
from mcp_jobs.settings import claude_session, host_project

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from mcp_jobs.domain.models import Job, JobOrigin

_OF_HOSTS: Final = ("threadId", "vscode.conversationId")
"""Where Codex and VS Code name the conversation, in the `_meta` of a call."""

_HTTP_SESSION: Final = "mcp-session-id"
_HASH_CHARS: Final = 20


class Origins:
    """What the requests on one server tell of their clients.

    `project` and `session` are those of the host that has started the server: what comes over HTTP
    is not from there.
    """

    def __init__(self, *, project: str | None = None, session: str | None = None) -> None:
        self._project = project
        self._session = session

    def __call__(self, context: ServerRequestContext[Any, Any]) -> JobOrigin:
        """Return who sent a request. Whatever of it makes no sense is unknown."""
        params = context.session.client_params
        client = None if params is None else params.client_info
        of_host = context.request is None
        connection = self._session if of_host else _http_session(context)
        return told_origin(
            client_name=None if client is None else client.name,
            client_version=None if client is None else client.version,
            project=self._project if of_host else None,
            session=_conversation(context) or connection,
        )


def of_this_process() -> Origins:
    """Return the origins of a server that one host has started for itself.

    Its project is the one of that host. A host that names no session has the one that lasts as long
    as this process.
    """
    session = claude_session() or f"stdio-{new_id(SystemClock().now_ms())}"
    return Origins(project=host_project(), session=session)


def is_of_project(job: Job, project: str | None) -> bool:
    """Say whether a server of this project tells of a job; one without a project of all.

    A job of no known project belongs to the one whose directory it runs in or below.
    """
    if project is None:
        return True
    if job.origin.project is not None:
        return job.origin.project == project
    return job.cwd == project or job.cwd.startswith(project.rstrip(os.sep) + os.sep)


def _conversation(context: ServerRequestContext[Any, Any]) -> str | None:
    meta: Any = context.meta or {}
    told = (meta.get(name) for name in _OF_HOSTS)
    return next((each for each in told if isinstance(each, str) and each), None)


def _http_session(context: ServerRequestContext[Any, Any]) -> str | None:
    """Return what tells the sessions of HTTP apart, and opens none to whoever reads it."""
    request: Any = context.request
    name = request.headers.get(_HTTP_SESSION)
    return f"http-{sha256(name.encode()).hexdigest()[:_HASH_CHARS]}" if name else None
