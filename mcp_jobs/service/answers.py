"""Answers to questions: what a question may ask for, and whether an answer fits.

Questions are those of MCP's elicitation: a message and a flat object schema, whose properties are
texts, numbers, booleans or one of some words, so that any client can show a form.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.models import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.domain.models import Question

_ACTIONS: Final = ("accept", "decline", "cancel")
_TEXT_CHARS: Final = 10_000
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


def answer_to(question: Question, given: Mapping[str, Any]) -> Answer | None:
    """Return a checked answer; None when the question was put away without one.

    `given` is `{"action": "accept" | "decline" | "cancel", "content": {...}}`. `cancel` is what
    hosts say by themselves when nobody is there, so it answers nothing. Raises
    `InvalidInputError` for anything else, and for content that is not what was asked for.
    """
    action = given.get("action")
    if action not in _ACTIONS:
        raise InvalidInputError(
            f"The answer to {question.key!r} needs an action: {', '.join(_ACTIONS)}."
        )
    content = given.get("content") or {}
    if not isinstance(content, dict):
        raise InvalidInputError(f"The content of the answer to {question.key!r} must be an object.")
    if action == "cancel":
        return None
    if action == "decline":
        return Answer(action="decline", content={})
    problems = _problems(question.schema, content)
    if problems:
        raise InvalidInputError(f"The answer to {question.key!r} does not fit: {problems[0]}.")
    return Answer(action="accept", content=content)


def _problems(schema: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in content]
    unknown = [name for name in content if name not in properties]
    fields = ", ".join(properties) or "nothing"
    return (
        [f"{name} is missing" for name in missing]
        + [f"there is no field {name!r}; it takes {fields}" for name in unknown]
        + [
            f"{name} {problem}"
            for name, value in content.items()
            if name in properties and (problem := _problem(properties[name], value))
        ]
    )


def _problem(field: Mapping[str, Any], value: object) -> str | None:
    kind = str(field.get("type", "string"))
    kinds = _KINDS.get(kind, (str,))
    if isinstance(value, float) and kind == "integer" and value.is_integer():
        kinds = (float,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind != "boolean"):
        return f"must be a value of type {kind}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    words = _words(field)
    chosen = cast("list[object]", value) if isinstance(value, list) else [value]
    if words and not all(word in words for word in chosen):
        return f"must be one of {', '.join(map(str, words))}"
    return _bounds_problem(field, value)


def _words(field: Mapping[str, Any]) -> list[object]:
    """Return what an enumeration offers, in each of the forms that elicitation has."""
    inner = field.get("items") or field
    titled = inner.get("oneOf") or inner.get("anyOf") or ()
    return list(inner.get("enum") or [option["const"] for option in titled if "const" in option])


def _bounds_problem(field: Mapping[str, Any], value: object) -> str | None:
    if isinstance(value, str):
        low, high = field.get("minLength", 0), field.get("maxLength", _TEXT_CHARS)
        return None if low <= len(value) <= high else f"must have {low} to {high} characters"
    if isinstance(value, int | float):
        low, high = field.get("minimum", -math.inf), field.get("maximum", math.inf)
        return None if low <= value <= high else f"must be between {low} and {high}"
    return None
