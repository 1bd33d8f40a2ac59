"""Read YAML into a tree that knows its lines, with only the safe and plain part of the language.

Anchors, aliases, merge keys, tags, duplicate keys and several documents are refused. Plain scalars
mean what YAML 1.2's core schema says, so that `on:` is a key and `no` a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from mcp_jobs.domain.limits import DECLARATIONS_BYTES
from mcp_jobs.job_types.yaml.problems import DeclarationError

_DEPTH_LIMIT: Final = 20
_CONSTANTS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
# Without the C library the same is read more slowly.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Named tuples: a file has thousands of nodes, and frozen dataclasses take three times as long.


class Scalar(NamedTuple):
    """A single value: its text as written, and the line that it begins in."""

    text: str
    line: int
    plain: bool
    """Written without quotes, so that it may be a number, true, false or null."""
    text_line: int
    """The line in which its text begins: of a block, the one after the indicator."""

    @property
    def value(self) -> str | int | float | bool | None:
        """Return what the scalar means."""
        if not self.plain:
            return self.text
        if self.text in _CONSTANTS:
            return _CONSTANTS[self.text]
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        if _FLOAT.fullmatch(self.text):
            return float(self.text)
        return self.text


class ListNode(NamedTuple):
    """A sequence."""

    items: tuple[Node, ...]
    line: int


class MapNode(NamedTuple):
    """A mapping; its keys are texts, each with its line."""

    entries: dict[str, tuple[int, Node]]
    line: int


Node: TypeAlias = Scalar | ListNode | MapNode


def parse(file: str, data: bytes) -> Node:
    """Return the tree of a file. Raises `DeclarationError`."""
    if len(data) > DECLARATIONS_BYTES:
        raise DeclarationError(file, 1, "", f"the file is larger than {DECLARATIONS_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DeclarationError(file, line, "", "this is not UTF-8") from None
    try:
        return _Builder(file, yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise DeclarationError(file, line, "", f"this is not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DeclarationError(
            file, line, "", "a control character is not allowed in YAML"
        ) from None


class _Builder:
    """Builds the tree from the parser's events; stops at the first thing that is not allowed."""

    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self._file = file
        self._events = events

    def document(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._fail(event, "only one document is allowed in a file")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, 0)
        if root is None:
            raise DeclarationError(self._file, 1, "", "the file is empty; it needs the key jobs")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event)
        if kind is yaml.AliasEvent:
            raise self._fail(event, f"aliases (*{event.anchor}) are not allowed; write it out")
        if event.anchor is not None:
            raise self._fail(event, f"anchors (&{event.anchor}) are not allowed; remove it")
        if event.tag is not None:
            raise self._fail(event, f"tags ({event.tag}) are not allowed; remove it")
        line = event.start_mark.line + 1
        if kind is yaml.ScalarEvent:
            block = event.style in ("|", ">")
            return Scalar(event.value, line, event.implicit[0], line + block)
        if depth > _DEPTH_LIMIT:
            raise self._fail(event, f"nested deeper than {_DEPTH_LIMIT} levels")
        if kind is yaml.SequenceStartEvent:
            return ListNode(self._items(depth + 1), line)
        return MapNode(self._entries(depth + 1), line)

    def _items(self, depth: int) -> tuple[Node, ...]:
        items: list[Node] = []
        for event in self._events:
            if type(event) is yaml.SequenceEndEvent:
                break
            items.append(self._node(event, depth))
        return tuple(items)

    def _entries(self, depth: int) -> dict[str, tuple[int, Node]]:
        entries: dict[str, tuple[int, Node]] = {}
        for event in self._events:
            if type(event) is yaml.MappingEndEvent:
                break
            key = self._node(event, depth)
            if not isinstance(key, Scalar):
                raise self._fail(event, "a key must be a single word")
            if key.text == "<<" and key.plain:
                raise self._fail(event, "merge keys (<<) are not allowed; write it out")
            if key.text in entries:
                first = entries[key.text][0]
                message = f"the key {key.text!r} is there twice; first in line {first}"
                raise self._fail(event, message)
            entries[key.text] = key.line, self._node(next(self._events), depth)
        return entries

    def _fail(self, event: Any, message: str) -> DeclarationError:
        return DeclarationError(self._file, event.start_mark.line + 1, "", message)
