"""What a start imports, binds and refuses."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution import private_files
from tests.processes.test_main import assert_one_sentence, mcp_jobs
from tests.support import BOUND_S
from tests.web import environment_for, python_for, serving, start_server

if TYPE_CHECKING:
    from tests.support import Place

# The SDK imports uvicorn and Starlette by itself.
HEAVY = (
    "fastapi", "prometheus_client", "standardwebhooks", "websockets", "jwt",
    "mcp_jobs.engine.webhook_sender",
    "mcp_jobs.interfaces.http",
    "mcp_jobs.interfaces.mcp.oidc",
    "mcp_jobs.interfaces.mcp.streamable",
)  # fmt: skip


def imported(place: Place, *arguments: str) -> set[str]:
    ran = subprocess.run(
        [python_for(None)[0], "-X", "importtime", "-m", "mcp_jobs", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=BOUND_S,
        cwd=place.project,
        env=environment_for(place),
    )
    return {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}


@pytest.mark.parametrize("arguments", [(), ("worker", "--drain")])
def test_a_start_over_stdio_and_a_worker_import_nothing_of_http(
    place: Place, arguments: tuple[str, ...]
) -> None:
    found = imported(place, *arguments)
    assert "mcp_jobs.service.job_service" in found
    assert [name for name in HEAVY if name in found] == []


def test_printing_the_token_needs_no_package_of_the_extra(place: Place) -> None:
    found = imported(place, "token")
    assert [name for name in ("fastapi", "uvicorn", "mcp") if name in found] == []


def test_an_address_that_is_taken_is_one_sentence(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = mcp_jobs(place, "serve", "--http", "--port", port)
    assert_one_sentence(done, f"127.0.0.1:{port} cannot be used", "--port")


def test_an_issuer_without_an_audience_is_one_sentence(place: Place) -> None:
    done = mcp_jobs(place, "serve", "--http", "--oidc-issuer", "https://issuer.example")
    assert_one_sentence(done, "--oidc-audience")


def test_an_issuer_needs_only_declared(place: Place) -> None:
    done = mcp_jobs(
        place, "serve", "--http", "--oidc-issuer", "https://issuer.example",
        "--oidc-audience", "https://jobs.example/mcp",
    )  # fmt: skip
    assert_one_sentence(done, "--only-declared")


@pytest.mark.parametrize(
    ("name", "value"),
    [("WEBHOOK_PRIVATE", "10.0.0.1/8"), ("PORT", "70000"), ("WEBHOOK_SECRET", "whsec_hunter2!")],
)
def test_a_bad_setting_is_one_sentence_without_secrets(place: Place, name: str, value: str) -> None:
    done = mcp_jobs(place, "serve", "--http", **{f"MCP_JOBS_{name}": value})
    assert_one_sentence(done, f"MCP_JOBS_{name}=")
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("arguments", [("serve", "--http"), (), ("worker",)])
@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ="])
def test_a_secret_file_that_cannot_sign_is_refused_at_the_start(
    place: Place, arguments: tuple[str, ...], text: str
) -> None:
    assert private_files.write_private(
        place.home / private_files.WEBHOOK_SECRET, text, replace=True
    )
    done = mcp_jobs(place, *arguments)
    assert_one_sentence(
        done, str(place.home / private_files.WEBHOOK_SECRET), "at least 24 random bytes"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a home away")
@pytest.mark.parametrize("arguments", [("serve", "--http"), (), ("list",), ("token",)])
def test_a_home_of_another_user_is_refused_at_the_start(
    place: Place, arguments: tuple[str, ...]
) -> None:
    os.chown(place.home, 12_345, -1)
    done = mcp_jobs(place, *arguments)
    assert_one_sentence(done, f"{place.home} belongs to another user (uid 12345", "MCP_JOBS_HOME")


def test_a_server_on_the_network_says_that_it_is_not_encrypted(place: Place) -> None:
    with serving(place, "--host", "0.0.0.0") as server:  # noqa: S104 - the point of the test
        assert "not encrypted" in server.text


def test_a_server_ends_well_while_a_client_is_connected(place: Place) -> None:
    server = start_server(place)
    with server.connect():
        assert server.end() == 0
