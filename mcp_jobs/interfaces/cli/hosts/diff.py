"""The change of a host's file as a person sees it, without what stands in other programs' entries.

Entries hold tokens in their variables, arguments, headers and URLs, under any name. So every text
outside of our own entry is shown as `***`; names, structure and our entry are shown as they are.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

from mcp_jobs.interfaces.cli.hosts import jsonc

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN: Final = "***"

_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"(\s*:)?')
_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_HEADER: Final = re.compile(rf"(\s*\[{{1,2}}\s*{_KEY}(?:\s*\.\s*{_KEY})*\s*\]{{1,2}})\s*(?:#.*)?")
_NAME: Final = re.compile(rf"\s*{_KEY}(?:\s*\.\s*{_KEY})*\s*")
_PART: Final = re.compile(_KEY)


def unified(
    before: str, after: str, *, names: tuple[str, str], place: tuple[str, str], toml: bool
) -> str:
    """Return the difference of two texts of a host's file; `place` is our table and entry there."""
    hidden = _toml_hidden if toml else _json_hidden
    old, new = hidden(before, place), hidden(after, place)
    if old == new and before != after:
        # Ours stands in the middle of a line with others', or as a single key.
        old, new = "", f"{'.'.join(place)}: {HIDDEN}"
    changed = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), *names
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in changed)


def _json_hidden(text: str, place: tuple[str, str]) -> str:
    own, others = jsonc.strings(text, place)
    parts: list[str] = []
    done = 0
    for start, end in others:
        parts += (_quotes_hidden(text[done:start], own, done), f'"{HIDDEN}"')
        done = end
    return "".join([*parts, _quotes_hidden(text[done:], own, done)])


def _quotes_hidden(text: str, own: tuple[int, int], offset: int) -> str:
    """Hide what is quoted between the values, as in comments, but not in our own entry."""
    start, end = (min(max(place - offset, 0), len(text)) for place in own)
    return text[start:end].join(_STRING.sub(_hidden, part) for part in (text[:start], text[end:]))


def _hidden(found: re.Match[str]) -> str:
    return found.group() if found[1] else f'"{HIDDEN}"'


def _toml_hidden(text: str, place: tuple[str, str]) -> str:
    return "".join(_toml_lines(text, place))


def _toml_lines(text: str, place: tuple[str, str]) -> Iterator[str]:
    own = False
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        header = _HEADER.fullmatch(bare)
        if header is not None:
            parts = tuple(part.strip("\"'") for part in _PART.findall(header[1]))
            own = parts[:2] == place
            yield header[1] + line[len(bare) :]
        elif bare.lstrip().startswith("["):
            # Perhaps a table of another form: whose it is, nobody can tell here.
            own = False
            yield HIDDEN + line[len(bare) :]
        elif own or not bare.strip():
            yield line
        else:
            # What has no name of its own goes on with a value, or is a comment.
            name, sign, _ = bare.partition("=")
            shown = f"{name}= {HIDDEN}" if sign and _NAME.fullmatch(name) else HIDDEN
            yield shown + line[len(bare) :]
