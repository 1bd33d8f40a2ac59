"""A place in a file of job types: reads what stands there, and says what is wrong with it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from mcp_jobs.domain.patterns import BadPatternError, check
from mcp_jobs.job_types.yaml.parser import ListNode, MapNode, Node, Scalar
from mcp_jobs.job_types.yaml.problems import DeclarationError

NONE: Final = "none"
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)")
_LONGEST_S: Final = 366 * 86_400.0
_SIZES: Final = {
    **{"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9},
    **{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
}
_SIZE: Final = re.compile(r"([0-9]{1,15})\s*(|B|KB|MB|GB|KiB|MiB|GiB)")


class Place(NamedTuple):
    """One node of one file, and the way that leads to it."""

    file: str
    node: Node
    name: str = ""
    parent: Place | None = None

    @property
    def key(self) -> str:
        """The keys and indices from the top of the file, put together only for messages."""
        if self.parent is None or not self.parent.key or self.name.startswith("["):
            return (self.parent.key if self.parent is not None else "") + self.name
        return f"{self.parent.key}.{self.name}"

    @property
    def line(self) -> int:
        """The line that it begins in, counted from 1."""
        return self.node.line

    def error(self, message: str, *, line: int | None = None) -> DeclarationError:
        """Return the error to raise for this place."""
        return DeclarationError(self.file, line or self.line, self.key, message)

    def at(self, key: str, node: Node) -> Place:
        """Return the place of something inside this one."""
        return Place(self.file, node, key, self)

    # -- collections ---------------------------------------------------------------------------

    def entries(self) -> dict[str, Place]:
        """Return the values of a mapping with any keys."""
        if not isinstance(self.node, MapNode):
            raise self.error(f"a mapping is needed here, not {self._shown()}")
        return {key: self.at(key, node) for key, (_, node) in self.node.entries.items()}

    def fields(self, allowed: Collection[str]) -> dict[str, Place]:
        """Return the values of a mapping with these keys and no others."""
        entries = self.entries()
        for key in entries:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
                named = f"no key {key!r} here" if _KEY.fullmatch(key) else "a key that is not known"
                raise self.error(
                    f"there is {named}; {hint} are {', '.join(allowed)}",
                    line=self.line_of(key),
                )
        return entries

    def line_of(self, key: str) -> int:
        """Return the line of one of this mapping's keys."""
        return self.node.entries[key][0] if isinstance(self.node, MapNode) else self.line

    def items(self) -> list[Place]:
        """Return the items of a list."""
        if not isinstance(self.node, ListNode):
            raise self.error(f"a list is needed here, not {self._shown()}")
        return [self._item(index, node) for index, node in enumerate(self.node.items)]

    def one_or_more(self) -> list[Place]:
        """Return the items of a list, or the single value that stands for a list of one."""
        return self.items() if isinstance(self.node, ListNode) else [self]

    def _item(self, index: int, node: Node) -> Place:
        return Place(self.file, node, f"[{index}]", self)

    # -- single values -------------------------------------------------------------------------

    def scalar(self) -> str | int | float | bool | None:
        """Return a single value of any kind."""
        if not isinstance(self.node, Scalar):
            raise self.error(f"a single value is needed here, not {self._shown()}")
        return self.node.value

    def text(self, *, empty: bool = False) -> str:
        """Return a text; numbers and the like count as they are written."""
        if not isinstance(self.node, Scalar) or self.scalar() is None:
            raise self.error(f"a text is needed here, not {self._shown()}")
        if not empty and not self.node.text.strip():
            raise self.error("this must not be empty")
        return self.node.text

    def is_text(self) -> bool:
        """Say whether a text stands here, and not a number, true or the like."""
        return isinstance(self.node, Scalar) and isinstance(self.node.value, str)

    def boolean(self) -> bool:
        """Return true or false."""
        value = self.scalar()
        if not isinstance(value, bool):
            raise self.error(f"true or false is needed here, not {self._shown()}")
        return value

    def integer(self, *, at_least: int, at_most: int) -> int:
        """Return a whole number within bounds."""
        value = self.scalar()
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"a whole number is needed here, not {self._shown()}")
        if not at_least <= value <= at_most:
            raise self.error(f"this is not allowed; allowed is {at_least} to {at_most}")
        return value

    def choice(self, allowed: Sequence[str]) -> str:
        """Return one of these words."""
        text = self.text()
        if text not in allowed:
            raise self.error(f"this is not allowed; allowed are {', '.join(allowed)}")
        return text

    def seconds(self) -> float:
        """Return a duration: a number of seconds, or a number with a unit."""
        value = self.scalar()
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            value = float(found.group(1)) * _UNITS_S[found.group(2)]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(
                "this is not a duration; allowed are seconds, or a number with one of the units "
                f"{', '.join(_UNITS_S)}"
            )
        if not (math.isfinite(value) and 0 < value <= _LONGEST_S):
            raise self.error("this is not allowed; allowed is more than 0, up to 366d")
        return float(value)

    def size_bytes(self) -> int:
        """Return a size: a number of bytes, or a number with a unit."""
        found = _SIZE.fullmatch(self.text())
        size = int(found.group(1)) * _SIZES[found.group(2)] if found is not None else 0
        if not 1 <= size <= 1 << 50:
            raise self.error(
                "this is not a size; allowed are bytes above 0, or a number with one of "
                f"the units {', '.join(unit for unit in _SIZES if unit)}"
            )
        return size

    def pattern(self) -> str:
        """Return a regular expression."""
        text = self.text()
        try:
            check(text)
            re.compile(text)
        except (BadPatternError, re.error, OverflowError, RecursionError) as error:
            raise self.error(f"this is not a regular expression: {error}") from None
        return text

    def _shown(self) -> str:
        """Say what kind of thing stands here. A value itself is never told: it may be a secret."""
        if isinstance(self.node, ListNode):
            return "a list"
        if isinstance(self.node, MapNode):
            return "a mapping"
        value = self.node.value
        if value is None:
            return "null" if self.node.text else "nothing"
        if isinstance(value, bool):
            return "true or false"
        return "a text" if isinstance(value, str) else "a number"
