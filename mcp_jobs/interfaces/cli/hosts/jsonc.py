"""Change members of a JSON file with comments and trailing commas, and touch nothing else."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

_SPACE: Final = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_PLAIN: Final = re.compile(r"true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_INDENT: Final = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_DEFAULT_INDENT: Final = "  "
_DEEPEST: Final = 200


class NotJsonError(ValueError):
    """The text is no JSON, or not of the shape that a change needs."""


@dataclass(slots=True, kw_only=True)
class Node:
    """A value and where it stands in the text."""

    start: int
    end: int = 0
    value: Any = None
    """What it means; for objects see `members`."""
    members: dict[str, Node] | None = None
    """The members of an object, the last of each name."""
    comma: bool = False
    """A comma stands after the last member."""
    last_end: int = 0
    """The end of the last member's value."""
    items: list[Node] = field(default_factory=list)

    def plain(self) -> Any:
        """Return the value as json.loads would."""
        if self.members is not None:
            return {name: node.plain() for name, node in self.members.items()}
        return [node.plain() for node in self.items] if self.value is ... else self.value


def loads(text: str) -> Any:
    """Read JSON with comments and trailing commas; an empty text is an empty object.

    Raises `NotJsonError` that names the line.
    """
    node = _parse(text)
    return {} if node is None else node.plain()


def set_member(text: str, path: tuple[str, ...], value: Any) -> str:
    """Return the text with one member set; everything else stays as it stands.

    Raises `NotJsonError` when the text is no JSON or a part of `path` is no object.
    """
    root = _parse(text)
    if root is None:
        made = json.dumps(_nested(path, value), indent=_DEFAULT_INDENT, ensure_ascii=False) + "\n"
        return made if not text.strip() else text.rstrip() + "\n" + made
    node, depth = root, 0
    while node.members is not None and depth < len(path) and path[depth] in node.members:
        node, depth = node.members[path[depth]], depth + 1
    style = _Style(text)
    if depth == len(path):
        changed = text[: node.start] + style.dump(value, node.start) + text[node.end :]
    elif node.members is None:
        raise NotJsonError(f"{'.'.join(path[:depth]) or 'the file'} is not an object")
    else:
        changed = _insert(text, node, path[depth], _nested(path[depth + 1 :], value), style)
    _verify(root, changed, path, value)
    return changed


def strings(text: str, path: tuple[str, ...]) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return where the member at `path` stands, and the texts outside of it, in order.

    A place is a start and an end. Without such a member its place is empty.
    """
    root = _parse(text)
    node = root
    for name in path:
        node = None if node is None or node.members is None else node.members.get(name)
    found: list[tuple[int, int]] = []
    waiting = [] if root is None else [root]
    while waiting:
        each = waiting.pop()
        if each is node:
            continue
        if isinstance(each.value, str):
            found.append((each.start, each.end))
        waiting += [*each.items, *(each.members or {}).values()]
    return (0, 0) if node is None else (node.start, node.end), sorted(found)


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _verify(before: Node, changed: str, path: tuple[str, ...], value: Any) -> None:
    """Never hand out a text that means anything but what was asked for."""
    expected = copy.deepcopy(before.plain())
    place = expected
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = value
    if loads(changed) != expected:
        raise NotJsonError("the file has a form that cannot be changed safely")


class _Style:
    """How the file is written: its line ends and its indentation."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        found = _INDENT.search(_without_comments(text))
        self.unit = found.group(1) if found else _DEFAULT_INDENT

    def indent_at(self, offset: int) -> str:
        """Return the indentation of the line that `offset` is in."""
        start = self.text.rfind("\n", 0, offset) + 1
        line = self.text[start:]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def dump(self, value: Any, offset: int, *, deeper: bool = False) -> str:
        """Return a value as text, indented like the line that `offset` is in."""
        indent = self.indent_at(offset) + (self.unit if deeper else "")
        lines = json.dumps(value, indent=self.unit, ensure_ascii=False).split("\n")
        return f"{self.newline}{indent}".join(lines)


def _insert(text: str, node: Node, name: str, value: Any, style: _Style) -> str:
    """Add a member at the end of an object."""
    brace = node.end - 1
    indent = style.indent_at(node.start) + style.unit
    if node.members:
        first = min(member.start for member in node.members.values())
        if "\n" in text[node.start : first]:
            indent = style.indent_at(first)
    # Before the white space that stands before the brace, and after any comment there.
    at = len(text[:brace].rstrip())
    member = json.dumps(name, ensure_ascii=False) + ": "
    lines = json.dumps(value, indent=style.unit, ensure_ascii=False).split("\n")
    member += f"{style.newline}{indent}".join(lines)
    if node.comma:
        member += ","
    closing = text[at:brace]
    if "\n" not in closing:
        closing = style.newline + style.indent_at(node.start)
    head = text[:at]
    if node.members and not node.comma:
        head = text[: node.last_end] + "," + text[node.last_end : at]
    return f"{head}{style.newline}{indent}{member}{closing}{text[brace:]}"


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def _parse(text: str) -> Node | None:
    start = _space(text, 1 if text.startswith("\ufeff") else 0)
    if start == len(text):
        return None
    node = _value(text, start, 0)
    end = _space(text, node.end)
    if end != len(text):
        raise _problem(text, end, "something follows the end")
    if node.members is None:
        raise NotJsonError("the file is not an object")
    return node


def _value(text: str, at: int, depth: int) -> Node:
    if depth > _DEEPEST:
        raise _problem(text, at, "it is nested too deep")
    if text.startswith("{", at):
        return _object(text, at, depth)
    if text.startswith("[", at):
        return _array(text, at, depth)
    match = _STRING.match(text, at) or _PLAIN.match(text, at)
    if match is None:
        raise _problem(text, at, "a value is missing")
    try:
        return Node(start=at, end=match.end(), value=json.loads(match.group()))
    except ValueError:
        raise _problem(text, at, "the value is not valid") from None


def _object(text: str, at: int, depth: int) -> Node:
    node = Node(start=at, members={})
    assert node.members is not None  # noqa: S101 - for the type checker
    at = _space(text, at + 1)
    while not text.startswith("}", at):
        if node.members and not node.comma:
            raise _problem(text, at, "a comma or } is missing")
        match = _STRING.match(text, at)
        if match is None:
            raise _problem(text, at, "the name of a member is missing")
        colon = _space(text, match.end())
        if not text.startswith(":", colon):
            raise _problem(text, colon, "a colon is missing")
        child = _value(text, _space(text, colon + 1), depth + 1)
        node.members[json.loads(match.group())] = child
        node.last_end = child.end
        at, node.comma = _after_comma(text, child.end)
    node.end = at + 1
    return node


def _array(text: str, at: int, depth: int) -> Node:
    node = Node(start=at, value=...)
    at = _space(text, at + 1)
    while not text.startswith("]", at):
        if node.items and not node.comma:
            raise _problem(text, at, "a comma or ] is missing")
        child = _value(text, at, depth + 1)
        node.items.append(child)
        at, node.comma = _after_comma(text, child.end)
    node.end = at + 1
    return node


def _after_comma(text: str, at: int) -> tuple[int, bool]:
    at = _space(text, at)
    if text.startswith(",", at):
        return _space(text, at + 1), True
    return at, False


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _problem(text: str, at: int, what: str) -> NotJsonError:
    return NotJsonError(f"line {text.count(chr(10), 0, at) + 1}: {what}")
