"""The parameters of a declared job type: JSON Schema in, checked texts out.

The keywords are few, so that they are checked here and not by a schema library, which would take
longer to load than all declarations together. `$` in a pattern means the very end of the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_jobs.domain.limits import passable
from mcp_jobs.domain.patterns import BadPatternError, compiled
from mcp_jobs.domain.secrecy import looks_secret
from mcp_jobs.job_types.yaml.node import Place

TYPES: Final = ("string", "integer", "number", "boolean")
_KEYS: Final = (
    "type",
    "description",
    "default",
    "enum",
    "pattern",
    "required",
    "secret",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
)
_SHOWN: Final = ("description", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength")
"""Keywords that clients are shown as they stand."""
_ONLY_FOR: Final = {
    "pattern": ("string",),
    "minLength": ("string",),
    "maxLength": ("string",),
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_CLASS_BEGINS: Final = re.compile(r"\[\^?\]?")
_PATTERN_TIMEOUT_S: Final = 2.0
_SHOWN_CHARS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter. `schema` is what a client is shown of it."""

    name: str
    schema: Mapping[str, Any]
    required: bool
    line: int

    @property
    def type(self) -> str:
        """Its JSON type."""
        return str(self.schema["type"])

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return bool(self.schema.get("writeOnly")) or (
            self.type == "string" and looks_secret(self.name)
        )

    def check(self, value: object) -> None:
        """Raise ValueError, without the name of the parameter, if the value does not fit."""
        if not _is(self.type, value):
            given = "what was given" if self.secret else _shown(value)
            raise ValueError(f"must be {_A[self.type]}, not {given}")
        allowed = self.schema.get("enum")
        if allowed is not None and not any(_same(value, one) for one in allowed):
            raise ValueError(f"must be one of {', '.join(map(_shown, allowed))}")
        if isinstance(value, str):
            self._check_text(value)
        elif isinstance(value, int | float):
            self._check_number(value)

    def _check_text(self, text: str) -> None:
        least, most = self.schema.get("minLength", 0), self.schema.get("maxLength")
        if len(text) < least or (most is not None and len(text) > most):
            bound = f"at least {least}" if len(text) < least else f"at most {most}"
            raise ValueError(f"must have {bound} characters, not {len(text)}")
        pattern = self.schema.get("pattern")
        if pattern is not None and not _found(pattern, text):
            raise ValueError(f"must match {pattern}")

    def _check_number(self, value: float) -> None:
        least, most = self.schema.get("minimum"), self.schema.get("maximum")
        if least is not None and value < least:
            raise ValueError(f"must be at least {least}{self._not(value)}")
        if most is not None and value > most:
            raise ValueError(f"must be at most {most}{self._not(value)}")

    def _not(self, value: float) -> str:
        return "" if self.secret else f", not {value}"

    def told(self) -> str:
        """Describe the parameter in a few words."""
        kind = "required" if self.required else "optional"
        about = self.schema.get("description")
        return f"{self.name} ({self.type}, {kind}{f': {about}' if about else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredParams:
    """Implements `registry.Params`. `check` gives each parameter's text; None for one left out."""

    params: Mapping[str, Param] = field(default_factory=dict)

    def secrets(self) -> frozenset[str]:
        """Return the names of those whose values must not be shown."""
        return frozenset(name for name, param in self.params.items() if param.secret)

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of the object of all parameters."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: dict(param.schema) for name, param in self.params.items()},
            "additionalProperties": False,
        }
        required = [name for name, param in self.params.items() if param.required]
        return {**schema, "required": required} if required else schema

    def check(self, given: Mapping[str, Any]) -> dict[str, str | None]:
        """Return the texts. Raises ValueError that says what is wrong and what is allowed."""
        problems = [f"there is no param {name!r}" for name in given if name not in self.params]
        texts: dict[str, str | None] = {}
        for name, param in self.params.items():
            if name not in given and param.required:
                problems.append(f"{name} is missing")
                continue
            value = given.get(name, param.schema.get("default"))
            try:
                texts[name] = None if name not in given and value is None else _text(param, value)
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if problems:
            told = ", ".join(param.told() for param in self.params.values()) or "no params"
            raise ValueError(f"{'; '.join(problems)}. It takes: {told}")
        return texts


def read_params(place: Place) -> DeclaredParams:
    """Read `params`: a mapping of names, or a whole JSON Schema of an object."""
    entries = place.entries()
    required: set[str] = set()
    if "type" in entries and entries["type"].is_text():
        whole = place.fields(("type", "properties", "required", "additionalProperties"))
        whole["type"].choice(("object",))
        if "additionalProperties" in whole and whole["additionalProperties"].boolean():
            raise whole["additionalProperties"].error("only false is allowed")
        entries = whole["properties"].entries() if "properties" in whole else {}
        for item in whole["required"].items() if "required" in whole else ():
            required.add(item.choice(tuple(entries)))
    params = {
        name: read_param(name, entry, required=name in required) for name, entry in entries.items()
    }
    return DeclaredParams(params=params)


def read_param(name: str, place: Place, *, required: bool, keys: tuple[str, ...] = _KEYS) -> Param:
    """Read one parameter's schema."""
    if not _NAME.fullmatch(name):
        raise place.error(
            f"{name!r} cannot be the name of a param; allowed are letters, digits and _, not "
            "beginning with a digit, at most 64"
        )
    fields = place.fields(keys)
    kind = fields["type"].choice(TYPES) if "type" in fields else "string"
    for key, kinds in _ONLY_FOR.items():
        if key in fields and kind not in kinds:
            raise fields[key].error(f"{key} is only for params of the type {' or '.join(kinds)}")
    schema: dict[str, Any] = {
        key: _keyword(key, kind, fields[key]) for key in _SHOWN if key in fields
    }
    if "secret" in fields and fields["secret"].boolean():
        for key in ("default", "enum"):
            if key in fields:
                raise fields[key].error(
                    f"a secret param has no {key}, which everybody sees who lists the types"
                )
        schema["writeOnly"] = True
    needed = fields["required"].boolean() if "required" in fields else required
    param = Param(name=name, schema={"type": kind, **schema}, required=needed, line=place.line)
    return _with_default(param, fields["default"]) if "default" in fields else param


def _keyword(key: str, kind: str, place: Place) -> Any:
    """Return the value of one keyword of a parameter's schema."""
    if key == "description":
        return " ".join(place.text().split())
    if key == "pattern":
        return place.pattern()
    if key in ("minLength", "maxLength"):
        return place.integer(at_least=0, at_most=1 << 20)
    if key in ("minimum", "maximum"):
        return _value(place, "number")
    values = [_value(item, kind) for item in place.items()]
    if not values:
        raise place.error("at least one value is needed here")
    return values


def _with_default(param: Param, place: Place) -> Param:
    if param.required:
        raise place.error("a required param has no default; leave out one of the two")
    default = _value(place, param.type)
    try:
        param.check(default)
    except ValueError as error:
        raise place.error(f"the default does not fit the param: it {error}") from None
    schema = {**param.schema, "default": default}
    return Param(name=param.name, schema=schema, required=False, line=param.line)


def _value(place: Place, kind: str) -> Any:
    """Return a value of a type; an unquoted number counts as a text where one is needed."""
    value: Any = place.text(empty=True) if kind == "string" else place.scalar()
    if not _is(kind, value):
        raise place.error(f"{_A[kind]} is needed here, and not a value of another type")
    return value


def _text(param: Param, value: object) -> str:
    """Return a fitting value as a program is given it."""
    param.check(value)
    if isinstance(value, float) and value.is_integer() and param.type == "integer":
        value = int(value)
    return passable(value if isinstance(value, str) else json.dumps(value), what="The value")


_A: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def _is(kind: str, value: object) -> bool:
    if kind in ("string", "boolean"):
        return isinstance(value, str if kind == "string" else bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and (kind == "number" or value == int(value))


def _same(left: object, right: object) -> bool:
    """Compare as JSON does, where true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _found(pattern: str, text: str) -> bool:
    try:
        made = compiled(strict_end(pattern))
        return made.search(text, timeout=_PATTERN_TIMEOUT_S) is not None
    except TimeoutError:
        raise ValueError(f"takes too long to match against {pattern}") from None
    except BadPatternError as error:
        raise ValueError(f"cannot be matched against {pattern}: {error}") from None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def strict_end(pattern: str) -> str:
    r"""Return the pattern with each `$` meaning the very end, as JSON Schema's ECMA-262 has it.

    Python's `$` also matches before a last newline, so that `^[a-z]+$` would let `x\n` through.
    """
    out: list[str] = []
    in_class, at = False, 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            out.append(pattern[at : at + 2])
            at += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            # A ] that comes first in a class does not close it.
            opening = _CLASS_BEGINS.match(pattern, at)
            begun = opening.group() if opening is not None else character
            out.append(begun)
            at += len(begun)
            continue
        out.append(r"\Z" if character == "$" and not in_class else character)
        at += 1
    return "".join(out)
