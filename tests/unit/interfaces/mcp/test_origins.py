"""Which client a request is from: what the protocol and the hosts tell, and nothing more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mcp_jobs.domain.models import JobOrigin
from mcp_jobs.interfaces.mcp.origins import Origins, is_of_project, of_this_process
from tests.stores import running

OF_HOST = Origins(project="/srv/app", session="connection")


def context(
    *, name: str | None = "host", meta: dict[str, Any] | None = None, http: str | None = None
) -> Any:
    params = None
    if name is not None:
        params = SimpleNamespace(client_info=SimpleNamespace(name=name, version="1.2"))
    headers = {} if not http else {"mcp-session-id": http}
    return SimpleNamespace(
        session=SimpleNamespace(client_params=params),
        meta=meta,
        request=None if http is None else SimpleNamespace(headers=headers),
    )


def test_over_stdio_the_client_the_project_and_the_connection_are_known() -> None:
    assert OF_HOST(context()) == JobOrigin(
        client_name="host", client_version="1.2", project="/srv/app", session="connection"
    )


def test_a_client_that_says_nothing_of_itself_has_no_name() -> None:
    assert OF_HOST(context(name=None)) == JobOrigin(project="/srv/app", session="connection")


@pytest.mark.parametrize("key", ["threadId", "vscode.conversationId"])
def test_the_conversation_that_a_host_names_is_the_session(key: str) -> None:
    assert OF_HOST(context(meta={key: "t-1"})).session == "t-1"
    for odd in (7, None, "", {"a": 1}):
        assert OF_HOST(context(meta={key: odd})).session == "connection"


def test_a_request_over_http_has_nothing_of_the_host_that_started_the_server() -> None:
    assert OF_HOST(context(http="")) == JobOrigin(client_name="host", client_version="1.2")


def test_sessions_of_http_are_told_apart_and_none_is_given_away() -> None:
    names = ("secret-1", "secret-1", "secret-2")
    one, same, other = (str(OF_HOST(context(http=name)).session) for name in names)
    assert one == same != other
    assert "secret" not in one


@pytest.mark.parametrize(
    ("project", "cwd", "told"),
    [
        ("/srv/app", "/elsewhere", True),
        ("/srv/other", "/srv/app/a", False),
        (None, "/srv/app", True),
        (None, "/srv/app/a", True),
        (None, "/srv/app2", False),
    ],
)
def test_a_server_tells_of_the_jobs_of_its_project(
    project: str | None, cwd: str, told: bool
) -> None:
    job = running(cwd=cwd, origin=JobOrigin(project=project))
    assert is_of_project(job, "/srv/app") is told
    assert is_of_project(job, None)


def test_the_session_of_claude_code_is_that_of_its_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "c-1")
    assert of_this_process()(context()).session == "c-1"
    # A thread that is told with the call is nearer than what the process was given.
    assert of_this_process()(context(meta={"threadId": "t-1"})).session == "t-1"


def test_two_connections_of_hosts_that_name_no_session_are_two_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CLAUDE_CODE_SESSION_ID", raising=False)
    one, other = (of_this_process()(context()).session for _ in range(2))
    assert one != other
