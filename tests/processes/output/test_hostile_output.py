"""No output, whatever a job prints, makes its readers take more time than its size explains."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import pytest

from mcp_jobs.output import fold, summaries
from mcp_jobs.output.excerpt import _beginning
from mcp_jobs.output.fold import fitting_end, fitting_start, text_of
from mcp_jobs.output.progress import OutputRecogniser
from mcp_jobs.output.progress.figures import clean_message
from mcp_jobs.output.progress.lines import strip_escapes

_SIZE: Final = 1 << 18
_UNITS: Final = (
    *(" ", "\t", "0", "a", "_", "-", "=", ".", "/", "#", ":", "<", ">", "\\", "|", "%", "\xa0"),
    *("[", "]", "(", ")", "{", '{"', "::", ": ", ":1", "1:1", "(1:1)", "at (", " at (:1:1"),
    *(
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1b[0;",
        "\x1b[1000Cx",
        "\x1b[2K\x1b[999Gx\r",
        "\r",
        "\rx",
        "x\b",
    ),
    *("1%|", "[ 1%", "0/1 ", "\u2588", "\u25cf ", "E ", "FAILED ", "error ", "1 passed, "),
    *("ok 1 ", "not ok 1 - ", "Tests: 1 passed, ", " | ", "1 a ", "[INFO] ", "collected 1 "),
    *("gw0 [", "=> ", "--- ", "Test Files ", "::x ", "test x ... ", "rspec ./", "tests in 1s "),
)
_READERS: Final[dict[str, Callable[[bytes], object]]] = {
    "summary": summaries.summarise,
    "progress": lambda data: OutputRecogniser().feed(data),
    "excerpt": lambda data: _beginning(text_of(data).split("\n")),
    "fold": lambda data: fold(data.decode("utf-8", "replace")),
    "end": lambda data: fitting_end(data, 16_384),
    "start": lambda data: fitting_start(data, 16_384),
    "escapes": strip_escapes,
    "message": lambda data: clean_message(data.decode("utf-8", "replace")),
}
_BOUND_S: Final = 10
"""For one reader and one output. What is in proportion takes a hundredth of it."""


def _outputs(unit: str) -> list[bytes]:
    long = (unit * (_SIZE // len(unit))).encode()
    lines = ("\n".join([unit * (490 // len(unit))] * (_SIZE // 490))).encode()
    return [long, b"x\n" + long + b"x", lines]


def read_everything(reader: str) -> None:
    """Read all outputs; the alarm ends this process where one takes too long."""
    for unit in _UNITS:
        for data in _outputs(unit):
            sys.stdout.write(f"{unit!r} {len(data)}\n")
            sys.stdout.flush()
            signal.setitimer(signal.ITIMER_PROF, _BOUND_S)
            _READERS[reader](data)


@pytest.mark.parametrize("reader", _READERS)
def test_hostile_lines_take_no_more_time_than_their_size(reader: str) -> None:
    code = f"import sys; from {__name__} import read_everything; read_everything(sys.argv[1])"
    command = [sys.executable, "-c", code, reader]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-500:])
