"""What is declared once is the same wherever it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, TypedDict

import jsonschema
import pytest

from mcp_jobs.domain.declaration import Field, declared, maker
from mcp_jobs.domain.job_object import (
    AttemptObject,
    JobPage,
    OutputObject,
    ShownJob,
    attempt_objects,
    job_object,
    question_objects,
)
from mcp_jobs.domain.models import Attempt, Job, Progress, Question
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.interfaces.http.routes import bodies
from mcp_jobs.interfaces.mcp.tools import schemas

NOW_MS = 1_800_000_000_000
PENDING = Job(
    id="1m847zbzth5yhe649kfpvdpyf", owner="local", locality="here", type="shell", params={},
    title="make", cwd="/srv", status=Status.PENDING, reason=None, exit_code=None, error=None,
    result=None, attempt=0, max_attempts=3, interrupts=1, created_at_ms=NOW_MS,
    run_at_ms=NOW_MS + 500, started_at_ms=None, attempt_started_at_ms=None, finished_at_ms=None,
    timeout_s=None, idle_timeout_s=None, retry_on_interrupt=False, cancel_requested_at_ms=None,
    progress=None, claim_token=0, launch_token=0, claimed_by=None, fingerprint="f",
)  # fmt: skip
RUNNING = replace(
    PENDING,
    status=Status.RUNNING,
    attempt=1,
    started_at_ms=NOW_MS,
    attempt_started_at_ms=NOW_MS,
    cancel_requested_at_ms=NOW_MS,
    progress=Progress(current=1, total=2, percent=50.0, message="half", updated_at_ms=NOW_MS),
)
FAILED = replace(
    RUNNING, status=Status.FAILED, reason=Reason.EXIT_CODE, exit_code=1, error="Exit code 1.",
    finished_at_ms=NOW_MS + 5,
)  # fmt: skip
RETRYING = replace(FAILED, status=Status.RETRYING, finished_at_ms=None)
COMPLETED = replace(
    RUNNING, status=Status.COMPLETED, exit_code=0, result=[1], finished_at_ms=NOW_MS + 5
)
ATTEMPT = Attempt(
    number=1, started_at_ms=NOW_MS, finished_at_ms=NOW_MS + 1, reason=Reason.SIGNAL,
    exit_code=None, error="A signal.", output_start=0, cpu_s=0.5, memory_peak_bytes=1024,
)  # fmt: skip
QUESTION = Question(
    job_id=PENDING.id, key="sure", message="Sure?", schema={"type": "object"}, asked_at_ms=NOW_MS
)


class Dog(TypedDict, total=False):
    name: Annotated[str, Field("What it is called.")]
    legs: Annotated[int, Field("How many.", "feet", told=True, default=4)]
    age: Annotated[float, Field("In years.", lambda dog, now: now - dog.born)]


class Record:
    name, feet, born = "Rex", 3, 2020.0


def test_an_object_has_its_fields_in_the_order_of_the_declaration() -> None:
    made = maker(Dog)(Record(), 2026.5)
    assert list(made.items()) == [("name", "Rex"), ("legs", 3), ("age", 6.5)]


def test_two_objects_of_one_maker_share_nothing() -> None:
    make = maker(Dog)
    make(Record(), 0)["name"] = "Fido"
    assert make(Record(), 0)["name"] == "Rex"


def test_a_schema_describes_what_a_name_does_not_say() -> None:
    assert [(each.name, each.description, each.required) for each in declared(Dog)] == [
        ("name", None, False),
        ("legs", "How many.", False),
        ("age", None, False),
    ]


@pytest.mark.parametrize("job", [PENDING, RUNNING, RETRYING, FAILED, COMPLETED])
def test_a_job_is_what_its_declaration_says(job: Job) -> None:
    found = job_object(job, now_ms=NOW_MS + 9, queue_position=1, printed_at_ms=NOW_MS + 1)
    schema = schemas.LIST_RESULT["properties"]["jobs"]["items"]
    jsonschema.validate(found, schema)
    assert list(found) == list(schema["properties"]) == schema["required"]


def test_attempts_and_questions_are_what_their_declarations_say() -> None:
    shown: dict[str, Any] = job_object(FAILED, now_ms=NOW_MS)
    shown["attempts"] = attempt_objects([ATTEMPT, replace(ATTEMPT, reason=None, error=None)])
    shown["questions"] = question_objects([QUESTION])
    jsonschema.validate(shown, schemas.JOB_RESULT)
    assert list(shown["attempts"][0]) == [each.name for each in declared(AttemptObject)]


@pytest.mark.parametrize(
    ("shape", "tool", "model"),
    [
        (ShownJob, schemas.JOB_RESULT, bodies.Job),
        (JobPage, schemas.LIST_RESULT, bodies.JobList),
        (OutputObject, schemas.JOB_RESULT["properties"]["output"], bodies.Output),
    ],
)
def test_tools_and_rest_show_the_declared_fields_with_the_same_words(
    shape: type[Any], tool: dict[str, Any], model: type[bodies.Body]
) -> None:
    told = {each.name: each.description for each in declared(shape)}
    rest = model.model_json_schema()["properties"]
    assert {name: field.get("description") for name, field in rest.items()} == told
    of_tool = {name: field.get("description") for name, field in tool["properties"].items()}
    assert {name: of_tool[name] for name in told} == told
    assert set(of_tool) - set(told) <= {"notices", "warning"}
