"""What a benchmark found: a value, its floor, its goal, and the table of all of them."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_COLUMNS = ("figure", "measured", "floor", "ratio", "goal", "")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long to measure."""

    quick: bool = False

    def count(self, full: int) -> int:
        """Return how often to do something: a fifth of it when in a hurry."""
        return max(2, full // 5) if self.quick else full


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. The goal is for the ratio to the floor, or for the value itself."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    goal_for: Literal["ratio", "value"] = "ratio"
    notes: Sequence[str] = field(default=())

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        found = self.ratio if self.goal_for == "ratio" else self.value
        if found is None or (self.at_most is None and self.at_least is None):
            return None
        return (self.at_most is None or found <= self.at_most) and (
            self.at_least is None or found >= self.at_least
        )

    def cells(self) -> tuple[str, ...]:
        goal = ""
        unit = "x" if self.goal_for == "ratio" else f" {self.unit}"
        if self.at_most is not None:
            goal = f"<= {self.at_most:g}{unit}"
        elif self.at_least is not None:
            goal = f">= {self.at_least:g}{unit}"
        return (
            self.name,
            f"{_number(self.value)} {self.unit}",
            "" if self.floor is None else f"{_number(self.floor)} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            goal,
            {True: "ok", False: "OVER", None: ""}[self.met],
        )


Benchmark = Callable[[Options], Iterator[Figure]]


def machine() -> str:
    """Describe what the figures were taken on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory_gib:.1f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def lines(figures: Sequence[Figure]) -> Iterator[str]:
    """Return the table for a terminal."""
    rows = [_COLUMNS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    for index, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if index:
            yield from (f"    {note}" for note in figures[index - 1].notes)


def markdown(figures: Sequence[Figure]) -> str:
    """Return the table as a page."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    text = [
        "# Benchmarks",
        "",
        f"Written by `python -m benchmarks --write` on {day}: {machine()}.",
        "",
        "Floors are measured in the same run. A ratio is measured / floor; an empty last column",
        "means that there is no goal.",
        "",
        "| " + " | ".join((*_COLUMNS[:-1], "goal met")) + " |",
        "|---" * len(_COLUMNS) + "|",
    ]
    for figure in figures:
        name, *others = figure.cells()
        name = "<br>".join((name, *(f"<small>{note}</small>" for note in figure.notes)))
        text.append("| " + " | ".join((name, *others)) + " |")
    return "\n".join(text) + "\n"


def p50(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def spread(samples: Sequence[float], unit: str = "ms") -> str:
    """Describe samples beyond their median."""
    ordered = sorted(samples)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return (
        f"min {_number(ordered[0])}, p95 {_number(p95)}, max {_number(ordered[-1])} {unit} "
        f"of {len(ordered)}"
    )


def _number(value: float) -> str:
    if value >= 1000 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
