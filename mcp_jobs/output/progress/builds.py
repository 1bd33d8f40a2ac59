"""Progress of tools whose single line says all: bars, ninja, cmake, cargo builds, ctest.

Every pattern except ``Compiling`` and the column at a line's end is closed by what follows the
number, so that it matches an unfinished line only if it will match the finished one too.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mcp_jobs.output.progress.figures import ALL_PERCENT, Reading, clean_message, usable_number

_SIZE = r"(\d[\d.]{0,15})([kKMGTPE]?)"
_TQDM = re.compile(rf"(\d{{1,3}})%\|[^|]{{0,300}}\|\s{{0,20}}{_SIZE}/{_SIZE}[^\[\]/]{{0,20}}\[")
_STEP = re.compile(r"\[\s{0,6}(\d{1,7})/(\d{1,7})\]\s+(?=\S)")
_PERCENT_STEP = re.compile(r"\[\s{0,3}(\d{1,3})%\]\s+(?=\S)")
_CARGO_BAR = re.compile(r"\s{0,12}Building \[[=> ]{0,200}\] (\d{1,7})/(\d{1,7}):")
_CTEST = re.compile(r"\s{0,6}(\d{1,7})/(\d{1,7}) Test\s{1,6}#\d{1,7}: (\S+)")
_COMPILING = re.compile(r"\s{0,12}(?:Compiling|Checking|Downloaded) \S+ v\d\S*")
_COLUMN_AT_END = re.compile(r"\S\s+\[\s{0,3}(\d{1,3})%\]\Z")

_FACTORS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


def step_of_unfinished(line: str) -> Reading | None:
    """Return the reading of a line that may still go on, else None.

    What the line says behind the number is still incomplete, so it is no message yet.
    """
    reading = _closed_step_of(line)
    if reading is None or (reading.percent is not None and reading.current is not None):
        return reading  # a bar of tqdm, which has its message in front
    return replace(reading, message=None)


def step_of(line: str) -> Reading | None:
    """Return the reading of a complete line, else None."""
    reading = _closed_step_of(line)
    if reading is not None:
        return reading
    if "%]" in line:
        return _column_at_end(line)
    if " Test " in line and (found := _CTEST.match(line)):
        return counted(found.group(1), found.group(2), found.group(3))
    return _compiling(line)


def counted(current: str, total: str, message: str) -> Reading | None:
    """Return the reading of a count, or None when it is more than its total or of nothing."""
    done, all_of_it = int(current), int(total)
    if done > all_of_it or all_of_it == 0:
        return None
    return Reading(current=done, total=all_of_it, message=clean_message(message))


def _closed_step_of(line: str) -> Reading | None:
    if "%|" in line and (bar := _tqdm(line)):
        return bar
    if line.startswith("["):
        return _step(line) or _percent_step(line)
    return _cargo_bar(line) if "Building [" in line else None


def _tqdm(line: str) -> Reading | None:
    found = _TQDM.search(line)
    if found is None or int(found.group(1)) > ALL_PERCENT:
        return None
    current = _size(found.group(2), found.group(3))
    total = _size(found.group(4), found.group(5))
    if current is None or not total:
        return None
    return Reading(
        current=min(current, total),
        total=total,
        percent=int(found.group(1)),
        message=clean_message(line[: found.start()].strip().rstrip(":")),
    )


def _size(digits: str, unit: str) -> float | None:
    try:
        # Rounded because 1.02 * 1e3 is not 1020.
        return usable_number(round(float(digits) * _FACTORS[unit], 3))
    except ValueError:
        return None


def _step(line: str) -> Reading | None:
    found = _STEP.match(line)
    return counted(found.group(1), found.group(2), line[found.end() :]) if found else None


def _percent_step(line: str) -> Reading | None:
    found = _PERCENT_STEP.match(line)
    if found is None or int(found.group(1)) > ALL_PERCENT:
        return None
    return Reading(percent=int(found.group(1)), message=clean_message(line[found.end() :]))


def _cargo_bar(line: str) -> Reading | None:
    found = _CARGO_BAR.match(line)
    if found is None:
        return None
    return counted(found.group(1), found.group(2), f"Building {line[found.end() :].strip()}")


def _column_at_end(line: str) -> Reading | None:
    found = _COLUMN_AT_END.search(line.rstrip())
    if found is None or int(found.group(1)) > ALL_PERCENT:
        return None
    return Reading(percent=int(found.group(1)))


def _compiling(line: str) -> Reading | None:
    if " v" not in line or not (found := _COMPILING.match(line)):
        return None
    return Reading(message=clean_message(found.group()))
