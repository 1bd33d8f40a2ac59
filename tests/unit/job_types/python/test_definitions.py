"""What may be a Python job, how its parameters and questions look, and what answers fit."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from mcp_jobs import JobContext, Jobs, Retry
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.models import Answer
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.python_files import read_questions, read_report
from mcp_jobs.job_types.python import loading
from mcp_jobs.job_types.python.context import _question
from mcp_jobs.job_types.python.definitions import definition_of
from mcp_jobs.job_types.python.forms import flat_schema
from mcp_jobs.job_types.registry import ModelParams
from mcp_jobs.service.answers import answer_to
from tests.stores import question


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Form(BaseModel):
    name: str = Field(min_length=2, max_length=5, description="Who")
    count: int | None = Field(default=None, ge=1, le=9)
    ratio: float = 0.5
    sure: bool = False
    color: Color = Color.RED
    size: Literal["s", "l"] = "s"
    colors: list[Color] = []
    day: date | None = None


def plain(a: int, /) -> None: ...


def many(*numbers: int) -> None: ...


def fine(json: str, copy: int = 1, *, ctx: JobContext) -> str:
    """First line
    goes on.

    Second paragraph.
    """
    return json * copy


def odd(thing: subprocess.Popen[str]) -> None: ...


# -- functions -----------------------------------------------------------------------------------


def test_a_function_stays_itself_and_gets_a_schema() -> None:
    jobs = Jobs("mine")
    taken = jobs.job(timeout=5)(fine)
    definition = definition_of(taken)

    assert taken("x", 2, ctx=None) == "xx"  # type: ignore[arg-type]  # called as what it is
    assert (definition.name, definition.description) == ("fine", "First line goes on.")
    schema = definition.params.model_json_schema()
    assert {*schema["properties"]} == {"json", "copy"}
    assert (schema["required"], schema["additionalProperties"]) == (["json"], False)


@pytest.mark.parametrize(
    ("function", "options", "problem"),
    [
        (plain, {}, "positional-only parameters are not allowed"),
        (many, {}, "'numbers' of the job 'many' has no name"),
        (lambda: None, {"name": "nameless"}, "defined inside a function"),
        (fine, {"name": "has space"}, "cannot have the name 'has space'"),
        (fine, {"timeout": 0}, "timeout of the job 'fine' is a number of seconds above 0"),
        (fine, {"retries": -1}, "retries of the job 'fine' are 0 to 100"),
    ],
)
def test_what_cannot_be_a_job_is_refused_with_the_reason(
    function: Any, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        Jobs("mine").job(**options)(function)


def test_two_jobs_of_one_name_are_refused() -> None:
    jobs = Jobs("mine")
    jobs.job()(fine)

    with pytest.raises(InvalidInputError, match="two jobs of the name 'fine'"):
        jobs.job()(fine)


def test_types_that_json_cannot_carry_are_refused_before_anything_is_served() -> None:
    jobs = Jobs("mine")
    jobs.job()(odd)

    with pytest.raises(InvalidInputError, match="job 'odd' need types that JSON can carry"):
        loading.types_of(jobs)


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_retry_waits_for_a_time_that_exists(after: float) -> None:
    with pytest.raises(ValueError, match="after must be a number of seconds"):
        Retry(after=after)


# -- apps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        ("tools", "must be written as module:name"),
        (":jobs", "must be written as module:name"),
        ("no_such_module:jobs", "cannot be imported: ModuleNotFoundError"),
        ("/nowhere/tools.py:jobs", "there is no file /nowhere/tools.py"),
        ("json:dumps", "has no Jobs object of the name 'dumps'"),
        ("json:nothing.at.all", "has no Jobs object of the name 'nothing.at.all'"),
    ],
)
def test_an_app_that_cannot_be_served_is_one_sentence(app: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        loading.load(app, None)


# -- what a job's process imports ----------------------------------------------------------------


# -- questions -----------------------------------------------------------------------------------


def test_a_form_becomes_a_flat_schema() -> None:
    schema = flat_schema(Form)

    assert schema["required"] == ["name"]
    fields = schema["properties"]
    assert fields["name"]["minLength"] == 2
    assert {name: field["type"] for name, field in fields.items()} == {
        "name": "string",
        "count": "integer",
        "ratio": "number",
        "sure": "boolean",
        "color": "string",
        "size": "string",
        "colors": "array",
        "day": "string",
    }
    assert fields["color"]["enum"] == ["red", "blue"]
    assert fields["size"]["enum"] == ["s", "l"]
    assert fields["colors"]["items"] == {"type": "string", "enum": ["red", "blue"]}
    assert (fields["count"]["maximum"], fields["day"]["format"]) == (9, "date")
    assert "$" not in json.dumps(schema)
    assert "anyOf" not in json.dumps(schema)


def test_a_form_with_structure_inside_is_refused() -> None:
    class Deep(BaseModel):
        form: Form

    with pytest.raises(TypeError, match="field 'form' of Deep cannot be asked for"):
        flat_schema(Deep)


def test_a_key_is_made_of_message_and_form_and_always_the_same() -> None:
    first, again = _question("Go on?", None, None), _question("Go on?", None, None)
    form = _question("Go on?", Form, None)

    assert first == again
    assert first.key.startswith("go-on-")
    assert form.key != first.key
    assert _question("Go on?", None, "mine").key == "mine"
    good: dict[str, Any] = {"message": "Go on?", "form": None, "key": None}
    for bad in ({"message": " "}, {"message": "x" * 5000}, {"key": "x" * 300}, {"key": ""}):
        with pytest.raises(ValueError, match="characters"):
            _question(**{**good, **bad})


def asked() -> Any:
    return replace(question("job", "form"), schema=flat_schema(Form))


def test_an_answer_that_fits_is_taken_as_it_is() -> None:
    content = {"name": "Ann", "count": 3, "color": "blue", "colors": ["red"], "sure": True}

    assert answer_to(asked(), {"action": "accept", "content": content}) == Answer(
        action="accept", content=content
    )
    assert answer_to(asked(), {"action": "decline", "content": {"x": 1}}) == Answer(
        action="decline", content={}
    )


def test_a_question_that_was_put_away_has_no_answer() -> None:
    assert answer_to(asked(), {"action": "cancel", "content": {"name": "Ann"}}) is None


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "needs an action"),
        ({"action": "yes"}, "needs an action"),
        ({"action": "accept", "content": [1]}, "must be an object"),
        ({"action": "accept"}, "name is missing"),
        ({"action": "accept", "content": {"name": "Ann", "x": 1}}, "no field 'x'; it takes name"),
        ({"action": "accept", "content": {"name": 5}}, "name must be a value of type string"),
        ({"action": "accept", "content": {"name": "A"}}, "name must have 2 to 5 characters"),
        ({"action": "accept", "content": {"name": "Ann", "count": 0}}, "must be between 1 and 9"),
        ({"action": "accept", "content": {"name": "Ann", "count": True}}, "of type integer"),
        ({"action": "accept", "content": {"name": "Ann", "ratio": float("nan")}}, "finite"),
        ({"action": "accept", "content": {"name": "Ann", "sure": 1}}, "of type boolean"),
        ({"action": "accept", "content": {"name": "Ann", "color": "x"}}, "one of red, blue"),
        ({"action": "accept", "content": {"name": "Ann", "colors": ["x"]}}, "one of red, blue"),
    ],
)
def test_an_answer_that_does_not_fit_says_why(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        answer_to(asked(), given)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    content=st.dictionaries(st.sampled_from([*Form.model_fields, "other"]), ANYTHING, max_size=4),
    action=ANYTHING | st.sampled_from(["accept", "decline", "cancel"]),
)
def test_no_answer_makes_a_question_fail_in_any_other_way(
    content: dict[str, Any], action: Any
) -> None:
    try:
        answer = answer_to(asked(), {"action": action, "content": content})
    except InvalidInputError:
        return
    assert (answer is None) == (action == "cancel")
    if answer is None:
        return
    assert answer.action == action
    if action == "accept":
        assert answer.content == content


# -- files ---------------------------------------------------------------------------------------


@given(text=st.text(max_size=200))
def test_a_key_of_any_characters_names_a_file(text: str) -> None:
    name = layout.question_name(text)

    assert len(name) == 32
    assert name.isalnum()


def test_what_leaves_a_job_is_masked(tmp_path: Path) -> None:
    secret = b"s3cr3t-value"
    report = {"came_to": "returned", "result": {"a": ["x s3cr3t-value y"]}, "stopped": False}
    layout.write_json(str(tmp_path / layout.report_name(1)), report)
    (tmp_path / layout.QUESTIONS).mkdir()
    fields = {"key": "k", "message": "Use s3cr3t-value?", "schema": {}}
    layout.write_json(str(tmp_path / layout.QUESTIONS / layout.question_name("k")), fields)

    found = read_report(tmp_path, 1, [secret])
    assert found is not None
    assert found.result == {"a": ["x [masked] y"]}
    (masked,) = read_questions(tmp_path, [secret]).values()
    assert masked["message"] == "Use [masked]?"
    assert read_report(tmp_path, 2, []) is None


class Undescribed(BaseModel):
    pages: int
    title: str = ""


class Nothing(BaseModel, extra="forbid"):
    pass


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Undescribed, "pages (required), title (optional)"),
        (Nothing, "no params"),
    ],
)
def test_params_without_a_description_are_told_without_one(
    model: type[BaseModel], told: str
) -> None:
    with pytest.raises(ValueError, match="It takes") as refused:
        ModelParams(model).check({"pages": "x"})
    assert str(refused.value).endswith(f"It takes: {told}")


def test_jobs_say_their_priority_and_locks_and_the_set_their_capacities() -> None:
    jobs = Jobs("mine", capacities={"gpu": 2})
    jobs.job(priority=5, locks="gpu")(fine)
    (job_type,) = loading.types_of(jobs)
    assert (job_type.priority, job_type.locks) == (5, ("gpu",))
    assert job_type.capacities == {"gpu": 2}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"priority": 101}, "The priority of the job 'fine' is -100 to 100, not 101"),
        ({"locks": ["a", ""]}, "A lock of the job 'fine': '' cannot be the name"),
        ({"locks": list("abcdefghi")}, "has 9 locks; a job holds at most 8"),
    ],
)
def test_a_job_whose_order_makes_no_sense_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        Jobs("mine").job(**given)(fine)


@pytest.mark.parametrize("capacities", [{"gpu": 0}, {"gpu": 1001}, {"": 1}])
def test_a_capacity_that_makes_no_sense_is_refused(capacities: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="lock"):
        Jobs("mine", capacities=capacities)
