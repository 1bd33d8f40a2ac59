"""What a person sees on a terminal of any width: whole states, ids that work, lasting results."""

from __future__ import annotations

import re

import pyte
import pytest

from tests.support import Place, wait_until
from tests.system.commands.test_cli_jobs import Terminal, cli, good, on_terminal, shown

_LINES = 40


def screen_of(text: str, columns: int) -> list[str]:
    """Return what a terminal shows after this, scrolled lines included."""
    screen = pyte.HistoryScreen(columns, _LINES, history=1000, ratio=1)
    pyte.Stream(screen).feed(text)
    above = ["".join(line[x].data for x in range(columns)) for line in screen.history.top]
    return [line.rstrip() for line in [*above, *screen.display]]


def printed(place: Place, columns: int, *arguments: str) -> list[str]:
    _, text = on_terminal(place, *arguments, COLUMNS=str(columns), LINES=str(_LINES))
    return [line for line in screen_of(text, columns) if line]


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_list_has_id_state_and_start_at_every_width(place: Place, columns: int) -> None:
    title = "a title that is much longer than there is room for on any narrow terminal " * 2
    failed = cli(place, "start", "--wait", "--title", title, "--", "exit 7").stdout.split()[0]
    cut = cli(place, "start", "--wait", "--timeout", "0.1", "--", "exec sleep 600").stdout.split()[
        0
    ]

    lines = printed(place, columns, "list")
    assert lines[0].split()[:3] == ["JOB", "STATUS", "STARTED"]
    assert all(len(line) <= columns for line in lines)
    for job_id, status in ((failed, "failed (7)"), (cut, "failed (timeout)")):
        (line,) = (line for line in lines if status in line)
        short = line.split()[0]
        assert job_id.endswith(short)
        assert re.search(r"\d+(\.\d)?s ago", line)
        assert shown(place, "show", short)["job_id"] == job_id
    assert "TITLE" in lines[0]
    assert ("PROGRESS" in lines[0]) == (columns > 80)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_result_of_waiting_stays_on_the_screen(place: Place, columns: int) -> None:
    job_id = good(place, "start", "--title", "tests", "--", "sleep 0.3; exit 3").strip()

    lines = printed(place, columns, "wait", job_id)
    assert f"{job_id} failed (3) after" in lines[0]
    assert len(lines) == 1 if columns > 60 else len(lines) <= 2


def test_start_that_waits_shows_the_end_and_what_was_printed_last(place: Place) -> None:
    lines = printed(place, 120, "start", "--wait", "--", "echo first; echo the reason; exit 3")
    assert "started: " in lines[0]
    assert " failed (3) after " in lines[1]
    assert lines[2:] == ["  first", "  the reason"]


def test_waiting_names_the_tests_that_failed(place: Place) -> None:
    report = (
        "=== short test summary info ===\\nFAILED t.py::test_a - x\\nFAILED t.py::test_b\\n"
        "== 2 failed, 1 passed in 0.10s ==\\n"
    )
    job_id = good(place, "start", "--", f"printf '{report}'; exit 1").strip()

    waited = cli(place, "wait", job_id)
    assert waited.stdout.splitlines()[0].endswith("(1 passed, 2 failed)")
    assert waited.stdout.splitlines()[1:] == ["  t.py::test_a", "  t.py::test_b"]
    page = good(place, "show", job_id)
    assert "tests:        1 passed, 2 failed (pytest)" in page
    assert "t.py::test_a" in page


def test_a_watched_list_ticks_and_shows_the_end(place: Place) -> None:
    gate = place.project / "gate"
    job_id = good(place, "start", "--", f"until [ -e {gate} ]; do sleep 0.05; done").strip()
    wait_until(lambda: shown(place, "show", job_id)["status"] == "running")
    with Terminal(place, "list", "--watch", COLUMNS="80", LINES=str(_LINES)) as terminal:
        terminal.read_until("running")
        ages = re.compile(r"(\d+(?:\.\d)?s) ago")
        terminal.read_until_true(lambda: len(set(ages.findall(terminal.text))) > 1, "a tick")
        gate.touch()
        terminal.read_until("completed")
        terminal.write("\x03")
    assert terminal.code == 0
    lines = screen_of(terminal.text, 80)
    assert [line for line in lines if job_id[-8:] in line and "completed" in line]


def test_show_gives_local_times_and_a_table_of_attempts(place: Place) -> None:
    line = "echo x >> count; [ $(wc -l < count) = 2 ]"
    job_id = shown(place, "start", "--wait", "--retries", "1", "--", line)["job_id"]

    page = good(place, "show", job_id)
    assert re.search(r"ended: +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \([\d.]+s ago\)", page)
    assert re.search(r"^  ATTEMPT +STARTED +ENDED +END +CPU +MEMORY$", page, re.MULTILINE)
    assert re.search(r"^  1 .* exit_code \(1\)", page, re.MULTILINE)
    assert re.search(r"^  2 .* completed", page, re.MULTILINE)
