"""How start_job lists the declared types: one line each, with what the params may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp_jobs.interfaces.mcp.tools import type_tools
from mcp_jobs.job_types.registry import JobType, Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping


class Params:
    """Parameters with a given schema."""

    def __init__(self, required: tuple[str, ...] = (), **properties: Any) -> None:
        self._schema = {
            "type": "object",
            "properties": properties,
            "required": list(required),
            "additionalProperties": False,
        }

    def schema(self) -> Mapping[str, Any]:
        return self._schema

    def check(self, given: Mapping[str, Any]) -> Any:
        return given


def job_type(params: Params, **more: Any) -> JobType:
    def prepare(_: Any) -> Prepared:
        return Prepared(argv=("true",), title="x")

    fields = {"name": "deploy", "description": "Ship it.", **more}
    return JobType(params=params, prepare=prepare, **fields)


def line(params: Params, **more: Any) -> str:
    return type_tools.listing([job_type(params, **more)]).splitlines()[-1]


def test_a_type_is_listed_with_its_choices_and_whether_a_person_is_asked() -> None:
    region = {"type": "string", "enum": ["eu", "us"]}
    assert line(Params(("region",), region=region), confirm="Really?") == (
        "- deploy(region: eu|us), asks a person first: Ship it."
    )
    assert line(Params(region=region)) == "- deploy(region?: eu|us): Ship it."


def test_kinds_other_than_text_are_named() -> None:
    params = Params(
        ("name", "count"),
        name={"type": "string"},
        count={"type": "integer"},
        dry={"type": "boolean"},
        level={"enum": [1, None, True]},
        size={"anyOf": [{"type": "number"}, {"type": "null"}]},
        either={"type": ["string", "integer"]},
    )
    assert line(params, description="") == (
        "- deploy(name, count: integer, dry?: boolean, level?: 1|null|true, size?: number, either?)"
    )


def test_long_lists_of_choices_are_cut_and_stay_in_one_line() -> None:
    many = Params(one={"enum": [f"choice-{n}" for n in range(100)]}, other={"enum": ["a\nb"]})
    shown = line(many, description="")
    assert shown.startswith("- deploy(one?: choice-0|choice-1|")
    assert "|…, other?: a\\u000ab)" in shown
    assert len(shown) < 120
    assert line(Params(one={"enum": ["x" * 500]}), description="") == "- deploy(one?: …)"


def test_the_tool_of_a_type_leaves_unknown_arguments_to_the_server() -> None:
    tool = type_tools.tool_of(job_type(Params(), expose=True))
    assert "additionalProperties" not in tool.input_schema


def test_without_shell_no_default_type_is_told() -> None:
    schema = type_tools.start_tool({"deploy": job_type(Params())}).input_schema
    assert schema["required"] == ["type"]
    assert schema["properties"]["type"]["description"] == "Job type."
