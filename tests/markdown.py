"""The Markdown files of the project: code blocks, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block of code."""

    path: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.text.splitlines()[0]}"


def files() -> list[Path]:
    """Every Markdown file that a reader is meant to see."""
    return [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "examples").glob("*.md")]


def blocks(path: Path, *languages: str) -> list[Block]:
    found = (Block(path, *match.groups()) for match in _FENCE.finditer(path.read_text("utf-8")))
    return [block for block in found if not languages or block.language in languages]


def section(path: Path, heading: str) -> str:
    """The text from a heading to the next one of its level or above."""
    text = path.read_text("utf-8")
    start = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{path.name} has no heading {heading!r}"
    rest = text[start.end() :]
    end = re.search(rf"^#{{1,{len(start.group(1))}}} ", _without_code(rest), re.MULTILINE)
    return rest if end is None else rest[: end.start()]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without the lines under the headings."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    cells = ([cell.strip() for cell in line.strip("|").split(" |")] for line in lines)
    return [row for row in cells if set("".join(row)) - set("-| ")]


def names(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def links(path: Path) -> list[str]:
    return _LINK.findall(_without_code(path.read_text("utf-8")))


def anchors(path: Path) -> set[str]:
    """What a link may name after `#`: headings as the usual viewers write them."""
    headings = _HEADING.findall(_without_code(path.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


def _without_code(text: str) -> str:
    """Blank the code blocks out; offsets stay."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
