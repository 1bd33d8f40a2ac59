"""The recording of the demo shows what a terminal showed, when it did."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import pytest

from scripts import record_demo
from scripts.record_demo import COLOURS, Frame, draw, record

PROGRAM = """\
import sys, time
print("one \\x1b[1;31mred & bold\\x1b[0m \\x1b[2mfaint\\x1b[0m", flush=True)
time.sleep(0.3)  # as a person would see it: two pictures
print("\\x1b[1A\\x1b[2Ktwo", flush=True)
"""


def test_what_is_painted_is_followed_and_drawn() -> None:
    frames = record([sys.executable, "-c", PROGRAM], "title")

    assert [span[0] for span in frames[0].lines[0]] == ["$ title"]
    seen = [frame.lines[1] for frame in frames]
    red = ("red & bold", COLOURS["red"], True)
    faint = ("faint", COLOURS["brightblack"], False)
    assert any(red in line and faint in line for line in seen)
    assert [span[0] for span in seen[-1]] == ["two"]
    picture = ElementTree.fromstring(draw(frames))  # noqa: S314 - our own
    assert "red & bold" in "".join(picture.itertext())


def test_a_line_is_shown_from_its_frame_to_the_next() -> None:
    line = (("text", "#fff", False),)
    frames = [Frame(0.0, _screen()), Frame(2.0, _screen(line)), Frame(4.0, _screen())]
    times = re.findall(r'keyTimes="([^"]+)"', draw(frames))
    assert times == ["0;0.2000;0.4000"]


def test_pauses_are_cut() -> None:
    frames = [Frame(at_s, _screen()) for at_s in (0.0, 1.0, 61.0, 61.5)]
    assert [frame.at_s for frame in record_demo._without_pauses(frames)] == [0.0, 1.0, 2.5, 3.0]


def test_a_demo_that_fails_is_not_recorded() -> None:
    with pytest.raises(SystemExit, match="nothing was recorded"):
        record([sys.executable, "-c", "raise SystemExit(3)"], "title")


def _screen(*lines: record_demo.Line) -> tuple[record_demo.Line, ...]:
    return (*lines, *((),) * (record_demo.ROWS - len(lines)))
