"""What a person is asked before a job begins: whether it may, and everything that it was given.

A question names every parameter, in declared order and each on a line of its own. A long value is
shortened by itself, so that none can push another out of sight, and characters that a screen would
obey or not show are written out, so that none can look like something else.
"""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHORTENED: Final = "characters left out"
"""Stands in every question that does not show a value whole."""

_VALUE_CHARS: Final = 200
_NAME_CHARS: Final = 64
_UNSEEN: Final = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"))
_BLANK_LETTERS: Final = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs, as Unicode has it, of which nothing is seen."""


def visible(text: str) -> str:
    """Return text in one line, with the number of each character that is not seen as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(c) if _is_unseen(c) else c for c in text)


def start_question(
    asked: str,
    name: str,
    schema: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    besides: Mapping[str, Any],
) -> str:
    """Return the question whether a job of the type `name` may begin.

    `schema` declares the parameters; one that `params` leaves out is shown as what the type takes
    for it. `besides` is what else the caller has chosen.
    """
    declared = schema.get("properties", {})
    lines = [_given(key, params, declared.get(key, {})) for key in _names(declared, params)]
    lines += [f"({_shortened(key, _NAME_CHARS)}) {_value(value)}" for key, value in besides.items()]
    told = [visible(line) for line in asked.split("\n")]
    return "\n".join([*told, visible(name), *(f"  {line}" for line in lines)])


def _names(declared: Iterable[str], params: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*declared, *params]))


def _given(name: str, params: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    shown = _shortened(name, _NAME_CHARS)
    if name in params:
        return f"{shown}: {_value(params[name])}"
    return f"{shown}: {_value(field['default'])} (default)" if "default" in field else f"{shown}: -"


def _value(value: object) -> str:
    """Return a value as JSON: a text stands in quotes, which no other part of it can close."""
    return _shortened(json.dumps(value, ensure_ascii=False), _VALUE_CHARS)


def _shortened(text: str, most: int) -> str:
    """Return the head and the tail of a long text, and how much is missing between them."""
    if len(text) > most:
        head, tail = text[: most // 2], text[-(most // 2) :]
        return f"{visible(head)} … {len(text) - most} {SHORTENED} … {visible(tail)}"
    return visible(text)


def _is_unseen(character: str) -> bool:
    return character != " " and (
        unicodedata.category(character) in _UNSEEN or character in _BLANK_LETTERS
    )


def _written_out(character: str) -> str:
    point = ord(character)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"  # noqa: PLR2004 - as in JSON
