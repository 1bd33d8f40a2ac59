"""Summaries of real runs (``samples/``, recorded) and of documented formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_jobs.summaries import RunSummary, summarise

SAMPLES = Path(__file__).parent / "samples"
PYTEST_NAMES = [
    "tests/test_a.py::test_bad",
    "tests/test_a.py::TestC::test_in_class",
    "tests/test_a.py::test_p[a b]",
    "tests/test_a.py::test_p[c - d]",
    "tests/test_a.py::test_err",
]
UNITTEST_NAMES = [
    "test_err (ut.C.test_err)",
    "test_bad (ut.C.test_bad)",
    "test_sub (ut.C.test_sub) (i=0)",
    "test_sub (ut.C.test_sub) (i=2)",
    "test_us (ut.C.test_us)",
]


def summary(
    runner: str,
    *counts: int,
    total: int | None = None,
    names: list[str] | None = None,
    seconds: float | None = None,
) -> RunSummary:
    """Build a summary; ``counts`` are passed, failed, skipped and errors."""
    passed, failed, skipped, errors = (*counts, 0, 0)[:4]
    return RunSummary(
        runner=runner,
        passed=passed,
        failed=failed,
        skipped=skipped,
        errors=errors,
        total=sum(counts) if total is None else total,
        failed_names=names or [],
        failed_names_truncated=False,
        duration_seconds=seconds,
    )


RECORDED = {
    "pytest": summary("pytest", 130, 4, 2, 1, names=PYTEST_NAMES, seconds=0.1),
    "pytest_quiet": summary("pytest", 130, 4, 2, 1, names=PYTEST_NAMES, seconds=0.09),
    "pytest_deselected": summary("pytest", 30, 1, names=PYTEST_NAMES[:1], seconds=0.03),
    "pytest_colour_no_short_summary": summary(
        "pytest",
        0,
        4,
        2,
        1,
        names=["test_err", "test_bad", "TestC.test_in_class", "test_p[a b]", "test_p[c - d]"],
        seconds=0.07,
    ),
    "unittest": summary("unittest", 1, 4, 2, 1, total=7, names=UNITTEST_NAMES, seconds=0.001),
    "unittest_verbose": summary(
        "unittest", 1, 4, 2, 1, total=7, names=UNITTEST_NAMES, seconds=0.001
    ),
    "jest": summary(
        "jest", 5, 1, 2, 1, names=["adder \u203a fails", "jest/f.test.js"], seconds=1.933
    ),
    "vitest": summary("vitest", 2, 1, 2, names=["vit/a.test.mjs > adder > fails"], seconds=0.467),
    "vitest_tty": summary(
        "vitest", 2, 1, 2, names=["vit/a.test.mjs > adder > fails"], seconds=0.449
    ),
    "mocha": summary("mocha", 1, 2, 1, names=["adder fails", "adder inner deep"], seconds=0.005),
    "node_tap": summary("node", 2, 2, 2, names=["bad", "inner bad"], seconds=0.126049),
    "node_spec": summary("node", 2, 2, 2, names=["bad", "inner bad"], seconds=0.125067),
    "cargo_test": summary("cargo", 3, 2, 1, names=["tests::bad", "it_bad"], seconds=0.25),
    "cargo_test_quiet": summary("cargo", 3, 2, 1, names=["tests::bad", "it_bad"], seconds=0.16),
    "ctest": summary("ctest", 1, 3, 1, names=["bad", "worse", "slow"], seconds=1.01),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_run_is_summarised(name: str) -> None:
    assert summarise((SAMPLES / f"{name}.txt").read_bytes()) == RECORDED[name]


@pytest.mark.parametrize("name", ["ninja", "ninja_tty", "cmake_make", "cargo_bar", "tqdm"])
def test_output_without_tests_has_no_summary(name: str) -> None:
    assert summarise((SAMPLES / f"{name}.txt").read_bytes()) is None


GO_VERBOSE = """\
=== RUN   TestA
--- PASS: TestA (0.00s)
=== RUN   TestB
=== RUN   TestB/sub
    b_test.go:9: no
--- FAIL: TestB (0.10s)
    --- FAIL: TestB/sub (0.10s)
--- SKIP: TestC (0.00s)
FAIL
FAIL\texample.com/x\t0.112s
ok  \texample.com/y\t(cached)
FAIL
"""
GO = """\
ok  \texample.com/a\t0.010s\tcoverage: 50.0% of statements
?   \texample.com/none\t[no test files]
--- FAIL: TestX (0.00s)
    x_test.go:5: no
FAIL
FAIL\texample.com/b\t0.020s
FAIL\texample.com/c [build failed]
FAIL
"""
RSPEC = """\
Finished in 1 minute 2.5 seconds (files took 0.1 seconds to load)
12 examples, 1 failure, 2 pending

Failed examples:

rspec ./spec/a_spec.rb:3 # Adder adds
"""
PHPUNIT = """\
PHPUnit 9.6.7 by Sebastian Bergmann and contributors.

.FE.S                                                               5 / 5 (100%)

Time: 00:01.250, Memory: 6.00 MB

There was 1 error:

1) AdderTest::testErr
Exception: x

There was 1 failure:

1) AdderTest::testBad with data set "a" (1)
Failed asserting that 2 matches expected 1.

There was 1 skipped test:

1) AdderTest::testSkip

ERRORS!
Tests: 5, Assertions: 4, Errors: 1, Failures: 1, Skipped: 1.
"""
MAVEN = """\
[INFO] Scanning for projects...
[INFO] Running x.DemoTest
[ERROR] Tests run: 4, Failures: 1, Errors: 1, Skipped: 1, Time elapsed: 0.05 s <<< FAILURE! \
-- in x.DemoTest
[ERROR] x.DemoTest.bad -- Time elapsed: 0.003 s <<< FAILURE!
[INFO] Running x.OkTest
[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.01 s -- in x.OkTest
[INFO]
[INFO] Results:
[INFO]
[ERROR] Failures:
[ERROR]   DemoTest.bad:5 expected:<1> but was:<2>
[ERROR] Errors:
[ERROR]   DemoTest.err:6 » Runtime x
[INFO]
[ERROR] Tests run: 6, Failures: 1, Errors: 1, Skipped: 1
[INFO]
"""
TAP = """\
TAP version 14
1..5
ok 1 - a
not ok 2 - b
  ---
  message: no
  ...
ok 3 - c # SKIP later
not ok 4 - d # TODO
ok 5
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GO_VERBOSE, summary("go", 1, 2, 1, names=["TestB", "TestB/sub"], seconds=0.112)),
        (GO, summary("go (packages)", 1, 1, 0, 1, names=["TestX", "example.com/c"], seconds=0.03)),
        (RSPEC, summary("rspec", 9, 1, 2, names=["Adder adds"], seconds=62.5)),
        (
            PHPUNIT,
            summary(
                "phpunit",
                2,
                1,
                1,
                1,
                names=["AdderTest::testErr", 'AdderTest::testBad with data set "a" (1)'],
                seconds=1.25,
            ),
        ),
        ("OK (12 tests, 30 assertions)\n", summary("phpunit", 12, 0)),
        (
            MAVEN,
            summary("maven", 3, 1, 1, 1, names=["DemoTest.bad:5", "DemoTest.err:6"], seconds=0.06),
        ),
        (TAP, summary("tap", 2, 1, 2, names=["b"])),
        ("ok 1 - a\nnot ok 2 - b\n1..2\n", summary("tap", 1, 1, names=["b"])),
        ("100% tests passed, 0 tests failed out of 10\n", summary("ctest", 10, 0)),
        ("  12 passing (2s)\n", summary("mocha", 12, 0, seconds=2)),
        ("=== no tests ran in 0.01s ===\n", summary("pytest", 0, 0, seconds=0.01)),
        ("1 passed, 2 warnings in 65.30s (0:01:05)\n", summary("pytest", 1, 0, seconds=65.3)),
        ("Ran 2 tests in 0.300s\n\nOK (skipped=1)\n", summary("unittest", 1, 0, 1, seconds=0.3)),
    ],
)
def test_a_documented_format_is_summarised(text: str, expected: RunSummary) -> None:
    assert summarise(text.encode()) == expected
    assert summarise(text.replace("\n", "\r\n").encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "built 3 files in 0.10s\n",
        "3 passing grades\n",
        "Ran 5 tests across 1 files. [10.00ms]\n",
        "1..9\n",
        "ok\nok then\n",
        "Tests run without total\n",
    ],
)
def test_prose_is_not_a_summary(text: str) -> None:
    assert summarise(text.encode()) is None


def test_the_last_summary_wins_whole() -> None:
    pytest_run, jest_run = ((SAMPLES / f"{n}.txt").read_bytes() for n in ("pytest", "jest"))
    assert summarise(pytest_run + jest_run) == RECORDED["jest"]
    assert summarise(jest_run + pytest_run) == RECORDED["pytest"]


# Nothing in the output tells two runs of "cargo test -q" apart.
@pytest.mark.parametrize("name", sorted(set(RECORDED) - {"cargo_test_quiet"}))
def test_names_of_an_earlier_run_are_left_out(name: str) -> None:
    run = (SAMPLES / f"{name}.txt").read_bytes()
    assert summarise(run + run) == RECORDED[name]


def test_at_most_twenty_names_are_given() -> None:
    lines = [f"FAILED tests/test_a.py::test_{i} - assert 0" for i in range(25)]
    text = "\n".join(["== short test summary info ==", *lines, "25 failed in 1.00s", ""])
    found = summarise(text.encode())
    assert found is not None
    assert len(found["failed_names"]) == 20
    assert found["failed_names_truncated"]


def test_missing_names_are_admitted() -> None:
    found = summarise(b"== 2 failed, 1 passed in 1.00s ==\n")
    assert found is not None
    assert found["failed_names"] == []
    assert found["failed_names_truncated"]


def test_only_the_last_mebibyte_is_looked_at() -> None:
    run = b"1 passed in 1.00s\n"
    assert summarise(run + b"x" * 2**20) is None
    assert summarise(b"x" * 2**21 + b"\n" + run) == summary("pytest", 1, 0, seconds=1)


PIECES = [
    *[
        b"\n",
        b"\r",
        b" ",
        b"FAILED ",
        b"ERROR ",
        b"a[b - c] - d",
        b"_ _ _",
        b"___ t ___",
        b"not ok 1 - x",
    ],
    *[
        b"\n1..3\n",
        b"\nok 1\n",
        b"\n# pass 3\n# fail 1\n# duration_ms 5\n",
        b"\nRan 1 test in 0.1s\nOK\n",
    ],
    *[
        b"\n  2 passing (1s)\n  1 failing\n  1) a\n",
        b"\nTests: 1 failed, 1 total\n",
        b"999999999999999",
    ],
    *[
        b"\nTest Files x\n Tests  1 failed (1)\n",
        b"\ntest result: ok. 1 passed; 0 failed; 0 ignored;\n",
    ],
    *[b"\n1 example, 0 failures\n", b"\nTests: 5, Assertions: 4, Failures: 9.\n", b"\xff\x1b[31m"],
    *[
        b"\nFAIL\tp\t0.1s\n",
        b"\n--- FAIL: T (0.1s)\n",
        b"\n0% tests passed, 9 tests failed out of 3\n",
    ],
    *[b"\nTests run: 1, Failures: 2, Errors: 0, Skipped: 0\n", b"\n3 failed, 1 passed in 1.0s\n"],
]


@given(
    st.one_of(st.binary(max_size=500), st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join))
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_sane_summary_or_none(data: bytes) -> None:
    found = summarise(data)
    if found is not None:
        numbers = [found[key] for key in ("passed", "failed", "skipped", "errors", "total")]
        assert min(numbers) >= 0
        assert len(found["failed_names"]) <= 20
