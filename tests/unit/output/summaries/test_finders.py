"""Summaries of real runs (``samples/``, recorded) and of documented formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_jobs.output.summaries import RunSummary, summarise

SAMPLES = Path(__file__).parents[3] / "samples"
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
NODE_NAMES = ["a.test.mjs > bad", "a.test.mjs > inner bad", "b.test.mjs > bad"]
SUBTEST_NAMES = [
    "test_a.py::test_sub [x] (i=0)",
    "test_a.py::test_sub [x] (i=2)",
    "test_a.py::test_sub",
    "test_a.py::test_fail",
    "test_a.py::test_err",
]
UNITTEST_CLASS_NAMES = [
    "test_err (ut.C.test_err)",
    "setUpClass (ut.D)",
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
        names=[
            "tests/test_a.py::test_err",
            "tests/test_a.py::test_bad",
            "tests/test_a.py::TestC::test_in_class",
            "tests/test_a.py::test_p[a b]",
            "tests/test_a.py::test_p[c - d]",
        ],
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
    "node_spec": summary(
        "node",
        2,
        2,
        2,
        names=["nod/a.test.js > bad", "nod/a.test.js > inner bad"],
        seconds=0.125067,
    ),
    "node22_tap": summary(
        "node",
        3,
        3,
        2,
        names=[f"/home/ann/shop/{name}" for name in NODE_NAMES],
        seconds=0.104261,
    ),
    "node22_spec": summary("node", 3, 3, 2, names=NODE_NAMES, seconds=0.10975),
    "pytest9": summary("pytest", 2, 4, 0, 1, names=SUBTEST_NAMES, seconds=0.03),
    "pytest9_verbose": summary("pytest", 2, 4, 0, 1, names=SUBTEST_NAMES, seconds=0.03),
    "pytest9_no_short_summary": summary(
        "pytest",
        2,
        4,
        0,
        1,
        # A test that only failed by its subtests has no location of its own.
        names=["test_a.py::test_err", *SUBTEST_NAMES[:2], "test_sub", "test_a.py::test_fail"],
        seconds=0.03,
    ),
    "unittest_3_12": summary(
        "unittest", 1, 4, 3, 2, total=6, names=UNITTEST_CLASS_NAMES, seconds=0.001
    ),
    "unittest_3_13_verbose": summary(
        "unittest", 1, 4, 3, 2, total=7, names=UNITTEST_CLASS_NAMES, seconds=0.002
    ),
    "unittest_none": summary("unittest", 0, 0, seconds=0.0),
    "jest30": summary("jest", 1, 1, 2, 1, names=["adder › fails", "./b.test.js"], seconds=0.482),
    "vitest4": summary("vitest", 1, 1, 2, names=["a.test.mjs > adder > fails"], seconds=0.228),
    "mocha_json": summary(
        "mocha", 1, 2, 1, names=["adder fails", "adder inner deep"], seconds=0.003
    ),
    "ava": summary("ava", 1, 1, 3, names=["fails"]),
    "deno": summary(
        "deno",
        1,
        2,
        1,
        names=["./a_test.ts > fails", "./a_test.ts > steps ... two"],
        seconds=0.022,
    ),
    "playwright": summary(
        "playwright", 3, 1, 1, names=["[chromium] › a.spec.js:4:3 › adder › fails"], seconds=1.9
    ),
    "playwright_dot": summary(
        "playwright", 3, 1, 1, names=["[chromium] › a.spec.js:4:3 › adder › fails"], seconds=1.9
    ),
    "go": summary("go (packages)", 1, 1, names=["TestB", "TestB/sub"], seconds=0.006),
    "go_verbose": summary("go", 2, 2, 1, names=["TestB", "TestB/sub"], seconds=0.004),
    "go_json": summary(
        "go",
        2,
        2,
        1,
        names=["example.com/m/x TestB/sub", "example.com/m/x TestB"],
        seconds=0.004,
    ),
    "go_none_matched": summary("go", 0, 0, seconds=0.004),
    "gotestsum": summary("gotestsum", 2, 2, 1, names=["x TestB/sub", "x TestB"], seconds=0.154),
    "gotestsum_verbose": summary(
        "gotestsum", 2, 2, 1, names=["x TestB/sub", "x TestB"], seconds=0.157
    ),
    "gtest": summary("gtest", 2, 2, 1, names=["Adder.Fails", "N/P.Odd/1"], seconds=0.0),
    "minitest": summary(
        "minitest",
        1,
        1,
        1,
        1,
        names=["TestAdder#test_fails", "TestAdder#test_raises"],
        seconds=0.000636,
    ),
    "mix": summary(
        "mix", 1, 2, 1, names=["test fails (ATest)", "test group raises (ATest)"], seconds=0.01
    ),
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
# bun, nextest, dotnet and Gradle: the formats that their sources print.
BUN = """\
bun test v1.2.4 (fd9a5ea6)

a.test.ts:
(pass) adder > adds [0.05ms]
(fail) adder > fails [1.00ms]
(skip) later
(todo) some day

b.test.ts:
(fail) throws

 1 pass
 1 skip
 1 todo
 2 fail
 3 expect() calls
Ran 5 tests across 2 files. [12.00ms]
"""
BUN_NAMES = ["a.test.ts > adder > fails", "b.test.ts > throws"]
NEXTEST = """\
 Nextest run ID 0a1b2c with nextest profile: default
    Starting 3 tests across 1 binary (1 test skipped)
        PASS [   0.004s] (1/3) demo tests::ok
        FAIL [   0.004s] (2/3) demo tests::bad
        PASS [   0.004s] (3/3) demo tests::fine
────────────
     Summary [   0.005s] 3 tests run: 2 passed (1 slow), 1 failed, 1 skipped
        FAIL [   0.004s] (2/3) demo tests::bad
error: test run failed
"""
VSTEST = """\
  Failed Demo.Tests.Bad(x: 1) [3 ms]
  Error Message:
   Assert.Equal() Failure
Failed!  - Failed:     1, Passed:     2, Skipped:     1, Total:     4, Duration: 12 ms - \
Demo.dll (net8.0)
"""
TERMINAL_LOGGER = """\
    /src/Tests.cs(10): error TESTERROR: Demo.Tests.Bad (5ms): Error Message: Assert.Equal() Failure
Test summary: total: 4, failed: 1, succeeded: 2, skipped: 1, duration: 0.6s
"""
GRADLE = """\
> Task :test FAILED

AdderTest > fails() FAILED
    org.opentest4j.AssertionFailedError at AdderTest.java:9

5 tests completed, 1 failed, 1 skipped
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
        ("= 1 passed, 3 subtests passed in 0.10s =\n", summary("pytest", 1, 0, seconds=0.1)),
        (BUN, summary("bun", 1, 2, 2, names=BUN_NAMES, seconds=0.012)),
        (NEXTEST, summary("nextest", 2, 1, 1, names=["demo tests::bad"], seconds=0.005)),
        (VSTEST, summary("dotnet", 2, 1, 1, names=["Demo.Tests.Bad(x: 1)"], seconds=0.012)),
        (TERMINAL_LOGGER, summary("dotnet", 2, 1, 1, names=["Demo.Tests.Bad"], seconds=0.6)),
        (GRADLE, summary("gradle", 3, 1, 1, names=["AdderTest > fails()"])),
        ("  3 tests passed\n  ✔ x\n  4 tests passed\n", summary("ava", 7, 0)),
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
    *[b'\n{\n  "stats": {\n    "suites": 1}}', b"\n  1 test failed\n  \xe2\x9c\x94 x"],
    *[b"\nRunning 1 test using 1 worker\n  1 failed\n", b"\nTAP version 13\n", b"\n RUN  v4\n"],
    *[b"\nDONE 1 tests in 0.1s\n", b'\n{"Action":"fail","Test":"x","Elapsed":-1e999}\n'],
    *[b"\n===== test session starts =====\n", b"\nRan all test suites\n", b"\n 1 pass\n"],
    *[b"\nRan 1 test across 1 file. [1.00ms]\n", b"\n1 tests, 2 failures\n", b"\n[  FAILED  ] a\n"],
    *[
        b"\n[===] 1 test from 1 test suite ran.\n",
        b"\n9 runs, 1 assertions, 1 failures, 0 errors, 0 skips",
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
