"""Numbers beyond a bound that a person would cut down are cut down, and the reply says so.

Models ask for `wait_seconds: 120` again and again. To refuse that costs a turn and teaches nothing,
and a host that checks arguments by itself would refuse in words that are not ours: so the schemas
leave these bounds to the descriptions. What would do something else than was asked for (a later
start, another page) is an error, and so is what is negative or no number.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

CUT: Final = frozenset(
    {
        "wait_seconds",
        "tail_lines",
        "limit",
        "grace_seconds",
        "max_retries",
        "timeout_seconds",
        "idle_timeout_seconds",
    }
)
"""Arguments that are cut down to their bound."""

_WRITTEN_OUT: Final = 10**12


def cut(model: type[BaseModel], arguments: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a request's arguments within their bounds, and what was changed; "" if nothing."""
    kept, notes = dict(arguments), []
    for name, most in _bounds(model).items():
        value = arguments.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if most < value < math.inf:
            kept[name] = most
            notes.append(f"{name} is at most {most}, so that was used instead of {_shown(value)}.")
    return kept, " ".join(notes)


@cache
def _bounds(model: type[BaseModel]) -> Mapping[str, int]:
    fields = model.model_json_schema()["properties"]
    return {name: _most(field) for name, field in fields.items() if name in CUT}


def _most(field: Mapping[str, Any]) -> int:
    # One that may be left out is a number or null.
    (most,) = (part["maximum"] for part in (field, *field.get("anyOf", ())) if "maximum" in part)
    return int(most)


def _shown(value: float) -> str:
    # An integer may have more digits than Python writes out.
    return f"{value:.12g}" if abs(value) < _WRITTEN_OUT else "a far greater number"
