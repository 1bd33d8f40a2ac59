"""Whatever the bytes and however they are cut: nothing raises, and nothing depends on the cuts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_jobs.output.progress import (
    OutputRecogniser,
    Progress,
    ProgressFileParser,
    ProgressTracker,
    Reading,
)

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parents[3] / "samples").iterdir())]

# Pieces out of which lines that almost match are made.
PIECES = [
    *[
        b"\n",
        b"\r",
        b"\r\n",
        b" ",
        b"...",
        b".F",
        b"x",
        b"%",
        b"[",
        b"]",
        b"/",
        b"|",
        b"\xff",
        b"=>",
    ],
    *[b"\n--- PASS: T (0.1s)\n", b"\nok  \tp\t0.1s\n", b"\n    1) x\n", "\n✔ a (1ms)\n".encode()],
    *["\n✖ failing tests:\n".encode(), "\n▶ a\n".encode(), b"\nok 1 - a\n", b"\n  type: 'test'\n"],
    *[
        b"\nEpoch 2/3\n",
        "\r 3/9 ━".encode(),
        b"\nprocessed 3 of 7\n",
        b"\nRunning 2 tests using 1 worker\n",
    ],
    *["\n  ✓  1 a › b\n".encode(), b"\nt (a.B.t) ... ok\n", b"\n  3 passing (1s)\n"],
    *[b"\x1b", b"\x1b[", b"\x1b[32m", b"\x1b[2K", b"\x1b[1G", b"\x1b[K", b"\x1b]0;t", b"\x07"],
    *[b"\x1b\\", b"\x1b(", b"45%", b"100", b"[ 48%]", b"[3/9] ", b"\n[5/10] ", b"\nDownloading 7%"],
    *[b"\ncollected 9 items\n", b"\n2 workers [5 items]\n", b"tests/test_a.py ", b"::t PASSED"],
    *[b"\n=== FAILURES ===\n", b"\n=== 1 passed in 1.0s ===\n", b"\nPASS src/a.test.js\n"],
    *[b"\nTest Suites: 1 passed, 1 of 3 total\n", b"\n Test Files  1 passed (2)\n"],
    *[b"\nrunning 4 tests\n", b"\ntest a ... ok\n", b"\n#5 [a 1/3] RUN x\n", b"\n#5 DONE 1s\n"],
    *[b"\nStep 2/3 : RUN y\n", b"45%|##| 4", b"5/100 [00:10<", b"   Building [==> ] 1/2: x"],
    *[
        b"\n   Compiling a v1.0\n",
        b"\n2/5 Test #2: a ...",
        "━━━ ✓ █".encode(),
        b"e\xcc",
        b"\xe2\x9c",
    ],
]
OUTPUT = st.one_of(
    st.binary(max_size=400),
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    st.sampled_from(SAMPLES).flatmap(
        lambda data: st.integers(0, len(data)).map(lambda start: data[start : start + 800])
    ),
)
JSON_PIECES = [
    *[
        b"\n",
        b"{",
        b"}",
        b'"percent"',
        b":",
        b",",
        b"40",
        b"-1",
        b"1e999",
        b"NaN",
        b"true",
        b"[",
        b"\xff",
    ],
    *[
        b'{"percent": 4}\n',
        b'{"current": 2, "total": 8}\n',
        b'{"message": "a"}\n',
        b'{"total": 3}\n',
    ],
]
JSON_LINES = st.one_of(
    st.binary(max_size=200), st.lists(st.sampled_from(JSON_PIECES), max_size=20).map(b"".join)
)
CUTS = st.lists(st.integers(0, 800), max_size=12)

ANY_NUMBER = st.one_of(
    st.none(), st.floats(), st.integers(-2, 12).map(float), st.floats(min_value=0, max_value=200)
)
READINGS = st.builds(
    Reading,
    current=ANY_NUMBER,
    total=ANY_NUMBER,
    percent=ANY_NUMBER,
    message=st.one_of(st.none(), st.text(max_size=300)),
)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(data)) for edge in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def final(source: OutputRecogniser | ProgressFileParser, chunks: Sequence[bytes]) -> Reading | None:
    last: Reading | None = None
    for chunk in chunks:
        last = source.feed(chunk) or last
    return last


def single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@given(data=OUTPUT, cuts=CUTS)
@settings(max_examples=500, deadline=None)
def test_the_recognised_reading_does_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    whole = final(OutputRecogniser(), [data])
    assert final(OutputRecogniser(), cut(data, cuts)) == whole
    assert final(OutputRecogniser(), single_bytes(data)) == whole


@given(data=JSON_LINES, cuts=CUTS)
@settings(max_examples=200, deadline=None)
def test_the_explicit_reading_does_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    whole = final(ProgressFileParser(), [data])
    assert final(ProgressFileParser(), cut(data, cuts)) == whole
    assert final(ProgressFileParser(), single_bytes(data)) == whole


@given(chunks=st.lists(st.one_of(st.none(), OUTPUT), max_size=8))
@settings(max_examples=200, deadline=None)
def test_recognised_readings_are_always_sane(chunks: list[bytes | None]) -> None:
    recogniser = OutputRecogniser()
    for chunk in chunks:
        if chunk is None:
            recogniser.gap()
        elif reading := recogniser.feed(chunk):
            assert 0 <= (reading.percent or 0) <= 100
            assert 0 <= (reading.current or 0) <= (reading.total or float("inf"))
            assert len(reading.message or "") <= 200


@given(
    updates=st.lists(
        st.tuples(READINGS, st.one_of(st.floats(), st.floats(0, 1e5)), st.booleans()), max_size=30
    )
)
@settings(max_examples=300, deadline=None)
@example(
    updates=[
        (Reading(percent=100.0), 0.0, False),
        (Reading(percent=0.0), 0.0, False),
        (Reading(percent=0.0), 0.0, True),
    ]
)
def test_percent_never_decreases_unless_it_is_given_up(
    updates: list[tuple[Reading, float, bool]],
) -> None:
    tracker = ProgressTracker()
    before: Progress | None = None
    for reading, now_s, explicit in updates:
        progress = tracker.update(reading, now_s=now_s, explicit=explicit)
        if progress is None:
            continue
        assert progress != before
        assert len(progress.message or "") <= 200
        assert 0 <= (progress.current or 0) <= (progress.total or float("inf"))
        if before is not None and before.percent is not None and progress.percent is not None:
            assert before.percent <= progress.percent <= 100
        before = progress


@given(counts=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 60)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_count_decreases_only_after_a_full_one(counts: list[tuple[int, int]]) -> None:
    tracker = ProgressTracker()
    shown = [
        progress
        for current, total in counts
        if (progress := tracker.update(Reading(current=current, total=total), now_s=0))
    ]
    for before, after in pairwise(shown):
        full = before.current == before.total
        assert (after.current or 0) >= (before.current or 0) or full
        assert after.percent is None or not full or after.current == after.total
