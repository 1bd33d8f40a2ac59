"""Record `make demo` as an animated picture: `python scripts/record_demo.py` writes docs/demo.svg.

The demo runs in a real terminal (a pty); what it paints is followed by a terminal emulator and
drawn as SVG, with the times of the real run. Pauses are cut to PAUSE_S.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from xml.sax.saxutils import escape

import pyte

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "demo.svg"
COLUMNS, ROWS = 100, 30
TICK_S = 0.1
PAUSE_S = 1.5
LAST_S = 6.0
CELL_W, CELL_H, MARGIN = 8.0, 18.0, 14.0
FAINT, BRIGHT_BLACK = 2, 90
COLOURS = {
    "default": "#d6deeb",
    "red": "#ff6e6e",
    "green": "#5ed790",
    "brown": "#f2c55c",
    "blue": "#6ea8fe",
    "magenta": "#d78cff",
    "cyan": "#5ccfe6",
    "brightblack": "#7f8fa6",
    "black": "#7f8fa6",
}

Span: TypeAlias = tuple[str, str, bool]
"""Text, colour, and whether it is bold."""
Line: TypeAlias = tuple[Span, ...]


@dataclass(frozen=True)
class Frame:
    """What the terminal shows from a moment on."""

    at_s: float
    lines: tuple[Line, ...]


class _Screen(pyte.Screen):
    """pyte knows no faint text; it is marked by a colour of its own."""

    def select_graphic_rendition(self, *attributes: int) -> None:
        wanted = tuple(BRIGHT_BLACK if a == FAINT else a for a in attributes)
        super().select_graphic_rendition(*wanted)


def record(command: list[str], title: str) -> list[Frame]:
    """Run a command in a terminal and return what was seen, without long pauses."""
    screen = _Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {title}\r\n".encode())
    frames = [Frame(0.0, _lines(screen))]
    began = time.monotonic()
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environ) as program:
        os.close(its)
        more = True
        while more:
            more = _feed(stream, ours)
            lines = _lines(screen)
            if lines != frames[-1].lines:
                frames.append(Frame(time.monotonic() - began, lines))
        os.close(ours)
    if program.returncode:
        raise SystemExit(f"{title} ended with {program.returncode}; nothing was recorded")
    return _without_pauses(frames)


def _feed(stream: pyte.ByteStream, terminal: int) -> bool:
    """Pass on what is printed within a tick; False at the end."""
    deadline = time.monotonic() + TICK_S
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        try:
            data = os.read(terminal, 65_536)
        except OSError:
            return False
        if not data:
            return False
        stream.feed(data)
    return True


def _lines(screen: pyte.Screen) -> tuple[Line, ...]:
    return tuple(_line(screen, row) for row in range(ROWS))


def _line(screen: pyte.Screen, row: int) -> Line:
    spans: list[Span] = []
    text = ""
    style: tuple[str, bool] = ("", False)
    cells = screen.buffer[row]
    for column in range(COLUMNS):
        cell = cells[column]
        now = (COLOURS.get(cell.fg, f"#{cell.fg}"), bool(cell.bold))
        if now != style and text:
            spans.append((text, *style))
            text = ""
        style = now
        text += cell.data
    spans.append((text.rstrip(), *style))
    return tuple(span for span in spans if span[0])


def _without_pauses(frames: list[Frame]) -> list[Frame]:
    kept: list[Frame] = []
    lost = last = 0.0
    for frame in frames:
        lost += max(0.0, frame.at_s - last - PAUSE_S)
        last = frame.at_s
        kept.append(Frame(frame.at_s - lost, frame.lines))
    return kept


def draw(frames: list[Frame]) -> str:
    """Return the frames as an SVG that plays them for ever."""
    length_s = frames[-1].at_s + LAST_S
    width, height = COLUMNS * CELL_W + 2 * MARGIN, ROWS * CELL_H + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" xml:space="preserve">',
        "<title>make demo: a test suite runs as a background job of an MCP client</title>",
        "<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;"
        "white-space:pre}.b{font-weight:bold}</style>",
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#111827"/>',
    ]
    for row in range(ROWS):
        for start_s, end_s, line in _runs(frames, row, length_s):
            parts.append(_shown(row, line, start_s / length_s, end_s / length_s, length_s))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _runs(frames: list[Frame], row: int, length_s: float) -> list[tuple[float, float, Line]]:
    """Return what a row shows, and from when to when."""
    runs: list[tuple[float, float, Line]] = []
    for index, frame in enumerate(frames):
        end_s = frames[index + 1].at_s if index + 1 < len(frames) else length_s
        line = frame.lines[row]
        if runs and runs[-1][2] == line:
            runs[-1] = (runs[-1][0], end_s, line)
        else:
            runs.append((frame.at_s, end_s, line))
    return [run for run in runs if run[2]]


def _shown(row: int, line: Line, start: float, end: float, length_s: float) -> str:
    y = MARGIN + (row + 0.75) * CELL_H
    column, texts = 0, list[str]()
    for text, colour, bold in line:
        x = MARGIN + column * CELL_W
        column += len(text)
        if text.strip():
            fit = f'textLength="{len(text) * CELL_W:g}"'
            kind = ' class="b"' if bold else ""
            where = f'x="{x:g}" y="{y:g}" {fit} fill="{colour}"{kind}'
            texts.append(f"<text {where}>{escape(text)}</text>")
    if end >= 1:
        values, times = "none;inline", f"0;{start:.4f}"
    else:
        values, times = "none;inline;none", f"0;{start:.4f};{end:.4f}"
    play = (
        f'<animate attributeName="display" values="{values}" keyTimes="{times}" '
        f'dur="{length_s:.2f}s" calcMode="discrete" repeatCount="indefinite"/>'
    )
    return f"<g>{play}{''.join(texts)}</g>"


def main() -> None:
    """Record the demo."""
    frames = record([sys.executable, str(ROOT / "examples" / "demo.py")], "make demo")
    TARGET.write_text(draw(frames), encoding="utf-8")
    print(f"{TARGET}: {len(frames)} pictures, {TARGET.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
