"""Output of real tools (``samples/``, recorded) and of documented formats is recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_jobs.output.progress import OutputRecogniser, Reading

SAMPLES = Path(__file__).parents[3] / "samples"


def readings(data: bytes, chunk_bytes: int = 40) -> list[Reading]:
    recogniser = OutputRecogniser()
    chunks = (data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes))
    return [reading for chunk in chunks if (reading := recogniser.feed(chunk))]


def last(text: str | bytes) -> Reading | None:
    recogniser = OutputRecogniser()
    return recogniser.feed(text.encode() if isinstance(text, str) else text)


def sample(name: str) -> list[Reading]:
    return readings((SAMPLES / f"{name}.txt").read_bytes())


TESTS_137 = Reading(current=137, total=137, message="137 of 137 tests, 4 failed, 1 error")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pytest", TESTS_137),
        ("pytest_classic", TESTS_137),
        ("pytest_count", TESTS_137),
        ("pytest_xdist", TESTS_137),
        ("pytest_quiet", Reading(percent=100)),
        ("pytest_verbose", Reading(current=7, total=7, message="7 of 7 tests, 4 failed, 1 error")),
        (
            "pytest_xdist_verbose",
            Reading(current=7, total=7, message="7 of 7 tests, 4 failed, 1 error"),
        ),
        ("pytest_deselected", Reading(current=31, total=31, message="31 of 31 tests, 1 failed")),
        (
            "pytest_colour_no_short_summary",
            Reading(current=7, total=7, message="7 of 7 tests, 4 failed, 1 error"),
        ),
        ("jest", Reading(current=6, total=6, message="6 of 6 test files")),
        ("vitest", Reading(current=2, total=2, message="2 of 2 test files")),
        ("vitest_tty", Reading(current=2, total=2, message="2 of 2 test files")),
        ("cargo_bar", Reading(current=3, total=4, message="Building c3")),
        ("cargo_test", Reading(current=6, total=6, message="6 of 6 tests")),
        ("cargo_test_quiet", Reading(current=6, total=6, message="6 of 6 tests")),
        ("ninja", Reading(current=13, total=13, message="Linking C static library libdemo.a")),
        ("ninja_tty", Reading(current=13, total=13, message="Linking C static library libdemo.a")),
        ("cmake_make", Reading(percent=100, message="Built target demo")),
        ("ctest", Reading(current=5, total=5, message="skipme")),
        ("tqdm", Reading(current=2050, total=2050, percent=100, message="dl.bin")),
    ],
)
def test_a_recorded_run_ends_where_the_tool_ended(name: str, expected: Reading) -> None:
    assert sample(name)[-1] == expected


@pytest.mark.parametrize("name", ["pytest", "pytest_classic", "pytest_count", "ninja", "ninja_tty"])
def test_a_recorded_run_never_counts_backwards(name: str) -> None:
    counts = [reading.current or 0 for reading in sample(name)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("unittest_3_13_verbose", 6, "6 tests, 3 failed"),
        ("node_spec", 6, "6 tests, 2 failed"),
        ("node22_spec", 8, "8 tests, 3 failed"),
        ("node22_tap", 8, "8 tests, 3 failed"),
        ("mocha", 3, "3 tests, 2 failed"),
        ("ava", 3, "3 tests, 1 failed"),
        ("go", 2, "2 packages, 2 tests failed"),
        ("go_verbose", 5, "5 tests, 2 failed"),
    ],
)
def test_a_runner_without_a_total_shows_a_count(name: str, count: int, message: str) -> None:
    assert sample(name)[-1] == Reading(current=count, message=message)


def test_dots_of_unittest_are_not_taken_for_tests() -> None:
    assert sample("unittest") == []


def test_playwright_counts_a_test_once_that_was_tried_again() -> None:
    assert sample("playwright")[-1] == Reading(current=5, total=5, message="5 of 5 tests, 2 failed")


def test_subtests_of_pytest_are_no_tests_of_their_own() -> None:
    expected = Reading(current=5, total=5, message="5 of 5 tests, 2 failed, 1 error")
    assert sample("pytest9")[-1] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("processed 50 of 100 rows", (50, 100)),
        ("Imported 3/12 files", (3, 12)),
        ("  Uploading batch (7/9)", (7, 9)),
        ("Step 2/5: build", (1, 5)),
        ("--- Epoch 3 of 10 ---", (2, 10)),
        ("Stage 4/4", (3, 4)),
        ("   ━━━━━━━━━━━━━━━━━━━━ 2.5/5.0 MB 12.3 MB/s eta 0:00:01", (2.5, 5)),
    ],
)
def test_a_count_in_words_is_progress(line: str, expected: tuple[float, float]) -> None:
    reading = last(f"{line}\n")
    assert reading is not None
    assert (reading.current, reading.total) == expected


@pytest.mark.parametrize(
    "line",
    [
        "processed 50 of 10 rows",
        "2 of 3 people agree",
        "tests written 2024/11/24",
        "read http://x/1/2",
        "Step 3",
        "version 1/2",
        "loaded 1/2/3",
        "ran in 3/4 time",
    ],
)
def test_other_fractions_are_not_progress(line: str) -> None:
    assert last(f"{line}\n") is None


def test_an_epoch_goes_on_with_its_batches() -> None:
    epoch = "Epoch 2/4\n"
    assert last(epoch) == Reading(current=1, total=4, percent=25, message="epoch 2 of 4")
    batches = "\r 30/100 ━━━━━━ 1s 10ms/step - loss: 0.5\r 50/100 ━━━━━━━━━ 1s 10ms/step\r"
    assert last(epoch + batches) == Reading(
        current=1, total=4, percent=37.5, message="epoch 2 of 4"
    )


@pytest.mark.parametrize(
    "line", ["Collecting flask", "Downloading x-1.whl (5.0 MB)", "added 525 packages in 26s"]
)
def test_an_installation_says_what_it_does(line: str) -> None:
    assert last(f"{line}\n") == Reading(message=line)


def test_pytest_dots_count_before_their_line_ends() -> None:
    recogniser = OutputRecogniser()
    assert recogniser.feed(b"collected 47 items\n") == Reading(
        current=0, total=47, message="0 of 47 tests"
    )
    reading = recogniser.feed(b"\ntests/test_a.py ..F")
    assert reading == Reading(current=3, total=47, message="3 of 47 tests, 1 failed")
    assert recogniser.feed(b".")
    assert recogniser.feed(b"   [ 8") is None


def test_pytest_report_is_not_taken_for_progress() -> None:
    report = "collected 2 items\n\nt.py .F [100%]\n\n=== FAILURES ===\n___ test_b ___\n"
    noise = "...\n[1/9] step\n 20%|##   | 2/10 [00:01<00:04]\nDownloading 5%\n"
    assert last(report + noise) == Reading(current=2, total=2, message="2 of 2 tests, 1 failed")


def test_output_after_pytest_is_recognised_again() -> None:
    first = "collected 1 item\n\nt.py . [100%]\n\n=== 1 passed in 0.01s ===\n"
    assert last(first + "[1/2] link\n") == Reading(current=1, total=2, message="link")


def test_verbose_pytest_without_a_column_is_counted() -> None:
    lines = (
        "collecting ... collected 3 items\n\nt.py::test_a[x y] PASSED\nt.py::test_b SKIPPED (no)\n"
    )
    assert last(lines) == Reading(current=2, total=3, message="2 of 3 tests")


def test_jest_live_line_gives_the_total() -> None:
    lines = "PASS src/a.test.ts (5.2 s)\n\nTest Suites: 1 failed, 2 passed, 3 of 10 total\n"
    assert last(lines) == Reading(current=3, total=10, message="3 of 10 test files")
    assert last(lines + "FAIL src/b.test.tsx\n") == Reading(
        current=4, total=10, message="4 of 10 test files"
    )
    assert last("PASS\nFAIL\tgithub.com/x/y\t0.1s\n") == Reading(current=1, message="1 package")


def test_cargo_names_what_it_compiles() -> None:
    assert last("   Compiling serde v1.0.2\n") == Reading(message="Compiling serde v1.0.2")
    bar = "    Building [=====>      ] 120/340: serde, syn\r"
    assert last(bar) == Reading(current=120, total=340, message="Building serde, syn")


BUILDKIT = """\
#1 [internal] load build definition from Dockerfile
#4 [builder 1/3] FROM docker.io/library/golang
#4 DONE 0.0s
#5 [stage-1 1/2] FROM docker.io/library/alpine
#5 CACHED
#6 [builder 2/3] COPY . .
#6 DONE 0.1s
#7 [builder 3/3] RUN make
#7 0.512 [1/9] Compiling 45%
"""


def test_buildkit_steps_of_all_stages_are_counted_when_done() -> None:
    assert last(BUILDKIT) == Reading(current=3, total=5, message="[3/3] RUN make")
    assert last(BUILDKIT + "#7 DONE 9s\n#8 exporting to image\n") == Reading(
        current=5, total=5, message="exporting the image"
    )


def test_buildkit_on_a_terminal_is_counted() -> None:
    lines = " => CACHED [2/4] WORKDIR /app   0.0s\n => [3/4] RUN pip install .   3.1s\n"
    reading = last(lines)
    assert reading is not None
    assert (reading.current, reading.total) == (2, 4)


def test_classic_docker_steps_are_counted() -> None:
    lines = "Step 3/9 : RUN make\n ---> Running in 1a2b\n"
    assert last(lines) == Reading(current=2, total=9, message="[3/9] RUN make")
    assert last(lines + "Successfully built 0123456789ab\n") == Reading(
        current=9, total=9, message="[3/9] RUN make"
    )


def test_a_percentage_inside_a_step_does_not_hide_the_step() -> None:
    expected = Reading(current=1, total=4, message="fetch 45% of it")
    assert last("[1/4] fetch 45% of it\n") == expected


def test_tqdm_is_read_while_its_line_is_still_painted() -> None:
    paint = "\rtrain:  45%|████▌     | 45/100 [00:10<00:12,  4.50it/s]"
    assert last(paint) == Reading(current=45, total=100, percent=45, message="train")


@pytest.mark.parametrize("line", ["[9/3] x\n", "[0/0] x\n", "[100000000/2] x\n", "[101%] x\n"])
def test_impossible_numbers_are_passed_over(line: str) -> None:
    assert last(line) is None


def test_colours_and_repaints_do_not_hide_progress() -> None:
    assert last("\x1b[32m[  5/10]\x1b[0m link\x1b[K\r") == Reading(
        current=5, total=10, message="link"
    )
    painted = "\x1b[2K\x1b[1GDownloading 40%\x1b[2K\x1b[1GDownloading 41%\x1b[2K"
    assert last(painted) == Reading(percent=41, message="Downloading 41%")


def test_an_unchanged_reading_is_returned_once() -> None:
    recogniser = OutputRecogniser()
    assert recogniser.feed(b"[1/2] a\n") is not None
    assert recogniser.feed(b"hello\n[1/2] a\n") is None


def test_a_gap_drops_the_cut_lines_only() -> None:
    recogniser = OutputRecogniser()
    recogniser.feed(b"[1/9] a\n[2/")
    recogniser.gap()
    assert recogniser.feed(b"9] b\n") is None
    assert recogniser.feed(b"[7/9] c\n") == Reading(current=7, total=9, message="c")


def test_pytest_catches_up_after_a_gap() -> None:
    recogniser = OutputRecogniser()
    recogniser.feed(b"collected 200 items\n\nt.py ....")
    recogniser.gap()
    assert recogniser.feed(b"...\nu.py ..     [ 50%]\n") == Reading(
        current=100, total=200, message="100 of 200 tests"
    )


def test_an_endless_line_is_not_buffered() -> None:
    recogniser = OutputRecogniser()
    assert recogniser.feed(b"[5/10] " + b"x" * 10_000_000) == Reading(current=5, total=10)
    for _ in range(100):
        recogniser.feed(b"\x1b]" + b"y" * 100_000)
    reading = recogniser.feed(b"\n[6/10] z\n")
    assert reading == Reading(current=6, total=10, message="z")


def test_many_docker_stages_stay_bounded() -> None:
    lines = "".join(f"#{i} [stage-{i} 1/2] RUN x\n" for i in range(5000))
    reading = last(lines)
    assert reading is not None
    assert reading.total == 128
