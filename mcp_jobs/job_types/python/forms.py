"""From a pydantic model to the flat schema that a question may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

_KEPT: Final = (
    "type", "title", "description", "default", "enum", "format", "minLength", "maxLength",
    "minimum", "maximum", "items", "minItems", "maxItems",
)  # fmt: skip
_PRIMITIVES: Final = ("string", "integer", "number", "boolean")
_FORMATS: Final = ("email", "uri", "date", "date-time")


def flat_schema(form: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a form as clients can show it.

    Raises TypeError for a field that is neither a text, a number, a boolean, a choice nor a list
    of choices (MCP specification, elicitation).
    """
    schema = form.model_json_schema()
    definitions = schema.get("$defs", {})
    properties = {
        name: _field(form, name, field, definitions)
        for name, field in schema.get("properties", {}).items()
    }
    flat: dict[str, Any] = {"type": "object", "properties": properties}
    if schema.get("required"):
        flat["required"] = schema["required"]
    return flat


def _field(
    form: type[BaseModel], name: str, field: Mapping[str, Any], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    field = _resolved(field, definitions)
    if "items" in field:
        field = {**field, "items": _resolved(field["items"], definitions)}
    flat: dict[str, Any] = {key: field[key] for key in _KEPT if key in field}
    if flat.get("format") not in _FORMATS:
        flat.pop("format", None)
    if flat.get("default", "") is None:
        del flat["default"]
    if "const" in field:
        flat["enum"] = [field["const"]]
    if flat.get("type") in _PRIMITIVES:
        return flat
    if flat.get("type") == "array" and "enum" in flat.get("items", {}):
        flat["items"] = {"type": "string", "enum": flat["items"]["enum"]}
        return flat
    raise TypeError(
        f"The field {name!r} of {form.__name__} cannot be asked for: a question takes texts, "
        "numbers, booleans, enumerations and lists of enumerations."
    )


def _resolved(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow references, and leave out that a field may be null."""
    if "$ref" in field:
        target = definitions[str(field["$ref"]).rpartition("/")[2]]
        field = {**target, **{key: value for key, value in field.items() if key != "$ref"}}
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        rest = {key: value for key, value in field.items() if key != "anyOf"}
        return _resolved({**options[0], **rest}, definitions)
    return dict(field)
