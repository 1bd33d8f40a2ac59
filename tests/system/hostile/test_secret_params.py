"""A job gets its secret parameters; nobody else is shown them, then or later."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from mcp_jobs import Jobs
from mcp_jobs.domain.errors import InvalidInputError, KeyConflictError
from mcp_jobs.domain.secrecy import hidden
from mcp_jobs.job_types.python.definitions import definition_of
from mcp_jobs.job_types.python.loading import types_of
from mcp_jobs.job_types.registry import prepare
from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.producer import _params
from mcp_jobs.service.requests import StartJob
from tests.support import Place
from tests.system.station import station

SECRET = "hunter2-hunter2"  # noqa: S105 - it protects nothing
TYPES = """\
jobs:
  login:
    description: d
    params:
      token: {}
      pin: {type: integer, secret: true}
    shell: |
      test "$token" = hunter2-hunter2 && test "$pin" = 12345678 && echo "got $token and $pin"
"""


secrets = Jobs("secrets")


@secrets.job()
def login(key: SecretStr) -> str:
    """Log in."""
    return key.get_secret_value()


async def test_a_secret_parameter_reaches_the_job_and_nothing_that_is_shown_or_kept(
    place: Place,
) -> None:
    config = place.declare(TYPES)
    wanted = {"token": SECRET, "pin": 12345678}
    request = StartJob(type="login", params=wanted, idempotency_key="k")
    async with station(place, config=(config,)) as jobs:
        started = await jobs.core.service.start(LOCAL_OWNER, request)
        job = await jobs.ended(started["job_id"])
        again = await jobs.core.service.start(LOCAL_OWNER, request)
        other: dict[str, Any] = {**wanted, "token": "another-token"}
        with pytest.raises(KeyConflictError):
            await jobs.core.service.start(
                LOCAL_OWNER, StartJob(type="login", params=other, idempotency_key="k")
            )
        stored = await jobs.core.service.find(LOCAL_OWNER, job["job_id"])
        raw = jobs.raw(job["job_id"])

    assert job["status"] == "completed"
    assert job["title"] == "login token=[masked] pin=[masked]"
    assert job["output"]["text"] == "got [masked] and [masked]\n"
    assert again["job_id"] == job["job_id"]
    assert dict(stored.params) == {"token": "[masked]", "pin": "[masked]"}
    assert SECRET.encode() not in raw + (place.home / "jobs.db").read_bytes()
    kept = [path for path in (place.home / "jobs").rglob("*") if path.is_file()]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


async def test_a_retry_says_that_a_secret_is_not_kept(place: Place) -> None:
    config = place.declare(TYPES)
    request = StartJob(type="login", params={"token": "wrong-token", "pin": 1})
    async with station(place, config=(config,)) as jobs:
        started = await jobs.core.service.start(LOCAL_OWNER, request)
        job = await jobs.ended(started["job_id"])
        with pytest.raises(InvalidInputError, match="token, pin was secret and is not kept"):
            await jobs.core.service.start(LOCAL_OWNER, StartJob(retry_of=job["job_id"]))
        given = {"token": SECRET, "pin": 12345678}
        again = await jobs.core.service.start(
            LOCAL_OWNER, StartJob(retry_of=job["job_id"], params=given)
        )
        assert (await jobs.ended(again["job_id"]))["status"] == "completed"


async def test_a_confirmation_shows_no_secret(place: Place) -> None:
    config = place.declare(TYPES.replace("    shell:", "    confirm: true\n    shell:"))
    request = StartJob(type="login", params={"token": SECRET, "pin": 12345678})
    async with station(place, config=(config,)) as jobs:
        job = await jobs.core.service.start(LOCAL_OWNER, request)
        (asked,) = await jobs.core.service.questions(LOCAL_OWNER, job["job_id"])
        await jobs.cancel(job["job_id"])

    assert asked.message.split("\n")[2:] == ['  token: "[masked]"', '  pin: "[masked]"']


def test_a_secret_str_reaches_a_python_job_as_it_was_given() -> None:
    definition = definition_of(login)
    (job_type,) = types_of(secrets)
    prepared = prepare(job_type, {"key": SECRET})
    assert prepared.call is not None
    arguments = definition.arguments(prepared.call["params"], None)  # type: ignore[arg-type]
    assert arguments["key"].get_secret_value() == SECRET
    assert hidden(job_type.params.schema(), {"key": SECRET}) == ({"key": "[masked]"}, (SECRET,))


def test_a_secret_str_is_passed_on_by_code_that_starts_a_job() -> None:
    definition = definition_of(login)
    assert _params(definition, (SecretStr(SECRET),), {}) == {"key": SECRET}
    assert _params(definition, (), {"key": SECRET}) == {"key": SECRET}
