"""Params are checked as JSON Schema says, with an independent checker to compare with."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.job_types.yaml.params import DeclaredParams, Param

NUMBERS = st.integers(-3, 12) | st.floats(-3, 12) | st.sampled_from([1.0, 2.5, 10**20])
VALUES = st.none() | st.booleans() | NUMBERS | st.text("ab1\n", max_size=6) | st.lists(st.just("a"))
TEXT_SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={
        "enum": st.lists(st.text("ab", max_size=3), min_size=1),
        "pattern": st.sampled_from(["a", "^a", "b{2}", "^[ab]+", "[^a]"]),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 5),
    },
)
NUMBER_SCHEMAS = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={
        "enum": st.lists(st.integers(-2, 5), min_size=1),
        "minimum": st.integers(-2, 5) | st.floats(-2, 5),
        "maximum": st.integers(0, 10),
    },
)
SCHEMAS = TEXT_SCHEMAS | NUMBER_SCHEMAS | st.just({"type": "boolean"})


def params(schema: dict[str, Any], *, required: bool = False) -> DeclaredParams:
    return DeclaredParams(params={"p": Param(name="p", schema=schema, required=required, line=1)})


@given(schema=SCHEMAS, value=VALUES, required=st.booleans(), given_=st.booleans())
def test_what_is_accepted_is_what_the_shown_schema_accepts(
    schema: dict[str, Any], value: Any, required: bool, given_: bool
) -> None:
    declared = params(schema, required=required)
    arguments = {"p": value} if given_ else {}
    fits = jsonschema.Draft202012Validator(declared.schema()).is_valid(arguments)

    if fits:
        assert (declared.check(arguments)["p"] is None) == (not given_)
        return
    with pytest.raises(ValueError, match=r"It takes: p \("):
        declared.check(arguments)


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("^[a-z]+$", "abc", True),
        # Python alone would let this through.
        ("^[a-z]+$", "abc\n", False),
        (r"^a\$$", "a$", True),
        (r"^[$]$", "$", True),
        ("^[]$]+$", "]$", True),
        ("^[^$]+$", "a", True),
        ("^[^]$]+$", "a$", False),
        ("(a$|b$)", "b\n", False),
        # A class whose last character is a [ ends with the ] after it.
        ("^[a[]+$", "a[\n", False),
        ("^[a[]+$", "a[", True),
        (r"^[^x[]$", "a\n", False),
        (r"^[]a[]+$", "]\n", False),
        (r"^[\][]+$", "[\n", False),
        (r"^x$|^b[[]$", "b[\n", False),
    ],
)
def test_the_end_of_a_pattern_is_the_end_of_the_text(pattern: str, value: str, fits: bool) -> None:
    declared = params({"type": "string", "pattern": pattern})
    if fits:
        assert declared.check({"p": value}) == {"p": value}
        return
    with pytest.raises(ValueError, match="p: must match"):
        declared.check({"p": value})


def test_a_pattern_that_backtracks_for_ever_refuses_the_value() -> None:
    declared = params({"type": "string", "pattern": "^(a|a|aa)*(a|aa|a)*$"})
    with pytest.raises(ValueError, match=r"p: (takes too long to match|must match)"):
        declared.check({"p": "a" * 40 + "!"})


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None, [1]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="p: must be a number"):
        params({"type": "number"}).check({"p": value})


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("integer", 3, "3"),
        ("integer", 3.0, "3"),
        ("number", 0.5, "0.5"),
        ("number", 3, "3"),
        ("boolean", True, "true"),
        ("boolean", False, "false"),
        ("string", "é", "é"),
    ],
)
def test_a_value_is_given_as_json_writes_it(kind: str, value: Any, text: str) -> None:
    assert params({"type": kind}).check({"p": value}) == {"p": text}
    assert json.dumps(value) == text or kind in ("string", "integer")
